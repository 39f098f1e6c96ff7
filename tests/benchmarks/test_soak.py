"""Full load with clients that leave in the middle and an upstream that restarts: what is left behind.

`SCOPEGATE_SOAK_SECONDS` says how long; ten minutes are a fair trial, and the default is a look.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from benchmarks.memory import MIB, holder, memory
from benchmarks.peers import FIFTY_RULES, PATH, Gateway, new_key, serve_command, wait_until_it_answers
from benchmarks.programs import cores, on_core, require, running
from benchmarks.report import Part, Row, Unit, at_most, table
from conftest import find_free_port
from scopegate.core.keys import Rule
from scopegate.store.embedded import socket_url

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1_200)]

SECONDS = float(os.environ.get("SCOPEGATE_SOAK_SECONDS", "20"))
CONNECTIONS = 32
LEAVERS = 4
UP = (3.0, 8.0)  # seconds that the upstream stays
DOWN = (0.0, 0.5)  # seconds that it is away
LOOKS = 10
IDLE = 45.0  # seconds, longer than a connection to the upstream is kept for nothing
GROWTH = Unit("MiB", 1)
RULES = (*FIFTY_RULES, Rule("POST", "/api/*"))


class Left(NamedTuple):
    """What a worker holds at one moment."""

    resident: int
    files: int
    tasks: int
    clients: int
    upstreams: int
    exchanges: int


def test_a_soak_leaves_nothing_behind() -> None:
    over = threading.Event()
    with (
        tempfile.TemporaryDirectory(prefix="sg-") as path,
        _gateway(Path(path)) as (ours, admin_port, upstream_port),
        ExitStack() as stack,
    ):
        with _upstream(Path(path), upstream_port):
            wait_until_it_answers(ours)
            worker = _worker(ours)
        while not (fresh := _left(worker, admin_port)).tasks:  # some things are counted now and then only
            time.sleep(0.1)
        restarting = threading.Thread(target=_restart, args=(Path(path), upstream_port, over))
        leaving = [threading.Thread(target=_leave, args=(ours, over, seed)) for seed in range(LEAVERS)]
        stack.callback(over.set)
        for thread in (restarting, *leaving):
            thread.start()
        load = _load(ours)
        looks = [(0.0, _left(worker, admin_port))]
        for look in range(1, LOOKS + 1):
            time.sleep(SECONDS / LOOKS)
            looks.append((SECONDS * look / LOOKS, _left(worker, admin_port)))
        over.set()
        for thread in (restarting, *leaving):
            thread.join()
        requests = int(re.findall(r"(\d+) requests in", load.communicate()[0])[0])
        time.sleep(IDLE)
        idle = _left(worker, admin_port)
        assert memory(worker).resident, "the worker has lived through it"
    looks.append((SECONDS + IDLE, idle))
    # The first part of the run fills pools, caches and free lists.
    growth = (idle.resident - looks[LOOKS // 3][1].resident) / MIB
    left = [
        ("Connections of clients left", idle.clients, 0),
        ("Connections to the upstream left", idle.upstreams, 0),
        ("Exchanges left", idle.exchanges, 0),
        ("Tasks more than at the start", max(0, idle.tasks - fresh.tasks), 0),
        ("Files more than at the start", max(0, idle.files - fresh.files), 0),
    ]
    rows = [
        Row(f"Requests in {SECONDS:.0f} s, with {LEAVERS} clients that leave", f"{requests:,}"),
        at_most("Growth of the worker, from the third of the soak on", growth, 8.0, GROWTH),
        *(Row(what, str(n), str(bar), "met" if n <= bar else f"missed by {n}") for what, n, bar in left),
    ]
    head = ("seconds", "resident MiB", "files", "tasks", "clients", "upstream connections", "exchanges")
    lines = [(f"{at:.0f}", f"{seen.resident / MIB:.1f}", *map(str, seen[1:])) for at, seen in looks]
    Part(5, "soak", "Soak", rows, table(head, lines)).publish()
    assert [what for what, n, bar in left if n > bar] == []


@contextmanager
def _gateway(directory: Path) -> Iterator[tuple[Gateway, int, int]]:
    port, admin_port, upstream_port = find_free_port(), find_free_port(), find_free_port()
    data_dir = directory / "data"
    command = serve_command(port, admin_port, upstream_port, "--data-dir", str(data_dir))
    with running(admin_port, *on_core(cores()[0], *command)) as pid:
        yield Gateway("Scopegate", port, new_key(socket_url(data_dir), RULES), pid), admin_port, upstream_port


@contextmanager
def _upstream(directory: Path, port: int) -> Iterator[None]:
    config = directory / "upstream.conf"
    config.write_text(
        f"""worker_processes 1; daemon off; pid {directory}/upstream.pid; error_log /dev/null;
        events {{ worker_connections 4096; }}
        http {{ access_log off; keepalive_requests 1000000000;
          server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 '{{"id":"1"}}'; }} }} }}"""
    )
    with running(port, *on_core(cores()[1], require("nginx"), "-c", str(config))):
        yield


def _restart(directory: Path, port: int, over: threading.Event) -> None:
    """Let the upstream come and go."""
    chance = random.Random(1)
    while not over.is_set():
        with _upstream(directory, port):
            over.wait(chance.uniform(*UP))
        over.wait(chance.uniform(*DOWN))


def _load(gateway: Gateway) -> subprocess.Popen[str]:
    """Keep-alive clients that call as fast as they are answered, with whatever."""
    command = on_core(
        cores()[1],
        *(require("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS:.0f}s"),
        *("-H", f"X-API-Key: {gateway.key}", gateway.url()),
    )
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _leave(gateway: Gateway, over: threading.Event, seed: int) -> None:
    """Ask for something, and leave before, in the middle of, or after the answer, in all manners."""
    chance = random.Random(seed)
    bodies = [b"", b"Content-Length: 100000\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n"]
    for number in itertools.count():
        if over.is_set():
            return
        framing = bodies[number % len(bodies)]
        method = b"POST" if framing else b"GET"
        head = b"%b %b HTTP/1.1\r\nHost: h\r\nX-API-Key: %b\r\n%b\r\n"
        request = head % (method, PATH.encode(), gateway.key.encode(), framing) + b"5\r\nhello\r\n"
        with suppress(OSError), socket.create_connection(("127.0.0.1", gateway.port), timeout=2) as client:
            client.sendall(request[: chance.randrange(len(request))] if chance.random() < 0.3 else request)
            client.settimeout(chance.choice((0.001, 0.02, 0.1)))
            with suppress(TimeoutError):
                client.recv(chance.choice((1, 100, 4_096)))
            if chance.random() < 0.5:  # a reset in place of a goodbye
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def _worker(gateway: Gateway) -> int:
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        connection.recv(4_096)
        return holder(connection, gateway.pid)


def _left(worker: int, admin_port: int) -> Left:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics") as answer:
        text = answer.read().decode()

    def gauge(name: str) -> int:
        found = re.search(rf"^scopegate_{name} (\S+)$", text, re.MULTILINE)
        assert found is not None, name
        return int(float(found[1]))

    return Left(
        memory(worker).resident,
        len(list(Path(f"/proc/{worker}/fd").iterdir())),
        gauge("tasks"),
        gauge("client_connections"),
        gauge("upstream_connections"),
        gauge("exchanges_in_flight"),
    )
