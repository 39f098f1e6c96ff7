"""The memory that the processes of one gateway share for their metrics."""

from __future__ import annotations

import math
import mmap
from typing import TYPE_CHECKING

from scopegate.metrics.families import SLOT_SIZE, WORKER_RESTARTS, Delay, forget_the_present
from scopegate.metrics.worker import WorkerMetrics

if TYPE_CHECKING:
    from scopegate.metrics.families import Measurement


class MetricsArea:
    """A slot for each worker and one for their parent.

    The parent makes the area before it forks, and every process that it forks then has it. A slot
    has one writer at a time. Its cells are aligned words, so a reader never sees half a value.

    The memory belongs to no file on purpose: the kernel makes the writers of a mapped file wait
    while it writes pages to the disk.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        memory = memoryview(mmap.mmap(-1, (workers + 1) * SLOT_SIZE))
        self._slots = [memory[start : start + SLOT_SIZE] for start in range(0, len(memory), SLOT_SIZE)]
        self._cells = [slot.cast("q") for slot in self._slots]
        self._floats = [slot.cast("d") for slot in self._slots]
        for integers, floats in zip(self._cells, self._floats, strict=True):
            forget_the_present(integers, floats)

    def worker(self, index: int) -> WorkerMetrics:
        """Take the slot of worker `index`, from 0, in that worker: its counters go on.

        The one that had the slot before must be gone.
        """
        if not 0 <= index < self.workers:
            raise IndexError(f"There is no worker {index}; they are {self.workers}, counted from 0.")
        return WorkerMetrics(self._slots[index])

    def worker_restarted(self, index: int) -> None:
        """Count, in the parent, that worker `index` died; to be called before it is started anew."""
        forget_the_present(self._cells[index], self._floats[index])
        self._cells[-1][WORKER_RESTARTS.first] += 1

    def total(self, cell: int) -> int:
        """The sum of a cell over all slots."""
        return sum(cells[cell] for cells in self._cells)

    def total_of_floats(self, cell: int) -> float:
        """The sum of a cell that holds a float."""
        return sum(floats[cell] for floats in self._floats)

    def measured(self, family: Measurement | Delay, now: float) -> list[float]:
        """What the workers that have measured it say, in seconds; `now` is the monotonic time."""
        said = []
        for floats in self._floats:
            seconds = [floats[family.first]]
            if isinstance(family, Delay):
                seconds.append(now - floats[family.since])
            known = [one for one in seconds if not math.isnan(one)]
            if known:
                said.append(max(known))
        return said
