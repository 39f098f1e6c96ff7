"""The live view on real servers: coherent while it listens, careful while it cannot."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import redis

from scopegate.core import keys
from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.errors import StoreUnavailable
from scopegate.core.keys import KeyRecord, KeyText, KeyType
from scopegate.core.policies import Policies
from scopegate.core.principal import Principal, User
from scopegate.store import Store, layout
from scopegate.store.liveaccess import LiveAccess
from scopegate.store.view import NOT_KNOWN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from scopegate.core.decision import Scope

NOW = datetime(2027, 1, 1, tzinfo=UTC)
TAG = "000"
MARIA = User(id="maria", name="Maria", roles=frozenset({"agent"}))
POLICIES = Policies(
    endpoints=(Endpoint(frozenset({"GET"}), "/api/*", frozenset({"view"})),),
    roles={"agent": frozenset({"view"})},
    groups={"agents": frozenset({"agent"})},
)


class Counted:
    """Access to a store that counts what is read and can be cut off."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.reads = 0
        self.cut_off = False
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def scope(self, key: KeyText) -> Scope | None:
        await self._count()
        return await self.store.access.scope(key)

    async def of_user(self, tag: str, user: str) -> tuple[Principal | None, Catalogue]:
        await self._count()
        return await self.store.access.of_user(tag, user)

    async def _count(self) -> None:
        self.reads += 1
        await self.goes_on.wait()
        if self.cut_off:
            raise StoreUnavailable("cut off")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- the server tells nobody else
            await asyncio.sleep(0)


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = Store.at(store_url)
    yield opened
    await opened.aclose()


@pytest.fixture
async def counted(store: Store) -> Counted:
    return Counted(store)


@pytest.fixture
async def live(store: Store, counted: Counted) -> AsyncIterator[LiveAccess]:
    access = LiveAccess(counted, store._redis, max_staleness=5.0)  # type: ignore[arg-type]
    access.start()
    await until(lambda: access.live)
    yield access
    await access.stop()


async def new_key(store: Store, **changes: Any) -> KeyText:
    key = keys.mint(TAG, secrets.choice)
    record = KeyRecord(
        id=key.id,
        tenant="default",
        type=KeyType.EXTERNAL,
        digest=keys.digest(key),
        description="d",
        created_at=NOW,
    )
    await store.keys.create(replace(record, **changes), now=NOW)
    return key


async def test_what_was_read_once_is_not_read_again(store: Store, live: LiveAccess, counted: Counted) -> None:
    key = await new_key(store)
    await store.policies.put(POLICIES)
    await store.users.put([MARIA])
    unknown = keys.mint(TAG, secrets.choice)
    await until(lambda: counted.reads == 0)
    for _ in range(100):
        scope = await live.scope(key)
        assert scope is not None
        assert await live.scope(unknown) is None
        principal, _catalogue = await live.of_user(TAG, "maria")
        assert principal is not None
        assert principal.privileges == {"view"}
    # Invalidations of the writes above may have overtaken a first load or two.
    assert counted.reads <= 10


async def test_only_what_was_read_is_known_and_only_while_changes_are_heard(
    store: Store, counted: Counted
) -> None:
    access = LiveAccess(counted, store._redis)  # type: ignore[arg-type]
    key, unknown = await new_key(store, user="maria"), keys.mint(TAG, secrets.choice)
    await store.users.put([MARIA])
    access.connected()
    assert access.known_scope(key) is NOT_KNOWN
    assert access.known_scope(unknown) is NOT_KNOWN
    assert access.known_user(TAG, "maria") is None

    scope = await access.scope(key)
    assert scope is not None
    assert await access.scope(unknown) is None
    entitlement = await access.of_user(TAG, "maria")
    assert access.known_scope(key) is scope
    assert access.known_scope(unknown) is None
    assert access.known_user(TAG, "maria") is entitlement
    assert access.known_user(TAG, "kim") is None

    access.disconnected()
    assert access.known_scope(key) is NOT_KNOWN
    assert access.known_scope(unknown) is NOT_KNOWN
    assert access.known_user(TAG, "maria") is None


@pytest.mark.parametrize("name", [layout.user_record(TAG, "maria"), layout.roles(TAG)])
async def test_what_has_changed_is_no_longer_known(store: Store, counted: Counted, name: str) -> None:
    access = LiveAccess(counted, store._redis)  # type: ignore[arg-type]
    key = await new_key(store)
    access.connected()
    await access.scope(key)
    await access.of_user(TAG, "maria")
    access.changed(name.encode())
    assert access.known_user(TAG, "maria") is None
    assert access.known_scope(key) is not NOT_KNOWN
    access.changed(layout.key_record(TAG, key.id).encode())
    assert access.known_scope(key) is NOT_KNOWN


async def settled(ask: Callable[[], Any], wanted: Callable[[Any], bool]) -> None:
    """Ask until the answer is the wanted one."""
    async with asyncio.timeout(10):
        while not wanted(await ask()):  # noqa: ASYNC110 -- likewise
            await asyncio.sleep(0)


async def test_a_change_of_a_key_by_anyone_is_heard(store: Store, live: LiveAccess, store_url: str) -> None:
    key = await new_key(store)
    assert await live.scope(key) is not None
    await store.keys.change(key.id, lambda record: replace(record, enabled=False))
    await settled(lambda: live.scope(key), lambda scope: scope is not None and not scope.record.enabled)
    with redis.Redis.from_url(store_url) as anyone:
        anyone.delete(layout.key_record(TAG, key.id))
    await settled(lambda: live.scope(key), lambda scope: scope is None)


async def test_a_key_that_was_unknown_is_known_once_it_is_created(store: Store, live: LiveAccess) -> None:
    key = keys.mint(TAG, secrets.choice)
    for _ in range(100):
        assert await live.scope(key) is None
    record = KeyRecord(
        id=key.id, tenant="default", type=KeyType.DESKTOP, digest="d", description="d", created_at=NOW
    )
    await store.keys.create(record, now=NOW)
    await settled(lambda: live.scope(key), lambda scope: scope is not None)


async def test_an_expiry_in_redis_is_heard(store: Store, live: LiveAccess, store_url: str) -> None:
    key = await new_key(store)
    assert await live.scope(key) is not None
    with redis.Redis.from_url(store_url) as anyone:
        anyone.pexpire(layout.key_record(TAG, key.id), 1)
    await settled(lambda: live.scope(key), lambda scope: scope is None)


async def test_an_emptied_database_is_heard(store: Store, live: LiveAccess, store_url: str) -> None:
    key = await new_key(store)
    assert await live.scope(key) is not None
    with redis.Redis.from_url(store_url) as anyone:
        anyone.flushall()
    await settled(lambda: live.scope(key), lambda scope: scope is None)


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.users.change("maria", lambda user: replace(user, active=False)),
        lambda store: store.users.change("maria", lambda user: replace(user, roles=frozenset())),
        lambda store: store.policies.put(replace(POLICIES, roles={"agent": frozenset()})),
        lambda store: store.policies.put(Policies()),
    ],
    ids=["deactivated", "role taken", "role emptied", "policies removed"],
)
async def test_a_change_of_what_a_user_may_do_is_heard(
    store: Store, live: LiveAccess, change: Callable[[Store], Any]
) -> None:
    await store.policies.put(POLICIES)
    await store.users.put([MARIA])
    await settled(lambda: live.of_user(TAG, "maria"), lambda found: bool(found[0] and found[0].privileges))
    await change(store)
    await settled(lambda: live.of_user(TAG, "maria"), lambda found: not found[0].privileges)


async def test_a_change_of_the_catalogue_is_heard(store: Store, live: LiveAccess) -> None:
    await store.policies.put(POLICIES)
    await store.users.put([MARIA])
    await settled(lambda: live.of_user(TAG, "maria"), lambda found: len(found[1].endpoints) == 1)
    await store.policies.put(replace(POLICIES, endpoints=()))
    await settled(lambda: live.of_user(TAG, "maria"), lambda found: len(found[1].endpoints) == 0)


async def test_a_change_of_one_tenant_leaves_the_others_alone(
    store: Store, live: LiveAccess, counted: Counted, store_url: str
) -> None:
    key = await new_key(store)
    await settled(lambda: live.scope(key), lambda scope: scope is not None)
    await live.scope(key)
    reads = counted.reads
    with redis.Redis.from_url(store_url) as anyone:
        anyone.set(layout.key_record("zzz", "zzz000000000"), "x")
        anyone.hset(layout.roles("zzz"), "r", "[]")
    for _ in range(100):
        await live.scope(key)
    assert counted.reads == reads


async def test_while_nobody_listens_every_request_reads(store: Store, counted: Counted) -> None:
    access = LiveAccess(counted, store._redis)  # type: ignore[arg-type] # never started
    key = await new_key(store)
    for _ in range(3):
        assert await access.scope(key) is not None
    assert counted.reads == 3


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_when_redis_is_lost_the_last_known_rights_count_for_the_bound_and_no_longer(
    store: Store, counted: Counted
) -> None:
    clock = Clock()
    access = LiveAccess(counted, store._redis, max_staleness=5.0, clock=clock)  # type: ignore[arg-type]
    key, other = await new_key(store), await new_key(store)
    access.connected()
    known = await access.scope(key)
    clock.now += 1.0
    access.heard()
    access.disconnected()
    counted.cut_off = True

    clock.now += 4.9
    assert await access.scope(key) is known
    with pytest.raises(StoreUnavailable):
        await access.scope(other)  # what is not known is no 401
    clock.now += 0.2
    with pytest.raises(StoreUnavailable):
        await access.scope(key)

    counted.cut_off = False
    clock.now += 1.0
    assert await access.scope(key) is not None


async def test_a_redis_that_fails_is_not_asked_by_every_request(store: Store, counted: Counted) -> None:
    clock = Clock()
    access = LiveAccess(counted, store._redis, clock=clock)  # type: ignore[arg-type]
    key = await new_key(store)
    counted.cut_off = True
    for _ in range(50):
        with pytest.raises(StoreUnavailable):
            await access.scope(key)
    assert counted.reads == 1
    clock.now += 0.3
    with pytest.raises(StoreUnavailable):
        await access.scope(key)
    assert counted.reads == 2


@pytest.fixture
async def silent(store: Store, counted: Counted) -> AsyncIterator[tuple[LiveAccess, KeyText, KeyText]]:
    """Access that has not heard of Redis for a while, a key that it knows, and another one."""
    clock = Clock()
    access = LiveAccess(counted, store._redis, clock=clock)  # type: ignore[arg-type]
    known, other = await new_key(store), await new_key(store)
    access.connected()
    await access.scope(known)
    clock.now += 1.5
    access.disconnected()
    counted.reads = 0
    yield access, known, other
    await access.stop()


async def test_who_is_known_does_not_wait_for_a_redis_that_fell_silent(
    silent: tuple[LiveAccess, KeyText, KeyText], counted: Counted
) -> None:
    access, known, other = silent
    counted.goes_on.clear()
    async with asyncio.timeout(0.5):
        for _ in range(50):
            assert await access.scope(known) is not None
            await asyncio.sleep(0)
    assert counted.reads == 1  # one of them asks for all
    with pytest.raises(StoreUnavailable):
        await access.scope(other)


async def test_who_is_not_known_waits_for_the_one_who_asks(
    silent: tuple[LiveAccess, KeyText, KeyText], counted: Counted
) -> None:
    access, known, other = silent
    counted.goes_on.clear()
    await access.scope(known)
    asking = [asyncio.create_task(access.scope(other)) for _ in range(10)]
    await until(lambda: counted.reads == 1)
    counted.goes_on.set()
    assert None not in await asyncio.gather(*asking)


async def test_a_redis_that_answers_after_all_is_believed(
    store: Store, silent: tuple[LiveAccess, KeyText, KeyText], counted: Counted
) -> None:
    access, known, _other = silent
    await store.keys.delete(known.id)
    assert await access.scope(known) is not None  # nobody has asked before
    await settled(lambda: access.scope(known), lambda scope: scope is None)
    counted.cut_off = True
    with pytest.raises(StoreUnavailable):
        await access.scope(known)


async def test_a_loading_that_hangs_ends_with_the_connection(store: Store, counted: Counted) -> None:
    access = LiveAccess(counted, store._redis)  # type: ignore[arg-type]
    key = await new_key(store)
    access.connected()
    counted.goes_on.clear()
    asking = asyncio.create_task(access.scope(key))
    await until(lambda: counted.reads == 1)
    access.disconnected()
    await until(lambda: counted.reads == 2)
    counted.goes_on.set()
    assert await asking is not None


async def test_a_reading_that_comes_too_late_is_not_kept(store: Store, counted: Counted) -> None:
    clock = Clock()
    access = LiveAccess(counted, store._redis, clock=clock)  # type: ignore[arg-type]
    key = await new_key(store)
    access.connected()
    access.disconnected()
    counted.goes_on.clear()
    asking = asyncio.create_task(access.scope(key))
    await until(lambda: counted.reads == 1)
    clock.now += 2.5
    counted.goes_on.set()
    assert await asking is not None
    counted.cut_off = True
    with pytest.raises(StoreUnavailable):
        await access.scope(key)


async def test_what_was_last_known_is_what_was_last_read(store: Store, counted: Counted) -> None:
    """A key that was seen deleted does not come back when Redis goes."""
    clock = Clock()
    access = LiveAccess(counted, store._redis, clock=clock)  # type: ignore[arg-type]
    key = await new_key(store)
    access.connected()
    assert await access.scope(key) is not None
    access.disconnected()
    await store.keys.delete(key.id)
    assert await access.scope(key) is None
    counted.cut_off = True
    with pytest.raises(StoreUnavailable):
        await access.scope(key)


async def test_a_reading_from_before_the_connection_is_not_kept_after_it(
    store: Store, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = LiveAccess(counted, store._redis)  # type: ignore[arg-type]
    key = await new_key(store)
    before = await store.access.scope(key)
    reply: asyncio.Future[Scope | None] = asyncio.get_running_loop().create_future()
    with monkeypatch.context() as slow:
        slow.setattr(counted, "scope", lambda _key: reply)
        asking = asyncio.create_task(access.scope(key))
        await asyncio.sleep(0)
    await store.keys.delete(key.id)
    access.connected()
    reply.set_result(before)
    await asking
    assert await access.scope(key) is None


async def test_a_lost_tracking_connection_comes_back(store: Store, live: LiveAccess, store_url: str) -> None:
    key = await new_key(store)
    await settled(lambda: live.scope(key), lambda scope: scope is not None)
    connections = live._connections
    with redis.Redis.from_url(store_url) as operator:
        operator.client_kill_filter(_type="normal", skipme=True)
    await until(lambda: live._connections > connections and live.live)
    await store.keys.change(key.id, lambda record: replace(record, enabled=False))
    await settled(lambda: live.scope(key), lambda scope: scope is not None and not scope.record.enabled)


async def test_an_error_that_nobody_expects_does_not_end_the_tracking(
    store: Store, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = LiveAccess(counted, store._redis)  # type: ignore[arg-type]
    failed = asyncio.Event()

    def fail(_topology: object) -> None:
        failed.set()
        raise LookupError

    with monkeypatch.context() as broken:
        broken.setattr(store._redis, "connections", fail)
        access.start()
        await failed.wait()
    await until(lambda: access.live)
    await access.stop()


async def test_a_record_that_cannot_be_read_keeps_no_other_from_being_read(
    store: Store, counted: Counted, store_url: str
) -> None:
    access = LiveAccess(counted, store._redis)  # type: ignore[arg-type]
    broken, whole = await new_key(store), await new_key(store)
    with redis.Redis.from_url(store_url) as anyone:
        anyone.set(layout.key_record(TAG, broken.id), "{}")
    with pytest.raises(StoreUnavailable):
        await access.scope(broken)
    assert await access.scope(whole) is not None
