"""The canary: a record that a worker writes to see how soon Redis tells it of a change.

What is promised of the live view rests on one connection that tells all changes in time. The canary
measures that, with a change whose moment the worker knows. A connection on which nothing is told is
deceptive, however alive it looks: a server behind it that no longer is the primary, or a proxy that
passes answers but no pushes.

One canary stands for one tracking connection. In a cluster, where there is one to each master, new
ids lead to one master after the other.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import string
import time
from enum import Enum, auto
from typing import TYPE_CHECKING

from scopegate.core.errors import StoreUnavailable
from scopegate.store import layout
from scopegate.store.connection import translated
from scopegate.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable

    from scopegate.metrics import StoreMetrics
    from scopegate.store.servers import Servers

log = logging.getLogger("scopegate.store")

CANARY_INTERVAL = 1.0  # seconds
MAX_LAG = 1.0  # seconds
_LAST_LOOK = 0.05  # seconds for what had arrived before a deadline that a busy worker has overslept
_SPEAK_AGAIN = 600.0  # seconds; a user without the right to write has it for long

_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 12


def flock() -> str:
    """The first character of the ids of a worker, by which it asks to be told of its canaries.

    Redis walks over all prefixes that anybody asked for, at each command of whomever: a prefix for each
    worker would make thousands of workers slow one another down. So they share a few.
    """
    return secrets.choice(_ALPHABET)


def new_id(first: str) -> str:
    """An id that begins with `first`."""
    return first + "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH - len(first)))


class _State(Enum):
    RESTING = auto()
    WRITING = auto()
    WAITING = auto()


class CanaryWatch:
    """What counts as the answer to a canary, as a function of what happens; it asks no clock.

    Redis also tells of records that expire, and of writes whose acknowledgement was lost. So whenever
    something may still be told of a record, the next canary has a new id, and a canary is answered
    by its own id alone.

    Args:
        make_id: makes ids, each one new.
        lifetime: the seconds after which Redis lets a record expire that is not written again.
    """

    def __init__(self, make_id: Callable[[], str], lifetime: float) -> None:
        self._make_id = make_id
        self._lifetime = lifetime
        self._state = _State.RESTING
        self._clean = False
        self._since = float("-inf")
        self.id = ""

    def write(self, now: float) -> str:
        """A canary is about to be written; its id."""
        if not self._clean or now - self._since > self._lifetime / 2:
            self.id = self._make_id()
        self._clean = False
        self._state = _State.WRITING
        self._since = now
        return self.id

    def acknowledged(self, canary_id: str) -> bool:
        """Redis says that this one is written; whether its worker is still to be told."""
        if self._state is not _State.WRITING or canary_id != self.id:
            return False
        self._state = _State.WAITING
        return True

    def told(self, canary_id: str, now: float) -> float | None:
        """A change was told; the seconds since the writing began, if this is what was waited for.

        It may come before the acknowledgement, for that takes another connection.
        """
        if self._state is _State.RESTING or canary_id != self.id or now - self._since >= self._lifetime:
            return None
        self._state = _State.RESTING
        self._clean = True
        return now - self._since

    def give_up(self) -> bool:
        """It was refused, or took too long, or the connection is gone; whether it was unanswered."""
        unanswered = self._state is not _State.RESTING
        self._state = _State.RESTING
        self._clean = False
        return unanswered


class Canary:
    """Writes canaries for as long as there is a connection that ought to tell of them.

    Args:
        servers: where they are written, on ordinary connections.
        metrics: where they are counted.
        interval: the seconds between two of them.
        max_lag: the seconds after which one counts as lost, from its acknowledgement.
        clock: tells the seconds since some moment, the same for all processes.
    """

    def __init__(
        self,
        servers: Servers,
        metrics: StoreMetrics,
        *,
        interval: float = CANARY_INTERVAL,
        max_lag: float = MAX_LAG,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = servers
        self._metrics = metrics
        self._interval = interval
        self._max_lag = max_lag
        self._clock = clock
        first = flock()
        # Longer than any canary is waited for, so that none is answered by its own expiry.
        self._lifetime = 4 * interval + 4 * max_lag + 1.0
        self._watch = CanaryWatch(lambda: new_id(first), self._lifetime)
        self._told = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._throttle = Throttle(_SPEAK_AGAIN)
        self.prefix = layout.canary(first)

    def connected(self, distrust: Callable[[], None]) -> None:
        """From now on canaries ought to be told; `distrust` is called once if one is lost."""
        self.disconnected()
        self._task = asyncio.create_task(self._run(distrust))

    def disconnected(self) -> None:
        """Nothing is told any more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        if self._watch.give_up():
            self._metrics.canary_cut_off()

    def told(self, canary_id: str) -> None:
        """The record of a canary was written, or has expired; perhaps another worker's."""
        seconds = self._watch.told(canary_id, self._clock())
        if seconds is not None:
            self._metrics.canary_told(seconds)
            self._told.set()

    async def _run(self, distrust: Callable[[], None]) -> None:
        # The client may swallow a cancellation.
        while self._task is asyncio.current_task():
            if not await self._is_told():
                distrust()
                return
            await asyncio.sleep(self._interval)

    async def _is_told(self) -> bool:
        """Write a canary and wait; false if it is lost."""
        self._told.clear()
        canary_id = self._watch.write(self._clock())
        name, lifetime = layout.canary(canary_id), int(self._lifetime * 1000)
        try:
            with translated():
                async with asyncio.timeout(self._max_lag):
                    await self._servers.step(name, lambda redis: redis.set(name, b"", px=lifetime))
        except StoreUnavailable as error:
            if self._task is asyncio.current_task():
                self._refused(type(error.__cause__).__name__)
            return True
        if not self._watch.acknowledged(canary_id):
            return True
        since = self._clock()
        self._metrics.canary_waits(since)
        try:
            async with asyncio.timeout(self._max_lag):
                await self._told.wait()
        except TimeoutError:
            await asyncio.sleep(_LAST_LOOK)
        if self._told.is_set() or not self._watch.give_up():
            return True
        self._metrics.canary_lost(self._clock() - since)
        if self._throttle.due("lost") is not None:
            log.warning(
                "a change was not told within %s s; the tracking connection is not trusted", self._max_lag
            )
        return False

    def _refused(self, kind: str) -> None:
        if not self._watch.give_up():
            return  # it was told of all the same
        self._metrics.canary_refused()
        if self._throttle.due(kind) is not None:
            log.warning("how late changes are known is not measured, for no canary can be written: %s", kind)
