"""Sidecars that read a replica: told as by a primary, and refusing once it has lost its own."""

from __future__ import annotations

import asyncio
import subprocess
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from conftest import find_free_port, require_program
from scopegate.core.errors import StoreUnavailable
from scopegate.store import Store
from store.facts import NOW, key, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from scopegate.store.liveaccess import LiveAccess

DEADLINE = 30.0  # seconds
# As docs/scaling.md has it; diskless, and at once, for the test's sake.
OF_A_REPLICA = ("--replica-serve-stale-data", "no", "--repl-timeout", "5", "--repl-ping-replica-period", "1")
OF_A_PRIMARY = ("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")


@contextmanager
def server(port: int, directory: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    directory.mkdir()
    command = [require_program("redis-server"), "--port", str(port), "--dir", str(directory), "--save", ""]
    with subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_linked(port: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while not linked(port):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def linked(port: int) -> bool:
    with redis.Redis(port=port) as raw:
        try:
            info: Any = raw.info("replication")
        except redis.RedisError:
            return False
    return bool(info["master_link_status"] == "up")


async def until_the_key_is(live: LiveAccess, *, enabled: bool) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        scope = await live.scope(text_of(key()))
        if scope is not None and scope.record.enabled is enabled:
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


async def ask_until(live: LiveAccess, deadline: float) -> None:
    while time.monotonic() < deadline:
        await live.scope(text_of(key()))
        await asyncio.sleep(0.02)


@asynccontextmanager
async def opened(port: int) -> AsyncIterator[Store]:
    store = Store.at(f"redis://127.0.0.1:{port}/0")
    yield store
    await store.aclose()


async def test_a_replica_tells_of_changes_and_refuses_when_it_has_lost_its_primary(tmp_path: Path) -> None:
    ports = find_free_port(), find_free_port()
    with (
        server(ports[0], tmp_path / "primary", *OF_A_PRIMARY) as primary,
        server(ports[1], tmp_path / "replica", "--replicaof", f"127.0.0.1 {ports[0]}", *OF_A_REPLICA),
    ):
        await asyncio.to_thread(wait_until_linked, ports[1])
        async with opened(ports[0]) as administrator, opened(ports[1]) as sidecar:
            await administrator.keys.create(key(), now=NOW)
            live = sidecar.live_access()
            live.start()
            try:
                await until_the_key_is(live, enabled=True)
                await administrator.keys.change(key().id, lambda one: replace(one, enabled=False))
                await until_the_key_is(live, enabled=False)
                assert live.live
                primary.kill()
                with pytest.raises(StoreUnavailable):
                    await ask_until(live, time.monotonic() + DEADLINE)
            finally:
                await live.stop()
