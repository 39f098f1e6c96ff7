"""The endpoint catalogue: which privileges an endpoint requires of the user behind a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scopegate.core.errors import InvalidInput
from scopegate.core.paths import readings
from scopegate.core.principal import NO_PRIVILEGES, Privileges
from scopegate.core.request import METHODS, CanonicalRequest
from scopegate.core.wildcard import PatternSet, UrlPattern

if TYPE_CHECKING:
    from collections.abc import Iterable

ANY_METHOD = "*"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One entry: `methods` at the URLs that `url` matches require all of `privileges`.

    ``*`` among the methods stands for all of them. ``url`` is a pattern as in a key's rule and is
    kept in its canonical spelling. No privileges means: open to every active user.
    """

    methods: frozenset[str]
    url: str
    privileges: Privileges = NO_PRIVILEGES

    def __post_init__(self) -> None:
        unknown = self.methods - METHODS - {ANY_METHOD}
        if unknown or not self.methods:
            raise InvalidInput(
                "methods",
                f"{', '.join(sorted(unknown)) or 'An empty list'} names no HTTP method.",
                hint=f"Choose from {', '.join(sorted(METHODS))} or '*'.",
            )
        object.__setattr__(self, "url", UrlPattern.parse(self.url).text)


class Catalogue:
    """All entries of a tenant, compiled.

    Args:
        endpoints: the entries; their order means nothing.
        unlisted_allowed: whether a user-bound key may call an endpoint that no entry lists.
    """

    __slots__ = ("_by_method", "endpoints", "unlisted_allowed")

    def __init__(self, endpoints: Iterable[Endpoint] = (), *, unlisted_allowed: bool = False) -> None:
        self.endpoints = tuple(endpoints)
        self.unlisted_allowed = unlisted_allowed
        self._by_method = {method: _Entries(self.endpoints, method) for method in METHODS}

    def required(self, request: CanonicalRequest) -> Privileges | None:
        """The privileges that `request` requires, or None where its endpoint is unlisted and denied.

        Every entry that matches applies: the answer is their union. An entry for GET covers HEAD.
        """
        entries = self._by_method[request.method]
        required = NO_PRIVILEGES
        for reading in readings(request.path):
            applying = entries.applying(reading, request.host)
            if not applying and not self.unlisted_allowed:
                return None
            required = required.union(*applying)
        return required


class _Entries:
    """The entries that apply to one method, compiled."""

    __slots__ = ("_patterns", "_privileges")

    def __init__(self, endpoints: tuple[Endpoint, ...], method: str) -> None:
        names = {method, ANY_METHOD, *(("GET",) if method == "HEAD" else ())}
        applying = [endpoint for endpoint in endpoints if not names.isdisjoint(endpoint.methods)]
        self._privileges = [endpoint.privileges for endpoint in applying]
        self._patterns = PatternSet([UrlPattern.parse(endpoint.url) for endpoint in applying])

    def applying(self, path: str, host: str | None) -> list[Privileges]:
        """The privileges of each entry that matches a path."""
        return [self._privileges[index] for index in self._patterns.matching_literally(path=path, host=host)]
