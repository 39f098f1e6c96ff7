"""Values that the tests of the store begin with, and one walk through everything that it does."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.core import keys
from scopegate.core.administrators import Administrator, Role
from scopegate.core.admintokens import AdminToken, BootstrapToken, TokenKind
from scopegate.core.catalogue import Endpoint
from scopegate.core.errors import NotFound
from scopegate.core.idempotency import Idempotency
from scopegate.core.keys import KeyRecord, KeyText, KeyType, Rule
from scopegate.core.policies import Policies
from scopegate.core.principal import Group, User
from scopegate.core.reasons import Reason
from scopegate.core.settling import settle
from scopegate.core.tenants import SCOPED_API, Tenant
from scopegate.core.usage import NO_RULE, Batch, Use
from scopegate.core.usersearch import UserSearch
from scopegate.store.signins import BegunSignIn, CommandLine, Handover

if TYPE_CHECKING:
    from collections.abc import Callable

    from scopegate.store import Store

# Long after the server's own clock, so that nothing expires while a test looks at it.
NOW = datetime(2100, 1, 1, 12, 0, tzinfo=UTC)
WEEK = timedelta(days=7)
TAG = "000"
RULES = (Rule("GET", "/api/recordings/*"), Rule("POST", "https://api.example.com/notes"))
IDEMPOTENCY = Idempotency("kim POST /keys", "chosen by the client", "of the body")
# Each of them is a valid URL; together they are more than RE2 holds in its memory.
INCOMPILABLE = tuple(f"/{row}" + "*".join(["ab" * 62] * 16) for row in range(1_000))


def key_id(number: int, tag: str = TAG) -> str:
    return f"{tag}{number:09d}"


def key(number: int = 1, **changes: Any) -> KeyRecord:
    """A valid external key; no two numbers give the same."""
    fields: dict[str, Any] = {
        "id": key_id(number),
        "tenant": "default",
        "type": KeyType.EXTERNAL,
        "digest": f"{number:064x}",
        "description": f"key {number}",
        "created_at": NOW,
    }
    return KeyRecord(**(fields | changes))


def text_of(record: KeyRecord) -> KeyText:
    """What finds the record, as a caller would present it."""
    return KeyText(id=record.id, text="")


def user(user_id: str = "kim", **changes: Any) -> User:
    return User(**{"id": user_id, "name": user_id.title(), **changes})


def each(*people: User) -> dict[str, Callable[[User | None], User]]:
    """As they are, whoever was there before."""
    return {one.id: lambda _before, one=one: one for one in people}  # type: ignore[misc]


def names(*given: str) -> frozenset[str]:
    return frozenset(given)


POLICIES = Policies(
    endpoints=(
        Endpoint(names("GET"), "/api/recordings/*", names("recordings.view"), "Show a recording"),
        Endpoint(names("GET", "POST"), "https://api.example.com/notes", names("notes.view", "notes.edit")),
        Endpoint(names("*"), "/api/status"),
    ),
    roles={"agent": names("recordings.view"), "editor": names("notes.view", "notes.edit")},
    groups={"agents": names("agent")},
)


def batch(tag: str = TAG) -> Batch:
    """Some use of the first key, and more than could be counted."""
    used = key_id(1, tag)
    return Batch(
        recorder="a",
        number=1,
        tag=tag,
        counts={Use(used, 0, NO_RULE, Reason.ALLOWED): 1},
        last={used: 1},
        missed=1,
        missed_until=1,
    )


async def exercise(store: Store) -> None:
    """Everything that the store does, at least once."""
    await store.require_reachable()
    await store.writes_no_log()
    await store.policies.put(POLICIES)
    await store.policies.set_flag(SCOPED_API, on=True)
    assert await store.policies.flag(SCOPED_API)
    assert await store.policies.get() == POLICIES
    await _exercise_directory(store)
    await store.settings.change(lambda one: settle(one, {"key_limit": 20, "unlisted_endpoints": "allow"}))
    assert (await store.settings.settled()).settings == await store.settings.get()
    tag = store.tenant.tag
    minted = keys.mint(tag, lambda alphabet: alphabet[7])
    record = key(
        id=minted.id,
        tenant=store.tenant.id,
        type=KeyType.CUSTOM,
        rules=RULES,
        user="kim",
        expires_at=NOW + WEEK,
    )
    await store.keys.create(record, now=NOW)
    await store.keys.change(record.id, lambda one: replace(one, expires_at=NOW + 2 * WEEK))
    changed = await store.keys.get(record.id)
    assert await store.keys.all(now=NOW) == [changed]
    assert await store.keys.users(now=NOW) == {"kim"}
    scope = await store.access.scope(minted)
    assert scope is not None
    assert scope.record == changed
    principal, catalogue = await store.access.of_user(tag, "kim")
    assert principal is not None
    assert principal.privileges == {"recordings.view"}
    assert catalogue.endpoints == POLICIES.endpoints
    other = key(2, id=key_id(2, tag), tenant=store.tenant.id)
    once = replace(IDEMPOTENCY, key=secrets.token_hex(8))  # a day long, the store knows the last one
    await store.keys.create(other, now=NOW, idempotency=once)
    assert await store.keys.issuance(once) is not None
    await store.keys.delete(other.id)
    with pytest.raises(NotFound):
        await store.keys.delete(other.id)
    assert await store.sweep(NOW) == (0, 0)
    brief = key(3, id=key_id(3, tag), tenant=store.tenant.id, expires_at=NOW - WEEK)
    await store.keys.create(brief, now=NOW - 2 * WEEK)
    assert await store.sweep(NOW) == (1, 1)
    await store.settings.change(lambda one: settle(one, {"unlisted_endpoints": "deny"}))
    assert (await store.usage.last_uses([changed], now=NOW)).keys() == {changed.id}
    assert (await store.usage.of_key(changed.id, NOW.date(), NOW.date())).first == NOW.date()
    assert await store.usage.missed() >= 0
    assert (await store.audit.verify()).broken is None
    assert [line async for line in store.audit.backwards()]


async def _exercise_directory(store: Store) -> None:
    await store.users.put([user("kim", groups=names("agents")), user("lou")])
    await store.users.change("lou", lambda one: replace(one, roles=names("editor")))
    with pytest.raises(NotFound):
        await store.users.change("nobody", lambda one: one)
    assert [one.id for one in await store.users.all()] == ["kim", "lou"]
    assert (await store.users.get("kim")).groups == {"agents"}
    for group in await store.groups.all():  # of whoever was here before
        await store.groups.delete(group.id)
    await store.groups.add(Group(id="wien", name="Wien"))
    await store.groups.set_members("wien", add=["kim"])
    assert [[one.id for one in some] async for some in store.groups.members("wien")] == [["kim"]]
    assert await store.groups.some(["other", "wien"]) == [None, Group(id="wien", name="Wien")]
    assert await store.users.slice(1, 5) == (2, [await store.users.get("lou")])
    assert await store.people.ids(UserSearch(group="wien")) == ["kim"]


def administrator(name: str = "maria", **changes: Any) -> Administrator:
    """A system administrator; no two names give the same."""
    fields: dict[str, Any] = {
        "id": f"{name:0<12}",
        "name": name.title(),
        "email": f"{name}@example.com",
        "role": Role.SYSTEM_ADMINISTRATOR,
        "created_at": NOW,
    }
    return Administrator(**(fields | changes))


def admin_token(number: int = 1, **changes: Any) -> AdminToken:
    """A token of `administrator`; no two numbers give the same."""
    fields: dict[str, Any] = {
        "id": f"{number:012d}",
        "kind": TokenKind.TOKEN,
        "administrator": administrator().id,
        "digest": f"{number:064x}",
        "description": f"token {number}",
        "created_at": NOW,
        "expires_at": NOW + WEEK,
    }
    return AdminToken(**(fields | changes))


def bootstrap_token(number: int = 1, **changes: Any) -> BootstrapToken:
    fields: dict[str, Any] = {"id": f"{number:012d}", "digest": f"{number:064x}", "expires_at": NOW + WEEK}
    return BootstrapToken(**(fields | changes))


BEGUN = BegunSignIn(
    nonce="n",
    verifier="v",
    browser="b",
    command_line=CommandLine(port=50_000, state="s", challenge="c"),
)
HANDOVER = Handover(administrator=administrator().id, challenge="c")


async def exercise_system(store: Store) -> None:
    """Everything that the store of the system does, at least once."""
    system = store.system
    acme = await system.tenants.create(lambda _taken: Tenant("acme", "0a2", "Acme", NOW))
    assert await system.tenants.change("acme", lambda one: replace(one, name="ACME")) != acme
    tenants = await system.tenants.all()
    counted = await system.tenants.count(tenants, now=NOW)
    assert [one.tenant.id for one in counted] == ["acme", "default"]
    await store.of(acme).settings.change(lambda one: settle(one, {"max_lifetime": 30}))
    assert await system.tokens.offer_bootstrap(bootstrap_token(1))
    await system.tokens.bootstrap(bootstrap_token(1).digest, administrator(), admin_token(1), now=NOW)
    assert not await system.tokens.offer_bootstrap(bootstrap_token(2))
    await system.administrators.create(administrator("bo"))
    await system.administrators.change(administrator("bo").id, lambda one: replace(one, active=False))
    await system.administrators.delete(administrator("bo").id)
    assert await system.administrators.all() == [await system.administrators.get(administrator().id)]
    await system.tokens.create(admin_token(2))
    token = await system.tokens.find(admin_token(2).id)
    assert token is not None
    await system.tokens.used(token, NOW)
    assert (await system.tokens.standing(token)).last_used_at == NOW
    await system.tokens.revoke(admin_token(1).id)
    assert [one.token.id for one in await system.tokens.all(now=NOW)] == [admin_token(2).id]
    await system.sign_ins.begin("state", BEGUN)
    assert await system.sign_ins.take("state") == BEGUN
    await system.sign_ins.begin("another state", BEGUN)
    await system.sign_ins.hand_over("code", HANDOVER)
    assert await system.sign_ins.redeem("code") == HANDOVER
    assert (await system.audit.verify()).broken is None
