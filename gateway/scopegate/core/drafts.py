"""What a key would be, before it is made: all that is wrong with a draft, and what it would open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING

from scopegate.core.catalogue import ANY_METHOD, Catalogue
from scopegate.core.decision import Scope
from scopegate.core.errors import InvalidInput, KeyLimitReached, ScopegateError
from scopegate.core.keys import (
    KeyRecord,
    KeyType,
    Rule,
    require_description,
    require_future_expiry,
    rule_problems,
)
from scopegate.core.languages import Budget, PatternIndex, Undecided, meet
from scopegate.core.lifetimes import NOT_GIVEN, expiry_of, require_lifetime
from scopegate.core.preview import gaps, require_user, useless
from scopegate.core.principal import NO_PRIVILEGES
from scopegate.core.reach import Reach, why_nothing
from scopegate.core.request import METHODS, rule_method
from scopegate.core.shadowing import shadowed
from scopegate.core.wildcard import UrlPattern, pattern_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from scopegate.core.catalogue import Endpoint
    from scopegate.core.lifetimes import NotGiven
    from scopegate.core.principal import Principal
    from scopegate.core.quota import Quota
    from scopegate.core.tenants import TenantSettings

_EVERYTHING = frozenset({"*", "/*"})
_EVERY_PATH = UrlPattern.parse("*")
_STATES = 400_000  # of automata, for all that a key opens: some seconds
_NO_MATTER = "-"  # of fields that a draft has not, and that decide nothing


@dataclass(frozen=True, slots=True)
class DraftRule:
    """A rule as somebody wrote it, which may be none."""

    method: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A key that somebody thinks of; the fields are those of `KeyRecord`, and may be wrong."""

    type: KeyType
    description: str = ""
    expires_at: datetime | NotGiven | None = NOT_GIVEN
    user: str | None = None
    rules: tuple[DraftRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What there is when a draft is looked at. ``principal`` is the user of the draft, None if unknown."""

    at: datetime
    settings: TenantSettings
    scoped_api: bool
    quota: Quota
    principal: Principal | None
    catalogue: Catalogue


@dataclass(frozen=True, slots=True)
class Problem:
    """A reason for which the key would be refused. ``field`` is empty where it is none of one field."""

    field: str
    code: str
    message: str
    hint: str | None


@dataclass(frozen=True, slots=True)
class Caution:
    """What does not stand in the way, and should be known. ``row`` counts rules from 1."""

    code: str
    message: str
    row: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadRule:
    """How a rule is read. ``covered_by`` is the row of another one that admits all that this one does."""

    row: int
    method: str
    url: str
    sentence: str
    covered_by: int | None


@dataclass(frozen=True, slots=True)
class Access:
    """What the key would open of an endpoint of the catalogue.

    ``row`` is the rule by which it does, None for keys without rules. ``allowed``: of what that covers, the
    user may call something. ``wholly``: it covers all of the endpoint, and the user may call all of it if
    anything. ``missing``: the privileges that the user lacks, where it is not ``allowed``.
    """

    method: str
    url: str
    row: int | None
    wholly: bool
    allowed: bool
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What would become of a draft. ``left`` is how many keys could be created after it."""

    expires_at: datetime | None
    problems: tuple[Problem, ...]
    cautions: tuple[Caution, ...]
    rules: tuple[ReadRule, ...]
    access: tuple[Access, ...]
    left: int


def preview(draft: Draft, there: Circumstances) -> Preview:
    """All that can be told of a key before it is made; the checks are those of its creation."""
    problems: list[Problem] = []
    expires_at = expiry_of(draft.expires_at, draft.type, there.at, there.settings)
    blank = _record(draft.type, there.at)
    with_expiry = _attempt(problems, lambda: replace(blank, expires_at=expires_at))
    _attempt(problems, lambda: require_description(draft.description))
    if with_expiry is not None:
        _attempt(problems, lambda: require_future_expiry(expires_at, there.at))
        _attempt(problems, lambda: require_lifetime(draft.type, expires_at, there.at, there.settings))
    principal = _user(draft, blank, there, problems)
    rules = _rules(draft, blank, there, problems)
    covered = shadowed(rules)
    cautions = list(_cautions(rules, covered))
    if principal is not None:
        cautions += _gaps(rules, principal, there.catalogue, problems)
    if draft.type is KeyType.CUSTOM and not there.scoped_api:
        problems.append(Problem("type", "feature_disabled", "Custom keys are off for this tenant.", None))
    if not there.quota.left:
        limit = KeyLimitReached(limit=there.quota.limit, used=there.quota.used, quota=there.quota)
        problems.append(_problem(limit))
    return Preview(
        expires_at=None if with_expiry is None else expires_at,
        problems=tuple(problems),
        cautions=tuple(cautions),
        rules=tuple(_read(row, rule, covered.get(row)) for row, rule in rules.items()),
        access=tuple(_access(draft, rules, principal, there.catalogue)),
        left=max(0, there.quota.left - 1),
    )


def _record(key_type: KeyType, now: datetime) -> KeyRecord:
    return KeyRecord(
        id=_NO_MATTER,
        tenant=_NO_MATTER,
        type=key_type,
        digest=_NO_MATTER,
        description=_NO_MATTER,
        created_at=now,
    )


def _attempt(problems: list[Problem], check: Callable[[], KeyRecord | None]) -> KeyRecord | None:
    try:
        return check()
    except ScopegateError as error:
        problems.append(_problem(error))
        return None


def _problem(error: ScopegateError, field: str = "") -> Problem:
    named = error.field if isinstance(error, InvalidInput) else ""
    return Problem(field or named, error.code, error.message, error.hint)


def _user(draft: Draft, blank: KeyRecord, there: Circumstances, problems: list[Problem]) -> Principal | None:
    """The user whom the key can be bound to."""
    if draft.user is None:
        return None
    try:
        replace(blank, user=draft.user)
        return require_user(draft.user, there.principal)
    except InvalidInput as error:
        problems.append(_problem(error))
        return None


def _rules(draft: Draft, blank: KeyRecord, there: Circumstances, problems: list[Problem]) -> dict[int, Rule]:
    """The rules that can be read, by row."""
    rules: dict[int, Rule] = {}
    for row, written in enumerate(draft.rules, start=1):
        try:
            rules[row] = Rule(written.method, written.url)
        except InvalidInput as error:
            problems.append(_problem(error, f"rules[{row}].url"))
    before = len(problems)
    if draft.type is KeyType.CUSTOM:
        if rules or not draft.rules:
            problems += map(_problem, rule_problems(rules, there.settings.rule_methods))
    elif rules:
        _attempt(problems, lambda: replace(blank, rules=tuple(rules.values())))
        return {}
    if len(problems) == before:
        try:
            Scope(replace(blank, rules=tuple(rules.values())))
        except InvalidInput as error:
            problems.append(_problem(error))
            return {}
    return rules


def _gaps(
    rules: Mapping[int, Rule], principal: Principal, catalogue: Catalogue, problems: list[Problem]
) -> Iterator[Caution]:
    """What the user lacks (D10): rows that open nothing are problems, the others are to be known."""
    rows = list(rules)
    for found in gaps(rules.values(), principal, catalogue):
        gap = replace(found, row=rows[found.row - 1])
        if gap.useless:
            problems.append(_problem(useless([gap], principal.user_id), f"rules[{gap.row}]"))
        else:
            yield Caution("privileges_partly_missing", gap.sentence, gap.row, gap.missing)


def _cautions(rules: Mapping[int, Rule], covered: Mapping[int, int]) -> Iterator[Caution]:
    for row, rule in rules.items():
        named = f"Row {row} ({rule.method} {rule.url})"
        by = covered.get(row)
        if by is not None:
            yield Caution("rule_shadowed", f"{named} opens nothing that row {by} does not open.", row)
        why = why_nothing(rule)
        if why is not None:
            yield Caution("rule_admits_nothing", f"{named} {why}", row)
        if pattern_of(rule.url).path in _EVERYTHING:
            yield Caution("url_pattern_too_broad", f"{named} opens every path.", row)


def _read(row: int, rule: Rule, covered_by: int | None) -> ReadRule:
    pattern = pattern_of(rule.url)
    what = "GET and HEAD requests" if rule.method == "GET" else f"{rule.method} requests"
    where = "at any host" if pattern.host is None else f"at {pattern.host}"
    if pattern.path in _EVERYTHING:
        paths = "with any path"
    elif "*" in pattern.path:
        paths = f"with a path like {pattern.path}, where * stands for any characters, '/' included, or none"
    else:
        paths = f"with just the path {pattern.path}"
    return ReadRule(row, rule.method, rule.url, f"{what} {where} {paths}.", covered_by)


def _access(
    draft: Draft, rules: Mapping[int, Rule], principal: Principal | None, catalogue: Catalogue
) -> Iterator[Access]:
    """What the key opens of each endpoint of the catalogue: all that there is of it, not one example."""
    if draft.user is not None and principal is None:
        return
    reach = None if principal is None else Reach(principal.privileges, catalogue)
    custom = draft.type is KeyType.CUSTOM
    by_method: dict[str, list[tuple[UrlPattern, int]]] = {}
    for row, rule in rules.items():
        by_method.setdefault(rule.method, []).append((pattern_of(rule.url), row))
    ways = {method: PatternIndex(patterns) for method, patterns in by_method.items()}
    budget = Budget(_STATES)
    for endpoint in catalogue.endpoints:
        listed = pattern_of(endpoint.url)
        for method in sorted(METHODS if ANY_METHOD in endpoint.methods else endpoint.methods):
            if custom:
                index = ways.get(rule_method(method))
                near = [] if index is None else sorted(index.near(listed), key=itemgetter(1))
                opened = _opened(endpoint, method, near, reach, budget)
            else:
                opened = _opened(endpoint, method, [(_EVERY_PATH, None)], reach, budget)
            if opened is not None:
                yield opened


def _opened(
    endpoint: Endpoint,
    method: str,
    ways: Sequence[tuple[UrlPattern, int | None]],
    reach: Reach | None,
    budget: Budget,
) -> Access | None:
    """What is open of an endpoint: by the first row by which the user can use it, or else by the first."""
    listed, first = pattern_of(endpoint.url), None
    for pattern, row in ways:
        try:
            if not meet(pattern, listed, budget=budget):
                continue
            covered = pattern.covers(listed)
            if reach is None:
                return Access(method, endpoint.url, row, covered, allowed=True, missing=())
            usable = reach.usable((method,), pattern, listed, budget=budget) is not None
            if not usable and first is not None:
                continue
            lacking = [one.missing for one in reach.lacking((method,), pattern, listed, budget=budget)]
        except Undecided:
            continue  # of rules for a user it is told already that nobody can tell
        if usable:
            return Access(method, endpoint.url, row, covered and not lacking, allowed=True, missing=())
        missing = tuple(sorted(NO_PRIVILEGES.union(*lacking)))
        first = Access(method, endpoint.url, row, covered, allowed=False, missing=missing)
    return first
