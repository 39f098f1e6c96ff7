"""The checker of histories finds what is wrong, and nothing in what is right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from faults.history import (
    Answer,
    Commit,
    Effect,
    Fault,
    History,
    Promise,
    longest_after_revocation,
    longest_outage_after,
    violations,
    waits,
)

PROMISE = Promise(max_staleness=5.0, coherence=0.5, notice=2.0, sign_of_life=1.0, recovery=1.0)
OPENS = Commit("mine", 0.0, 0.0, opens=True)
REVOKED = Commit("mine", 100.0, 100.1, opens=False)
CUT_OFF = Fault(Effect.CUT_OFF, 200.0, 200.1, 210.0, 210.1)
DEAF = Fault(Effect.DEAF, 99.0, 99.1, 110.0, 110.1)


def allowed(sent: float, key: str = "mine", took: float = 0.01) -> Answer:
    return Answer(key, sent, sent + took, 200)


def refused(sent: float, key: str = "mine", took: float = 0.01) -> Answer:
    return Answer(key, sent, sent + took, 401, "key_disabled")


def unavailable(sent: float, key: str = "mine", took: float = 0.01) -> Answer:
    return Answer(key, sent, sent + took, 503, "store_unavailable", retry_after=True)


def broken_off(sent: float, key: str = "mine", took: float = 0.01) -> Answer:
    return Answer(key, sent, sent + took, 0, "ConnectionResetError")


def history(
    *answers: Answer, commits: tuple[Commit, ...] = (OPENS,), faults: tuple[Fault, ...] = ()
) -> History:
    return History([*answers], [*commits], [*faults], frozenset({"mine"}))


RIGHT = {
    "nothing happens": history(allowed(1.0), refused(1.0, "stranger")),
    "a revocation": history(allowed(99.0), refused(100.2), commits=(OPENS, REVOKED)),
    "just before it counts": history(allowed(100.5), commits=(OPENS, REVOKED)),
    "while it is made": history(allowed(100.05), refused(100.05), commits=(OPENS, REVOKED)),
    "in the middle of an answer": history(broken_off(100.05), commits=(OPENS, REVOKED)),
    "in the middle of an answer, when the bound is reached": history(broken_off(205.2), faults=(CUT_OFF,)),
    "it opens again": history(
        refused(150.0), allowed(160.2), commits=(OPENS, REVOKED, Commit("mine", 160.0, 160.1, opens=True))
    ),
    "deaf": history(allowed(101.9), refused(102.2), commits=(OPENS, REVOKED), faults=(DEAF,)),
    "cut off": history(
        allowed(203.0),
        unavailable(203.0, "other"),
        unavailable(204.5),
        unavailable(206.0),
        allowed(210.05),
        commits=(OPENS, replace(OPENS, key="other")),
        faults=(CUT_OFF,),
    ),
    "cut off, and revoked": history(
        allowed(203.0),
        refused(211.5),
        commits=(OPENS, Commit("mine", 201.0, 201.1, opens=False)),
        faults=(CUT_OFF,),
    ),
    "cut off, and known to be revoked": history(refused(203.0), commits=(OPENS, REVOKED), faults=(CUT_OFF,)),
    "an outage from before": history(unavailable(211.0), faults=(CUT_OFF,)),
    "sent before the end, answered after it": history(unavailable(209.9, took=0.5), faults=(CUT_OFF,)),
}

WRONG = {
    "a revoked key is allowed": (history(allowed(100.7), commits=(OPENS, REVOKED)), "revoked"),
    "a key that never was is allowed": (history(allowed(1.0, "stranger")), "revoked"),
    "a good key is refused": (history(refused(1.0)), "it opens"),
    "a good key is refused long after it opened again": (
        history(refused(161.0), commits=(REVOKED, Commit("mine", 160.0, 160.1, opens=True))),
        "it opens",
    ),
    "nobody can tell, for no reason": (history(unavailable(1.0)), "could be read"),
    "nobody can tell while only changes are not heard": (
        history(unavailable(105.0), faults=(DEAF,)),
        "could be read",
    ),
    "deaf for too long": (
        history(allowed(102.5), commits=(OPENS, REVOKED), faults=(DEAF,)),
        "revoked",
    ),
    "revoked before it was cut off": (
        history(allowed(203.0), commits=(OPENS, REVOKED), faults=(CUT_OFF,)),
        "revoked",
    ),
    "cut off, and the known are not served": (history(unavailable(203.0), faults=(CUT_OFF,)), "lately"),
    "cut off for longer than the bound": (history(allowed(205.2), faults=(CUT_OFF,)), "too old"),
    "refused by what is too old": (
        history(refused(205.2), commits=(OPENS, REVOKED), faults=(CUT_OFF,)),
        "too old",
    ),
    "cut off, and what is not known is allowed": (
        history(allowed(203.0, "other"), commits=(OPENS, replace(OPENS, key="other")), faults=(CUT_OFF,)),
        "nothing was known",
    ),
    "cut off, and what is not known is called wrong": (
        history(refused(203.0, "stranger"), faults=(CUT_OFF,)),
        "nothing was known",
    ),
    "it does not recover": (history(unavailable(211.2), faults=(CUT_OFF,)), "could be read"),
    "a revocation of the outage does not count after it": (
        history(
            allowed(211.7), commits=(OPENS, Commit("mine", 201.0, 201.1, opens=False)), faults=(CUT_OFF,)
        ),
        "revoked",
    ),
    "no Retry-After": (
        history(replace(unavailable(207.0), retry_after=False), faults=(CUT_OFF,)),
        "Retry-After",
    ),
    "another failure": (
        history(replace(unavailable(207.0), code="internal_error"), faults=(CUT_OFF,)),
        "not for the store",
    ),
    "a known key waits for the end": (
        history(allowed(202.0, took=4.0), faults=(replace(CUT_OFF, healing=204.0, ended=204.1),)),
        "too long",
    ),
    "a known key waits": (history(allowed(202.0, took=1.2), faults=(CUT_OFF,)), "too long"),
    "anybody waits": (history(refused(1.0, "stranger", took=6.5)), "too long"),
    "no answer": (history(broken_off(1.0)), "broken off"),
    "no answer long after the revocation": (
        history(broken_off(101.0), commits=(OPENS, REVOKED)),
        "broken off",
    ),
    "cut off, and the known are not answered": (history(broken_off(203.0), faults=(CUT_OFF,)), "broken off"),
    "an error of ours": (history(Answer("mine", 207.0, 207.1, 500), faults=(CUT_OFF,)), "no answer"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_history_that_keeps_the_promise_has_no_violation(name: str) -> None:
    assert violations(RIGHT[name], PROMISE) == []


@pytest.mark.parametrize("name", WRONG)
def test_a_history_that_breaks_the_promise_is_told_why(name: str) -> None:
    wrong, why = WRONG[name]
    found = violations(wrong, PROMISE)
    assert len(found) == 1
    assert why in found[0]


def test_the_figures_are_what_happened() -> None:
    told = history(
        *(allowed(99.0), allowed(100.4), allowed(170.0)),
        *(unavailable(204.0, took=0.3), unavailable(204.1, took=0.1), unavailable(210.5)),
        commits=(OPENS, REVOKED, Commit("mine", 160.0, 160.1, opens=True)),
        faults=(CUT_OFF,),
    )
    assert longest_after_revocation(told) == pytest.approx(0.3)
    assert longest_outage_after(told, CUT_OFF) == pytest.approx(0.4)
    assert waits(told, CUT_OFF, told.known, 0.99) == pytest.approx(0.3)
    assert waits(told, CUT_OFF, told.known, 0.0) == pytest.approx(0.1)
    assert longest_outage_after(history(allowed(1.0)), CUT_OFF) == 0.0
