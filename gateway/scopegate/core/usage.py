"""What keys are used for: what is counted, and what can be said of it afterwards.

A request counts once the secret of its key was proved, whether it was let in or not. What nobody proved
says nothing of the key.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from scopegate.core.errors import InvalidInput
from scopegate.core.keys import retiring_at
from scopegate.core.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scopegate.core.keys import KeyRecord, Rule

COUNTS_KEPT = timedelta(days=90)
LAST_USES_KEPT = timedelta(days=400)
NO_RULE = ""
HOUR = 3_600  # seconds
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_RULE_LENGTH = 12
_SECRET_LENGTH = 16


def rule_id(rule: Rule) -> str:
    """What the requests that a rule admits are counted under: a short hash of its text.

    So a count belongs to what the rule says, wherever the rule stands; edited, it is another rule.
    """
    return sha256(f"{rule.method} {rule.url}".encode()).hexdigest()[:_RULE_LENGTH]


def secret_id(digest: str) -> str:
    """What a secret of a key is called: the beginning of its digest, which tells nobody the secret."""
    return digest[:_SECRET_LENGTH]


def is_counted(reason: Reason) -> bool:
    """Whether a request whose secret was proved counts. A key that is gone by the clock has no use."""
    return reason is not Reason.KEY_DELETED


class Use(NamedTuple):
    """What is counted together: the requests with one key, within one hour, alike in what came of them.

    ``hour`` are the hours since 1970, in UTC. ``rule`` is the `rule_id` of the rule that admitted them,
    or `NO_RULE`.
    """

    key_id: str
    hour: int
    rule: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Batch:
    """What one recorder has counted of one tenant, to be added once.

    ``number`` grows with each batch of the recorder. ``last`` has when a key, or one of its secrets (as
    `of_secret` has it), was used last, in Unix milliseconds. ``missed`` requests, the last of them at
    ``missed_until``, were too many to be counted for their keys.
    """

    recorder: str
    number: int
    tag: str
    counts: Mapping[Use, int]
    last: Mapping[str, int]
    missed: int = 0
    missed_until: int = 0


def of_secret(key_id: str, digest: str) -> str:
    """What the last use of one secret of a key is kept under."""
    return f"{key_id}:{secret_id(digest)}"


# What can be said afterwards


class Known(StrEnum):
    """What is known of the last use of something."""

    USED = "used"
    NEVER = "never"
    NOT_SINCE = "not_since"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class LastUse:
    """The last use of a key or of one of its secrets, as far as it is known.

    ``at`` is when it was used, if it was; with `Known.NOT_SINCE` it is the moment from which on there was
    no use, while of the time before nothing is known; else None.
    """

    known: Known
    at: datetime | None = None


def last_use(at: datetime | None, *, created_at: datetime, known_since: datetime | None) -> LastUse:
    """What can be said truthfully.

    Args:
        at: the last use that was counted, if any was.
        created_at: before this there was nothing to use.
        known_since: from when on all uses are known; None if that cannot be told.
    """
    if at is not None:
        return LastUse(Known.USED, at)
    if known_since is None:
        return LastUse(Known.NOTHING)
    if created_at >= known_since:
        return LastUse(Known.NEVER)
    return LastUse(Known.NOT_SINCE, known_since)


def known_since(
    counted_since: datetime | None, missed_until: datetime | None, now: datetime
) -> datetime | None:
    """From when on all last uses are known: since all are counted, none was missed and none forgotten."""
    if counted_since is None:
        return None
    return max(counted_since, missed_until or counted_since, now - LAST_USES_KEPT)


@dataclass(frozen=True, slots=True)
class KeyLastUse:
    """The last use of a key with whatever secret, and of each of the secrets that are valid now.

    ``retiring`` is None where only one is.
    """

    key: LastUse
    current: LastUse
    retiring: LastUse | None = None


def key_last_use(
    record: KeyRecord, uses: Mapping[str, datetime], *, known_since: datetime | None, now: datetime
) -> KeyLastUse:
    """What can be said of a key.

    Args:
        record: the key.
        uses: the last uses that were counted, under the key's id and as `of_secret`.
        known_since: as `last_use` has it.
        now: which secrets are valid depends on it.
    """

    def of(name: str) -> LastUse:
        return last_use(uses.get(name), created_at=record.created_at, known_since=known_since)

    retiring = retiring_at(record, now)
    return KeyLastUse(
        key=of(record.id),
        current=of(of_secret(record.id, record.digest)),
        retiring=None if retiring is None else of(of_secret(record.id, retiring.digest)),
    )


@dataclass(frozen=True, slots=True)
class Count:
    """How many requests had one outcome within the hour that begins at ``hour`` (UTC).

    ``rule`` is the `rule_id` of the rule that admitted them, or `NO_RULE`: the key has no rules, or none
    admitted them.
    """

    hour: datetime
    rule: str
    reason: Reason
    requests: int


@dataclass(frozen=True, slots=True)
class Span:
    """What came of the requests within the time that begins at ``start``."""

    start: datetime
    reasons: Mapping[Reason, int] = field(default_factory=dict)

    @property
    def allowed(self) -> int:
        """Requests that were let in."""
        return self.reasons.get(Reason.ALLOWED, 0)

    @property
    def refused(self) -> int:
        """Requests that were not."""
        return sum(self.reasons.values()) - self.allowed


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """What came of the requests with one key, from the day ``first`` to the day ``last`` (UTC).

    ``counts`` are in the order of their hours. Nothing was counted before ``counted_since``; None says that
    nobody has counted yet.
    """

    first: date
    last: date
    counts: tuple[Count, ...]
    counted_since: datetime | None

    def in_all(self) -> Span:
        """All of it together."""
        return _span(_midnight(self.first), self.counts)

    def of_rule(self, rule: Rule | None) -> KeyUsage:
        """What one rule has admitted, as it reads now; None: what no rule has."""
        wanted = NO_RULE if rule is None else rule_id(rule)
        counts = tuple(count for count in self.counts if count.rule == wanted)
        return KeyUsage(self.first, self.last, counts, self.counted_since)

    def by_hour(self) -> list[Span]:
        """Hour by hour, those without requests included."""
        return self._series(_HOUR)

    def by_day(self) -> list[Span]:
        """Day by day, those without requests included."""
        return self._series(_DAY)

    def _series(self, step: timedelta) -> list[Span]:
        begin = _midnight(self.first)
        spans: list[list[Count]] = [[] for _ in range((_midnight(self.last) + _DAY - begin) // step)]
        for count in self.counts:
            spans[(count.hour - begin) // step].append(count)
        return [_span(begin + row * step, counts) for row, counts in enumerate(spans)]


def days(first: date, last: date) -> list[date]:
    """The days from `first` to `last`, both included.

    Raises:
        InvalidInput: there is none, or there are more than counts are kept for.
    """
    if not timedelta(0) <= last - first < COUNTS_KEPT:
        raise InvalidInput(
            "period",
            f"The days from {first} to {last} are no period that can be shown.",
            hint=f"Choose 1 to {COUNTS_KEPT.days} days, the first one first.",
            code="period_invalid",
        )
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _span(start: datetime, counts: tuple[Count, ...] | list[Count]) -> Span:
    reasons: Counter[Reason] = Counter()
    for count in counts:
        reasons[count.reason] += count.requests
    return Span(start, dict(reasons))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
