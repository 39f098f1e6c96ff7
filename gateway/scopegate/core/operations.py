"""The operations that an API's own description names, and the catalogue that can be drafted from them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from scopegate.core.catalogue import ANY_METHOD, LONGEST_SUMMARY, Endpoint
from scopegate.core.errors import InvalidInput
from scopegate.core.principal import NO_PRIVILEGES, Privileges
from scopegate.core.request import METHODS, rule_method
from scopegate.core.wildcard import UrlPattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_PARAMETER = re.compile(r"\{[^{}]*\}")
_NOT_MATCHED = re.compile(r"[?#]")
_LITERAL = "/%!$&'()*+,;=:@~-._"  # what stands in a path as it is (RFC 3986 section 3.3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method at one URL of an API.

    ``url`` is a pattern in its canonical spelling; ``template`` is how the description writes the path, with
    the names of its parameters. ``privileges`` are what a caller needs. ``remarks`` say in a sentence each
    what a person has to know of how the description was read.

    Raises:
        InvalidInput: the method is none, or the URL no pattern.
    """

    method: str
    url: str
    template: str = ""
    operation_id: str = ""
    summary: str = ""
    privileges: Privileges = NO_PRIVILEGES
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidInput(
                "method",
                f"{self.method!r} is no HTTP method.",
                hint=f"Choose from {', '.join(sorted(METHODS))}.",
            )
        object.__setattr__(self, "url", UrlPattern.parse(self.url).text)

    @property
    def label(self) -> str:
        """How it is called."""
        return f"{self.method} {self.url}"


def as_line(text: str, *, most: int = LONGEST_SUMMARY) -> str:
    """What somebody wrote, on one line of at most `most` characters, without those that do not print."""
    kept = "".join(character for character in text if character.isprintable() or character.isspace())
    line = " ".join(kept.split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def pattern_of_template(base: str, template: str) -> str:
    """The URL pattern of a path with parameters (``/pets/{id}``) below `base`.

    A parameter is a ``*``, which matches across ``/`` too. What follows ``?`` or ``#`` is cut off, as
    patterns match paths only.

    Raises:
        InvalidInput: no request that the gateway would let through has such a path.
    """
    starred = _PARAMETER.sub("*", base.rstrip("/") + template)
    path = _NOT_MATCHED.split(starred, maxsplit=1)[0]
    return UrlPattern.parse(quote(path, safe=_LITERAL)).text


def is_more_than_a_path(template: str) -> bool:
    """Whether a template has a query or a fragment, which its pattern has not."""
    return _NOT_MATCHED.search(_PARAMETER.sub("*", template)) is not None


@dataclass(frozen=True, slots=True)
class Overlap:
    """That other entries match all of an entry's requests as well.

    ``labels`` name them; ``privileges`` are what they require beyond the entry's own.
    """

    labels: tuple[str, ...]
    privileges: Privileges


@dataclass(frozen=True, slots=True)
class DraftedEntry:
    """One entry of a draft, and the operations that it stands for: several where the same requests are meant.

    ``overlap`` is None where a request needs no more than the entry says.
    """

    endpoint: Endpoint
    operations: tuple[Operation, ...]
    overlap: Overlap | None = None

    @property
    def is_open(self) -> bool:
        """Whether every active user may call it."""
        return not self.endpoint.privileges and self.overlap is None


def draft(operations: Iterable[Operation]) -> tuple[DraftedEntry, ...]:
    """The catalogue entries of `operations`, one for each method and URL, in the order of their first one.

    Operations whose URLs become the same pattern are one entry, which requires what they require together.
    """
    together: dict[tuple[str, str], list[Operation]] = {}
    for operation in operations:
        together.setdefault((operation.method, operation.url), []).append(operation)
    endpoints = [_endpoint(members) for members in together.values()]
    found = overlaps(endpoints)
    return tuple(
        DraftedEntry(endpoint, tuple(members), found.get(number))
        for number, (endpoint, members) in enumerate(zip(endpoints, together.values(), strict=True))
    )


def _endpoint(members: Sequence[Operation]) -> Endpoint:
    first = members[0]
    summaries = list(dict.fromkeys(summary for member in members if (summary := as_line(member.summary))))
    more = f" (and {len(summaries) - 1} more)" if len(summaries) > 1 else ""
    return Endpoint(
        frozenset({first.method}),
        first.url,
        NO_PRIVILEGES.union(*(operation.privileges for operation in members)),
        as_line(summaries[0], most=LONGEST_SUMMARY - len(more)) + more if summaries else "",
    )


def overlaps(endpoints: Sequence[Endpoint]) -> dict[int, Overlap]:
    """For which entries, by their place, others raise what every one of their requests needs, and how.

    Entries apply together, so ``/pets/*`` adds its privileges to those of ``/pets/*/photos``. Entries that
    meet for some values of a parameter only, as ``/pets/*`` adds to ``/pets/mine``, but not the other way
    round, are told for the narrower one.
    """
    found: dict[int, Overlap] = {}
    wider = _Wider(endpoints)
    for number, endpoint in enumerate(endpoints):
        others = [other for other in wider.than(endpoint) if not other.privileges <= endpoint.privileges]
        if others:
            more = NO_PRIVILEGES.union(*(other.privileges for other in others)) - endpoint.privileges
            labels = sorted({f"{','.join(sorted(other.methods))} {other.url}" for other in others})
            found[number] = Overlap(tuple(labels), more)
    return found


class _Wider:
    """Finds the entries that match all that an entry matches.

    A pattern covers another one only if its text before the first star begins that one, and its text after
    the last star ends it: so few are left to be compared among many thousands.
    """

    __slots__ = ("_by_start",)

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._by_start: dict[str, dict[str, list[tuple[UrlPattern, Endpoint]]]] = {}
        for endpoint in endpoints:
            pattern = UrlPattern.parse(endpoint.url)
            first, *rest = _path(pattern).split("*")
            by_end = self._by_start.setdefault(first, {})
            by_end.setdefault(rest[-1] if rest else first, []).append((pattern, endpoint))

    def than(self, endpoint: Endpoint) -> Iterator[Endpoint]:
        pattern = UrlPattern.parse(endpoint.url)
        path = _path(pattern)
        starts, ends = path.split("*", maxsplit=1)[0], path.rsplit("*", maxsplit=1)[-1]
        for length in range(len(starts) + 1):
            by_end = self._by_start.get(starts[:length])
            if by_end is None:
                continue
            for cut in range(len(ends) + 1):
                for other, candidate in by_end.get(ends[cut:], ()):
                    applies = candidate is not endpoint and _applies_to_all(candidate, endpoint)
                    if applies and other.covers(pattern):
                        yield candidate


def _path(pattern: UrlPattern) -> str:
    return "/*" if pattern.path == "*" else pattern.path  # all paths begin with a slash


def _applies_to_all(entry: Endpoint, endpoint: Endpoint) -> bool:
    """Whether `entry` is about all methods of `endpoint`; one for GET is about HEAD as well."""
    if ANY_METHOD in entry.methods:
        return True
    return all(not entry.methods.isdisjoint({method, rule_method(method)}) for method in endpoint.methods)
