"""All connections are cut at once, over and over: all of them come back, and no more than there were."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from e2e.processes import wait_until
from faults.conftest import STALE
from faults.scene import STRANGER, stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from faults.scene import Scene

WORKERS = 20
TIMES = 5


def test_the_server_cuts_all_connections(seen: Scene) -> None:
    seen.create("kept", "switched")
    seen.call("kept", "switched", times=4)
    seen.call(STRANGER)
    seen.known("kept", "switched")
    for enabled in (False, True, False):
        with seen.redis.client() as operator:
            assert operator.client_kill_filter(_type="normal", skipme=True) >= 2
        seen.switch("switched", enabled=enabled)
        seen.settle(200 if enabled else 401, "switched")
        wait_until(lambda: seen.told_workers() == 2, "both are told of changes again")
    seen.judge()  # Redis could be read all the time, so nothing but right answers will do


def test_many_workers_lose_all_connections_at_once(tmp_path: Path, figure: Callable[..., None]) -> None:
    with stage(tmp_path, workers=WORKERS, max_staleness=STALE) as many, many.scene() as seen:
        seen.create("switched")
        clients = seen.call_every_worker("switched", workers=WORKERS)
        seen.known("switched")
        wait_until(lambda: seen.told_workers() == WORKERS, "all are told of changes")
        back = []
        for number in range(TIMES):
            begun = time.monotonic()
            seen.proxy.cut()
            wait_until(lambda: seen.told_workers() == WORKERS, "all are told of changes again")
            back.append(time.monotonic() - begun)
            opens = number % 2 == 1
            seen.switch("switched", enabled=opens)
            seen.settle(200 if opens else 401, "switched")
        # One each for what changes, for a request under way, and for the control plane.
        assert len(seen.proxy.links()) <= WORKERS + len(clients) + 1
        seen.judge()
        figure(slowest_return=max(back))
