"""Servers that die or are replaced, as decisions see it: right while it lasts, and soon right again."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import redis
from redis.crc import key_slot

from redisservers import cluster, watched
from scopegate.core import keys
from scopegate.core.errors import StoreUnavailable
from scopegate.core.tenants import Tenant
from scopegate.store import Store
from scopegate.store.view import NOT_KNOWN
from store.facts import NOW, key, text_of, user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from redisservers import Cluster, Server
    from scopegate.core.decision import Scope
    from scopegate.core.keys import KeyRecord, KeyText
    from scopegate.store.liveaccess import LiveAccess

SOON = 20.0  # seconds; generous, for a busy machine is not a failure
MAX_STALENESS = 1.0


@dataclass
class Watcher:
    """A store and a live view of it, as a worker has them."""

    store: Store
    live: LiveAccess

    async def until_live(self) -> None:
        await until(lambda: self.live.live)

    async def asked(self, text: KeyText) -> Scope | StoreUnavailable | None:
        """What a decision about the key would hear."""
        try:
            return await self.live.scope(text)
        except StoreUnavailable as unavailable:
            return unavailable

    async def until_known(self, text: KeyText) -> None:
        """Ask for a key until the view has it."""
        async with asyncio.timeout(SOON):
            while self.live.known_scope(text) is NOT_KNOWN:
                assert await self.asked(text) is not None
                await asyncio.sleep(0.01)


@asynccontextmanager
async def watching(url: str, tenant: Tenant | None = None) -> AsyncIterator[Watcher]:
    store = Store.at(url) if tenant is None else Store.at(url, tenant)
    live = store.live_access(max_staleness=MAX_STALENESS)
    live.start()
    try:
        await until(lambda: live.live)
        yield Watcher(store, live)
    finally:
        await live.stop()
        await store.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 -- the servers tell nobody else
            await asyncio.sleep(0.01)


async def settled(ask: Callable[[], Awaitable[object]], wanted: Callable[[object], bool]) -> None:
    """Ask until the answer is the wanted one."""
    async with asyncio.timeout(SOON):
        while not wanted(await ask()):  # noqa: ASYNC110 -- likewise
            await asyncio.sleep(0.01)


def is_refusal(answer: object) -> bool:
    return isinstance(answer, StoreUnavailable)


def is_enabled(answer: object) -> bool:
    scope: Scope | None = None if is_refusal(answer) else answer  # type: ignore[assignment]
    return scope is not None and scope.record.enabled


def is_disabled(answer: object) -> bool:
    scope: Scope | None = None if is_refusal(answer) else answer  # type: ignore[assignment]
    return scope is not None and not scope.record.enabled


async def new_key(store: Store) -> KeyRecord:
    minted = keys.mint(store.tenant.tag, secrets.choice)
    record = key(id=minted.id, tenant=store.tenant.id)
    await store.keys.create(record, now=NOW)
    return record


async def disable(store: Store, record: KeyRecord) -> None:
    await store.keys.change(record.id, lambda one: replace(one, enabled=False))


# Sentinel


async def test_after_a_failover_decisions_are_those_of_the_new_master(tmp_path: Path) -> None:
    with watched(tmp_path) as servers:
        async with watching(servers.url) as worker:
            record, later = await new_key(worker.store), await new_key(worker.store)
            await until(lambda: replicated(servers.replica, record) and replicated(servers.replica, later))
            await worker.until_known(text_of(record))

            servers.master.kill()
            await until(lambda: not worker.live.live)
            assert is_enabled(await worker.asked(text_of(record)))  # for max_staleness
            assert is_refusal(await worker.asked(text_of(key(99))))
            await settled(lambda: worker.asked(text_of(record)), is_refusal)

            await asyncio.to_thread(servers.wait_for_failover)
            # From now on the new master decides, and it hears of what is changed there.
            seen_at = time.monotonic()
            await worker.until_live()
            assert time.monotonic() - seen_at < 5  # about one second; the rest is for a busy machine
            await settled(lambda: worker.asked(text_of(record)), is_enabled)
            await worker.until_known(text_of(record))
            await disable(worker.store, record)
            await settled(lambda: worker.asked(text_of(record)), is_disabled)
            await settled(lambda: worker.asked(text_of(later)), is_enabled)
            assert is_enabled(await worker.asked(text_of(await new_key(worker.store))))

            # The old one comes back as a replica, and nobody asks it.
            servers.master.start()
            await disable(worker.store, later)
            await settled(lambda: worker.asked(text_of(later)), is_disabled)
            assert worker.live.live


def replicated(server: Server, record: KeyRecord) -> bool:
    with server.client() as client:
        return bool(client.exists(f"sg:{{000}}:key:{record.id}"))


async def test_a_master_that_was_replaced_and_does_not_know_it_keeps_no_view_alive(tmp_path: Path) -> None:
    """It is cut off from the others, and not from us: it goes on answering, and calls itself master."""
    with watched(tmp_path) as servers:
        async with watching(servers.url) as worker:
            record = await new_key(worker.store)
            await until(lambda: replicated(servers.replica, record))
            await worker.until_known(text_of(record))
            # The Sentinels stop to watch it, so that none of them tells it that it was replaced.
            for sentinel in servers.sentinels:
                with sentinel.client() as operator:
                    operator.execute_command("SENTINEL", "REMOVE", "scopegate-tests")
            with servers.replica.client() as operator:
                operator.replicaof("NO", "ONE")
            for sentinel in servers.sentinels[:2]:
                with sentinel.client() as operator:
                    operator.execute_command(
                        "SENTINEL", "MONITOR", "scopegate-tests", "127.0.0.1", servers.replica.port, 2
                    )
            with servers.sentinels[2].client() as operator:
                operator.execute_command(
                    "SENTINEL", "MONITOR", "scopegate-tests", "127.0.0.1", servers.master.port, 3
                )
            with servers.master.client() as old, servers.replica.client() as new:
                assert old.info("replication")["role"] == new.info("replication")["role"] == "master"
                name = f"sg:{{000}}:key:{record.id}"
                new.delete(name)
                await settled(lambda: worker.asked(text_of(record)), lambda answer: answer is None)
                assert old.exists(name)


async def test_without_most_of_the_sentinels_nobody_can_tell(tmp_path: Path) -> None:
    with watched(tmp_path) as servers:
        async with watching(servers.url) as worker:
            record = await new_key(worker.store)
            await worker.until_known(text_of(record))
            servers.sentinels[0].kill()
            servers.sentinels[1].pause()
            await until(lambda: not worker.live.live)
            await settled(lambda: worker.asked(text_of(record)), is_refusal)
            servers.sentinels[1].resume()
            await worker.until_live()
            await settled(lambda: worker.asked(text_of(record)), is_enabled)


# Cluster


def tenants(of: Cluster) -> list[Tenant]:
    """A tenant for each master, in their order."""
    found: dict[int, Tenant] = {}
    for number in range(1000):
        tag = f"{number:03d}"
        found.setdefault(key_slot(tag.encode()) * len(of.masters) // 16384, Tenant(f"t{tag}", tag))
    return [found[index] for index in range(len(of.masters))]


@asynccontextmanager
async def stores(of: Cluster) -> AsyncIterator[list[Store]]:
    opened = [Store.at(of.url, tenant) for tenant in tenants(of)]
    yield opened
    for store in opened:
        await store.aclose()


async def test_a_tenant_of_a_dead_master_is_refused_and_the_others_are_decided(tmp_path: Path) -> None:
    with cluster(tmp_path, replicas=False) as nodes:
        async with watching(nodes.url) as worker, stores(nodes) as (dead, alive, _):
            lost, kept = await new_key(dead), await new_key(alive)
            await alive.users.put([user("kim")])
            await worker.until_known(text_of(lost))
            await worker.until_known(text_of(kept))

            nodes.masters[0].kill()
            await until(lambda: not worker.live.live)
            assert is_enabled(await worker.asked(text_of(lost)))  # for max_staleness
            assert is_refusal(await worker.asked(text_of(key(1, id=f"{dead.tenant.tag}000000001"))))
            await settled(lambda: worker.asked(text_of(lost)), is_refusal)
            # In between, refusals of the one keep nothing from the other.
            for _ in range(20):
                assert is_refusal(await worker.asked(text_of(lost)))
                assert is_enabled(await worker.asked(text_of(kept)))
                principal, _catalogue = await worker.live.of_user(alive.tenant.tag, "kim")
                assert principal is not None
            await disable(alive, kept)
            assert is_disabled(await worker.asked(text_of(kept)))
            assert not worker.live.live

            nodes.masters[0].start()
            await worker.until_live()


async def test_after_a_failover_in_a_cluster_the_replica_decides(tmp_path: Path) -> None:
    with cluster(tmp_path, replicas=True) as nodes:
        async with watching(nodes.url) as worker, stores(nodes) as (first, second, _):
            record, other = await new_key(first), await new_key(second)
            replica = nodes.replica_of(nodes.masters[0])
            await until(lambda: followed(nodes.masters[0], replica))
            await worker.until_known(text_of(record))
            nodes.masters[0].kill()
            await until(lambda: not worker.live.live)
            assert is_enabled(await worker.asked(text_of(other)))
            await asyncio.to_thread(nodes.wait_for_failover, replica)
            await worker.until_live()
            await settled(lambda: worker.asked(text_of(record)), is_enabled)
            await worker.until_known(text_of(record))
            await disable(first, record)
            await settled(lambda: worker.asked(text_of(record)), is_disabled)
            assert is_enabled(await worker.asked(text_of(await new_key(first))))


def followed(master: Server, replica: Server) -> bool:
    with master.client() as one, replica.client() as two:
        return bool(
            one.info("replication")["master_repl_offset"] == two.info("replication")["master_repl_offset"]
        )


async def test_a_tenant_that_moves_to_another_master_is_listened_to_there(tmp_path: Path) -> None:
    with cluster(tmp_path, replicas=False) as nodes:
        async with watching(nodes.url) as worker, stores(nodes) as (moving, *_):
            record = await new_key(moving)
            await worker.until_known(text_of(record))
            connections = worker.live._connections
            await asyncio.to_thread(move, nodes, moving.tenant.tag, nodes.masters[0], nodes.masters[1])
            await settled(lambda: worker.asked(text_of(record)), is_enabled)
            await until(lambda: worker.live._connections > connections and worker.live.live)
            await worker.until_known(text_of(record))
            await disable(moving, record)
            await settled(lambda: worker.asked(text_of(record)), is_disabled)


async def test_while_a_slot_moves_what_may_have_moved_is_refused_and_the_rest_is_decided(
    tmp_path: Path,
) -> None:
    with cluster(tmp_path, replicas=False) as nodes:
        async with watching(nodes.url) as worker, stores(nodes) as (moving, *_):
            here, there = await new_key(moving), await new_key(moving)
            slot = key_slot(moving.tenant.tag.encode())
            with nodes.masters[0].client() as old, nodes.masters[1].client() as new:
                ids = [client.execute_command("CLUSTER", "MYID").decode() for client in (old, new)]
                new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
                old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
                await worker.until_known(text_of(there))
                name = f"sg:{{{moving.tenant.tag}}}:key:{there.id}"
                old.execute_command("MIGRATE", "127.0.0.1", nodes.masters[1].port, name, 0, 5000)
            await settled(lambda: worker.asked(text_of(there)), is_refusal)
            assert is_enabled(await worker.asked(text_of(here)))


async def test_what_was_read_from_a_new_owner_is_not_kept_before_it_tells_of_changes(tmp_path: Path) -> None:
    with cluster(tmp_path, replicas=False) as nodes:
        async with watching(nodes.url) as worker, stores(nodes) as (moving, *_):
            record = await new_key(moving)
            await asyncio.to_thread(move, nodes, moving.tenant.tag, nodes.masters[0], nodes.masters[1])
            # The first reading finds that the tenant has moved; at that moment nobody listens there.
            heard: list[bool] = []
            before = worker.live._connections
            while worker.live._connections == before:
                answer = await worker.asked(text_of(record))
                if is_enabled(answer) and worker.live._connections == before:
                    heard.append(worker.live.known_scope(text_of(record)) is answer)
                await asyncio.sleep(0)
            assert not any(heard)


def move(nodes: Cluster, tag: str, source: Server, target: Server) -> None:
    """Move the slot of a tenant as an operator's tool does."""
    slot = key_slot(tag.encode())
    with source.client() as old, target.client() as new:
        ids = {one: one.execute_command("CLUSTER", "MYID").decode() for one in (old, new)}
        new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[old])
        old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[new])
        while names := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)
        for client in (new, old):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[new])
    for other in nodes.masters:
        with other.client() as client:
            try:
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[new])
            except redis.ResponseError:
                continue
