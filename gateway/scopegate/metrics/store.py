"""What a worker counts and measures of the store: its live view, how late changes are, the clock."""

from __future__ import annotations

import math
from bisect import bisect_left

from scopegate.metrics.families import (
    BATCHES,
    CANARIES,
    CANARIES_TOTAL,
    CLOCK_SKEW,
    HIGHEST_LAG,
    MISSES,
    PROPAGATION,
    PROPAGATION_LAG,
    SLOT_SIZE,
    STORE_SILENCE,
    TRACKING_LOSSES,
    USAGE_BATCHES,
    USAGE_MISSED,
    VIEW_KEYS,
    VIEW_MISSES,
    VIEW_USERS,
    VIEWS_LIVE,
    forget_the_present,
)

_LOADED, _READ_THROUGH, _LAST_KNOWN = (VIEW_MISSES.first + row for row, _ in enumerate(MISSES))
_TOLD, _LOST, _NOT_MEASURED = (CANARIES_TOTAL.first + row for row, _ in enumerate(CANARIES))
_WRITTEN, _NOT_WRITTEN = (USAGE_BATCHES.first + row for row, _ in enumerate(BATCHES))


class StoreMetrics:
    """Counts in the slot of one worker, of which it has both readings: as integers and as floats."""

    __slots__ = ("_cells", "_floats")

    def __init__(self, cells: memoryview[int], floats: memoryview[float]) -> None:
        self._cells = cells
        self._floats = floats

    @classmethod
    def apart(cls) -> StoreMetrics:
        """One that counts for itself, where nobody looks."""
        slot = memoryview(bytearray(SLOT_SIZE))
        metrics = cls(slot.cast("q"), slot.cast("d"))
        forget_the_present(metrics._cells, metrics._floats)
        return metrics

    # The live view

    def view_is_live(self) -> None:
        """Redis tells of every change from now on."""
        self._cells[VIEWS_LIVE.first] = 1

    def view_is_not_live(self) -> None:
        """It does not; that counts as a loss if it did."""
        self._cells[TRACKING_LOSSES.first] += self._cells[VIEWS_LIVE.first]
        self._cells[VIEWS_LIVE.first] = 0

    def view_holds(self, *, keys: int, users: int) -> None:
        """Note how much is in the view."""
        self._cells[VIEW_KEYS.first] = keys
        self._cells[VIEW_USERS.first] = users

    def loaded(self) -> None:
        """Count a miss of a live view."""
        self._cells[_LOADED] += 1

    def read_through(self) -> None:
        """Count an answer that was read because the view is not live."""
        self._cells[_READ_THROUGH] += 1

    def last_known(self) -> None:
        """Count an answer from what was known before Redis was lost."""
        self._cells[_LAST_KNOWN] += 1

    def heard(self, now: float) -> None:
        """Note a sign of life of Redis; `now` is the monotonic time."""
        self._floats[STORE_SILENCE.since] = now

    # How late changes are

    def canary_waits(self, since: float) -> None:
        """A canary was written, and its worker ought to be told; `since` is the monotonic time."""
        self._floats[PROPAGATION_LAG.since] = since

    def canary_told(self, seconds: float) -> None:
        """Its worker was told, `seconds` after it began to write."""
        self._cells[_TOLD] += 1
        self._cells[PROPAGATION.first + bisect_left(PROPAGATION.bounds, seconds)] += 1
        self._floats[PROPAGATION.sum] += seconds
        self._measured(seconds)

    def canary_lost(self, seconds: float) -> None:
        """Its worker was not told within `seconds`, and waits no longer: so much is the lag at least."""
        self._cells[_LOST] += 1
        self._measured(seconds)

    def canary_refused(self) -> None:
        """It could not be written, so nothing is known of the lag any more."""
        self.canary_cut_off()
        self._floats[PROPAGATION_LAG.first] = math.nan

    def canary_cut_off(self) -> None:
        """The connection that ought to tell of it ended, which says nothing new of the lag."""
        self._cells[_NOT_MEASURED] += 1
        self._floats[PROPAGATION_LAG.since] = math.nan

    def _measured(self, seconds: float) -> None:
        floats = self._floats
        floats[PROPAGATION_LAG.first] = seconds
        floats[PROPAGATION_LAG.since] = math.nan
        if not seconds <= floats[HIGHEST_LAG.first]:  # which is NaN before the first
            floats[HIGHEST_LAG.first] = seconds

    # The clock

    def clock_skewed(self, seconds: float) -> None:
        """Note by how much the clock of this machine is ahead of that of Redis."""
        self._floats[CLOCK_SKEW.first] = seconds

    # What keys are used for

    def usage_written(self) -> None:
        """Count a batch that was written."""
        self._cells[_WRITTEN] += 1

    def usage_not_written(self) -> None:
        """Count an attempt to write a batch that failed."""
        self._cells[_NOT_WRITTEN] += 1

    def usage_missed(self, requests: int) -> None:
        """Count requests that were counted for no key."""
        self._cells[USAGE_MISSED.first] += requests
