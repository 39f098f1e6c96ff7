"""Which keys reach an endpoint, by which rule and as whom, and what stands against it now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scopegate.core.decision import Scope, decide, decide_in
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import state
from scopegate.core.languages import Budget, Undecided, opens_nothing, witness
from scopegate.core.reach import Reach
from scopegate.core.request import METHODS, CanonicalRequest, rule_method
from scopegate.core.review import ways_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from scopegate.core.catalogue import Catalogue
    from scopegate.core.keys import KeyRecord, KeyState
    from scopegate.core.principal import Principal, Privileges
    from scopegate.core.reasons import Reason
    from scopegate.core.wildcard import UrlPattern


@dataclass(frozen=True, slots=True)
class Reacher:
    """A key that lets in something of what was asked for.

    Where nobody can tell within bounds whether it does, there is neither a request nor a reason.

    Args:
        record: the key.
        state: what it is now.
        row: the rule that lets ``request`` in, counted from 1; None for a key without rules.
        wholly: whether that rule covers all that was asked for.
        request: one that the key lets in, which is allowed now if any is.
        reason: what the gateway decides about it now.
        missing: the privileges that the user lacks for it, whatever state the key is in.
    """

    record: KeyRecord
    state: KeyState
    row: int | None
    wholly: bool
    request: CanonicalRequest | None
    reason: Reason | None
    missing: tuple[str, ...] = ()


class Question:
    """An endpoint: a method, and a URL that may have wildcards.

    Raises:
        InvalidInput: there is no such method; or the URL has wildcards, and asks for paths that upstreams
            read in several ways, of which only one at a time can be told.
    """

    def __init__(self, method: str, url: UrlPattern) -> None:
        if method not in METHODS:
            raise InvalidInput(
                "method",
                f"{method!r} is no HTTP method that requests can have.",
                hint=f"Choose from {', '.join(sorted(METHODS))}.",
            )
        if opens_nothing(url) and "*" in url.text:
            raise InvalidInput(
                "url",
                f"Upstreams read {url.text!r} in several ways.",
                hint="Ask for one URL, without *.",
                code="url_invalid",
            )
        self.method = method
        self.url = url


def who_reaches(
    asked: Question,
    records: Iterable[KeyRecord],
    principals: Mapping[str, Principal | None],
    catalogue: Catalogue,
    now: datetime,
) -> Iterator[Reacher]:
    """The keys that let in anything of what is asked for, in their order.

    Args:
        asked: the endpoint.
        records: the keys.
        principals: the users whom keys are bound to, by id.
        catalogue: the tenant's endpoint catalogue.
        now: the moment that states are told for.
    """
    reaches: dict[Privileges, Reach] = {}
    for record in records:
        principal = None if record.user is None else principals.get(record.user)
        reach = None
        if principal is not None and principal.active:
            if principal.privileges not in reaches:
                reaches[principal.privileges] = Reach(principal.privileges, catalogue)
            reach = reaches[principal.privileges]
        ways = [way for way in ways_of(record) if way[1] == rule_method(asked.method)]
        try:
            request = _let_in(asked, record, [pattern for _, _, pattern in ways])
            if request is None:
                continue
            usable = _usable(asked, reach, [pattern for _, _, pattern in ways])
        except Undecided:
            yield Reacher(record, state(record, now), None, wholly=False, request=None, reason=None)
            continue
        request = request if usable is None else usable
        scope = Scope(record)
        decision = decide(
            request, digest=record.digest, scope=scope, principal=principal, catalogue=catalogue, now=now
        )
        rule = scope.admitting_rule(request)
        row = None if rule is None else rule + 1
        yield Reacher(
            record,
            state(record, now),
            row,
            wholly=any(pattern.covers(asked.url) for of_row, _, pattern in ways if of_row == row),
            request=request,
            reason=decision.reason,
            missing=decide_in(scope, request, principal, catalogue).missing,
        )


def _let_in(asked: Question, record: KeyRecord, ways: Sequence[UrlPattern]) -> CanonicalRequest | None:
    """A request of what is asked for that a key lets in."""
    if opens_nothing(asked.url):
        return _single(asked, record, ways)
    found = witness([ways, [asked.url]])
    return None if found is None else CanonicalRequest(asked.method, *found)


def _usable(asked: Question, reach: Reach | None, ways: Sequence[UrlPattern]) -> CanonicalRequest | None:
    """One that the user may send as well."""
    if reach is None or opens_nothing(asked.url):
        return None
    budget = Budget()
    found = (reach.usable((asked.method,), way, asked.url, budget=budget) for way in ways)
    return next((request for request in found if request is not None), None)


def _single(asked: Question, record: KeyRecord, ways: Sequence[UrlPattern]) -> CanonicalRequest | None:
    """The one request that is asked for, at a host that the key lets it in at."""
    scope = Scope(record)
    hosts = [asked.url.host] if asked.url.host is not None else [None, *(_host(way) for way in ways)]
    for host in dict.fromkeys(hosts):
        request = CanonicalRequest(asked.method, asked.url.path, host)
        if (ways and record.rules == ()) or scope.admitting_rule(request) is not None:
            return request
    return None


def _host(pattern: UrlPattern) -> str | None:
    found = witness([[replace(pattern, path="/*")]])
    return None if found is None else found.host
