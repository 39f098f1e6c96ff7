"""A decision, check by check, for people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from scopegate.core.reasons import Check, Reason, refused_by

if TYPE_CHECKING:
    from scopegate.core.decision import Decision
    from scopegate.core.request import CanonicalRequest


_OF_THE_USER = frozenset({Check.USER, Check.PRIVILEGES})


class Outcome(StrEnum):
    """What became of one check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_NEEDED = "not needed"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Step:
    """One check, what became of it, and the facts that decided it."""

    check: Check
    outcome: Outcome
    detail: str = ""


def explain(decision: Decision, request: CanonicalRequest | None, *, said: str = "") -> tuple[Step, ...]:
    """The checks in the order in which they were made; those after a failed one were not reached.

    Nothing is judged again here: the decision's own reason says which check failed. ``said`` is who said what
    the user may do, or why nobody could tell, where it was not the directory.
    """
    failing = refused_by(decision.reason)
    if decision.reason is Reason.PRIVILEGES_UNAVAILABLE:
        failing = Check.USER
    steps = []
    outcome = Outcome.PASSED
    for check in Check:
        if outcome is Outcome.FAILED or (not decision.allowed and failing is None):
            outcome = Outcome.NOT_REACHED
        if check is failing:
            outcome = Outcome.FAILED
        step = _step(check, outcome, decision, request)
        steps.append(_attributed(step, said) if said and check in _OF_THE_USER else step)
    return tuple(steps)


def _attributed(step: Step, said: str) -> Step:
    if step.outcome not in {Outcome.PASSED, Outcome.FAILED}:
        return step
    return replace(step, detail=f"{step.detail} ({said})" if step.detail else said)


def _step(check: Check, outcome: Outcome, decision: Decision, request: CanonicalRequest | None) -> Step:
    if outcome is Outcome.NOT_REACHED:
        return Step(check, outcome)
    if outcome is Outcome.FAILED:
        missing = ": " + ", ".join(decision.missing) if decision.missing else ""
        return Step(check, outcome, f"{decision.reason}{missing}")
    return _passed(check, decision, request)


def _passed(check: Check, decision: Decision, request: CanonicalRequest | None) -> Step:
    record = decision.record
    match check:
        case Check.REQUEST if request is not None:
            return Step(check, Outcome.PASSED, f"{request.method} {request.path}")
        case Check.SCOPE if record is not None and decision.rule is None:
            return Step(check, Outcome.NOT_NEEDED, f"a key of type {record.type} is not bound to URLs")
        case Check.SCOPE if record is not None and decision.rule is not None:
            rule = record.rules[decision.rule]
            return Step(check, Outcome.PASSED, f"row {decision.rule + 1}: {rule.method} {rule.url}")
        case Check.USER | Check.PRIVILEGES if record is not None and record.user is None:
            return Step(check, Outcome.NOT_NEEDED, "the key acts for all users")
        case Check.USER if record is not None:
            return Step(check, Outcome.PASSED, f"{record.user}")
        case _:
            return Step(check, Outcome.PASSED)
