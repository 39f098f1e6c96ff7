"""The endpoint catalogue: which privileges an endpoint requires of the user behind a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scopegate.core.errors import InvalidInput
from scopegate.core.lines import require_line
from scopegate.core.paths import other_readings
from scopegate.core.principal import NO_PRIVILEGES, Privileges
from scopegate.core.request import METHODS, CanonicalRequest, rule_method
from scopegate.core.wildcard import PatternSet, UrlPattern

if TYPE_CHECKING:
    from collections.abc import Iterable

ANY_METHOD = "*"
LONGEST_SUMMARY = 200  # characters


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One entry: `methods` at the URLs that `url` matches require all of `privileges`.

    ``*`` among the methods stands for all of them. ``url`` is a pattern as in a key's rule and is
    kept in its canonical spelling. No privileges means: open to every active user. ``summary`` says in
    one line what the endpoint is for, or nothing; no decision depends on it.
    """

    methods: frozenset[str]
    url: str
    privileges: Privileges = NO_PRIVILEGES
    summary: str = ""

    def __post_init__(self) -> None:
        unknown = self.methods - METHODS - {ANY_METHOD}
        if unknown or not self.methods:
            raise InvalidInput(
                "methods",
                f"{', '.join(sorted(unknown)) or 'An empty list'} names no HTTP method.",
                hint=f"Choose from {', '.join(sorted(METHODS))} or '*'.",
            )
        object.__setattr__(self, "url", UrlPattern.parse(self.url).text)
        if self.summary:
            require_line("summary", self.summary, most=LONGEST_SUMMARY)

    def is_for(self, method: str) -> bool:
        """Whether the entry is for requests by `method`; one for GET is for HEAD as well."""
        names = self.methods
        return method in names or ANY_METHOD in names or rule_method(method) in names


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
        self._by_method = {method: self._compiled(method) for method in METHODS}

    def _compiled(self, method: str) -> PatternSet[Privileges]:
        """The entries that apply to one method."""
        return PatternSet(
            (UrlPattern.parse(endpoint.url), endpoint.privileges)
            for endpoint in self.endpoints
            if endpoint.is_for(method)
        )

    def required(self, request: CanonicalRequest) -> Privileges | None:
        """The privileges that `request` requires, or None where its endpoint is unlisted and denied.

        Every entry that matches applies: the answer is their union. An entry for GET covers HEAD.
        """
        entries = self._by_method[request.method]
        required = entries.matching_literally(request.path, request.host)
        if not required and not self.unlisted_allowed:
            return None
        for reading in other_readings(request.path):
            applying = entries.matching_literally(reading, request.host)
            if not applying and not self.unlisted_allowed:
                return None
            required += applying
        return required[0] if len(required) == 1 else NO_PRIVILEGES.union(*required)
