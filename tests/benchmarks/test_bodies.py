"""100 MiB in one body, down and up, beside nginx as a proxy; and what the worker's memory grows by.

The memory is watched while both ends are fast, and while the end that takes the body is slow.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks import bodies_upstream
from benchmarks.memory import MIB, forget_highest, holder, memory
from benchmarks.peers import OURS, Gateway, nginx, scopegate, wait_until_it_answers
from benchmarks.programs import cores, on_core, running
from benchmarks.report import Part, Unit, at_least, at_most, draw, table
from conftest import find_free_port
from scopegate.core.keys import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

NGINX = "nginx, proxy_pass"
ROUNDS = 15
SIZE = 100 * MIB
PATH = "/api/bodies/1"
SLOW_PATH = f"/api/bodies/{bodies_upstream.SLOW}"
RULES = (Rule("GET", "/api/bodies/*"), Rule("POST", "/api/bodies/*"))
LEAST = 0.5  # times the speed of nginx
GROWTH = 16.0  # MiB
TIMEOUT = 30.0  # seconds
WAYS = ("down", "up")
_TIMES, _MIB = Unit("x"), Unit("MiB", 1)


def test_large_bodies_beside_nginx() -> None:
    speeds: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
    with (
        tempfile.TemporaryDirectory(prefix="sg-", dir=_memory_disk()) as path,
        _on_load_core(),
        _upstream(file := Path(path) / "body") as upstream,
        scopegate(Path(path), upstream, RULES) as ours,
        nginx(Path(path), cores()[0], "proxy", _proxy(upstream)) as proxy,
    ):
        way_parts = [ours, Gateway(NGINX, proxy, ""), Gateway("no gateway", upstream, "")]
        for gateway in way_parts:
            wait_until_it_answers(gateway, PATH)
        worker = _worker(ours)
        before = memory(worker).resident
        forget_highest(worker)
        for _ in range(ROUNDS):  # interleaved, so that a slow moment of the machine meets all of them
            for way in WAYS:
                for gateway in way_parts:
                    speeds[way].setdefault(gateway.name, []).append(_transfer(gateway, way, file))
        for way in WAYS:
            _transfer(ours, way, file, path=SLOW_PATH)
        growth = (memory(worker).highest - before) / MIB
    medians = {
        way: {name: statistics.median(measured) for name, measured in of_way.items()}
        for way, of_way in speeds.items()
    }
    rows = [
        at_least(f"100 MiB {way}, beside nginx", of_way[OURS] / of_way[NGINX], LEAST, _TIMES)
        for way, of_way in medians.items()
    ]
    rows.append(at_most("Growth of the worker with bodies of 100 MiB", growth, GROWTH, _MIB))
    names = medians["down"]
    head = ("MB/s of one body of 100 MiB", *WAYS)
    lines = [(name, *(f"{medians[way][name]:,.0f}" for way in WAYS)) for name in names]
    Part(2, "bodies", "Large bodies", rows, table(head, lines)).publish()
    draw("bodies", {f"MB/s {way}, one body of 100 MiB: more is better": medians[way] for way in WAYS})


def _memory_disk() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextmanager
def _on_load_core() -> Iterator[None]:
    """Bind this process, which is the client, to the load's core."""
    allowed = os.sched_getaffinity(0)
    load = cores()[1]
    os.sched_setaffinity(0, {int(load)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def _upstream(file: Path) -> Iterator[int]:
    port = find_free_port()
    with file.open("wb") as body:
        body.truncate(SIZE)
        for start in range(0, SIZE, MIB):  # written out: a file with holes is no file
            body.seek(start)
            body.write(bytes(range(256)) * (MIB // 256))
    command = on_core(cores()[1], sys.executable, bodies_upstream.__file__, str(port), str(file))
    with running(port, *command):
        yield port


def _proxy(upstream: int) -> str:
    """The nginx that is the measure: it passes bodies on while they come, as Scopegate does."""
    return f"""
    upstream up {{ server 127.0.0.1:{upstream}; keepalive 32; }}
    server {{
      listen 127.0.0.1:PORT;
      client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;
      # With the buffers it comes with, nginx is half as fast.
      client_body_buffer_size 256k; proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;
      location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}"""


def _worker(gateway: Gateway) -> int:
    """The process that answers."""
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.recv(MIB)
        return holder(connection, gateway.pid)


def _transfer(gateway: Gateway, way: str, file: Path, *, path: str = PATH) -> float:
    """MB/s of one body."""
    send, take = (_get, _take_in) if way == "down" else (_post, _take_receipt)
    head = f"{path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {gateway.key or 'none'}\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=TIMEOUT) as connection:
        started = time.monotonic()
        send(connection, head, file)
        assert take(connection, slowly=path == SLOW_PATH) == SIZE, f"{gateway.name}, {way}"
        return SIZE / (time.monotonic() - started) / 1e6


def _get(connection: socket.socket, head: str, _file: Path) -> None:
    connection.sendall(f"GET {head}\r\n".encode())


def _post(connection: socket.socket, head: str, file: Path) -> None:
    connection.sendall(f"POST {head}Content-Length: {SIZE}\r\n\r\n".encode())
    with file.open("rb") as body:
        connection.sendfile(body)


def _take_in(connection: socket.socket, *, slowly: bool) -> int:
    """The size of a body that is dropped as it comes, as far as the kernel can without copying it."""
    _, taken = _answer(connection)
    size = len(taken)
    buffer = bytearray(MIB)
    while size < SIZE:
        more = connection.recv_into(buffer, MIB, socket.MSG_TRUNC)
        if not more:
            break
        size += more
        if slowly:
            time.sleep(bodies_upstream.PAUSE)
    return size


def _take_receipt(connection: socket.socket, *, slowly: bool) -> int:
    """The size of the body that the upstream says it has taken in."""
    length, body = _answer(connection)
    while len(body) < length:
        body += connection.recv(MIB)
    return int(body)


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    """The length of an answer's body, and what has come of the body with the head."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(MIB)
        assert more, "the connection was closed"
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.split(b" ", 2)[1] == b"200", head.split(b"\r\n", 1)[0]
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    assert length is not None
    return int(length[1]), body
