"""Clocks that differ, as far as a measurement can tell."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.metrics import MetricsArea
from scopegate.metrics.families import CLOCK_SKEW
from scopegate.store import Store
from scopegate.store.clock import ClockWatch, certain_skew

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("before", "theirs", "after", "skew"),
    [
        (100.0, 100.0, 100.0, 0.0),
        (100.0, 90.0, 100.0, 10.0),
        (100.0, 110.0, 100.0, -10.0),
        (100.0, 100.2, 100.4, 0.0),  # just in the middle
        (100.0, 100.4, 100.4, 0.0),  # their clock may be right
        (100.0, 100.0, 100.4, 0.0),
        (100.0, 99.7, 100.4, 0.3),  # at least: theirs was read at 100.0 at the earliest
        (100.0, 100.7, 100.4, -0.3),
        (100.0, 90.0, 99.0, 9.0),  # ours was set back meanwhile
    ],
)
def test_a_skew_is_what_the_round_trip_does_not_explain(
    before: float, theirs: float, after: float, skew: float
) -> None:
    assert certain_skew(before, theirs, after) == pytest.approx(skew)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0.002)


@pytest.mark.parametrize(("ahead", "said"), [(0.0, []), (90.0, ["90.0 s ahead of"]), (-3600.0, ["s behind"])])
async def test_the_clock_is_compared_with_that_of_the_server(
    store: Store, caplog: pytest.LogCaptureFixture, ahead: float, said: list[str]
) -> None:
    area = MetricsArea(1)
    watch = ClockWatch(store._redis, area.worker(0).store, clock=lambda: time.time() + ahead)
    watch.start()
    await until(lambda: bool(area.measured(CLOCK_SKEW, 0.0)))
    watch.stop()
    [skew] = area.measured(CLOCK_SKEW, 0.0)
    assert skew == pytest.approx(ahead, abs=1.0)
    assert len(caplog.messages) == len(said)
    assert all(words in message for words, message in zip(said, caplog.messages, strict=True))


async def test_a_clock_that_may_not_be_read_is_not_compared(
    store_url: str, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    raw.execute_command("ACL", "SETUSER", "timeless", "on", ">secret", "+get", "+client|setname")
    store = Store.at(store_url.replace("unix://", "unix://timeless:secret@"))
    area = MetricsArea(1)
    watch = store.clock_watch(area.worker(0).store)
    watch.start()
    await until(lambda: bool(caplog.messages))
    watch.stop()
    assert caplog.messages == ["the clock of Redis cannot be read: NoPermissionError"]
    assert area.measured(CLOCK_SKEW, 0.0) == []
    await store.aclose()
    raw.acl_deluser("timeless")
