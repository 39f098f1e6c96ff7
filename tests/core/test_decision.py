"""The decision: one row for each outcome, and the laws that no set of facts may break."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from core.strategies import Directory, directories, endpoints, requests, rules
from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.decision import Decision, Scope, decide
from scopegate.core.keys import KeyRecord, KeyType, RetiringSecret, Rule
from scopegate.core.principal import NO_PRIVILEGES, Principal
from scopegate.core.reasons import Check, Reason, refused_by
from scopegate.core.request import CanonicalRequest, rule_method

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
DIGEST = "5e" * 32
RULES = (Rule("GET", "/api/recordings/*"), Rule("POST", "/api/notes"), Rule("GET", "/api/*"))
CATALOGUE = Catalogue(
    [
        Endpoint(frozenset({"GET"}), "/api/recordings/*", frozenset({"recordings.read"})),
        Endpoint(frozenset({"GET"}), "/api/recordings/archive/*", frozenset({"archive.access", "audit"})),
        Endpoint(frozenset({"POST"}), "/api/notes", frozenset({"notes.write"})),
        Endpoint(frozenset({"GET"}), "/api/status"),
    ]
)
KIM = Principal("kim", active=True, privileges=frozenset({"recordings.read"}))


def record(**changes: Any) -> KeyRecord:
    fields: dict[str, Any] = {
        "id": "000abcdefghi",
        "tenant": "default",
        "type": KeyType.CUSTOM,
        "digest": DIGEST,
        "description": "test",
        "created_at": NOW,
        "rules": RULES,
    }
    return KeyRecord(**(fields | changes))


BOUND = record(user="kim")
EXTERNAL = record(type=KeyType.EXTERNAL, rules=())
DESKTOP = record(type=KeyType.DESKTOP, rules=())
OLD_DIGEST = "01" * 32
ROTATED = record(user="kim", retiring=RetiringSecret(OLD_DIGEST, NOW + timedelta(microseconds=1)))
ROTATED_BEFORE = replace(ROTATED, retiring=RetiringSecret(OLD_DIGEST, NOW))


@dataclass(frozen=True)
class Case:
    """The facts of one decision and what is decided."""

    reason: Reason
    method: str = "GET"
    path: str = "/api/recordings/7"
    record: KeyRecord | None = BOUND
    principal: Principal | None = KIM
    digest: str = DIGEST
    rule: int | None = None
    missing: tuple[str, ...] = field(default=())
    catalogue: Catalogue = CATALOGUE

    def decide(self) -> Decision:
        return decide(
            CanonicalRequest(self.method, self.path),
            digest=self.digest,
            scope=None if self.record is None else Scope(self.record),
            principal=self.principal,
            catalogue=self.catalogue,
            now=NOW,
        )


CASES: dict[str, Case] = {
    "allowed to the user of a custom key": Case(Reason.ALLOWED, rule=0),
    "allowed to anybody's custom key, listed or not": Case(
        Reason.ALLOWED, path="/api/unlisted", record=record(), principal=None, rule=2
    ),
    "allowed to a desktop key": Case(Reason.ALLOWED, "DELETE", "/any", record=DESKTOP, principal=None),
    "allowed to an external key": Case(Reason.ALLOWED, "DELETE", "/any", record=EXTERNAL, principal=None),
    "allowed to the user of an external key": Case(
        Reason.ALLOWED,
        "POST",
        "/api/recordings/7",
        record=replace(EXTERNAL, user="kim"),
        catalogue=Catalogue([Endpoint(frozenset({"*"}), "*", frozenset({"recordings.read"}))]),
    ),
    "allowed by the rule for GET": Case(Reason.ALLOWED, "HEAD", rule=0),
    "allowed by a later rule": Case(Reason.ALLOWED, path="/api/status", rule=2),
    "allowed by a rule for POST": Case(
        Reason.ALLOWED,
        "POST",
        "/api/notes",
        principal=replace(KIM, privileges=frozenset({"notes.write"})),
        rule=1,
    ),
    "allowed with more privileges than are required": Case(
        Reason.ALLOWED, principal=replace(KIM, privileges=frozenset({"recordings.read", "audit"})), rule=0
    ),
    "allowed until the last moment": Case(
        Reason.ALLOWED, record=replace(BOUND, expires_at=NOW + timedelta(milliseconds=1)), rule=0
    ),
    "allowed by the new secret within the overlap": Case(Reason.ALLOWED, record=ROTATED, rule=0),
    "allowed by the old secret within the overlap": Case(
        Reason.ALLOWED, record=ROTATED, digest=OLD_DIGEST, rule=0
    ),
    "allowed by the new secret after the overlap": Case(Reason.ALLOWED, record=ROTATED_BEFORE, rule=0),
    "the old secret after the overlap": Case(
        Reason.KEY_SECRET_WRONG, record=ROTATED_BEFORE, digest=OLD_DIGEST
    ),
    "the old secret after the overlap, of an expired key": Case(
        Reason.KEY_SECRET_WRONG, record=replace(ROTATED_BEFORE, expires_at=NOW), digest=OLD_DIGEST
    ),
    "the old secret of a key that expired within the overlap": Case(
        Reason.KEY_EXPIRED, record=replace(ROTATED, expires_at=NOW), digest=OLD_DIGEST
    ),
    "the old secret of a disabled key": Case(
        Reason.KEY_DISABLED, record=replace(ROTATED, enabled=False), digest=OLD_DIGEST
    ),
    "another secret within the overlap": Case(Reason.KEY_SECRET_WRONG, record=ROTATED, digest="00" * 32),
    "no such key": Case(Reason.KEY_UNKNOWN, record=None),
    "the secret of another key": Case(Reason.KEY_SECRET_WRONG, digest="00" * 32),
    "half of the digest": Case(Reason.KEY_SECRET_WRONG, digest=DIGEST[:32]),
    "no digest": Case(Reason.KEY_SECRET_WRONG, digest=""),
    "a wrong secret of a disabled key": Case(
        Reason.KEY_SECRET_WRONG, digest="00" * 32, record=replace(BOUND, enabled=False)
    ),
    "a wrong secret of an expired key": Case(
        Reason.KEY_SECRET_WRONG, digest="00" * 32, record=replace(BOUND, expires_at=NOW)
    ),
    "disabled": Case(Reason.KEY_DISABLED, record=replace(BOUND, enabled=False)),
    "disabled, and another URL": Case(Reason.KEY_DISABLED, path="/x", record=replace(BOUND, enabled=False)),
    "expired now": Case(Reason.KEY_EXPIRED, record=replace(BOUND, expires_at=NOW)),
    "expired and disabled": Case(Reason.KEY_EXPIRED, record=replace(BOUND, expires_at=NOW, enabled=False)),
    "expired, of an external key": Case(
        Reason.KEY_EXPIRED, record=replace(EXTERNAL, expires_at=NOW), principal=None
    ),
    "deleted by time": Case(Reason.KEY_DELETED, record=replace(BOUND, expires_at=NOW - timedelta(days=7))),
    "another URL": Case(Reason.URL_NOT_ALLOWED, path="/other"),
    "another URL, of nobody": Case(Reason.URL_NOT_ALLOWED, path="/other", principal=None),
    "another URL, in other letters": Case(Reason.URL_NOT_ALLOWED, path="/API/recordings/7"),
    "no rule left": Case(Reason.URL_NOT_ALLOWED, record=replace(BOUND, rules=())),
    "another method": Case(Reason.METHOD_NOT_ALLOWED, "POST"),
    "a method that no rule names": Case(Reason.METHOD_NOT_ALLOWED, "DELETE"),
    "HEAD where only POST is open": Case(
        Reason.METHOD_NOT_ALLOWED, "HEAD", "/api/notes", record=replace(BOUND, rules=RULES[1:2])
    ),
    "an unknown user": Case(Reason.USER_UNKNOWN, principal=None, rule=0),
    "another user": Case(Reason.USER_UNKNOWN, principal=replace(KIM, user_id="lee"), rule=0),
    "an unknown user, unlisted endpoint": Case(
        Reason.USER_UNKNOWN, path="/api/unlisted", principal=None, rule=2
    ),
    "an inactive user": Case(
        Reason.USER_INACTIVE, principal=Principal("kim", active=False, privileges=NO_PRIVILEGES), rule=0
    ),
    "an inactive user who has privileges all the same": Case(
        Reason.USER_INACTIVE, principal=replace(KIM, active=False), rule=0
    ),
    "an inactive user of an open endpoint": Case(
        Reason.USER_INACTIVE, path="/api/status", principal=replace(KIM, active=False), rule=2
    ),
    "an unlisted endpoint": Case(Reason.ENDPOINT_UNLISTED, path="/api/unlisted", rule=2),
    "an unlisted endpoint, of an external key": Case(
        Reason.ENDPOINT_UNLISTED, path="/x", record=replace(EXTERNAL, user="kim")
    ),
    "no privilege": Case(
        Reason.PRIVILEGE_MISSING,
        principal=replace(KIM, privileges=NO_PRIVILEGES),
        rule=0,
        missing=("recordings.read",),
    ),
    "some privileges, not all": Case(
        Reason.PRIVILEGE_MISSING,
        path="/api/recordings/archive/7",
        rule=0,
        missing=("archive.access", "audit"),
    ),
    "no privilege, of an external key": Case(
        Reason.PRIVILEGE_MISSING,
        "POST",
        "/api/notes",
        record=replace(EXTERNAL, user="kim"),
        missing=("notes.write",),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_the_facts_have_one_outcome(case: Case) -> None:
    decision = case.decide()
    assert (decision.reason, decision.rule, decision.missing) == (case.reason, case.rule, case.missing)
    proved = case.reason not in {Reason.KEY_UNKNOWN, Reason.KEY_SECRET_WRONG}
    assert decision.record == (case.record if proved else None)


def test_every_outcome_that_a_decision_can_have_is_in_the_table() -> None:
    failures = {
        Reason.STORE_UNAVAILABLE,
        Reason.PRIVILEGES_UNAVAILABLE,
        Reason.MATCHING_FAILED,
        Reason.INTERNAL_ERROR,
    }
    keyless = {Reason.KEY_MISSING, Reason.KEY_AMBIGUOUS, Reason.KEY_MALFORMED, Reason.TOO_MANY_FAILURES}
    decided = {reason for reason in Reason if refused_by(reason) is not Check.REQUEST} - failures - keyless
    assert {case.reason for case in CASES.values()} == decided


def test_only_allowed_is_allowed() -> None:
    assert {reason for reason in Reason if Decision(reason).allowed} == {Reason.ALLOWED}


def test_the_first_of_several_rules_that_admit_is_named() -> None:
    key = record(rules=(Rule("POST", "/x"), Rule("GET", "/y"), Rule("GET", "/x"), Rule("GET", "*")))
    assert Case(Reason.ALLOWED, path="/x", record=key, principal=None).decide().rule == 2


@dataclass(frozen=True)
class World:
    """All that a decision depends on, as it may be."""

    record: KeyRecord
    request: CanonicalRequest
    directory: Directory
    endpoints: tuple[Endpoint, ...]
    unlisted_allowed: bool
    user_known: bool = True

    def decide(self, digest: str = DIGEST) -> Decision:
        return decide(
            self.request,
            digest=digest,
            scope=Scope(self.record),
            principal=self.directory.principal if self.user_known else None,
            catalogue=Catalogue(self.endpoints, unlisted_allowed=self.unlisted_allowed),
            now=NOW,
        )

    def with_record(self, **changes: Any) -> World:
        return replace(self, record=replace(self.record, **changes))


EXPIRIES = st.sampled_from((None, None, None, None, *(NOW + timedelta(days=days) for days in (1, 0, -7))))


def records(*, types: tuple[KeyType, ...] = tuple(KeyType)) -> st.SearchStrategy[KeyRecord]:
    def of(kind: KeyType) -> st.SearchStrategy[KeyRecord]:
        more: dict[str, st.SearchStrategy[Any]] = {"enabled": st.sampled_from((True, True, True, False))}
        if kind is not KeyType.DESKTOP:
            more |= {"expires_at": EXPIRIES, "user": st.sampled_from((None, "kim", "kim", "lee"))}
        rows = st.lists(rules(), max_size=5).map(tuple) if kind is KeyType.CUSTOM else st.just(())
        return st.builds(record, type=st.just(kind), rules=rows, **more)

    return st.sampled_from(types).flatmap(of)


def worlds(*, types: tuple[KeyType, ...] = tuple(KeyType)) -> st.SearchStrategy[World]:
    return st.builds(
        World,
        record=records(types=types),
        request=requests(),
        directory=directories(),
        endpoints=st.lists(endpoints(), max_size=4).map(tuple),
        unlisted_allowed=st.booleans(),
        user_known=st.sampled_from((True, True, True, False)),
    )


def bound_worlds() -> st.SearchStrategy[World]:
    """Worlds in which the user's privileges decide."""

    def bind(world: World) -> World:
        changes: dict[str, Any] = {"user": "kim", "enabled": True, "expires_at": None}
        if world.record.type is KeyType.CUSTOM:
            changes["rules"] = (*world.record.rules, Rule(rule_method(world.request.method), "*"))
        return replace(world.with_record(**changes), user_known=True)

    return worlds(types=(KeyType.EXTERNAL, KeyType.CUSTOM)).map(bind)


def grants_no_more(after: World, before: World) -> bool:
    """Whether `after` opens nothing that `before` keeps shut."""
    allowed = before.decide().allowed
    event(f"allowed before: {allowed}")
    return allowed or not after.decide().allowed


CUSTOM = (KeyType.CUSTOM,)


@given(worlds(types=CUSTOM), rules(), st.data())
def test_adding_a_rule_never_takes_access_away(world: World, rule: Rule, data: st.DataObject) -> None:
    rows = world.record.rules
    at = data.draw(st.integers(0, len(rows)))
    assert grants_no_more(world, world.with_record(rules=(*rows[:at], rule, *rows[at:])))


@given(worlds(types=CUSTOM), st.data())
def test_removing_a_rule_never_adds_access(world: World, data: st.DataObject) -> None:
    rows = world.record.rules
    at = data.draw(st.integers(0, len(rows)))
    assert grants_no_more(world.with_record(rules=rows[:at] + rows[at + 1 :]), world)


@given(worlds(types=CUSTOM))
def test_a_key_with_no_rules_opens_nothing(world: World) -> None:
    assert not world.with_record(rules=()).decide().allowed


@given(worlds(types=CUSTOM))
def test_the_order_of_rules_changes_nothing_but_the_row(world: World) -> None:
    reverse = world.with_record(rules=world.record.rules[::-1])
    assert reverse.decide().reason is world.decide().reason


@given(bound_worlds(), st.sampled_from("ABC"), st.sampled_from("pqr"))
def test_removing_a_privilege_from_a_role_never_adds_access(world: World, role: str, privilege: str) -> None:
    granted = world.directory.roles.get(role, NO_PRIVILEGES) - {privilege}
    fewer = replace(world.directory, roles=world.directory.roles | {role: granted})
    assert grants_no_more(replace(world, directory=fewer), world)


@given(bound_worlds(), st.sampled_from("ABC"))
def test_removing_a_role_never_adds_access(world: World, role: str) -> None:
    fewer = world.directory.with_user(roles=world.directory.user.roles - {role})
    assert grants_no_more(replace(world, directory=fewer), world)


@given(bound_worlds(), st.sampled_from("XYZ"))
def test_leaving_a_group_never_adds_access(world: World, group: str) -> None:
    fewer = world.directory.with_user(groups=world.directory.user.groups - {group})
    assert grants_no_more(replace(world, directory=fewer), world)


@given(bound_worlds(), st.sampled_from("ABC"))
def test_undefining_a_role_never_adds_access(world: World, role: str) -> None:
    roles = {name: granted for name, granted in world.directory.roles.items() if name != role}
    assert grants_no_more(replace(world, directory=replace(world.directory, roles=roles)), world)


@given(bound_worlds())
def test_deactivating_or_losing_the_user_never_adds_access(world: World) -> None:
    assert grants_no_more(replace(world, directory=world.directory.with_user(active=False)), world)
    assert grants_no_more(replace(world, user_known=False), world)


@given(worlds(types=(KeyType.EXTERNAL, KeyType.CUSTOM)))
def test_binding_a_key_to_a_user_never_adds_access(world: World) -> None:
    assert grants_no_more(world.with_record(user="kim"), world.with_record(user=None))


@given(worlds())
def test_disabling_never_adds_access(world: World) -> None:
    assert grants_no_more(world.with_record(enabled=False), world)
    assert not world.with_record(enabled=False).decide().allowed


@given(
    worlds(types=(KeyType.EXTERNAL, KeyType.CUSTOM)),
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(99)),
)
def test_expiring_never_adds_access(world: World, ago: timedelta) -> None:
    assert not world.with_record(expires_at=NOW - ago).decide().allowed


@given(bound_worlds())
def test_denying_the_unlisted_never_adds_access(world: World) -> None:
    assert grants_no_more(replace(world, unlisted_allowed=False), replace(world, unlisted_allowed=True))


@given(bound_worlds(), endpoints())
def test_requiring_more_of_the_listed_never_adds_access(world: World, more: Endpoint) -> None:
    listed = replace(world, endpoints=(*world.endpoints, replace(more, privileges=NO_PRIVILEGES)))
    required = replace(world, endpoints=(*world.endpoints, more))
    assert grants_no_more(required, listed)


@given(worlds(), st.text("0123456789abcdef", max_size=64))
def test_a_wrong_digest_is_told_nothing_but_that(world: World, digest: str) -> None:
    if digest != DIGEST:
        assert world.decide(digest) == Decision(Reason.KEY_SECRET_WRONG)


@given(worlds(), st.sampled_from((DIGEST, "00" * 32)))
def test_a_decision_names_the_record_once_the_secret_is_proved_and_not_before(
    world: World, digest: str
) -> None:
    decision = world.decide(digest)
    assert (decision.record is None) == (digest != DIGEST)
    assert decision.record in (None, world.record)


@given(st.one_of(worlds(), bound_worlds()))
def test_a_decision_names_a_rule_that_admits_and_the_privileges_that_lack(world: World) -> None:
    decision = world.decide()
    event(decision.reason.value)
    if decision.allowed:
        assert (decision.rule is not None) == (world.record.type is KeyType.CUSTOM)
    if decision.rule is not None:
        alone = world.with_record(rules=(world.record.rules[decision.rule],), user=None)
        assert alone.decide().allowed
    assert bool(decision.missing) == (decision.reason is Reason.PRIVILEGE_MISSING)
    assert list(decision.missing) == sorted(set(decision.missing) - world.directory.principal.privileges)


@given(worlds(types=(KeyType.DESKTOP, KeyType.EXTERNAL)))
def test_only_custom_keys_are_bound_to_urls(world: World) -> None:
    assert world.decide().reason not in {Reason.URL_NOT_ALLOWED, Reason.METHOD_NOT_ALLOWED}
