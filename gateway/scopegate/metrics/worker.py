"""What a worker counts. Every request passes here several times, so each step is a few bytecodes."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from scopegate.core.reasons import Reason
from scopegate.metrics.families import (
    CLIENT_CONNECTIONS,
    DECISION_DURATION,
    DECISIONS,
    EXCHANGES_IN_FLIGHT,
    HTTP_REQUESTS,
    KEY_TYPES,
    METHODS,
    OTHER,
    SLOT_SIZE,
    STATUS_CLASSES,
    TASKS,
    UPSTREAM_CONNECTIONS,
    UPSTREAM_DURATION,
    UPSTREAM_FAILURES,
    WEBSOCKET_RELAYS,
    WITHDRAWALS,
    forget_the_present,
)
from scopegate.metrics.privileges import PrivilegeMetrics
from scopegate.metrics.store import StoreMetrics

if TYPE_CHECKING:
    from scopegate.core.keys import KeyType

_ROW_OF_REASON = {reason: DECISIONS.first + row * len(KEY_TYPES) for row, reason in enumerate(Reason)}
_COLUMN_OF_KEY_TYPE = {key_type: column for column, key_type in enumerate(KEY_TYPES)}
_ROW_OF_METHOD = {
    method: HTTP_REQUESTS.first + row * len(STATUS_CLASSES) for row, method in enumerate(METHODS)
}
_ROW_OF_OTHER_METHOD = _ROW_OF_METHOD[OTHER]
_CELL_OF_FAILURE = {
    code: UPSTREAM_FAILURES.first + row for row, (code,) in enumerate(UPSTREAM_FAILURES.series)
}
_CELL_OF_WITHDRAWAL = {reason: WITHDRAWALS.first + row for row, (reason,) in enumerate(WITHDRAWALS.series)}
_DECISION_BUCKETS, _DECISION_BOUNDS, _DECISION_SUM = (
    DECISION_DURATION.first,
    DECISION_DURATION.bounds,
    DECISION_DURATION.sum,
)
_UPSTREAM_BUCKETS, _UPSTREAM_BOUNDS, _UPSTREAM_SUM = (
    UPSTREAM_DURATION.first,
    UPSTREAM_DURATION.bounds,
    UPSTREAM_DURATION.sum,
)
_IN_FLIGHT = EXCHANGES_IN_FLIGHT.first
# A prime, so that it does not keep step with a caller's own rhythm.
_DECISIONS_PER_SAMPLE = 61


class GaugeCell:
    """A number that goes up and down."""

    __slots__ = ("_cell", "_cells")

    def __init__(self, cells: memoryview[int], cell: int) -> None:
        self._cells = cells
        self._cell = cell

    def up(self) -> None:
        """One more."""
        self._cells[self._cell] += 1

    def down(self) -> None:
        """One less."""
        self._cells[self._cell] -= 1

    def set(self, value: int) -> None:
        """As many as `value`."""
        self._cells[self._cell] = value


class WorkerMetrics:
    """Counts in the slot of one worker, which nobody else writes to, so nothing is locked.

    It belongs to one thread: that of the worker's event loop. What the slot counted before goes on;
    what is open *now* starts from nothing. Without a slot it counts for itself.

    ``store`` is for what concerns the store and its live view, ``privileges`` for a privilege source.

    ``timing`` tells whether the next decision is one of those that are timed.
    """

    __slots__ = (
        "_cells",
        "_floats",
        "client_connections",
        "privileges",
        "store",
        "tasks",
        "timing",
        "upstream_connections",
        "websocket_relays",
    )

    def __init__(self, slot: memoryview | None = None) -> None:
        memory = memoryview(bytearray(SLOT_SIZE)) if slot is None else slot
        self._cells = memory.cast("q")
        self._floats = memory.cast("d")
        forget_the_present(self._cells, self._floats)
        self.timing = True
        self.client_connections = GaugeCell(self._cells, CLIENT_CONNECTIONS.first)
        self.upstream_connections = GaugeCell(self._cells, UPSTREAM_CONNECTIONS.first)
        self.tasks = GaugeCell(self._cells, TASKS.first)
        self.store = StoreMetrics(self._cells, self._floats)
        self.privileges = PrivilegeMetrics(self._cells, self._floats)
        self.websocket_relays = GaugeCell(self._cells, WEBSOCKET_RELAYS.first)

    def decided(self, reason: Reason, key_type: KeyType | None) -> None:
        """Count a decision; `key_type` is None unless the key's secret proved right."""
        cells = self._cells
        cell = _ROW_OF_REASON[reason] + _COLUMN_OF_KEY_TYPE[key_type]
        count = cells[cell] + 1
        cells[cell] = count
        self.timing = not count % _DECISIONS_PER_SAMPLE

    def decision_took(self, seconds: float) -> None:
        """Count the time of a decision, one that began while `timing` was set."""
        self._cells[_DECISION_BUCKETS + bisect_left(_DECISION_BOUNDS, seconds)] += 1
        self._floats[_DECISION_SUM] += seconds

    def answered(self, method: str, status: int) -> None:
        """Count an answer that a client was given, whoever made it."""
        row = _ROW_OF_METHOD.get(method, _ROW_OF_OTHER_METHOD)
        self._cells[row + status // 100 if 100 <= status <= 599 else row] += 1  # noqa: PLR2004

    def exchange_began(self) -> None:
        """A request is with the upstream, until `exchange_ended`."""
        self._cells[_IN_FLIGHT] += 1

    def exchange_ended(self, seconds: float | None = None) -> None:
        """The exchange is over; `seconds` is how long it took, if its answer came to its end."""
        cells = self._cells
        cells[_IN_FLIGHT] -= 1
        if seconds is not None:
            cells[_UPSTREAM_BUCKETS + bisect_left(_UPSTREAM_BOUNDS, seconds)] += 1
            self._floats[_UPSTREAM_SUM] += seconds

    def failed(self, code: str) -> None:
        """Count a failed exchange, unless its problem's `code` says that it was not the upstream's fault."""
        cell = _CELL_OF_FAILURE.get(code)
        if cell is not None:
            self._cells[cell] += 1

    def withdrew(self, reason: Reason) -> None:
        """Count the end of something that was let in and no longer may go on."""
        self._cells[_CELL_OF_WITHDRAWAL[reason]] += 1
