"""The promise of the live view, judged from outside: what clients were told, and when.

Pure: a history goes in, and what it breaks of the promise comes out. All times are seconds of one
clock. What a test did (a change of a key, a fault) took place somewhere between two moments; an
answer is held against the promise only where both of them leave no doubt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSALS = frozenset({401, 403})
UNAVAILABLE = 503
ALLOWED = 200
BROKEN_OFF = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client was told who sent a request with the key that is called `key` here."""

    key: str
    sent: float
    answered: float
    status: int  # `BROKEN_OFF`: the connection ended without a whole answer
    code: str = ""
    retry_after: bool = False


@dataclass(frozen=True, slots=True)
class Commit:
    """Redis says of `key` that it opens the request, or does not, from a moment in between on."""

    key: str
    begun: float
    acknowledged: float
    opens: bool


class Effect(Enum):
    """What a fault keeps the workers from."""

    CUT_OFF = "Redis can neither be read nor heard"
    DEAF = "changes are not heard, and nothing says so"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that sets in between `begun` and `in_force`, and is gone between `healing` and `ended`."""

    effect: Effect
    begun: float
    in_force: float
    healing: float = math.inf
    ended: float = math.inf


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised, in seconds; the defaults leave a busy machine some time.

    ``coherence`` is how late a change may count while it is told, ``notice`` how late where nothing
    says that it is not, ``sign_of_life`` how long before a fault Redis may have been heard last,
    ``recovery`` how long after a fault its effects may last, ``patience`` how long any answer may take,
    and ``patience_of_known`` how long one that needs no Redis may.
    """

    max_staleness: float
    coherence: float = 0.5
    notice: float = 2.0
    sign_of_life: float = 1.0
    recovery: float = 10.0
    patience: float = 6.0
    patience_of_known: float = 1.0

    def late_by(self, seconds: float) -> Promise:
        """The promise where each answer of Redis takes so much longer."""
        return replace(self, coherence=self.coherence + seconds)


@dataclass(slots=True)
class History:
    """What happened: keys that no commit is about open nothing.

    ``known`` are the keys that every worker has answered for before the first fault.
    """

    answers: list[Answer] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    known: frozenset[str] = frozenset()

    def states(self, key: str, since: float, until: float) -> set[bool]:
        """Whether `key` opened the request, at all moments that may lie between the two."""
        about = sorted((one for one in self.commits if one.key == key), key=lambda one: one.begun)
        found, opens, from_then_on = set(), False, -math.inf
        for one in [*about, Commit(key, math.inf, math.inf, opens=False)]:
            if from_then_on <= until and since <= one.acknowledged:
                found.add(opens)
            opens, from_then_on = one.opens, one.begun
        return found


def violations(history: History, promise: Promise) -> list[str]:
    """Everything in `history` that breaks `promise`; nothing, if it was kept."""
    return [
        f"{answer.key}: {answer.status} {answer.code}, sent at {answer.sent:.3f},"
        f" answered at {answer.answered:.3f}: {broken}"
        for answer in sorted(history.answers, key=lambda one: one.sent)
        for broken in _broken(answer, _circumstances(answer, history, promise), promise)
    ]


@dataclass(frozen=True, slots=True)
class _Circumstances:
    """What there was to know when an answer was given."""

    states: set[bool]  # of the key, as far as they may count
    known: bool
    cut_off: bool  # perhaps
    nobody_can_tell: bool  # but by what is known
    too_old: bool  # is what is known
    known_lately: bool  # so that nobody else is needed
    in_a_hurry: bool  # known so well that there is nothing to wait for


def _circumstances(answer: Answer, history: History, promise: Promise) -> _Circumstances:
    since = answer.sent - promise.coherence
    cut_off = []
    for fault in history.faults:
        if answer.answered < fault.begun or fault.ended + promise.recovery < answer.sent:
            continue
        if fault.effect is Effect.DEAF:
            since = min(since, answer.sent - promise.notice)
        else:
            since = min(since, fault.begun - promise.coherence)
            cut_off.append(fault)
    certain = [
        fault for fault in cut_off if fault.in_force <= answer.sent and answer.answered <= fault.healing
    ]
    states = history.states(answer.key, since, answer.answered)
    known = answer.key in history.known
    served = [
        (fault.begun, min(fault.begun + promise.max_staleness - promise.sign_of_life, fault.healing))
        for fault in cut_off
        if known and states == {True}
    ]
    return _Circumstances(
        states=states,
        known=known,
        cut_off=bool(cut_off),
        nobody_can_tell=bool(certain),
        too_old=any(answer.sent > fault.in_force + promise.max_staleness for fault in certain),
        known_lately=any(begun <= answer.sent and answer.answered <= end for begun, end in served),
        in_a_hurry=any(
            begun <= answer.sent and answer.sent + promise.patience_of_known <= end for begun, end in served
        ),
    )


def _broken(answer: Answer, then: _Circumstances, promise: Promise) -> Iterator[str]:
    if answer.status == UNAVAILABLE:
        yield from _wrongly_unavailable(answer, then)
    elif answer.status == ALLOWED or answer.status in REFUSALS:
        yield from _wrongly_decided(then, allowed=answer.status == ALLOWED)
    elif answer.status == BROKEN_OFF:
        yield from _wrongly_broken_off(then)
    else:
        yield "no answer that the gateway should give"
    wait = answer.answered - answer.sent
    if wait > promise.patience or (wait > promise.patience_of_known and then.in_a_hurry):
        yield "it took too long"


def _wrongly_unavailable(answer: Answer, then: _Circumstances) -> Iterator[str]:
    if answer.code != "store_unavailable" or not answer.retry_after:
        yield "unavailable, but not for the store, or without Retry-After"
    if not then.cut_off:
        yield "unavailable, though Redis could be read"
    if then.known_lately:
        yield "unavailable, though it was known lately"


def _wrongly_decided(then: _Circumstances, *, allowed: bool) -> Iterator[str]:
    if allowed not in then.states:
        yield "allowed, though it had been revoked" if allowed else "refused, though it opens the request"
    if then.nobody_can_tell and not then.known:
        yield "decided, though nothing was known of the key and Redis could not be read"
    if then.too_old:
        yield "decided, though what is known is too old"


def _wrongly_broken_off(then: _Circumstances) -> Iterator[str]:
    """An answer that has begun is cut off when the right to it goes, or is known no longer."""
    went = then.states == {True, False}
    if not went and (not then.cut_off or then.known_lately):
        yield "broken off, though it opens the request"


# Figures of what happened, for people


def longest_after_revocation(history: History) -> float:
    """How long after the acknowledgement of a revocation a request was sent that was allowed, at most."""
    longest = 0.0
    for revoked in (one for one in history.commits if not one.opens):
        again = min(
            (one.begun for one in history.commits if one.key == revoked.key and one.begun > revoked.begun),
            default=math.inf,
        )
        for answer in history.answers:
            if answer.key == revoked.key and answer.status == ALLOWED and answer.answered < again:
                longest = max(longest, answer.sent - revoked.acknowledged)
    return longest


def longest_outage_after(history: History, fault: Fault) -> float:
    """How long after the end of `fault` a request was sent that could not be decided, at most."""
    late = [answer.sent for answer in history.answers if answer.status == UNAVAILABLE]
    return max(0.0, *(sent - fault.ended for sent in [fault.ended, *late]))


def waits(history: History, fault: Fault, keys: frozenset[str], part: float) -> float:
    """The wait that `part` of the requests with `keys` that were under way during `fault` did not exceed."""
    times = sorted(
        answer.answered - answer.sent
        for answer in history.answers
        if answer.key in keys and fault.begun <= answer.answered and answer.sent <= fault.healing
    )
    return times[min(len(times) - 1, int(len(times) * part))] if times else math.nan
