"""Drift: what an API's new operations mean for the keys that there are, whose wildcards may cover them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING

from scopegate.core.catalogue import ANY_METHOD
from scopegate.core.decision import Scope, decide_in
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import KeyState, KeyType, state
from scopegate.core.languages import Budget, Undecided, may_meet, opens_nothing, witness
from scopegate.core.operations import Operation
from scopegate.core.principal import NO_PRIVILEGES
from scopegate.core.request import METHODS, CanonicalRequest, rule_method
from scopegate.core.wildcard import pattern_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from scopegate.core.catalogue import Catalogue, Endpoint
    from scopegate.core.decision import Decision
    from scopegate.core.keys import KeyRecord
    from scopegate.core.languages import Witness
    from scopegate.core.principal import Principal, Privileges
    from scopegate.core.reasons import Reason
    from scopegate.core.wildcard import UrlPattern

MAX_COMPARISONS = 5_000_000  # of patterns with patterns: some seconds
MAX_REACHES = 20_000  # in one answer
STATES = 500_000  # of automata, for all questions together: some seconds
_STATES_OF_ONE = 5_000

_Requests = tuple[CanonicalRequest | None, CanonicalRequest | None]

_EVERYTHING = pattern_of("*")
_ANYTHING = "x"


class Extent(StrEnum):
    """How much of something there is."""

    ALL = "all"
    PART = "part"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Reach:
    """That a key covers a new operation.

    ``rows`` are the rules by which it does, from 1; a key without rules covers everything. ``wholly`` tells
    whether they cover all of the operation. ``opens`` is how much of what they cover the key opens now, by
    the catalogue in force; ``reason`` is why it does not open the rest, and ``missing`` the privileges that
    the user lacks for that. ``would_miss`` are those that the user would lack if the catalogue said what
    the description says.
    """

    record: KeyRecord
    rows: tuple[int, ...]
    wholly: bool
    opens: Extent
    reason: Reason
    missing: tuple[str, ...]
    would_miss: tuple[str, ...]


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
        return any(
            self.unbounded or any(reach.opens is not Extent.NONE for reach in one.reaches)
            for one in self.added
        )


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

    Keys that are disabled or have expired count, for they can be enabled and extended. What patterns have
    in common is decided, not sampled; where that is too much work they are taken to have something.

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
    bounds = _Bounds()
    stays = _by_method(now.values())
    if before is None:
        # A wide entry is not gone as long as there is something that it is about.
        gone = [
            one
            for one in gone
            if not bounds.meets_any(pattern_of(one.url), stays.get(rule_method(one.method), ()))
        ]
    keys = _Keys(situation, bounds)
    return Drift(
        added=tuple(AddedOperation(operation, keys.reaches(operation)) for operation in added),
        removed=tuple(gone),
        idle=keys.idle(_by_method(gone), stays),
        unbounded=keys.unbounded,
    )


def _distinct(operations: Iterable[Operation]) -> dict[str, Operation]:
    distinct: dict[str, Operation] = {}
    for operation in operations:
        distinct.setdefault(operation.label, operation)
    return distinct


def _listed(endpoints: Iterable[Endpoint]) -> Iterable[Operation]:
    for endpoint in endpoints:
        for method in sorted(METHODS if ANY_METHOD in endpoint.methods else endpoint.methods):
            yield Operation(
                method=method, url=endpoint.url, summary=endpoint.summary, privileges=endpoint.privileges
            )


def _by_method(operations: Iterable[Operation]) -> dict[str, list[UrlPattern]]:
    """The URLs of operations, by the method that a rule for them has to name."""
    found: dict[str, list[UrlPattern]] = {}
    for operation in operations:
        found.setdefault(rule_method(operation.method), []).append(pattern_of(operation.url))
    return found


class _Bounds:
    """How much is compared."""

    def __init__(self) -> None:
        self._states = STATES
        self._comparisons = MAX_COMPARISONS

    def count(self, comparisons: int) -> None:
        """Take comparisons off.

        Raises:
            InvalidInput: none are left.
        """
        self._comparisons -= comparisons
        if self._comparisons < 0:
            raise _too_much()

    def common(self, patterns: Iterable[UrlPattern], outside: Sequence[UrlPattern] = ()) -> Witness | None:
        """A request that all of `patterns` admit, and none of `outside`; None where there is none.

        Raises:
            Undecided: that would take too much.
        """
        budget = Budget(min(self._states, _STATES_OF_ONE))
        before = budget.left
        try:
            return witness([[pattern] for pattern in patterns], outside, budget=budget)
        finally:
            self._states -= before - budget.left

    def meet(self, one: UrlPattern, other: UrlPattern) -> bool:
        """Whether a request is admitted by both, or may be."""
        try:
            return may_meet(one, other) and self.common((one, other)) is not None
        except Undecided:
            return True

    def meets_any(self, pattern: UrlPattern, others: Sequence[UrlPattern]) -> bool:
        """Whether a request that `pattern` admits is admitted by one of `others`, or may be."""
        self.count(len(others))
        return any(self.meet(pattern, other) for other in others)


class _Keys:
    """The keys of a situation, with their rules in a form in which equal ones are compared once."""

    def __init__(self, situation: Situation, bounds: _Bounds) -> None:
        self._situation = situation
        self._bounds = bounds
        kept = [record for record in situation.records if state(record, situation.at) is not KeyState.DELETED]
        self._custom = [record for record in kept if record.type is KeyType.CUSTOM]
        others = [record for record in kept if record.type is not KeyType.CUSTOM]
        self._of_users = [record for record in others if record.user is not None]
        self.unbounded = tuple(record for record in others if record.user is None)
        # Method -> URL -> the places where it stands, a key and a row each: several keys may have a rule.
        self._rules: dict[str, dict[str, list[tuple[int, int]]]] = {}
        for number, record in enumerate(self._custom):
            for row, rule in enumerate(record.rules, start=1):
                self._rules.setdefault(rule.method, {}).setdefault(rule.url, []).append((number, row))
        self._scopes: dict[str, Scope] = {}
        self._told = 0

    def reaches(self, operation: Operation) -> tuple[Reach, ...]:
        """The keys that cover an operation."""
        rows: dict[int, list[int]] = {}
        rules = self._rules.get(rule_method(operation.method), {})
        self._bounds.count(len(rules))
        for url, places in rules.items():
            if self._covers(pattern_of(url), operation):
                for number, row in places:
                    rows.setdefault(number, []).append(row)
        covering = [(self._custom[number], tuple(sorted(rows[number]))) for number in sorted(rows)]
        covering += [(record, ()) for record in self._of_users]
        self._told += len(covering)
        if self._told > MAX_REACHES:
            raise _too_much()
        if not covering:
            return ()
        question = _Question(operation, self._situation.catalogue, self._bounds)
        return tuple(self._reach(question, record, numbers) for record, numbers in covering)

    def _covers(self, rule: UrlPattern, operation: Operation) -> bool:
        """Whether a rule opens something of an operation, or may."""
        pattern = pattern_of(operation.url)
        if opens_nothing(pattern):
            request = usual_request(operation)
            return rule.matches(path=request.path, host=request.host)
        return self._bounds.meet(rule, pattern)

    def idle(
        self, gone: Mapping[str, Sequence[UrlPattern]], stays: Mapping[str, Sequence[UrlPattern]]
    ) -> tuple[IdleRule, ...]:
        """The rules that cover something of what is gone, and nothing of what there is."""
        found: list[tuple[int, int]] = []
        for method, rules in self._rules.items():
            for url, places in rules.items():
                rule = pattern_of(url)
                missed = self._bounds.meets_any(rule, gone.get(method, ()))
                if missed and not self._bounds.meets_any(rule, stays.get(method, ())):
                    found += places
        return tuple(IdleRule(self._custom[number], row) for number, row in sorted(found))

    def _reach(self, question: _Question, record: KeyRecord, rows: tuple[int, ...]) -> Reach:
        operation = question.operation
        rules = tuple(pattern_of(record.rules[row - 1].url) for row in rows) or (_EVERYTHING,)
        wholly = any(rule.covers(question.pattern) for rule in rules)
        principal = None if record.user is None else self._situation.principals.get(record.user)
        held = NO_PRIVILEGES if principal is None or not principal.active else principal.privileges
        # What covers the whole operation leaves nothing of it to the other rules.
        opened, refused = question.requests((_EVERYTHING,) if wholly else rules, held)
        if record.user is None:
            opened, refused = opened or refused, None
        elif principal is None or not principal.active:
            opened = None
        decision = self._decision(record, principal, refused or opened or usual_request(operation))
        return Reach(
            record=record,
            rows=rows,
            wholly=wholly,
            opens=Extent.NONE if opened is None else Extent.ALL if refused is None else Extent.PART,
            reason=decision.reason,
            missing=decision.missing,
            would_miss=() if record.user is None else tuple(sorted(operation.privileges - held)),
        )

    def _decision(
        self, record: KeyRecord, principal: Principal | None, request: CanonicalRequest
    ) -> Decision:
        """The enforcement's own decision."""
        scope = self._scopes.get(record.id)
        if scope is None:
            scope = self._scopes[record.id] = Scope(record)
        return decide_in(scope, request, principal, self._situation.catalogue)


class _Question:
    """How much of one operation the catalogue admits, for different rules and privileges."""

    def __init__(self, operation: Operation, catalogue: Catalogue, bounds: _Bounds) -> None:
        self.operation = operation
        self.pattern = pattern_of(operation.url)
        self._catalogue = catalogue
        self._bounds = bounds
        bounds.count(len(catalogue.endpoints))
        names = {operation.method, rule_method(operation.method), ANY_METHOD}
        self._entries = [
            (listed, endpoint.privileges)
            for endpoint in catalogue.endpoints
            if not names.isdisjoint(endpoint.methods)
            and bounds.meet(listed := pattern_of(endpoint.url), self.pattern)
        ]
        # All else that somebody holds is of no account.
        self._asked = NO_PRIVILEGES.union(*(privileges for _, privileges in self._entries))
        self._answers: dict[tuple[tuple[UrlPattern, ...], Privileges], _Requests] = {}

    def requests(self, rules: tuple[UrlPattern, ...], held: Privileges) -> _Requests:
        """A request that the catalogue admits for whoever holds these privileges, and one that it refuses.

        Both are of what the rules and the operation have in common; None where there is no such request.
        """
        if opens_nothing(self.pattern):
            # Such a path has several readings, each of which has to be admitted: it stands for itself.
            request = usual_request(self.operation)
            required = self._catalogue.required(request)
            return (request, None) if required is not None and required <= held else (None, request)
        asked = rules, held & self._asked
        known = self._answers.get(asked)
        if known is None:
            known = self._answers[asked] = self._requests(*asked)
        return known

    def _requests(self, rules: tuple[UrlPattern, ...], held: Privileges) -> _Requests:
        admitting = [listed for listed, privileges in self._entries if privileges <= held]
        refusing = [listed for listed, privileges in self._entries if not privileges <= held]
        if self._catalogue.unlisted_allowed:
            return self._first(rules, [_EVERYTHING], refusing), self._first(rules, refusing)
        refused = self._first(rules, refusing) or self._first(rules, [_EVERYTHING], admitting)
        return self._first(rules, admitting, refusing), refused

    def _first(
        self, rules: Iterable[UrlPattern], entries: Iterable[UrlPattern], outside: Sequence[UrlPattern] = ()
    ) -> CanonicalRequest | None:
        """A request that a rule and an entry admit, and none of `outside`.

        Where there may be one, but it would take too much to tell, it is one that the operation is for.
        """
        if any(other.covers(self.pattern) for other in outside):
            return None
        entries = list(entries)
        if any(entry.covers(self.pattern) for entry in entries):
            entries = [_EVERYTHING]
        undecided = False
        for rule, entry in product(rules, entries):
            if not may_meet(rule, entry):
                continue
            try:
                found = self._bounds.common((rule, self.pattern, entry), outside)
            except Undecided:
                undecided = True
                continue
            if found is not None:
                return CanonicalRequest(self.operation.method, found.path, found.host)
        return usual_request(self.operation) if undecided else None


def usual_request(operation: Operation) -> CanonicalRequest:
    """A request that an operation is for, with something in place of each parameter."""
    pattern = pattern_of(operation.url)
    host = None if pattern.host is None else pattern.host.replace("*", _ANYTHING)
    return CanonicalRequest(operation.method, pattern.path.replace("*", _ANYTHING), host)


def _too_much() -> InvalidInput:
    return InvalidInput(
        "operations",
        "There are too many new operations for the keys that there are.",
        hint="Say what was there before, or compare a part of the operations at a time.",
        code="too_many_operations",
    )
