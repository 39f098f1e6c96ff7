"""Which metrics there are, and where the values of each stand in a slot.

A slot is a row of 64-bit cells. No label holds anything that a client, a user or an upstream chose
freely, so the number of series is fixed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scopegate.core.keys import KeyType
from scopegate.core.reasons import Check, Reason, refused_by

PREFIX = "scopegate_"
OTHER = "other"

Labels = tuple[str, ...]

CELL = 8  # bytes
_CACHE_LINE = 64  # bytes; slots that shared one would slow their writers down


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A family of counters: one cell for each of its series, from the cell `first` on.

    Series that are `rare` are shown once they have counted something, the others from the start, so
    that the first event of a series shows as an increase.
    """

    name: str
    help: str
    first: int
    labels: Labels = ()
    series: tuple[Labels, ...] = ((),)
    rare: frozenset[Labels] = frozenset()

    @property
    def end(self) -> int:
        """The cell after the last one."""
        return self.first + len(self.series)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """A number that goes up and down, in one cell."""

    name: str
    help: str
    first: int

    @property
    def end(self) -> int:
        """The cell after it."""
        return self.first + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Durations: a cell for each bucket, one for what exceeds all bounds, and one for the sum.

    The sum is a float of 64 bits, everything else an integer.
    """

    name: str
    help: str
    first: int
    bounds: tuple[float, ...]

    @property
    def sum(self) -> int:
        """The cell of the sum."""
        return self.first + len(self.bounds) + 1

    @property
    def end(self) -> int:
        """The cell after the last one."""
        return self.sum + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What each worker measured last, a float in one cell; NaN while it has measured nothing.

    The one that is farthest from 0 is shown, or nothing if nobody has measured.
    """

    name: str
    help: str
    first: int

    @property
    def end(self) -> int:
        """The cell after it."""
        return self.first + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """How long each worker waited for something, in two cells of floats; NaN says that there is none.

    The cell `first` has the seconds of the last time, and `since` the moment (monotonic) from which it
    waits now. The longest is shown, and a wait that is not over counts with its age.
    """

    name: str
    help: str
    first: int

    @property
    def since(self) -> int:
        """The cell of the moment from which the worker waits."""
        return self.first + 1

    @property
    def end(self) -> int:
        """The cell after the last one."""
        return self.since + 1


Family = Counter | Gauge | Histogram | Measurement | Delay

KEY_TYPES = (*KeyType, None)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER)
STATUS_CLASSES = (OTHER, "1xx", "2xx", "3xx", "4xx", "5xx")
MISSES = ("loaded", "read_through", "last_known")
CANARIES = ("told", "lost", "not_measured")
BATCHES = ("written", "not_written")
QUESTIONS = ("answered", "failed", "not_asked")
FAILURES = ("upstream_unreachable", "upstream_protocol_error", "upstream_busy", "upstream_timeout")


def _result(reason: Reason) -> str:
    if reason is Reason.ALLOWED:
        return "allow"
    return "error" if refused_by(reason) is None else "deny"


def _is_rare(reason: Reason, key_type: KeyType | None) -> bool:
    """Whether `decide` does not give this reason for a key of this type, as things are."""
    check = refused_by(reason)
    if check is Check.SCOPE:
        return key_type is not KeyType.CUSTOM
    proved = reason is Reason.ALLOWED or check in {Check.KEY, Check.USER, Check.PRIVILEGES}
    return proved is (key_type is None)


def _decision(reason: Reason, key_type: KeyType | None) -> Labels:
    return (_result(reason), reason.value, "none" if key_type is None else key_type.value)


def _withdraws(reason: Reason) -> bool:
    """Whether what was let in can be refused with this reason when it is judged again."""
    check = refused_by(reason)
    if check is Check.CREDENTIAL:
        return reason in {Reason.KEY_UNKNOWN, Reason.KEY_SECRET_WRONG}
    return check is not Check.REQUEST and reason is not Reason.ALLOWED


DECISIONS = Counter(
    name="decisions_total",
    help="Decisions, by what came of them. The type of a key is known once its secret proved right.",
    labels=("result", "reason", "key_type"),
    series=tuple(_decision(reason, key_type) for reason in Reason for key_type in KEY_TYPES),
    rare=frozenset(
        _decision(reason, key_type)
        for reason in Reason
        for key_type in KEY_TYPES
        if _is_rare(reason, key_type)
    ),
    first=0,
)
HTTP_REQUESTS = Counter(
    name="http_requests_total",
    help="Requests of clients that were answered, by the answer's status class.",
    labels=("method", "code"),
    series=tuple((method, code) for method in METHODS for code in STATUS_CLASSES),
    rare=frozenset((method, code) for method in METHODS for code in (OTHER, "1xx")),
    first=DECISIONS.end,
)
UPSTREAM_FAILURES = Counter(
    name="upstream_failures_total",
    help="Exchanges that the upstream failed, by the code of the problem.",
    labels=("code",),
    series=tuple((code,) for code in FAILURES),
    first=HTTP_REQUESTS.end,
)
WITHDRAWALS = Counter(
    name="withdrawals_total",
    help="Requests and WebSockets that were let in and ended, by the reason for which they no longer may.",
    labels=("reason",),
    series=tuple((reason.value,) for reason in Reason if _withdraws(reason)),
    first=UPSTREAM_FAILURES.end,
)
WORKER_RESTARTS = Counter(
    name="worker_restarts_total",
    help="Workers that died and were started anew.",
    first=WITHDRAWALS.end,
)
DECISION_DURATION = Histogram(
    name="decision_duration_seconds",
    help="Time to decide, reading the store included. A sample: not every decision is timed.",
    bounds=(5e-6, 1e-5, 2e-5, 3e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25, 1.0),
    first=WORKER_RESTARTS.end,
)
UPSTREAM_DURATION = Histogram(
    name="upstream_request_duration_seconds",
    help="Time from a request sent upstream to its answer complete.",
    bounds=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    first=DECISION_DURATION.end,
)
EXCHANGES_IN_FLIGHT = Gauge(
    name="exchanges_in_flight",
    help="Requests that are with the upstream now.",
    first=UPSTREAM_DURATION.end,
)
CLIENT_CONNECTIONS = Gauge(
    name="client_connections",
    help="Connections of clients that are open now.",
    first=EXCHANGES_IN_FLIGHT.end,
)
UPSTREAM_CONNECTIONS = Gauge(
    name="upstream_connections",
    help="Connections to the upstream that are open now, idle ones included.",
    first=CLIENT_CONNECTIONS.end,
)
WEBSOCKET_RELAYS = Gauge(
    name="websocket_relays",
    help="WebSockets that are relayed now.",
    first=UPSTREAM_CONNECTIONS.end,
)
TASKS = Gauge(
    name="tasks",
    help="Tasks of the workers' event loops that have not ended.",
    first=WEBSOCKET_RELAYS.end,
)
VIEW_MISSES = Counter(
    name="view_misses_total",
    help="Keys and users that a decision needed and the live view did not answer, by what did.",
    labels=("answer",),
    series=tuple((answer,) for answer in MISSES),
    first=TASKS.end,
)
TRACKING_LOSSES = Counter(
    name="tracking_losses_total",
    help="Tracking connections that were lost. Until the next one is there, every request reads Redis.",
    first=VIEW_MISSES.end,
)
CANARIES_TOTAL = Counter(
    name="canaries_total",
    help="Canaries by what came of them: told, lost (not told within max_lag), or no measurement.",
    labels=("outcome",),
    series=tuple((outcome,) for outcome in CANARIES),
    first=TRACKING_LOSSES.end,
)
PROPAGATION = Histogram(
    name="propagation_seconds",
    help="Time from before a canary was written to Redis until its worker was told.",
    bounds=(1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
    first=CANARIES_TOTAL.end,
)
VIEWS_LIVE = Gauge(
    name="views_live",
    help="Workers that Redis tells of every change, and that therefore answer from their live view.",
    first=PROPAGATION.end,
)
VIEW_KEYS = Gauge(
    name="view_keys",
    help="Keys in the live views, those included that are known not to exist.",
    first=VIEWS_LIVE.end,
)
VIEW_USERS = Gauge(
    name="view_users",
    help="Users in the live views.",
    first=VIEW_KEYS.end,
)
PROPAGATION_LAG = Delay(
    name="propagation_lag_seconds",
    help="The propagation of the last canary, of the slowest worker; one that is waited for counts too.",
    first=VIEW_USERS.end,
)
HIGHEST_LAG = Measurement(
    name="propagation_lag_max_seconds",
    help="The slowest propagation of a canary since the workers started.",
    first=PROPAGATION_LAG.end,
)
STORE_SILENCE = Delay(
    name="store_silence_seconds",
    help="Time since the last sign of life on a tracking connection, of the worker that waits longest.",
    first=HIGHEST_LAG.end,
)
CLOCK_SKEW = Measurement(
    name="clock_skew_seconds",
    help="How far the clock here is surely ahead (behind: negative) of that of Redis.",
    first=STORE_SILENCE.end,
)
USAGE_BATCHES = Counter(
    name="usage_batches_total",
    help="Batches of what keys were used for, by what came of them. What is not written is kept.",
    labels=("outcome",),
    series=tuple((outcome,) for outcome in BATCHES),
    first=CLOCK_SKEW.end,
)
USAGE_MISSED = Counter(
    name="usage_missed_total",
    help="Requests that were counted for no key, for too much was waiting to be written.",
    first=USAGE_BATCHES.end,
)
PRIVILEGE_QUESTIONS = Counter(
    name="privilege_questions_total",
    help="Questions to the privilege source what a user may do, by what came of them.",
    labels=("outcome",),
    series=tuple((outcome,) for outcome in QUESTIONS),
    first=USAGE_MISSED.end,
)
PRIVILEGE_DURATION = Histogram(
    name="privilege_question_duration_seconds",
    help="Time from a question to the privilege source to its answer, or to its failure.",
    bounds=(5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5),
    first=PRIVILEGE_QUESTIONS.end,
)

FAMILIES: tuple[Family, ...] = (
    DECISIONS,
    HTTP_REQUESTS,
    UPSTREAM_FAILURES,
    WITHDRAWALS,
    WORKER_RESTARTS,
    DECISION_DURATION,
    UPSTREAM_DURATION,
    EXCHANGES_IN_FLIGHT,
    CLIENT_CONNECTIONS,
    UPSTREAM_CONNECTIONS,
    WEBSOCKET_RELAYS,
    TASKS,
    VIEW_MISSES,
    TRACKING_LOSSES,
    CANARIES_TOTAL,
    PROPAGATION,
    VIEWS_LIVE,
    VIEW_KEYS,
    VIEW_USERS,
    PROPAGATION_LAG,
    HIGHEST_LAG,
    STORE_SILENCE,
    CLOCK_SKEW,
    USAGE_BATCHES,
    USAGE_MISSED,
    PRIVILEGE_QUESTIONS,
    PRIVILEGE_DURATION,
)
SLOT_SIZE = -(-FAMILIES[-1].end * CELL // _CACHE_LINE) * _CACHE_LINE


def forget_the_present(integers: memoryview[int], floats: memoryview[float]) -> None:
    """Let the slot of a worker that is gone, or just begins, say nothing of what is now."""
    for family in FAMILIES:
        if isinstance(family, Gauge):
            integers[family.first] = 0
        elif isinstance(family, Measurement | Delay):
            for cell in range(family.first, family.end):
                floats[cell] = math.nan
