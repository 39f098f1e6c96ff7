"""What administrators can do to tenants, to each other and to tokens, over a real store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.administration import Administration, Authentication, IssuedToken, offer_bootstrap
from scopegate.commands import Commands
from scopegate.core.administrators import Administrator, Role, operator
from scopegate.core.admintokens import TokenKind
from scopegate.core.audit import Author, parse
from scopegate.core.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    TooManyFailures,
    Unauthenticated,
)
from scopegate.core.keys import KeyType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scopegate.store import Store

NOW = datetime(2100, 1, 1, 12, 0, tzinfo=UTC)
HERE = "192.0.2.7"
_places = count()
PEPPER = b"a pepper that is long enough to be one"


class Clock:
    """Both clocks of an authentication; they move when a test says so."""

    def __init__(self) -> None:
        self.passed = timedelta()

    def now(self) -> datetime:
        return NOW + self.passed

    def ticks(self) -> int:
        return 10**12 + self.passed // timedelta(microseconds=1) * 1_000


class Office:
    """A store, whoever works on it, and what time it is."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.authentication = Authentication(
            store, pepper=PEPPER, failure_limit=3, clock=self.clock.now, ticks=self.clock.ticks
        )
        self.operator = Administration(store, operator("cli:root@host"), pepper=PEPPER, clock=self.clock.now)

    async def token(self, role: Role = Role.SYSTEM_ADMINISTRATOR, *tenants: str) -> IssuedToken:
        """The token of a new administrator of this role, of some tenants or of all."""
        number = len(await self.operator.list_administrators())
        administrator = await self.operator.create_administrator(
            name=f"{role} {number}",
            email=f"person{number}@example.com",
            role=role,
            tenants=frozenset(tenants) or None,
        )
        return await self.operator.create_token(description="d", administrator_id=administrator.id)

    async def by(self, issued: IssuedToken) -> Administration:
        """What the holder of a token can do now."""
        caller = await self.authentication.authenticate(issued.secret, HERE)
        author = Author(caller.actor, HERE)
        return Administration(self.store.by(author), caller, pepper=PEPPER, clock=self.clock.now)

    async def administrator(self, issued: IssuedToken) -> Administrator:
        return await self.store.system.administrators.get(issued.token.administrator)


@pytest.fixture
def office(store: Store) -> Office:
    return Office(store)


async def system_log(store: Store) -> list[dict[str, Any]]:
    return [parse(line) async for line in store.system.audit.forwards()]


# Tenants


async def test_a_new_tenant_has_keys_at_once(office: Office) -> None:
    acme = await office.operator.create_tenant("acme")
    assert acme.name == "acme"
    commands = Commands(office.store.of(acme), clock=office.clock.now)
    issued = await commands.create_key(key_type=KeyType.EXTERNAL, description="d")
    assert issued.record.tenant == "acme"
    assert issued.record.id.startswith(acme.tag)
    listed = await office.operator.list_tenants()
    assert [(one.tenant.id, one.keys) for one in listed] == [("acme", 1), ("default", 0)]


async def test_other_tenants_do_not_exist_for_whom_they_are_not(office: Office) -> None:
    await office.operator.create_tenant("acme", name="Acme Ltd")
    await office.operator.create_tenant("other")
    theirs = await office.by(await office.token(Role.KEY_ADMINISTRATOR, "acme"))
    assert [one.tenant.id for one in await theirs.list_tenants()] == ["acme"]
    assert (await theirs.find_tenant("acme")).name == "Acme Ltd"
    asked: tuple[Callable[[str], Awaitable[object]], ...] = (
        theirs.find_tenant,
        theirs.settings,
        lambda tenant_id: theirs.change_settings(tenant_id, {"key_limit": 1}),
    )
    for ask in asked:
        told = []
        for tenant_id in ("other", "never"):
            with pytest.raises(NotFound) as refused:
                await ask(tenant_id)
            told.append((refused.value.message.replace(tenant_id, "?"), refused.value.hint))
        assert told[0] == told[1]


async def test_only_system_administrators_create_and_rename_tenants(office: Office) -> None:
    for role in (Role.KEY_ADMINISTRATOR, Role.AUDITOR):
        theirs = await office.by(await office.token(role))
        with pytest.raises(Forbidden):
            await theirs.create_tenant("acme")
        with pytest.raises(Forbidden):
            await theirs.rename_tenant("default", "Other")
    theirs = await office.by(await office.token())
    await theirs.create_tenant("acme")
    assert (await theirs.rename_tenant("acme", "Other")).name == "Other"
    with pytest.raises(InvalidInput):
        await theirs.rename_tenant("acme", "")
    with pytest.raises(InvalidInput):
        await theirs.create_tenant("Acme")


# Settings


async def test_a_key_administrator_changes_the_settings_but_not_the_limits(office: Office) -> None:
    acme = await office.operator.create_tenant("acme")
    theirs = await office.by(await office.token(Role.KEY_ADMINISTRATOR, "acme"))
    present = {"key_limit_max": 300, "rule_methods": ["POST", "GET"]}  # as they are
    settled = await theirs.change_settings(
        "acme", {"key_limit": 20, "unlisted_endpoints": "allow", **present}
    )
    assert settled == await theirs.settings("acme")
    assert (settled.settings.key_limit, settled.unlisted_endpoints) == (20, "allow")
    for limits in ({"key_limit_max": 400}, {"rule_methods": ["GET"]}):
        with pytest.raises(Forbidden):
            await theirs.change_settings("acme", {**limits, "key_limit": 30})
    assert await theirs.settings("acme") == settled
    [line] = [parse(line) async for line in office.store.of(acme).audit.forwards()]
    assert line["actor"] == (await theirs.whoami()).caller.actor
    assert line["origin"] == HERE


async def test_a_system_administrator_changes_the_limits_and_an_auditor_nothing(office: Office) -> None:
    theirs = await office.by(await office.token())
    await theirs.change_settings(
        "default", {"key_limit_max": 1_000, "key_limit": 500, "rule_methods": ["PUT"]}
    )
    auditors = await office.by(await office.token(Role.AUDITOR))
    assert (await auditors.settings("default")).settings.key_limit == 500
    with pytest.raises(Forbidden):
        await auditors.change_settings("default", {"key_limit": 20})


# Administrators


async def test_administrators_are_managed_by_system_administrators(office: Office) -> None:
    theirs = await office.by(await office.token())
    made = await theirs.create_administrator(
        name="Bo", email="bo@example.com", role=Role.AUDITOR, tenants=frozenset({"default"})
    )
    assert await theirs.find_administrator(made.id) == made
    changed = await theirs.change_administrator(made.id, role=Role.KEY_ADMINISTRATOR, tenants=None)
    assert changed == replace(made, role=Role.KEY_ADMINISTRATOR, tenants=None)
    assert made.id in {one.id for one in await theirs.list_administrators()}
    await theirs.delete_administrator(made.id)
    with pytest.raises(NotFound):
        await theirs.find_administrator(made.id)


async def test_an_administrator_of_a_tenant_that_is_not_there_is_refused(office: Office) -> None:
    with pytest.raises(InvalidInput) as refused:
        await office.operator.create_administrator(
            name="Bo", email="bo@example.com", role=Role.AUDITOR, tenants=frozenset({"acme"})
        )
    assert refused.value.field == "tenants"
    issued = await office.token(Role.AUDITOR)
    with pytest.raises(InvalidInput):
        await office.operator.change_administrator(issued.token.administrator, tenants=frozenset({"acme"}))
    with pytest.raises(InvalidInput):
        await office.operator.change_administrator(issued.token.administrator, tenants=frozenset())


@pytest.mark.parametrize("role", [Role.KEY_ADMINISTRATOR, Role.AUDITOR])
async def test_others_manage_nobody_and_may_look_at_themselves(office: Office, role: Role) -> None:
    issued = await office.token(role, "default")
    somebody = await office.token()
    theirs = await office.by(issued)
    assert await theirs.find_administrator(issued.token.administrator) == await office.administrator(issued)
    refusals: tuple[Awaitable[object], ...] = (
        theirs.find_administrator(somebody.token.administrator),
        theirs.list_administrators(),
        theirs.change_administrator(issued.token.administrator, role=Role.SYSTEM_ADMINISTRATOR, tenants=None),
        theirs.delete_administrator(somebody.token.administrator),
        theirs.create_administrator(name="Bo", email="bo@example.com", role=role),
        theirs.list_tokens(somebody.token.administrator),
        theirs.create_token(description="d", administrator_id=somebody.token.administrator),
    )
    for refused in refusals:
        with pytest.raises(Forbidden):
            await refused
    with pytest.raises(NotFound):
        await theirs.revoke_token(somebody.token.id)


# Tokens


async def test_everybody_has_tokens_of_their_own(office: Office) -> None:
    first = await office.token(Role.AUDITOR, "default")
    theirs = await office.by(first)
    office.clock.passed = timedelta(seconds=1)
    second = await theirs.create_token(description="Deployment", expires_at=NOW + timedelta(days=1))
    assert second.secret not in repr(second)
    assert [one.token.id for one in await theirs.list_tokens()] == [first.token.id, second.token.id]
    identity = await (await office.by(second)).whoami()
    assert identity.administrator == await office.administrator(first)
    assert identity.token == second.token
    await theirs.revoke_token(second.token.id)
    await refused(office, second.secret)


async def test_the_operator_of_the_machine_has_none_and_names_whose_is_meant(office: Office) -> None:
    with pytest.raises(InvalidInput):
        await office.operator.create_token(description="d")
    identity = await office.operator.whoami()
    assert (identity.administrator, identity.token) == (None, None)


async def refused(office: Office, secret: str, origin: str | None = None) -> str:
    """Its refusal, at an origin or where nobody came from before."""
    where = origin or f"nowhere {next(_places)}"
    with pytest.raises(Unauthenticated) as error:
        await office.authentication.authenticate(secret, where)
    return f"{error.value.code} {error.value.message} {error.value.hint}"


async def test_whatever_is_wrong_with_a_token_is_told_alike(office: Office) -> None:
    await office.token()
    told = set()
    issued = await office.token()
    unpeppered = Authentication(office.store, clock=office.clock.now)
    with pytest.raises(Unauthenticated) as error:
        await unpeppered.authenticate(issued.secret, HERE)
    told.add(f"{error.value.code} {error.value.message} {error.value.hint}")
    for wrong in ("", "adm_", "€", "\ud800", "x" * 10_000, issued.secret[:-1], issued.secret + "x"):
        told.add(await refused(office, wrong))
    other = await office.token()
    told.add(await refused(office, other.secret.replace(other.token.id, issued.token.id)))
    await office.operator.revoke_token(other.token.id)
    told.add(await refused(office, other.secret))
    await office.operator.change_administrator(issued.token.administrator, active=False)
    told.add(await refused(office, issued.secret))
    await office.operator.change_administrator(issued.token.administrator, active=True)
    await office.by(issued)
    office.clock.passed = timedelta(days=90)
    told.add(await refused(office, issued.secret))
    office.clock.passed = timedelta()
    await office.operator.delete_administrator(issued.token.administrator)
    told.add(await refused(office, issued.secret))
    assert len(told) == 1


async def test_what_a_token_may_is_what_its_administrator_may_now(office: Office) -> None:
    issued = await office.token(Role.AUDITOR)
    with pytest.raises(Forbidden):
        await (await office.by(issued)).create_tenant("acme")
    await office.operator.change_administrator(issued.token.administrator, role=Role.SYSTEM_ADMINISTRATOR)
    await (await office.by(issued)).create_tenant("acme")


async def test_the_last_use_is_noted_at_most_once_a_minute(office: Office) -> None:
    issued = await office.token()

    async def last_used_at() -> datetime | None:
        [one] = await office.operator.list_tokens(issued.token.administrator)
        return one.last_used_at

    assert await last_used_at() is None
    await office.by(issued)
    assert await last_used_at() == NOW
    office.clock.passed = timedelta(seconds=59)
    await office.by(issued)
    assert await last_used_at() == NOW
    office.clock.passed = timedelta(seconds=60)
    await office.by(issued)
    assert await last_used_at() == NOW + timedelta(seconds=60)


async def test_a_server_that_is_full_lets_administrators_in(office: Office, raw: Any) -> None:
    issued = await office.token()
    before = raw.config_get("maxmemory")["maxmemory"]
    raw.config_set("maxmemory", 1)
    try:
        await (await office.by(issued)).revoke_token(issued.token.id)
    finally:
        raw.config_set("maxmemory", before)
    await refused(office, issued.secret)


# Sessions


async def test_a_session_is_opened_with_a_token_and_ends_with_it(office: Office) -> None:
    issued = await office.token()
    session = await office.authentication.open_session(issued.secret, HERE)
    assert session.token.kind is TokenKind.SESSION
    assert session.token.expires_at == NOW + timedelta(hours=8)
    await office.by(session)
    with pytest.raises(Unauthenticated):
        await office.authentication.open_session(session.secret, HERE)
    await office.operator.revoke_token(issued.token.id)
    await refused(office, session.secret)


async def test_a_session_is_no_longer_than_its_token(office: Office) -> None:
    theirs = await office.by(await office.token())
    hour = await theirs.create_token(description="d", expires_at=NOW + timedelta(hours=1))
    session = await office.authentication.open_session(hour.secret, HERE)
    assert session.token.expires_at == hour.token.expires_at


async def test_a_session_of_somebody_whose_identity_is_proved_elsewhere(office: Office) -> None:
    issued = await office.token()
    session = await office.authentication.open_session_of(await office.administrator(issued), HERE)
    await office.by(session)
    inactive = replace(await office.administrator(issued), active=False)
    with pytest.raises(Unauthenticated):
        await office.authentication.open_session_of(inactive, HERE)


# Failures


async def test_an_address_with_too_many_failures_waits_and_others_do_not(office: Office) -> None:
    known, unknown = await office.token(), await office.token()
    await office.by(known)
    for _ in range(3):
        await refused(office, "adm_wrong", HERE)
    for secret in ("adm_wrong", unknown.secret):
        with pytest.raises(TooManyFailures) as error:
            await office.authentication.authenticate(secret, HERE)
        assert error.value.retry_after == 20
    await office.by(known)
    await office.authentication.authenticate(unknown.secret, "192.0.2.8")
    office.clock.passed = timedelta(seconds=20)
    await refused(office, "adm_wrong", HERE)


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("unix", "unix", True),
    ],
)
async def test_failures_count_by_address_or_network(
    office: Office, first: str, second: str, *, together: bool
) -> None:
    for _ in range(3):
        await refused(office, "adm_wrong", first)
    with pytest.raises(TooManyFailures if together else Unauthenticated):
        await office.authentication.authenticate("adm_wrong", second)


# The first administrator


async def test_the_bootstrap_token_makes_one_system_administrator(office: Office) -> None:
    offered = await offer_bootstrap(office.store, pepper=PEPPER, clock=office.clock.now)
    assert offered is not None
    await refused(office, offered)
    with pytest.raises(InvalidInput):
        await office.authentication.bootstrap(offered, name="Maria", email="maria", origin=HERE)
    issued = await office.authentication.bootstrap(
        offered, name="Maria", email="maria@example.com", origin=HERE
    )
    theirs = await office.by(issued)
    assert (await theirs.whoami()).caller.role is Role.SYSTEM_ADMINISTRATOR
    with pytest.raises(Unauthenticated):
        await office.authentication.bootstrap(offered, name="Bo", email="bo@example.com", origin=HERE)
    assert await offer_bootstrap(office.store, pepper=PEPPER) is None
    lines = await system_log(office.store)
    assert [(line["action"], line["actor"], line["origin"]) for line in lines[1:]] == [
        ("administrator.create", "maria@example.com", HERE),
        ("token.create", "maria@example.com", HERE),
    ]
    assert offered not in str(lines)
    assert issued.secret not in str(lines)


async def test_guesses_at_the_bootstrap_token_are_slowed_down(office: Office) -> None:
    offered = await offer_bootstrap(office.store, pepper=PEPPER, clock=office.clock.now)
    assert offered is not None
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await office.authentication.bootstrap("adm_x", name="Bo", email="bo@example.com", origin=HERE)
    with pytest.raises(TooManyFailures):
        await office.authentication.bootstrap(offered, name="Bo", email="bo@example.com", origin=HERE)


async def test_the_last_system_administrator_stays(office: Office) -> None:
    issued = await office.token()
    theirs = await office.by(issued)
    for going in (
        theirs.delete_administrator(issued.token.administrator),
        theirs.change_administrator(issued.token.administrator, active=False),
        theirs.change_administrator(issued.token.administrator, role=Role.AUDITOR),
    ):
        with pytest.raises(Conflict):
            await going


async def test_no_secret_and_no_digest_is_in_the_log_or_in_redis(office: Office, raw: Any) -> None:
    issued = await office.token()
    session = await office.authentication.open_session(issued.secret, HERE)
    everything = b"".join(raw.dump(name) for name in raw.keys("*"))
    lines = str(await system_log(office.store))
    for one in (issued, session):
        assert one.secret.encode() not in everything
        assert one.secret.rsplit("_", 1)[1].encode() not in everything
        assert one.secret not in lines
        assert one.token.digest not in lines
