"""Which upstream a request goes to. Pure: a table that is made once, and one question to it.

The most specific route wins: one with a host before one without, a longer prefix before a shorter one.
Authorization has seen the whole path by then; stripping a prefix comes after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from scopegate.core.errors import ConfigurationError
from scopegate.core.paths import canonical_path, readings
from scopegate.core.reasons import RequestRefused
from scopegate.core.request import canonical_host

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scopegate.proxy.origin import Origin
    from scopegate.proxy.timeouts import Timeouts

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """One upstream: the origins that serve it alike, and how they are called.

    ``max_connections`` bounds the connections of one worker to all of them together.
    """

    name: str
    origins: tuple[Origin, ...]
    timeouts: Timeouts
    preserve_host: bool = True
    max_connections: int = 512


@dataclass(frozen=True, slots=True)
class Route(Generic[T]):
    """What goes to ``target``: requests for ``host``, and for ``prefix`` and all that is below it.

    ``name`` is what an error calls the route. No host means every host, and a host without a port
    means every port; the empty prefix means every path.

    Raises:
        ConfigurationError: host or prefix can match nothing, or not what they seem to.
    """

    name: str
    target: T
    host: str | None = None
    prefix: str = ""
    strip: bool = False

    def __post_init__(self) -> None:
        if self.host is not None:
            _require_host(f"{self.name}.host", self.host)
        if self.prefix:
            _require_prefix(f"{self.name}.prefix", self.prefix)
        elif self.strip:
            raise ConfigurationError(
                f"{self.name}.strip_prefix",
                "There is no prefix to strip.",
                hint="Name a prefix, or leave strip_prefix out.",
            )

    def forwarded(self, path: str) -> str:
        """The path that the target gets in place of `path`, which this route matches."""
        return path[len(self.prefix) :] or "/" if self.strip else path


# The prefix, the prefix with a slash (what is below it begins so) and the route.
_Row = tuple[str, str, Route[T]]


class Routes(Generic[T]):
    """All routes of a gateway, the most specific first.

    ``only`` is the one that gets every request as it is, if there is no other.

    Raises:
        ConfigurationError: there is no route, or two match the same requests.
    """

    __slots__ = ("_anywhere", "_by_host", "only", "routes")

    def __init__(self, routes: Iterable[Route[T]]) -> None:
        self.routes = tuple(sorted(routes, key=_rank))
        _require_distinct(self.routes)
        self._anywhere = self._rows(None)
        self._by_host = {host: self._rows(host) for host in map(_host, self.routes) if host is not None}
        only = self.routes[0]
        self.only = only if only.host is None and not only.prefix else None

    def choose(self, host: str | None, path: str) -> tuple[Route[T], str] | None:
        """The route of a canonical request and the path to forward; None if none matches."""
        if self.only is not None:
            return self.only, path
        for prefix, below, route in self._candidates(host):
            if path.startswith(below) or path == prefix:
                return route, route.forwarded(path)
        return None

    def _candidates(self, host: str | None) -> tuple[_Row[T], ...]:
        if host is None:
            return self._anywhere
        rows = self._by_host.get(host)
        if rows is None:
            rows = self._by_host.get(_without_port(host), self._anywhere)
        return rows

    def _rows(self, host: str | None) -> tuple[_Row[T], ...]:
        """What may match a request for `host`."""
        hosts = {None} if host is None else {host, _without_port(host), None}
        return tuple(
            (route.prefix, f"{route.prefix}/", route) for route in self.routes if _host(route) in hosts
        )


def _rank(route: Route[T]) -> tuple[int, int]:
    host = _host(route)
    specific = 0 if host is None else 1 if host == _without_port(host) else 2
    return -specific, -len(route.prefix)


def _host(route: Route[T]) -> str | None:
    return None if route.host is None else route.host.lower()


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if port.isdigit() else host


def _require_distinct(routes: tuple[Route[T], ...]) -> None:
    if not routes:
        raise ConfigurationError("upstreams", "There is no upstream.", hint="Name one.")
    seen: dict[tuple[str | None, str], str] = {}
    for route in routes:
        name = seen.setdefault((_host(route), route.prefix), route.name)
        if name != route.name:
            raise ConfigurationError(
                route.name,
                f"It matches the same requests as {name}.",
                hint="Give each upstream a host or a prefix of its own; for several URLs of one, write urls.",
            )


def _require_host(setting: str, host: str) -> None:
    try:
        canonical_host(host.encode("utf-8", "replace"))
    except RequestRefused:
        understood = False
    else:
        understood = "*" not in host
    if not understood:
        raise ConfigurationError(
            setting,
            f"{host!r} is not one host.",
            hint="Write it as Host fields have it, such as api.example.com or api.example.com:8443;"
            " an international name in its xn-- form.",
        )


def _require_prefix(setting: str, prefix: str) -> None:
    if prefix.endswith("/"):
        raise ConfigurationError(
            setting,
            f"{prefix!r} ends in a slash.",
            hint=f"Write {prefix.rstrip('/')}, which matches the path itself and all below it."
            if prefix.strip("/")
            else "Leave it out: then every path matches.",
        )
    if "*" in prefix:
        raise ConfigurationError(
            setting,
            f"{prefix!r} contains a star, and a prefix is no pattern.",
            hint="Name whole segments: /a matches /a and all that is below it.",
        )
    try:
        canonical = canonical_path(prefix.encode("utf-8", "replace"))
    except RequestRefused as refused:
        raise ConfigurationError(
            setting,
            f"{prefix!r} is not how a path is spelled: {refused.reason}.",
            hint="Write whole segments, such as /api/v1.",
        ) from None
    if canonical != prefix or len(readings(prefix)) > 1:
        raise ConfigurationError(
            setting,
            f"{prefix!r} is read in more than one way, so it would match nothing or not all.",
            hint="Escape only what needs it, and use neither ';' nor an escaped '?' or '#'.",
        )
