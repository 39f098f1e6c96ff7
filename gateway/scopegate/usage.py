"""Counts what keys are used for, and writes it to the store now and then, behind the requests."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from scopegate.core.errors import ConfigurationError, StoreUnavailable
from scopegate.core.keys import TENANT_TAG_LENGTH
from scopegate.core.usage import HOUR, NO_RULE, Batch, Use, is_counted, of_secret, rule_id
from scopegate.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable

    from scopegate.core.decision import Decision
    from scopegate.core.keys import KeyRecord, Rule
    from scopegate.core.reasons import Reason
    from scopegate.metrics import StoreMetrics
    from scopegate.store.usage import UsageWriter

log = logging.getLogger("scopegate")

USAGE_INTERVAL = 10.0  # seconds
MOST_COUNTERS = 50_000  # some 20 MB
_BATCH = 250  # counters that are written in one step; others wait for it, some 1 ms
_SLICE = 200  # counters that are sorted before requests have their turn again
_LAST_FLUSH = 2.0  # seconds
_SPEAK_AGAIN = 600.0  # seconds

_K = TypeVar("_K")
_Place = tuple[str, int | None, "Reason"]  # digest of the secret, row of the rule, outcome


class _Counter:
    """Requests that are alike: how many, and the time of the last (seconds since 1970).

    ``rules`` are those that the key had: where they differ, the row of a rule means another.
    """

    __slots__ = ("at", "key_id", "requests", "rules")

    def __init__(self, key_id: str = "", rules: tuple[Rule, ...] = ()) -> None:
        self.key_id = key_id
        self.rules = rules
        self.requests = 0
        self.at = 0.0


class _Pending:
    """What is to be written of one tenant."""

    def __init__(self) -> None:
        self.counts: dict[Use, int] = {}
        self.last: dict[str, int] = {}
        self.missed = 0
        self.missed_until = 0
        self.batch: Batch | None = None  # given to the store, which has not acknowledged it

    def is_written(self) -> bool:
        """Whether nothing is left."""
        return self.batch is None and not self.counts and not self.last and not self.missed


class UsageRecorder:
    """Counts requests in one event loop, and has what it counted written every `interval` seconds.

    What cannot be written stays until it can be, and what is given to the store twice is added once. At
    most `most` counters are held; what would need another one is counted as missed, for its tenant.

    Args:
        interval: the seconds between two writes.
        metrics: where it is counted what became of that.
        most: how many counters are held.
        clock: tells the seconds since 1970.

    Raises:
        ConfigurationError: an interval that makes no sense.
    """

    def __init__(
        self,
        *,
        interval: float,
        metrics: StoreMetrics,
        most: int = MOST_COUNTERS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if interval <= 0:
            raise ConfigurationError("usage_interval", "It is a number of seconds, 0 or more.")
        self._interval = interval
        self._metrics = metrics
        self._most = most
        self._clock = clock
        self._id = secrets.token_hex(8)
        self._batches = 0
        self._since: float | None = None
        self._counters: dict[_Place, _Counter] = {}
        self._missed: dict[str, _Counter] = {}
        self._begins = self._ends = 0.0  # the hour in which is counted now; a clock put back shows at a flush
        self._done: list[tuple[int, dict[_Place, _Counter]]] = []
        self._held = 0
        self._pending: dict[str, _Pending] = {}
        self._throttle = Throttle(_SPEAK_AGAIN)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def record(self, decision: Decision, digest: str) -> None:
        """Count a request, if the secret of its key was proved; `digest` is that of the secret.

        Whatever goes wrong here is nothing to the request.
        """
        reason, record, rule, _ = decision
        if record is None:
            return
        try:
            now = self._clock()
            if now >= self._ends:
                self._turn(now)
            place = (digest, rule, reason)
            counter = self._counters.get(place)
            if counter is None or counter.rules is not record.rules:
                counter = self._counter(place, record)
            counter.requests += 1
            counter.at = now
        except Exception:
            if self._throttle.due("record") is not None:
                log.exception("a use of a key was not counted")

    def start(self, writer: UsageWriter) -> None:
        """Begin to write, in the running loop."""
        self._since = self._clock()
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._run(writer, self._stopping))

    async def stop(self) -> None:
        """Write what is left, if that is soon done, and nothing more."""
        task, self._task = self._task, None
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            return
        self._stopping.set()
        await asyncio.wait({task}, timeout=_LAST_FLUSH)
        task.cancel()
        left = self._held
        if left:
            log.warning("%d counts of what keys were used for could not be written", left)

    # Counting

    def _turn(self, now: float) -> None:
        """Put what was counted aside, and begin anew in the hour of `now`."""
        if self._counters:
            self._done.append((int(self._begins) // HOUR, self._counters))
            self._counters = {}
        self._begins = now // HOUR * HOUR
        self._ends = self._begins + HOUR

    def _counter(self, place: _Place, record: KeyRecord) -> _Counter:
        """The counter for requests of this key; the one at this place is of other rules, if there is one."""
        old = self._counters.get(place)
        if old is not None:
            if old.rules == record.rules:
                old.rules = record.rules
                return old
            self._done.append((int(self._begins) // HOUR, {place: self._counters.pop(place)}))
        if not is_counted(place[2]):
            return _Counter()
        if self._held >= self._most:
            return self._missed.setdefault(record.id[:TENANT_TAG_LENGTH], _Counter())
        self._held += 1
        counter = self._counters[place] = _Counter(record.id, record.rules)
        return counter

    # Writing

    async def _run(self, writer: UsageWriter, stopping: asyncio.Event) -> None:
        is_last = False
        while not is_last:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await stopping.wait()
            is_last = stopping.is_set()
            try:
                await self._flush(writer)
            except Exception:
                if self._throttle.due("flush") is not None:
                    log.exception("what keys were used for could not be written")

    async def _flush(self, writer: UsageWriter) -> None:
        """Write all that was counted; what cannot be written stays."""
        began, failed = time.monotonic(), False
        now = self._clock()
        self._turn(now)
        await self._sort()
        try:
            # Each time: where the store has lost it, and with it what was written, it counts from now on.
            await writer.begin(_milliseconds(self._since or now))
            self._since = None
        except StoreUnavailable as unavailable:
            self._failed(unavailable)
            failed = True
        for tag in tuple(self._pending):
            if failed and time.monotonic() - began > self._interval:
                return  # the others are the first the next time
            pending = self._pending[tag]
            try:
                await self._write(writer, tag, pending)
            except StoreUnavailable as unavailable:
                self._failed(unavailable)
                failed = True
            del self._pending[tag]
            if not pending.is_written():
                self._pending[tag] = pending

    async def _write(self, writer: UsageWriter, tag: str, pending: _Pending) -> None:
        while not pending.is_written():
            if pending.batch is None:
                pending.batch = self._batch(tag, pending)
            await writer.add(pending.batch, _milliseconds(self._clock()))
            self._held -= len(pending.batch.counts)
            pending.batch = None
            self._metrics.usage_written()

    def _batch(self, tag: str, pending: _Pending) -> Batch:
        self._batches += 1
        batch = Batch(
            recorder=self._id,
            number=self._batches,
            tag=tag,
            counts=_taken(pending.counts),
            last=_taken(pending.last),
            missed=pending.missed,
            missed_until=pending.missed_until,
        )
        pending.missed = 0
        return batch

    async def _sort(self) -> None:
        """Sort what was counted by what it is to be written as."""
        done, self._done = self._done, []
        sorted_ = 0
        for hour, counters in done:
            for (digest, row, reason), counter in counters.items():
                sorted_ += 1
                if not sorted_ % _SLICE:
                    await asyncio.sleep(0)
                key_id = counter.key_id
                pending = self._of(key_id[:TENANT_TAG_LENGTH])
                rule = NO_RULE if row is None else rule_id(counter.rules[row])
                use = Use(key_id, hour, rule, reason)
                if use in pending.counts:
                    self._held -= 1
                pending.counts[use] = pending.counts.get(use, 0) + counter.requests
                at = _milliseconds(counter.at)
                for used in (key_id, of_secret(key_id, digest)):
                    pending.last[used] = max(at, pending.last.get(used, 0))
        missed, self._missed = self._missed, {}
        for tag, counter in missed.items():
            self._metrics.usage_missed(counter.requests)
            pending = self._of(tag)
            pending.missed += counter.requests
            pending.missed_until = max(pending.missed_until, _milliseconds(counter.at))

    def _of(self, tag: str) -> _Pending:
        pending = self._pending.get(tag)
        if pending is None:
            pending = self._pending[tag] = _Pending()
        return pending

    def _failed(self, unavailable: StoreUnavailable) -> None:
        self._metrics.usage_not_written()
        if self._throttle.due(unavailable.code) is not None:
            log.warning(
                "what keys were used for is kept, for it cannot be written: %s %s",
                unavailable.message,
                unavailable.hint,
            )


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1_000)


def _taken(entries: dict[_K, int]) -> dict[_K, int]:
    """Some of `entries`, which are taken out of it."""
    if len(entries) <= _BATCH:
        taken = entries.copy()
        entries.clear()
        return taken
    return dict(entries.popitem() for _ in range(_BATCH))
