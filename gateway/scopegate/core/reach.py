"""What a user can use of what a rule opens, and what of it the user lacks privileges for: exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scopegate.core.languages import PatternIndex, meet, opens_nothing, search
from scopegate.core.request import CanonicalRequest
from scopegate.core.wildcard import pattern_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scopegate.core.catalogue import Catalogue, Endpoint
    from scopegate.core.keys import Rule
    from scopegate.core.languages import Budget
    from scopegate.core.principal import Privileges
    from scopegate.core.wildcard import UrlPattern


class Lack(NamedTuple):
    """An endpoint of which the user may use nothing, by ``method``, and the privileges that are missing."""

    method: str
    endpoint: Endpoint
    missing: Privileges


class _Listed(NamedTuple):
    """The entries of the catalogue for one method: of which the user may use something, and nothing."""

    open: PatternIndex[Endpoint]
    closed: PatternIndex[Endpoint]


class Reach:
    """What is open to whoever has some privileges.

    Args:
        privileges: what the user holds.
        catalogue: what the endpoints require.
    """

    __slots__ = ("_catalogue", "_listed", "_privileges", "_with_head")

    def __init__(self, privileges: Privileges, catalogue: Catalogue) -> None:
        self._privileges = privileges
        self._catalogue = catalogue
        self._listed: dict[str, _Listed] = {}
        # Where no entry is for HEAD alone, HEAD is open just where GET is.
        self._with_head = any("HEAD" in endpoint.methods for endpoint in catalogue.endpoints)

    def usable(
        self, methods: tuple[str, ...], pattern: UrlPattern, *within: UrlPattern, budget: Budget
    ) -> CanonicalRequest | None:
        """A request by one of `methods` that all of the patterns match and the user may send, or None.

        Raises:
            Undecided: within the budget nobody can tell.
        """
        for method in self._to_look_at(methods):
            found = self._usable(method, pattern, within, budget)
            if found is not None:
                return found
        return None

    def lacking(
        self, methods: tuple[str, ...], pattern: UrlPattern, *within: UrlPattern, budget: Budget
    ) -> Iterator[Lack]:
        """The endpoints at which there are requests that all of the patterns match and the user may not send.

        Of an entry that asks for a path with several readings and has a wildcard, only the request that
        its own text is is looked at.

        Raises:
            Undecided: within the budget nobody can tell.
        """
        for method in self._to_look_at(methods):
            for listed, endpoint in self._of(method).closed.near(pattern):
                if self._applies_to_some(method, listed, (pattern, *within), budget):
                    yield Lack(method, endpoint, self._missing(endpoint))

    def refused(
        self, methods: tuple[str, ...], pattern: UrlPattern, *, budget: Budget
    ) -> tuple[CanonicalRequest, Lack] | None:
        """The first of what is lacking, and a request that `pattern` matches and is refused for it.

        Raises:
            Undecided: within the budget nobody can tell.
        """
        for lack in self.lacking(methods, pattern, budget=budget):
            listed = pattern_of(lack.endpoint.url)
            if opens_nothing(listed):
                return CanonicalRequest(lack.method, listed.path, listed.host), lack
            found = search([[pattern], [listed]], (), budget)
            if found is not None:
                return CanonicalRequest(lack.method, *found), lack
        return None

    def _usable(
        self, method: str, pattern: UrlPattern, within: tuple[UrlPattern, ...], budget: Budget
    ) -> CanonicalRequest | None:
        entries = self._of(method)
        closed = [listed for listed, _ in entries.closed.near(pattern) if not opens_nothing(listed)]
        if any(opens_nothing(one) or _any_covers(closed, one) for one in (pattern, *within)):
            return None
        inside = [[one] for one in (pattern, *within)]
        # One entry after the other: the first will do, and together they have more states.
        alternatives: list[list[list[UrlPattern]]] = (
            [inside]
            if self._catalogue.unlisted_allowed
            else [[*inside, [listed]] for listed, _ in entries.open.near(pattern)]
        )
        for groups in alternatives:
            found = search(groups, closed, budget)
            if found is not None:
                return CanonicalRequest(method, *found)
        return None

    def _of(self, method: str) -> _Listed:
        known = self._listed.get(method)
        if known is None:
            entries = [(pattern_of(one.url), one) for one in self._catalogue.endpoints if one.is_for(method)]
            closed = PatternIndex(one for one in entries if self._missing(one[1]))
            opened = [one for one in entries if not self._missing(one[1]) and not opens_nothing(one[0])]
            known = self._listed[method] = _Listed(
                PatternIndex(
                    (listed, endpoint)
                    for listed, endpoint in opened
                    if not _any_covers((other for other, _ in closed.near(listed)), listed)
                ),
                closed,
            )
        return known

    def _applies_to_some(
        self, method: str, listed: UrlPattern, patterns: tuple[UrlPattern, ...], budget: Budget
    ) -> bool:
        if opens_nothing(listed):
            request = CanonicalRequest(method, listed.path, listed.host)
            admitted = all(one.matches(path=request.path, host=request.host) for one in patterns)
            return admitted and self._catalogue.required(request) is not None
        return meet(*patterns, listed, budget=budget)

    def _missing(self, endpoint: Endpoint) -> Privileges:
        return endpoint.privileges - self._privileges

    def _to_look_at(self, methods: tuple[str, ...]) -> tuple[str, ...]:
        return methods if self._with_head or methods != admitted_methods("GET") else ("GET",)


def _any_covers(patterns: Iterable[UrlPattern], one: UrlPattern) -> bool:
    return any(pattern.covers(one) for pattern in patterns)


def admitted_methods(rule_method: str) -> tuple[str, ...]:
    """The methods of the requests that a rule for `rule_method` admits."""
    return ("GET", "HEAD") if rule_method == "GET" else () if rule_method == "HEAD" else (rule_method,)


def why_nothing(rule: Rule) -> str | None:
    """What to say of a rule that admits no request, whoever sends it; None of all others."""
    if not admitted_methods(rule.method):
        return "admits no request: what admits HEAD is a rule for GET."
    if opens_nothing(pattern_of(rule.url)):
        return "admits no request: some upstreams read less than it asks for, and no rule lets them."
    return None
