"""The contract of the stored tokens of administrators."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scopegate.core.admintokens import TokenKind
from scopegate.core.audit import parse
from scopegate.core.errors import Conflict, NotFound, StoreUnavailable, Unauthenticated
from scopegate.store import Store, layout
from store.facts import NOW, WEEK, admin_token, administrator, bootstrap_token

MARIA = administrator()
OFFERED = bootstrap_token()


@pytest.fixture
async def administered(store: Store) -> Store:
    await store.system.administrators.create(MARIA)
    return store


async def actions(store: Store) -> list[str]:
    return [parse(line)["action"] async for line in store.system.audit.forwards()]


async def ids(store: Store, now: datetime = NOW) -> list[str]:
    return [one.token.id for one in await store.system.tokens.all(now=now)]


async def test_a_token_comes_back_as_it_was_created(administered: Store) -> None:
    tokens = administered.system.tokens
    assert await tokens.all(now=NOW) == []
    assert await tokens.find(admin_token().id) is None
    await tokens.create(admin_token(1))
    session = admin_token(2, kind=TokenKind.SESSION, opened_by=admin_token(1).id)
    await tokens.create(session)
    assert await tokens.find(session.id) == session
    assert await ids(administered) == [admin_token(1).id, session.id]
    assert await actions(administered) == ["administrator.create", "token.create", "token.create"]


async def test_a_token_is_somebodys(store: Store, raw: Any) -> None:
    with pytest.raises(NotFound):
        await store.system.tokens.create(admin_token())
    assert raw.keys("*") == []


async def test_an_id_is_given_once(administered: Store) -> None:
    await administered.system.tokens.create(admin_token())
    with pytest.raises(Conflict):
        await administered.system.tokens.create(admin_token(digest="f" * 64))
    assert await administered.system.tokens.find(admin_token().id) == admin_token()


async def test_a_revoked_token_is_gone_with_the_sessions_that_it_opened(administered: Store) -> None:
    tokens = administered.system.tokens
    session = admin_token(2, kind=TokenKind.SESSION, opened_by=admin_token(1).id)
    other = admin_token(3, kind=TokenKind.SESSION)
    for one in (admin_token(1), session, other):
        await tokens.create(one)
        assert (await tokens.standing(one)).opener_exists
    await tokens.revoke(admin_token(1).id)
    assert await tokens.find(admin_token(1).id) is None
    assert not (await tokens.standing(session)).opener_exists
    assert (await tokens.standing(other)).opener_exists
    assert await ids(administered) == [other.id]
    with pytest.raises(NotFound):
        await tokens.revoke(admin_token(1).id)
    assert (await actions(administered))[-1] == "token.revoke"


async def test_redis_forgets_a_token_at_its_expiry(administered: Store, raw: Any) -> None:
    tokens = administered.system.tokens
    await tokens.create(admin_token())
    await tokens.used(admin_token(), NOW)
    expiry = int((NOW + WEEK).timestamp() * 1000)
    assert raw.pexpiretime(layout.admin_token(admin_token().id)) == expiry
    assert raw.pexpiretime(layout.admin_token_use(admin_token().id)) == expiry
    assert await ids(administered, NOW + WEEK) == []
    later = admin_token(2, created_at=NOW + WEEK, expires_at=NOW + 2 * WEEK)
    await tokens.create(later)
    assert raw.zrange(layout.admin_tokens(), 0, -1) == [later.id.encode()]


async def test_the_last_use_is_kept_to_the_millisecond(administered: Store) -> None:
    tokens = administered.system.tokens
    await tokens.create(admin_token())
    assert (await tokens.standing(admin_token())).last_used_at is None
    moment = NOW + timedelta(milliseconds=1)
    await tokens.used(admin_token(), moment)
    assert (await tokens.standing(admin_token())).last_used_at == moment
    [one] = await tokens.all(now=NOW)
    assert one.last_used_at == moment


async def test_the_standing_of_a_token_is_that_of_its_administrator(administered: Store) -> None:
    await administered.system.tokens.create(admin_token())
    await administered.system.administrators.create(administrator("bo"))
    assert (await administered.system.tokens.standing(admin_token())).administrator == MARIA
    await administered.system.administrators.change(MARIA.id, lambda one: replace(one, active=False))
    standing = await administered.system.tokens.standing(admin_token())
    assert standing.administrator == replace(MARIA, active=False)
    await administered.system.administrators.delete(MARIA.id)
    assert (await administered.system.tokens.standing(admin_token())).administrator is None


async def test_a_token_that_cannot_be_read_is_a_fault_of_the_store_and_can_be_revoked(
    administered: Store, raw: Any
) -> None:
    await administered.system.tokens.create(admin_token())
    raw.set(layout.admin_token(admin_token().id), "{}")
    with pytest.raises(StoreUnavailable):
        await administered.system.tokens.find(admin_token().id)
    await administered.system.tokens.revoke(admin_token().id)
    assert await administered.system.tokens.find(admin_token().id) is None


async def test_a_server_that_is_full_revokes_tokens(administered: Store, raw: Any) -> None:
    await administered.system.tokens.create(admin_token())
    before = raw.config_get("maxmemory")["maxmemory"]
    raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable):
            await administered.system.tokens.create(admin_token(2))
        await administered.system.tokens.revoke(admin_token().id)
    finally:
        raw.config_set("maxmemory", before)
    assert await administered.system.tokens.find(admin_token().id) is None


# The first administrator


async def test_the_bootstrap_token_makes_the_first_administrator_with_a_token(store: Store, raw: Any) -> None:
    assert await store.system.tokens.offer_bootstrap(OFFERED)
    await store.system.tokens.bootstrap(OFFERED.digest, MARIA, admin_token(), now=NOW)
    assert await store.system.administrators.all() == [MARIA]
    assert await store.system.tokens.find(admin_token().id) == admin_token()
    assert await actions(store) == ["token.bootstrap", "administrator.create", "token.create"]
    assert not raw.exists(layout.bootstrap())
    assert not await store.system.tokens.offer_bootstrap(bootstrap_token(2))


async def refused(store: Store, digest: str, now: datetime = NOW) -> None:
    with pytest.raises(Unauthenticated):
        await store.system.tokens.bootstrap(digest, MARIA, admin_token(), now=now)
    assert await store.system.tokens.find(admin_token().id) is None
    assert MARIA not in await store.system.administrators.all()


async def test_another_token_and_one_that_has_expired_make_nobody(store: Store) -> None:
    await refused(store, OFFERED.digest)
    await store.system.tokens.offer_bootstrap(OFFERED)
    await refused(store, bootstrap_token(2).digest)
    await refused(store, OFFERED.digest, OFFERED.expires_at)


async def test_a_new_bootstrap_token_stops_the_one_before(store: Store) -> None:
    await store.system.tokens.offer_bootstrap(OFFERED)
    assert await store.system.tokens.offer_bootstrap(bootstrap_token(2))
    await refused(store, OFFERED.digest)
    await store.system.tokens.bootstrap(bootstrap_token(2).digest, MARIA, admin_token(), now=NOW)


async def test_redis_forgets_the_bootstrap_token_at_its_expiry(store: Store, raw: Any) -> None:
    await store.system.tokens.offer_bootstrap(OFFERED)
    assert raw.pexpiretime(layout.bootstrap()) == int((NOW + WEEK).timestamp() * 1000)
    await store.system.tokens.offer_bootstrap(bootstrap_token(2, expires_at=datetime(2000, 1, 1, tzinfo=UTC)))
    assert raw.get(layout.bootstrap()) is None


@pytest.mark.parametrize("present", [True, False])
async def test_it_makes_nobody_where_a_system_administrator_is_active(store: Store, *, present: bool) -> None:
    await store.system.tokens.offer_bootstrap(OFFERED)
    await store.system.administrators.create(administrator("bo", active=present))
    assert await store.system.tokens.offer_bootstrap(OFFERED) is not present
    if present:
        await refused(store, OFFERED.digest)
    else:
        await store.system.tokens.bootstrap(OFFERED.digest, MARIA, admin_token(), now=NOW)


async def test_of_many_at_once_one_is_made(store: Store, store_url: str) -> None:
    await store.system.tokens.offer_bootstrap(OFFERED)
    stores = [store, Store.at(store_url)]

    async def bootstrap(number: int) -> None:
        who = administrator(f"person{number}")
        token = admin_token(number, administrator=who.id)
        await stores[number % 2].system.tokens.bootstrap(OFFERED.digest, who, token, now=NOW)

    results = await asyncio.gather(*(bootstrap(number) for number in range(8)), return_exceptions=True)
    assert sum(result is None for result in results) == 1
    assert {type(result) for result in results} == {type(None), Unauthenticated}
    assert len(await store.system.administrators.all()) == 1
    assert len(await ids(store)) == 1
    await stores[1].aclose()
