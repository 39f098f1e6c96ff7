"""All connections are cut at once, over and over: all of them come back, and no more than there were."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

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
        before = seen.told()
        with seen.redis.client() as operator:
            assert operator.client_kill_filter(_type="normal", skipme=True) >= 2
        seen.switch("switched", enabled=enabled)
        seen.settle(200 if enabled else 401, "switched")
        seen.wait_until_others_are_told(before)
    seen.judge()  # Redis could be read all the time, so nothing but right answers will do


def test_many_workers_lose_all_connections_at_once(tmp_path: Path, figure: Callable[..., None]) -> None:
    with stage(tmp_path, workers=WORKERS, max_staleness=STALE) as many, many.scene() as seen:
        seen.create("switched")
        seen.call_every_worker("switched", workers=WORKERS)
        seen.known("switched")
        back = []
        for number in range(TIMES):
            before = seen.told()
            assert len(before) == WORKERS
            begun = time.monotonic()
            seen.proxy.cut()
            seen.wait_until_others_are_told(before)
            back.append(time.monotonic() - begun)
            opens = number % 2 == 1
            seen.switch("switched", enabled=opens)
            seen.settle(200 if opens else 401, "switched")
        # For each worker: what changes, a request, a canary, and the clock; one for the control plane.
        assert len(seen.proxy.links()) <= 4 * WORKERS + 1
        seen.judge()
        figure(slowest_return=max(back))
