"""Do 300 administrators at once slow down the data plane?

Both planes, the store, the upstream and all clients share two cores. So that what is the store's or the
code's can be told from what is only the processors', there is a third setting: two processes that count, and
use neither the gateway nor the store.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.administrators import NICENESS
from benchmarks.memory import family, holder
from benchmarks.peers import PATH, Gateway, json_upstream, new_key, serve_command, wait_until_it_answers
from benchmarks.programs import require, running, stop
from benchmarks.report import Part, Row, Unit, at_least, at_most, table
from conftest import find_free_port
from e2e.processes import listens, wait_until
from scopegate.administration import Administration
from scopegate.commands import Commands
from scopegate.core.administrators import Role, operator
from scopegate.core.keys import KeyType
from scopegate.serving import CONTROL_NICENESS
from scopegate.store import Store
from scopegate.store.embedded import socket_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]

ADMINISTRATORS = 300
KEYS = 300  # of the tenant that is listed
TENANTS = ("north", "south", "east", "west")
ROUNDS = 5
SECONDS = 2.0
CONNECTIONS, GAP = 8, 0.01  # a small load: about 750 requests a second
MANY = 32
CALLS = 100  # of each kind, by one administrator
ALONE, ADMINISTERED, COUNTED = "alone", f"{ADMINISTRATORS} administrators", "two processes that count"
_COUNT = "import os; os.nice({})\nwhile True: sum(range(10_000))"
_BESIDE = Unit("x")
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """Milliseconds of a request of the small load, and requests a second of the large one."""

    p50: float
    p99: float
    rate: float


@dataclass(frozen=True)
class Instance:
    """A running gateway, and what its administrators need to know, as JSON."""

    gateway: Gateway
    admin_port: int
    known: str
    directory: Path
    processes: Mapping[str, int]


def test_three_hundred_administrators_beside_the_data_plane() -> None:
    found: dict[str, list[Measured]] = {}
    answered: list[dict[str, int]] = []
    busy: list[dict[str, float]] = []
    with _running() as instance:
        settings: dict[str, Callable[[], AbstractContextManager[None]]] = {
            ALONE: nullcontext,
            ADMINISTERED: lambda: _administrators(instance, answered, busy),
            COUNTED: _counting,
        }
        _small_load(instance, 0.5)
        calls = _one_administrator(instance)
        for _ in range(ROUNDS):  # interleaved, so that a slow moment of the machine meets all of them
            for name, setting in settings.items():
                with setting():
                    found.setdefault(name, []).append(_measure(instance))
    medians = {name: _median(runs) for name, runs in found.items()}
    statuses = {status for one in answered for status in one}
    assert statuses <= {"200", "201", "204"}, statuses
    _report(medians, found, answered, busy)
    rows = [Row(f"{name}, one administrator", f"p50 {ms:.1f} ms") for name, ms in calls.items()]
    Part(11, "administration", "One administrator at a time", rows, "").publish()


def _one_administrator(instance: Instance) -> dict[str, float]:
    """The median milliseconds of a call on a connection that is kept, while nobody else asks."""
    known = json.loads(instance.known)
    creation = json.dumps({"type": "external", "description": "made by a benchmark"})
    calls = {
        "Show a key": ("GET", f"/keys/{known['key']}?tenant=full", None, 200),
        f"List 50 of {KEYS} keys": ("GET", "/keys?tenant=full", None, 200),
        "Create a key": ("POST", f"/keys?tenant={TENANTS[0]}", creation, 201),
    }
    headers = {"Authorization": f"Bearer {known['token']}", "Content-Type": "application/json"}
    connection = HTTPConnection("127.0.0.1", instance.admin_port, timeout=20.0)
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(CALLS):
        for name, (method, path, body, status) in calls.items():
            began = time.perf_counter()
            connection.request(method, f"/admin/v1{path}", body, headers)
            answer = connection.getresponse()
            answer.read()
            took[name].append((time.perf_counter() - began) * 1_000)
            assert answer.status == status, answer.status
    connection.close()
    return {name: statistics.median(one) for name, one in took.items()}


def _report(
    medians: Mapping[str, Measured],
    found: Mapping[str, list[Measured]],
    answered: list[dict[str, int]],
    busy: list[dict[str, float]],
) -> None:
    alone, beside = medians[ALONE], medians[ADMINISTERED]
    rate = statistics.median(sum(one.values()) for one in answered) / (2 * SECONDS)
    shares = {name: statistics.median(one[name] for one in busy) for name in busy[0]}
    head = ("beside", "p50 ms", "p99 ms", "p99 ms, of all rounds", f"requests/s, {MANY} connections")
    lines = [
        (
            name,
            f"{one.p50:.2f}",
            f"{one.p99:.2f}",
            f"{min(run.p99 for run in found[name]):.2f} - {max(run.p99 for run in found[name]):.2f}",
            f"{one.rate:,.0f}",
        )
        for name, one in medians.items()
    ]
    used = table(("of a core", *shares), [("busy", *(f"{share:.0%}" for share in shares.values()))])
    rows = [
        at_most(f"p50 beside {ADMINISTERED}", beside.p50 / alone.p50, 1.5, _BESIDE),
        at_most(f"p99 beside {ADMINISTERED}", beside.p99 / alone.p99, 3.0, _BESIDE),
        at_least(f"Requests/s beside {ADMINISTERED}", beside.rate / alone.rate, 0.8, _BESIDE),
        Row(f"Requests/s of {ADMINISTERED}", f"{rate:,.0f}"),
    ]
    Part(10, "bulkhead", "Administrators at the same time", rows, f"{table(head, lines)}\n{used}").publish()


@contextmanager
def _running() -> Iterator[Instance]:
    with tempfile.TemporaryDirectory(prefix="sg-") as path, json_upstream(Path(path)) as upstream:
        directory = Path(path)
        port, admin_port = find_free_port(), find_free_port()
        store = directory / "data"
        command = serve_command(port, admin_port, upstream, "--data-dir", str(store))
        with running(port, *command) as pid:
            gateway = Gateway("Scopegate", port, new_key(socket_url(store)), pid)
            wait_until_it_answers(gateway)
            wait_until(lambda: listens(admin_port), "the control plane listens")
            known = asyncio.run(_furnish(socket_url(store)))
            yield Instance(gateway, admin_port, known, directory, _processes(pid, port, admin_port))


async def _furnish(url: str) -> str:
    """Make tenants, keys and an administrator; what `administrators.py` has to know of them."""
    store = Store.at(url)
    try:
        administration = Administration(store, operator("benchmark"))
        full = await administration.create_tenant("full")
        for name in TENANTS:
            await administration.create_tenant(name)
        commands = Commands(store.of(full))
        for number in range(KEYS - 1):
            await commands.create_key(key_type=KeyType.EXTERNAL, description=f"key {number}")
        shown = await commands.create_key(key_type=KeyType.EXTERNAL, description="shown")
        eva = await administration.create_administrator(
            name="Eva", email="eva@example.com", role=Role.SYSTEM_ADMINISTRATOR
        )
        token = await administration.create_token(description="benchmark", administrator_id=eva.id)
    finally:
        await store.aclose()
    said = {"token": token.secret, "full": "full", "key": shown.record.id, "tenants": TENANTS}
    return json.dumps(said)


def _processes(pid: int, port: int, admin_port: int) -> dict[str, int]:
    found = {}
    for name, at in (("worker", port), ("control plane", admin_port)):
        with socket.create_connection(("127.0.0.1", at)) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: bench\r\n\r\n")
            connection.recv(1_000)
            found[name] = holder(connection, pid)
    [found["store"]] = [one for one in family(pid) if "valkey" in Path(f"/proc/{one}/comm").read_text()]
    return found


@contextmanager
def _administrators(
    instance: Instance, answered: list[dict[str, int]], busy: list[dict[str, float]]
) -> Iterator[None]:
    script = str(Path(__file__).with_name("administrators.py"))
    with subprocess.Popen(
        [sys.executable, script, str(instance.admin_port), str(ADMINISTRATORS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(f"{instance.known}\n")
        process.stdin.flush()
        assert process.stderr.readline() == "ready\n"
        of = {**instance.processes, "administrators": process.pid}
        before, began = _seconds(of), time.monotonic()
        yield
        passed = time.monotonic() - began
        busy.append({name: (at - before[name]) / passed for name, at in _seconds(of).items()})
        said, problem = process.communicate()
        assert process.returncode == 0, problem[-2_000:]
        answered.append(json.loads(said))


@contextmanager
def _counting() -> Iterator[None]:
    """Two processes that want a core each, with the niceness of the control plane and of its clients."""
    counting = [
        subprocess.Popen([sys.executable, "-c", _COUNT.format(niceness)])
        for niceness in (CONTROL_NICENESS, NICENESS)
    ]
    try:
        yield
    finally:
        for process in counting:
            stop(process)


def _seconds(processes: Mapping[str, int]) -> dict[str, float]:
    """The processor time that each has used so far."""
    found = {}
    for name, pid in processes.items():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found[name] = (int(fields[11]) + int(fields[12])) / _TICK
    return found


def _measure(instance: Instance) -> Measured:
    took = sorted(_small_load(instance, SECONDS))
    return Measured(took[len(took) // 2], took[len(took) * 99 // 100], _large_load(instance))


def _small_load(instance: Instance, seconds: float) -> list[float]:
    """The milliseconds that each request took; all have to be allowed."""
    script, gateway = str(Path(__file__).with_name("prober.py")), instance.gateway
    command = [sys.executable, script, str(gateway.port), PATH, gateway.key, str(CONNECTIONS), str(GAP)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as prober:
        assert prober.stderr is not None
        assert prober.stderr.readline() == b"ready\n"
        time.sleep(seconds)
        data, said = prober.communicate()
    numbers = array("d", data)
    assert numbers, said[-2_000:]
    assert set(numbers[2::3]) == {200.0}
    return [(after - sent) * 1_000 for sent, after in zip(numbers[0::3], numbers[1::3], strict=True)]


def _large_load(instance: Instance) -> float:
    """How many requests a second there are at the most; all have to be allowed."""
    script = instance.directory / "load.lua"
    script.touch(mode=0o600)
    script.write_text(f'wrk.headers["X-API-Key"] = "{instance.gateway.key}"\n')
    command = [require("wrk"), "-t1", f"-c{MANY}", f"-d{SECONDS:.0f}s", "-s", str(script)]
    report = subprocess.run(
        [*command, instance.gateway.url()], capture_output=True, text=True, check=True
    ).stdout
    assert "Non-2xx" not in report, report
    assert "Socket errors" not in report, report
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", report)
    assert rate is not None, report
    return float(rate[1])


def _median(measured: list[Measured]) -> Measured:
    return Measured(
        *(statistics.median(getattr(one, name) for one in measured) for name in vars(measured[0]))
    )
