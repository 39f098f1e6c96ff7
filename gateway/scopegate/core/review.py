"""What is to be said of keys that exist: rules that open nothing, nothing more, or more than is of use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from scopegate.core.keys import KeyRecord, KeyType, Rule
from scopegate.core.languages import Budget, PatternIndex, Undecided, opens_nothing, search, witness
from scopegate.core.policies import endpoint_label
from scopegate.core.preview import Gap, gaps_in
from scopegate.core.reach import Reach, admitted_methods, why_nothing
from scopegate.core.request import METHODS, CanonicalRequest
from scopegate.core.shadowing import shadowed
from scopegate.core.wildcard import UrlPattern, pattern_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from scopegate.core.catalogue import Catalogue
    from scopegate.core.principal import Principal, Privileges

EVERY_PATH = UrlPattern.parse("*")


class FindingCode(StrEnum):
    """What can be found."""

    NO_RULES = "no_rules"
    USER_UNKNOWN = "user_unknown"
    USER_INACTIVE = "user_inactive"
    ADMITS_NOTHING = "rule_admits_nothing"
    SHADOWED = "rule_shadowed"
    PRIVILEGES_MISSING = "privileges_missing"
    PARTLY_MISSING = "privileges_partly_missing"
    BROADER = "rule_broader"
    UNDECIDED = "rule_undecided"


class Colleagues(StrEnum):
    """Whose keys a key is held against: of users of the same organization, of the same groups, or all."""

    ORGANIZATION = "organization"
    GROUPS = "groups"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is to be known of a key.

    Args:
        key: the id of the key.
        code: what it is.
        message: the same in a sentence.
        row: the rule that it is about, counted from 1; None where it is about the whole key.
        other: the row, counted from 1, or the id of the key that the rule was compared with.
        missing: the privileges that the user lacks.
        endpoint: the first entry of the catalogue that the user may not use.
        request: one that shows it.
    """

    key: str
    code: FindingCode
    message: str
    row: int | None = None
    other: str | None = None
    missing: tuple[str, ...] = ()
    endpoint: str | None = None
    request: CanonicalRequest | None = None


class Review:
    """Looks at keys with the facts of one moment.

    Args:
        principals: the users whom keys are bound to, by id; None for who is unknown.
        catalogue: the tenant's endpoint catalogue.
    """

    def __init__(self, principals: Mapping[str, Principal | None], catalogue: Catalogue) -> None:
        self._principals = principals
        self._catalogue = catalogue
        self._reaches: dict[Privileges, _Reached] = {}

    def findings(self, record: KeyRecord) -> Iterator[Finding]:
        """All that is to be said of a key by itself, row by row."""
        yield from self._of_whole(record)
        rules = dict(enumerate(record.rules, start=1))
        covered = shadowed(rules)
        principal = None if record.user is None else self._principals.get(record.user)
        reached = None if principal is None or not principal.active else self._reached(principal)
        for row, rule in rules.items():
            named = f"Row {row} ({rule.method} {rule.url})"
            why = why_nothing(rule)
            if why is not None:
                yield Finding(
                    key=record.id, code=FindingCode.ADMITS_NOTHING, row=row, message=f"{named} {why}"
                )
                continue
            by = covered.get(row)
            if by is not None:
                yield Finding(
                    key=record.id,
                    code=FindingCode.SHADOWED,
                    row=row,
                    message=f"{named} opens nothing that row {by} does not open.",
                    other=str(by),
                )
            if reached is not None:
                yield from reached.findings(record.id, row, rule)

    def _of_whole(self, record: KeyRecord) -> Iterator[Finding]:
        if record.type is KeyType.CUSTOM and not record.rules:
            yield Finding(
                key=record.id, code=FindingCode.NO_RULES, message="The key has no rules, so it opens nothing."
            )
        if record.user is None:
            return
        principal = self._principals.get(record.user)
        if principal is None:
            yield Finding(
                key=record.id,
                code=FindingCode.USER_UNKNOWN,
                message=f"There is no user {record.user!r}, so the key opens nothing.",
            )
        elif not principal.active:
            yield Finding(
                key=record.id,
                code=FindingCode.USER_INACTIVE,
                message=f"The user {record.user!r} is not active, so the key opens nothing.",
            )

    def _reached(self, principal: Principal) -> _Reached:
        known = self._reaches.get(principal.privileges)
        if known is None:
            known = self._reaches[principal.privileges] = _Reached(
                Reach(principal.privileges, self._catalogue)
            )
        return known


class _Reached:
    """What users with the same privileges can use of rules; each rule is looked at once."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._known: dict[Rule, Finding | None] = {}

    def findings(self, key: str, row: int, rule: Rule) -> Iterator[Finding]:
        """What the user of a key lacks for a rule of it."""
        if rule not in self._known:
            self._known[rule] = self._finding(rule)
        found = self._known[rule]
        if found is not None:
            gap = Gap(
                row,
                rule,
                useless=found.code is not FindingCode.PARTLY_MISSING,
                missing=found.missing,
                undecided=found.code is FindingCode.UNDECIDED,
            )
            yield replace(found, key=key, row=row, message=gap.sentence)

    def _finding(self, rule: Rule) -> Finding | None:
        for gap in gaps_in([rule], self._reach):
            if gap.undecided:
                return Finding(key="", code=FindingCode.UNDECIDED, message="")
            code = FindingCode.PRIVILEGES_MISSING if gap.useless else FindingCode.PARTLY_MISSING
            found = Finding(key="", code=code, message="", missing=gap.missing)
            return self._shown(rule, found)
        return None

    def _shown(self, rule: Rule, found: Finding) -> Finding:
        """The finding, with a request that shows it."""
        methods, pattern = admitted_methods(rule.method), pattern_of(rule.url)
        try:
            refused = self._reach.refused(methods, pattern, budget=Budget())
            if refused is not None:
                request, lack = refused
                return replace(found, request=request, endpoint=endpoint_label(lack.endpoint))
            unlisted = witness([[pattern]])
        except Undecided:
            return found
        return found if unlisted is None else replace(found, request=CanonicalRequest(methods[0], *unlisted))


def broader(record: KeyRecord, others: Sequence[KeyRecord]) -> Iterator[Finding]:
    """What a key opens that none of some others does: each of its rows that no row of theirs covers.

    Compared is what the rules open; what the users may do there is not looked at.
    """
    opened = Opened(others)
    other = others[0].id if len(others) == 1 else None
    whom = f"the key {other} opens" if other is not None else "the other keys open"
    budget = Budget()
    for row, method, pattern in ways_of(record):
        if opens_nothing(pattern):
            continue
        named = (
            f"The key ({method} {pattern.text})" if row is None else f"Row {row} ({method} {pattern.text})"
        )
        try:
            request = opened.left_over(method, pattern, budget)
        except Undecided as undecided:
            yield Finding(
                key=record.id,
                code=FindingCode.UNDECIDED,
                row=row,
                message=f"{named}: {undecided.message}",
                other=other,
            )
            continue
        if request is not None:
            yield Finding(
                key=record.id,
                code=FindingCode.BROADER,
                row=row,
                message=f"{named} opens more than {whom}.",
                other=other,
                request=request,
            )
            if row is None:
                return  # once will do for a key that opens everything


class Opened:
    """All that some keys open, whatever their users may do."""

    def __init__(self, records: Iterable[KeyRecord]) -> None:
        by_method: dict[str, dict[UrlPattern, None]] = {}
        for record in records:
            for _, method, pattern in ways_of(record):
                if not opens_nothing(pattern):
                    by_method.setdefault(method, {})[pattern] = None
        self._by_method = {
            method: PatternIndex((pattern, pattern) for pattern in patterns)
            for method, patterns in by_method.items()
        }

    def left_over(self, method: str, pattern: UrlPattern, budget: Budget) -> CanonicalRequest | None:
        """A request that a rule admits and none of the keys opens, or None if there is none.

        Raises:
            Undecided: within the budget nobody can tell.
        """
        index = self._by_method.get(method)
        near = [] if index is None else [other for _, other in index.near(pattern)]
        if any(other.covers(pattern) for other in near):
            return None
        found = search([[pattern]], near, budget)
        return None if found is None else CanonicalRequest(method, *found)


def ways_of(record: KeyRecord) -> Iterator[tuple[int | None, str, UrlPattern]]:
    """The ways in which requests are let in by a key: row (from 1), method and URL; None: it has no rules.

    GET stands for HEAD as well.
    """
    if record.type is KeyType.CUSTOM:
        for row, rule in enumerate(record.rules, start=1):
            if admitted_methods(rule.method):
                yield row, rule.method, pattern_of(rule.url)
    else:
        for method in sorted(METHODS - {"HEAD"}):
            yield None, method, EVERY_PATH
