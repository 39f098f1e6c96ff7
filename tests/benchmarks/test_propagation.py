"""How long after a right is taken does the last request get through, with 1, 5 and 20 workers under load?

A request that is allowed although it was sent after the change is late; how late is what lies between. The
clock starts when the change is acknowledged to whoever made it, and, for comparison, when it is sent to
Redis, which adds the writing to the disk.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from bisect import bisect_left
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from benchmarks.peers import PATH, Gateway, json_upstream, new_key, serve_command, wait_until_it_answers
from benchmarks.programs import running
from benchmarks.report import Part, Row, Unit, at_most, table
from conftest import find_free_port
from scopegate.commands import Commands
from scopegate.store import Store
from scopegate.store.embedded import EmbeddedStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

WORKERS = (1, 5, 20)
CHANGES = int(os.environ.get("SCOPEGATE_PROPAGATION_CHANGES", "200"))  # for each number of workers
CONNECTIONS_OF_A_WORKER = 4
REQUESTS_A_SECOND = 4_000
ALLOWED, TAKEN = 0.06, 0.04  # seconds for which a right is there, and is not
BOUND = 10.0  # milliseconds
_WARMING = 1.0  # seconds, in which every worker answers
_OK = 200
_MS = Unit("ms", 2)
_HEAD = [f"{since} {part} ms" for since in ("acknowledged", "sent") for part in ("p50", "p99", "max")]


class Asked(NamedTuple):
    """One request of the probing client."""

    sent: float
    answered: float
    status: float


class Taken(NamedTuple):
    """A right was taken: when that was sent to Redis, when it was acknowledged, and when it came back."""

    sent: float
    acknowledged: float
    returned: float


class Late(NamedTuple):
    """How late after a change was acknowledged, and sent, the last allowed request was sent."""

    acknowledged: float
    sent: float


def late(taken: Sequence[Taken], asked: Sequence[Asked]) -> list[Late]:
    """How late the last allowed request of each change was, in seconds; 0 if none was."""
    allowed = sorted(one.sent for one in asked if one.status == _OK)
    last = [allowed[bisect_left(allowed, change.returned) - 1] for change in taken]
    return [
        Late(max(sent - change.acknowledged, 0.0), max(sent - change.sent, 0.0))
        for change, sent in zip(taken, last, strict=True)
    ]


def test_a_change_reaches_every_worker() -> None:
    rows: list[Row] = []
    lines = []
    for workers in WORKERS:
        run = _measure(workers)
        after = [one.acknowledged * 1_000 for one in run.late]
        since = [one.sent * 1_000 for one in run.late]
        too_late = sum(value > BOUND for value in after)
        rows.append(at_most(f"Change to last allowed, p99, {workers} workers", _p(after, 99), BOUND, _MS))
        verdict = f"missed by {too_late}" if too_late else "met"
        rows.append(Row(f"Changes that reached {workers} workers later", str(too_late), "0", verdict))
        figures = [_p(values, percent) for values in (after, since) for percent in (50, 99, 100)]
        figures.append(statistics.median((one.answered - one.sent) * 1_000 for one in run.asked))
        lines.append((str(workers), f"{run.rate:,.0f}", *(f"{figure:.2f}" for figure in figures)))
    head = ("workers", "requests/s", *_HEAD, "a request, p50 ms")
    Part(7, "propagation", "From a change to the last allowed request", rows, table(head, lines)).publish()


class _Run(NamedTuple):
    late: list[Late]
    asked: list[Asked]
    rate: float


def _measure(workers: int) -> _Run:
    with (
        tempfile.TemporaryDirectory(prefix="sg-") as path,
        json_upstream(Path(path)) as upstream,
        EmbeddedStore(Path(path) / "data") as store,
    ):
        port = find_free_port()
        key = new_key(store.url)
        command = serve_command(port, find_free_port(), upstream, "--redis-url", store.url)
        with running(port, *command, "--workers", str(workers)) as pid:
            wait_until_it_answers(Gateway("Scopegate", port, key, pid))
            with _probing(port, key, workers * CONNECTIONS_OF_A_WORKER) as prober:
                began = time.monotonic()
                taken = asyncio.run(_take_and_give_back(store.url))
                ended = time.monotonic()
                data, said = prober.communicate()
    numbers = array("d", data)
    assert not len(numbers) % 3, said[-2_000:]
    asked = [Asked(*numbers[at : at + 3]) for at in range(0, len(numbers), 3)]
    during = [one for one in asked if began < one.sent < ended]
    # A connection that is lost in the middle of an answer has no status.
    assert {one.status for one in during} <= {0, _OK, 401, 403}
    return _Run(late(taken, asked), during, len(during) / (ended - began))


@contextmanager
def _probing(port: int, key: str, connections: int) -> Iterator[subprocess.Popen[bytes]]:
    gap = connections / REQUESTS_A_SECOND
    script = str(Path(__file__).with_name("prober.py"))
    command = [sys.executable, script, str(port), PATH, key, str(connections), str(gap)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as prober:
        assert prober.stderr is not None
        assert prober.stderr.readline() == b"ready\n"
        yield prober


async def _take_and_give_back(url: str) -> list[Taken]:
    """Take the right of the only key in each way that there is, over and over."""
    store = Store.at(url)
    try:
        ways = await _ways(store)
        await asyncio.sleep(_WARMING)
        taken = []
        for number in range(CHANGES):
            take, give_back = ways[number % len(ways)]
            await asyncio.sleep(ALLOWED * random.uniform(0.8, 1.2))
            sent = time.monotonic()
            await take()
            acknowledged = time.monotonic()
            await asyncio.sleep(TAKEN)
            taken.append(Taken(sent, acknowledged, time.monotonic()))
            await give_back()
        return taken
    finally:
        await store.aclose()


async def _ways(
    store: Store,
) -> list[tuple[Callable[[], Awaitable[object]], Callable[[], Awaitable[object]]]]:
    """What takes the right, and what gives it back."""
    commands = Commands(store)
    record = (await commands.list_keys())[0]
    user = str(record.user)
    policies = await store.policies.get()
    powerless = replace(policies, roles={})
    return [
        (
            lambda: commands.set_enabled(record.id, enabled=False),
            lambda: commands.set_enabled(record.id, enabled=True),
        ),
        (lambda: commands.set_active(user, active=False), lambda: commands.set_active(user, active=True)),
        (lambda: store.policies.put(powerless), lambda: store.policies.put(policies)),
    ]


def _p(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
