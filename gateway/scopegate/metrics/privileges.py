"""What a worker counts and measures of its questions to a privilege source."""

from __future__ import annotations

from bisect import bisect_left

from scopegate.metrics.families import PRIVILEGE_DURATION, PRIVILEGE_QUESTIONS, QUESTIONS, SLOT_SIZE

_ANSWERED, _FAILED, _NOT_ASKED = (PRIVILEGE_QUESTIONS.first + row for row, _ in enumerate(QUESTIONS))


class PrivilegeMetrics:
    """Counts in the slot of one worker, of which it has both readings: as integers and as floats."""

    __slots__ = ("_cells", "_floats")

    def __init__(self, cells: memoryview[int], floats: memoryview[float]) -> None:
        self._cells = cells
        self._floats = floats

    @classmethod
    def apart(cls) -> PrivilegeMetrics:
        """One that counts for itself, where nobody looks."""
        slot = memoryview(bytearray(SLOT_SIZE))
        return cls(slot.cast("q"), slot.cast("d"))

    def answered(self, seconds: float) -> None:
        """Count a question that was answered, after so many seconds."""
        self._cells[_ANSWERED] += 1
        self._took(seconds)

    def failed(self, seconds: float) -> None:
        """Count a question that was not answered, or not with sense."""
        self._cells[_FAILED] += 1
        self._took(seconds)

    def not_asked(self) -> None:
        """Count a question that was not asked, for too many before it failed, or are under way."""
        self._cells[_NOT_ASKED] += 1

    def _took(self, seconds: float) -> None:
        self._cells[PRIVILEGE_DURATION.first + bisect_left(PRIVILEGE_DURATION.bounds, seconds)] += 1
        self._floats[PRIVILEGE_DURATION.sum] += seconds
