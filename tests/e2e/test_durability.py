"""Everything is killed, again and again: what was confirmed is there, and nothing is half done."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis

from conftest import require_program
from e2e.gateways import serving
from e2e.processes import processes_of, running, wait_until
from scopegate.core.errors import KeyLimitReached, NotFound, StoreUnavailable
from scopegate.core.tenants import DEFAULT_TENANT
from scopegate.store import Store, layout
from store.facts import NOW, WEEK, key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from e2e.gateways import Gateway
    from e2e.processes import Running
    from scopegate.core.keys import KeyRecord

WRITES = 200
KILLS = 8
WRITERS = 4  # changes under way at a time
NOBODY = "http://127.0.0.1:9"
TAG = DEFAULT_TENANT.tag


class Ledger:
    """What each key may be: one thing once that is confirmed, one of two while a change is under way."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._possible: dict[str, set[KeyRecord | None]] = {}
        self._number = 0
        self.confirmed = 0

    async def write(self, store: Store, mine: set[str]) -> None:
        """Make one change: of a key that is this writer's, or a new one."""
        choice = self._random.random()
        key_id = self._random.choice(sorted(mine)) if mine and choice < 0.55 else None
        if key_id is None:
            self._number += 1
            new = key(self._number, expires_at=self._random.choice([None, NOW + WEEK]))
            self._possible[new.id] = {None, new}
            await store.keys.create(new, now=NOW)
            mine.add(new.id)
            self._confirm(new.id, new)
            return
        (before,) = self._possible[key_id]
        assert before is not None
        if choice < 0.15:
            self._possible[key_id] = {before, None}
            await store.keys.delete(key_id)
            mine.remove(key_id)
            self._confirm(key_id, None)
            return
        if choice < 0.4:
            after = replace(before, enabled=not before.enabled)
        else:
            after = replace(before, expires_at=NOW + timedelta(days=self._random.randrange(1, 1000)))
        self._possible[key_id] = {before, after}
        await store.keys.change(key_id, lambda _present: after)
        self._confirm(key_id, after)

    def _confirm(self, key_id: str, state: KeyRecord | None) -> None:
        self._possible[key_id] = {state}
        self.confirmed += 1

    async def compare(self, store: Store) -> None:
        """Require each key to be what it may be; what is found is then known."""
        for key_id, possible in self._possible.items():
            try:
                found: KeyRecord | None = await store.keys.get(key_id)
            except NotFound:
                found = None
            assert found in possible, f"{key_id} is {found}, and not one of {possible}"
            self._possible[key_id] = {found}

    def present(self) -> dict[str, KeyRecord]:
        """The keys that are there."""
        states = {key_id: state for key_id, (state,) in self._possible.items()}
        return {key_id: state for key_id, state in states.items() if state is not None}


@contextmanager
def a_redis(directory: Path, path: Path, *, appendonly: str = "yes") -> Iterator[Running]:
    """A Redis that somebody else runs, set up as docs/durability.md says, or not."""
    directory.mkdir(exist_ok=True)
    command = (require_program("redis-server"), "--port", "0", "--unixsocket", str(path))
    durable = ("--appendonly", appendonly, "--appendfsync", "always", "--save", "", "--dir", str(directory))
    with running(*command, *durable, directory=directory / "logs") as process:
        wait_until(lambda: answers(f"unix://{path}"), "Redis answers", process=process)
        yield process


def answers(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


async def writers(store: Store, ledger: Ledger) -> AsyncIterator[int]:
    """Keep several changes under way until the store is gone; yields how many are confirmed."""
    told: asyncio.Queue[int | None] = asyncio.Queue()
    present = sorted(ledger.present())

    async def write(mine: set[str]) -> None:
        try:
            while True:
                await ledger.write(store, mine)
                told.put_nowait(ledger.confirmed)
        except StoreUnavailable:
            told.put_nowait(None)

    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            group.create_task(write(set(present[number::WRITERS])))
        gone = 0
        while gone < WRITERS:
            confirmed = await told.get()
            if confirmed is None:
                gone += 1
            else:
                yield confirmed


async def write_until_killed(gateway: Gateway, ledger: Ledger, moment: float, server: Running | None) -> None:
    """Confirm a share of the writes; kill everything `moment` seconds later, while more are under way."""
    store = Store.at(gateway.store_url)
    enough = ledger.confirmed + WRITES // KILLS
    loop = asyncio.get_running_loop()
    falls: asyncio.TimerHandle | None = None
    async for confirmed in writers(store, ledger):
        if confirmed >= enough and falls is None:
            falls = loop.call_later(moment, kill_everything, gateway, server)
    await store.aclose()


def kill_everything(gateway: Gateway, server: Running | None) -> None:
    for process in (gateway.process, server):
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)


async def require_whole(gateway: Gateway, ledger: Ledger) -> None:
    """What was confirmed is there; record, expiry, index and limit agree."""
    store = Store.at(gateway.store_url)
    await ledger.compare(store)
    present = ledger.present()
    with redis.Redis.from_url(gateway.store_url, decode_responses=True) as raw:
        stored: Any = raw.keys(layout.key_record(TAG, "*"))
        assert set(stored) == {layout.key_record(TAG, key_id) for key_id in present}
        index: Any = raw.zrange(layout.key_index(TAG), 0, -1, withscores=True)
        expiries = {key_id: raw.pexpiretime(layout.key_record(TAG, key_id)) for key_id in present}
    assert dict(index) == {
        key_id: float("inf") if record.delete_at is None else record.delete_at.timestamp() * 1000
        for key_id, record in present.items()
    }
    assert expiries == {
        key_id: -1 if record.delete_at is None else record.delete_at.timestamp() * 1000
        for key_id, record in present.items()
    }
    if present:
        with pytest.raises(KeyLimitReached) as full:
            await store.keys.create(key(999_999), now=NOW, limit=len(present))
        assert full.value.used == len(present)
    await store.aclose()


@pytest.mark.parametrize("kind", ["embedded", "redis"])
def test_no_confirmed_change_is_lost_and_none_is_half_done_when_everything_is_killed(
    kind: str, short_dir: Path
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 -- pytest shows it when the test fails
    ledger = Ledger(seed)
    moments = random.Random(seed)
    base = short_dir / f"kill-{kind}"
    path = base / "redis.sock"
    url = None if kind == "embedded" else f"unix://{path}"
    base.mkdir()
    for number in range(KILLS + 1):
        with (
            nullcontext() if url is None else a_redis(base / "redis", path) as server,
            serving(base / f"serve{number}", NOBODY, data_dir=base / "data", redis_url=url) as gateway,
        ):
            asyncio.run(require_whole(gateway, ledger))
            if number == KILLS:
                break
            asyncio.run(write_until_killed(gateway, ledger, moments.uniform(0, 0.01), server))
            wait_until(lambda: not processes_of(base), "everything is gone")
    assert ledger.confirmed >= WRITES


@pytest.mark.parametrize(("appendonly", "warnings"), [("yes", 0), ("no", 1)])
def test_a_redis_that_may_forget_is_told_at_the_start(
    appendonly: str, warnings: int, short_dir: Path
) -> None:
    base = short_dir / f"warn-{appendonly}"
    base.mkdir()
    path = base / "redis.sock"
    with (
        a_redis(base / "redis", path, appendonly=appendonly),
        serving(base, NOBODY, "--workers", "2", redis_url=f"unix://{path}") as gateway,
    ):
        assert gateway.process.err.count("Redis writes no append-only file") == warnings
