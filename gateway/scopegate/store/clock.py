"""Compares the clock of this machine with that of Redis.

A worker judges expiry by its own clock, and Redis deletes expired records by its own. Where the two
differ much, at least one of them is wrong.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING

from scopegate.core.errors import StoreUnavailable
from scopegate.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable

    from scopegate.metrics import StoreMetrics
    from scopegate.store.servers import Servers

log = logging.getLogger("scopegate.store")

MAX_SKEW = 1.0  # seconds
_INTERVAL = 5.0  # seconds
_SPEAK_AGAIN = 600.0  # seconds; a wrong clock is wrong for long


def certain_skew(before: float, theirs: float, after: float) -> float:
    """By how many seconds our clock is ahead of theirs at the least; behind is negative.

    Their clock was read at some moment between our `before` and `after`, so half of that time is what
    the difference to the middle may be wrong by, and is taken off.
    """
    skew, error = (before + after) / 2 - theirs, abs(after - before) / 2
    return 0.0 if abs(skew) <= error else skew - math.copysign(error, skew)


class ClockWatch:
    """Measures the skew now and then, from `start` to `stop`.

    Args:
        servers: whose clock is asked for, of one of them.
        metrics: where the skew is shown.
        clock: tells the seconds since 1970.
    """

    def __init__(
        self, servers: Servers, metrics: StoreMetrics, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._servers = servers
        self._metrics = metrics
        self._clock = clock
        self._throttle = Throttle(_SPEAK_AGAIN)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to measure, in the running loop."""
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Measure no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _run(self) -> None:
        while self._task is asyncio.current_task():  # the client may swallow a cancellation
            await self._measure()
            await asyncio.sleep(_INTERVAL)

    async def _measure(self) -> None:
        before = self._clock()
        try:
            seconds, microseconds = await self._servers.step("", lambda redis: redis.time())
        except StoreUnavailable as error:
            kind = type(error.__cause__).__name__
            if self._throttle.due(kind) is not None:
                log.warning("the clock of Redis cannot be read: %s", kind)
            return
        skew = certain_skew(before, seconds + microseconds / 1_000_000, self._clock())
        self._metrics.clock_skewed(skew)
        if abs(skew) > MAX_SKEW and self._throttle.due("skew") is not None:
            log.warning(
                "the clock here is %.1f s %s that of Redis", abs(skew), "ahead of" if skew > 0 else "behind"
            )
