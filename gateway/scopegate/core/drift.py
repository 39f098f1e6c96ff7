"""Drift: what an API's new operations mean for the keys that there are, whose wildcards may cover them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scopegate.core.catalogue import ANY_METHOD
from scopegate.core.decision import Scope, decide_in
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import KeyState, KeyType, state
from scopegate.core.operations import Operation
from scopegate.core.preview import pattern_of
from scopegate.core.reasons import Reason
from scopegate.core.request import METHODS, CanonicalRequest, rule_method
from scopegate.core.wildcard import UrlPattern, common_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from scopegate.core.catalogue import Catalogue, Endpoint
    from scopegate.core.decision import Decision
    from scopegate.core.keys import KeyRecord
    from scopegate.core.principal import Principal

MAX_COMPARISONS = 3_000_000  # of rules with operations: some ten seconds
MAX_REACHES = 20_000  # in one answer
_ANYTHING = "x"  # what a parameter is in a request that stands for all others


@dataclass(frozen=True, slots=True)
class Reach:
    """That a key covers a new operation.

    ``rows`` are the rules by which it does, from 1; a key without rules covers everything. ``wholly`` tells
    whether one of them covers all of the operation. ``reason`` is what the gateway would answer now, by the
    catalogue in force, to a request that the operation is for; ``missing`` are the privileges that the user
    lacks for it. ``would_miss`` are those that the user would lack if the catalogue said what the
    description says.
    """

    record: KeyRecord
    rows: tuple[int, ...]
    wholly: bool
    reason: Reason
    missing: tuple[str, ...]
    would_miss: tuple[str, ...]

    @property
    def opens(self) -> bool:
        """Whether the key opens the operation."""
        return self.reason is Reason.ALLOWED


@dataclass(frozen=True, slots=True)
class AddedOperation:
    """An operation that was not there before, and the keys that cover it."""

    operation: Operation
    reaches: tuple[Reach, ...]


@dataclass(frozen=True, slots=True)
class IdleRule:
    """A rule, by its row from 1, that covered an operation that is gone, and covers none any more."""

    record: KeyRecord
    row: int


@dataclass(frozen=True, slots=True)
class Drift:
    """What a new description of an API means for the keys.

    ``unbounded`` are the keys that open everything, whatever is added: those of no user and without rules.
    They are not among the reaches.
    """

    added: tuple[AddedOperation, ...]
    removed: tuple[Operation, ...]
    idle: tuple[IdleRule, ...]
    unbounded: tuple[KeyRecord, ...]

    @property
    def grows(self) -> bool:
        """Whether some key opens more than before."""
        if not self.added:
            return False
        return bool(self.unbounded) or any(reach.opens for one in self.added for reach in one.reaches)


@dataclass(frozen=True, slots=True)
class Situation:
    """The keys that there are, and what decides what they open.

    Args:
        records: the keys.
        principals: user's id -> the user as resolved now; who is unknown is not in it.
        catalogue: the one in force.
        at: the moment.
    """

    records: Sequence[KeyRecord]
    principals: Mapping[str, Principal]
    catalogue: Catalogue
    at: datetime


def drift(operations: Iterable[Operation], before: Iterable[Operation] | None, situation: Situation) -> Drift:
    """Compare an API's operations with those that it had, and tell what that means for the keys.

    Keys that are disabled or have expired count, for they can be enabled and extended.

    Args:
        operations: all that the API has now.
        before: all that it had; None: what the catalogue in force lists. An entry of it that is wider than
            an operation does not count as that operation, for whether it was meant is the question.
        situation: the keys, and what decides what they open.

    Raises:
        InvalidInput: that would be more than can be compared, or told, at once.
    """
    now = _distinct(operations)
    was = _distinct(_listed(situation.catalogue.endpoints) if before is None else before)
    added = [operation for label, operation in now.items() if label not in was]
    gone = [operation for label, operation in was.items() if label not in now]
    if before is None:
        # A wide entry is not gone as long as there is something that it is about.
        by_method = _by_method(now.values())
        gone = [one for one in gone if not _meets_any(pattern_of(one.url), by_method.get(one.method, []))]
    keys = _Keys(situation)
    return Drift(
        added=tuple(AddedOperation(operation, keys.reaches(operation)) for operation in added),
        removed=tuple(gone),
        idle=keys.idle(gone, now.values()),
        unbounded=tuple(keys.unbounded),
    )


def _distinct(operations: Iterable[Operation]) -> dict[str, Operation]:
    distinct: dict[str, Operation] = {}
    for operation in operations:
        distinct.setdefault(operation.label, operation)
    return distinct


def _listed(endpoints: Iterable[Endpoint]) -> Iterable[Operation]:
    for endpoint in endpoints:
        for method in METHODS if ANY_METHOD in endpoint.methods else sorted(endpoint.methods):
            yield Operation(
                method=method, url=endpoint.url, summary=endpoint.summary, privileges=endpoint.privileges
            )


def _by_method(operations: Iterable[Operation]) -> dict[str, list[UrlPattern]]:
    """The URLs of operations, by the method that a rule for them has to name."""
    found: dict[str, list[UrlPattern]] = {}
    for operation in operations:
        found.setdefault(rule_method(operation.method), []).append(pattern_of(operation.url))
    return found


def _meets_any(pattern: UrlPattern, others: Iterable[UrlPattern]) -> bool:
    return any(pattern.meets(other) for other in others)


class _Keys:
    """The keys of a situation, with their rules in a form in which equal ones are compared once."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        kept = [record for record in situation.records if state(record, situation.at) is not KeyState.DELETED]
        self._custom = [record for record in kept if record.type is KeyType.CUSTOM]
        self._of_users = [
            record for record in kept if record.type is not KeyType.CUSTOM and record.user is not None
        ]
        self.unbounded = [
            record for record in kept if record.type is not KeyType.CUSTOM and record.user is None
        ]
        # Method -> URL -> key and row, as several keys may have a rule.
        self._rules: dict[str, dict[str, list[tuple[int, int]]]] = {}
        for number, record in enumerate(self._custom):
            for row, rule in enumerate(record.rules, start=1):
                self._rules.setdefault(rule.method, {}).setdefault(rule.url, []).append((number, row))
        self._scopes: dict[str, Scope] = {}
        self._left = MAX_COMPARISONS
        self._told = 0

    def reaches(self, operation: Operation) -> tuple[Reach, ...]:
        """The keys that cover an operation."""
        pattern = pattern_of(operation.url)
        rows: dict[int, list[int]] = {}
        wholly: set[int] = set()
        rules = self._rules.get(rule_method(operation.method), {})
        self._count(len(rules) + len(self._of_users))
        for url, places in rules.items():
            rule = pattern_of(url)
            if rule.meets(pattern):
                covers = rule.covers(pattern)
                for number, row in places:
                    rows.setdefault(number, []).append(row)
                    if covers:
                        wholly.add(number)
        found = [
            self._reach(operation, self._custom[number], tuple(sorted(rows[number])), wholly=number in wholly)
            for number in sorted(rows)
        ]
        found += [self._reach(operation, record, (), wholly=True) for record in self._of_users]
        self._told += len(found)
        if self._told > MAX_REACHES:
            raise _too_much()
        return tuple(found)

    def idle(self, gone: Iterable[Operation], now: Iterable[Operation]) -> tuple[IdleRule, ...]:
        """The rules that cover something of what is gone, and nothing of what there is."""
        went, stays = _by_method(gone), _by_method(now)
        found: list[tuple[int, int]] = []
        for method, rules in self._rules.items():
            missed, kept = went.get(method, []), stays.get(method, [])
            for url, places in rules.items():
                self._count(len(missed))
                rule = pattern_of(url)
                if _meets_any(rule, missed):
                    self._count(len(kept))
                    if not _meets_any(rule, kept):
                        found += places
        return tuple(IdleRule(self._custom[number], row) for number, row in sorted(found))

    def _reach(
        self, operation: Operation, record: KeyRecord, rows: tuple[int, ...], *, wholly: bool
    ) -> Reach:
        decision = self._decision(operation, record, rows)
        principal = None if record.user is None else self._situation.principals.get(record.user)
        held = frozenset() if principal is None or not principal.active else principal.privileges
        return Reach(
            record=record,
            rows=rows,
            wholly=wholly,
            reason=decision.reason,
            missing=decision.missing,
            would_miss=() if record.user is None else tuple(sorted(operation.privileges - held)),
        )

    def _decision(self, operation: Operation, record: KeyRecord, rows: tuple[int, ...]) -> Decision:
        """The enforcement's own decision on a request for the operation that the key's rules admit."""
        situation = self._situation
        scope = self._scopes.get(record.id)
        if scope is None:
            scope = self._scopes[record.id] = Scope(record)
        principal = None if record.user is None else situation.principals.get(record.user)
        request = _usual_request(operation)
        if rows and scope.admitting_rule(request) is None:
            request = _common_request(operation, pattern_of(record.rules[rows[0] - 1].url))
        return decide_in(scope, request, principal, situation.catalogue)

    def _count(self, comparisons: int) -> None:
        self._left -= comparisons
        if self._left < 0:
            raise _too_much()


def _usual_request(operation: Operation) -> CanonicalRequest:
    pattern = pattern_of(operation.url)
    host = None if pattern.host is None else pattern.host.replace("*", _ANYTHING)
    return CanonicalRequest(operation.method, pattern.path.replace("*", _ANYTHING), host)


def _common_request(operation: Operation, rule: UrlPattern) -> CanonicalRequest:
    """A request for what an operation and a rule have in common."""
    pattern = pattern_of(operation.url)
    path = common_path(pattern.path, rule.path)
    host = pattern.host or rule.host
    if pattern.host is not None and rule.host is not None:
        host = common_path(pattern.host, rule.host)
    return CanonicalRequest(
        operation.method, path or "", None if host is None else host.replace("*", _ANYTHING)
    )


def _too_much() -> InvalidInput:
    return InvalidInput(
        "operations",
        "There are too many new operations for the keys that there are.",
        hint="Say what was there before, or compare a part of the operations at a time.",
        code="too_many_operations",
    )
