"""How long a start takes, to the first answer with a key, and what the processes hold in memory then."""

from __future__ import annotations

import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.memory import MIB, Memory, family, holder, memory
from benchmarks.peers import PATH, json_upstream, new_key, serve_command
from benchmarks.programs import stop
from benchmarks.report import Part, Unit, at_most, table
from conftest import find_free_port
from scopegate.store.embedded import EmbeddedStore

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]

ROUNDS = 5
SECONDS = 1.0  # at the most, to the first answer
RESIDENT = 80.0  # MiB at the most, of one worker
REQUESTS = 200  # until the memory is read
TIMEOUT = 20.0  # seconds
POLL = 0.002  # seconds
SETTLING = 2.0  # seconds
# An address of its own: trying long enough at a port where nobody listens, a client meets itself.
CLIENT = "127.0.0.2"
_S, _MIB = Unit("s", 3), Unit("MiB", 1)


def test_start_with_a_store_that_is_there() -> None:
    seconds: list[float] = []
    held: list[tuple[str, Memory]] = []
    with (
        tempfile.TemporaryDirectory(prefix="sg-") as path,
        json_upstream(Path(path)) as upstream,
        EmbeddedStore(Path(path) / "data") as store,
    ):
        key = new_key(store.url)
        for number in range(ROUNDS + 1):
            with _started(upstream, store.url, key) as started:
                if number:  # the first start reads the programs from disk
                    seconds.append(started.seconds)
                if number == ROUNDS:
                    held = _held(started, key)
    name, of_worker = held[0]
    assert name == "worker"
    rows = [
        at_most("Start to the first answer", statistics.median(seconds), SECONDS, _S),
        at_most("Resident memory of one worker", of_worker.resident / MIB, RESIDENT, _MIB),
    ]
    lines = [
        (name, *(f"{size / MIB:.1f}" for size in (one.resident, one.proportional, one.highest)))
        for name, one in held
    ]
    total = sum(one.proportional for _, one in held) / MIB
    lines.append(("all of them", "-", f"{total:.1f}", "-"))
    head = ("Process", "resident MiB", "MiB, shared pages divided", "highest MiB")
    Part(4, "start", "Start and memory", rows, table(head, lines)).publish()


@dataclass(frozen=True)
class Started:
    """A gateway that has answered: after how long, on which connection, and its first process."""

    seconds: float
    connection: HTTPConnection
    admin_port: int
    pid: int


@contextmanager
def _started(upstream: int, store_url: str, key: str) -> Iterator[Started]:
    """A gateway, started and asked until it answers."""
    port, admin_port = find_free_port(), find_free_port()
    command = serve_command(port, admin_port, upstream, "--redis-url", store_url)
    started = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT, source_address=(CLIENT, 0))
        try:
            while not _answers(connection, key):
                assert process.poll() is None, "scopegate serve ended"
                assert time.monotonic() < started + TIMEOUT, "scopegate serve does not answer"
                time.sleep(POLL)
            yield Started(time.monotonic() - started, connection, admin_port, process.pid)
        finally:
            connection.close()
            stop(process)


def _answers(connection: HTTPConnection, key: str) -> bool:
    try:
        connection.request("GET", PATH, headers={"X-API-Key": key})
        answer = connection.getresponse()
        answer.read()
    except ConnectionError:
        connection.close()
        return False
    assert answer.status == 200
    return True


def _held(started: Started, key: str) -> list[tuple[str, Memory]]:
    """What each process holds once the worker has answered some requests; the worker is the first."""
    for _ in range(REQUESTS):
        assert _answers(started.connection, key)
    time.sleep(SETTLING)
    names = {started.pid: "main process"}
    with socket.create_connection(("127.0.0.1", started.admin_port)) as admin:
        admin.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        admin.recv(1)
        names[holder(admin, started.pid)] = "control plane"
    worker = holder(started.connection.sock, started.pid)
    names[worker] = "worker"
    held = []
    for member in sorted(family(started.pid), key=lambda member: (member != worker, member)):
        with suppress(ProcessLookupError, FileNotFoundError):  # some help at the start only
            held.append((names.get(member, "helper"), memory(member)))
    return held
