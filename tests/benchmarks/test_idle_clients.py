"""5,000 clients that keep their connections open, on one worker, and what each holds of its memory."""

from __future__ import annotations

import resource
import socket
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.memory import holder, memory
from benchmarks.peers import PATH, Gateway, json_upstream, scopegate, wait_until_it_answers
from benchmarks.report import Part, Row, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]

CLIENTS = 5_000
SPARE = 1_000  # descriptors for everything else
TOGETHER = 50  # requests at a time
SETTLING = 2.0  # seconds
TIMEOUT = 5.0  # seconds


def test_five_thousand_idle_clients() -> None:
    with (
        _descriptors(CLIENTS + SPARE),
        tempfile.TemporaryDirectory(prefix="sg-") as path,
        json_upstream(Path(path)) as upstream,
        scopegate(Path(path), upstream) as ours,
        ExitStack() as opened,
    ):
        wait_until_it_answers(ours)
        with ExitStack() as warming:
            connections = [warming.enter_context(_connected(ours)) for _ in range(TOGETHER)]
            assert _ask_each(connections, ours) == {200: TOGETHER}
            worker = holder(connections[0], ours.pid)
        time.sleep(SETTLING)
        before = memory(worker).resident
        clients = _opened(ours, opened)
        first, first_seconds = _timed(clients, ours)
        time.sleep(SETTLING)
        while_idle = memory(worker).resident
        second, second_seconds = _timed(clients, ours)
    each = (while_idle - before) / max(len(clients), 1) / 1024
    errors = 2 * CLIENTS - first.get(200, 0) - second.get(200, 0)
    rows = [
        Row(
            f"Errors of {CLIENTS:,} kept connections, two requests each",
            str(errors),
            "0",
            f"missed by {errors}" if errors else "met",
        ),
        Row("Memory of the worker for an idle connection", f"{each:.1f} KiB"),
    ]
    lines = [
        ("opened", "-", f"{len(clients):,}"),
        ("first request of each", f"{first_seconds:.1f}", _told(first)),
        ("second request of each", f"{second_seconds:.1f}", _told(second)),
    ]
    head = (f"{CLIENTS:,} kept connections", "seconds", "how many")
    Part(3, "idle-clients", "Idle clients", rows, table(head, lines)).publish()
    assert errors == 0


@contextmanager
def _descriptors(wanted: int) -> Iterator[None]:
    """Let this process and those that it starts open `wanted` files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"a process may open {hard} files here, {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _connected(gateway: Gateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=TIMEOUT)


def _opened(gateway: Gateway, opened: ExitStack) -> list[socket.socket]:
    """As many of the connections as the gateway lets be opened."""
    clients: list[socket.socket] = []
    while len(clients) < CLIENTS:
        try:
            clients.append(opened.enter_context(_connected(gateway)))
        except OSError:
            break
    return clients


def _timed(clients: Sequence[socket.socket], gateway: Gateway) -> tuple[dict[int, int], float]:
    started = time.monotonic()
    statuses = _ask_each(clients, gateway)
    return statuses, time.monotonic() - started


def _ask_each(clients: Sequence[socket.socket], gateway: Gateway) -> dict[int, int]:
    """Send one request on each connection; how often each status came, 0 standing for no answer.

    Nothing more is asked where one has no answer: that costs the time that answers are waited for.
    """
    request = f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {gateway.key}\r\n\r\n".encode()
    statuses: dict[int, int] = {}
    for start in range(0, len(clients), TOGETHER):
        asked = clients[start : start + TOGETHER]
        for client in asked:
            with suppress(OSError):  # it is found out where the answer is read
                client.sendall(request)
        for client in asked:
            status = _status(client)
            statuses[status] = statuses.get(status, 0) + 1
        if 0 in statuses:
            statuses[0] = len(clients) - sum(number for status, number in statuses.items() if status)
            break
    return statuses


def _told(statuses: dict[int, int]) -> str:
    return ", ".join(f"{number:,} x {status or 'no answer'}" for status, number in statuses.items())


def _status(client: socket.socket) -> int:
    """The status of one answer, which is read to its end."""
    received = b""
    try:
        while not _complete(received):
            more = client.recv(65536)
            if not more:
                return 0
            received += more
    except OSError:
        return 0
    return int(received.split(b" ", 2)[1])


def _complete(received: bytes) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return False
    lengths = [
        line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"
    ]
    return len(body) >= int(lengths[0])
