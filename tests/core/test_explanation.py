"""Explanations follow from the decision's own reason."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scopegate.core.decision import Decision
from scopegate.core.explanation import Outcome, Step, explain
from scopegate.core.keys import KeyRecord, KeyType, Rule
from scopegate.core.reasons import Check, Reason, refused_by
from scopegate.core.request import CanonicalRequest

REQUEST = CanonicalRequest("GET", "/api/x")
RECORD = KeyRecord(
    id="000000000001",
    tenant="default",
    type=KeyType.CUSTOM,
    digest="d",
    description="d",
    created_at=datetime(2027, 1, 1, tzinfo=UTC),
    user="maria",
    rules=(Rule("GET", "/api/*"),),
)


@pytest.mark.parametrize("reason", [reason for reason in Reason if refused_by(reason)])
def test_checks_before_the_failed_one_passed_and_later_ones_were_not_reached(reason: Reason) -> None:
    steps = explain(Decision(reason, RECORD, 0, ("a", "b")), REQUEST)
    failed = list(Check).index(refused_by(reason))  # type: ignore[arg-type] # the parameters have one
    outcomes = [step.outcome for step in steps]
    assert outcomes[failed] is Outcome.FAILED
    assert set(outcomes[:failed]) <= {Outcome.PASSED, Outcome.NOT_NEEDED}
    assert set(outcomes[failed + 1 :]) <= {Outcome.NOT_REACHED}
    assert steps[failed].detail == f"{reason}: a, b"


def test_an_allowed_request_passed_every_check() -> None:
    steps = {step.check: step for step in explain(Decision(Reason.ALLOWED, RECORD, 0), REQUEST)}
    assert {step.outcome for step in steps.values()} == {Outcome.PASSED}
    assert steps[Check.SCOPE].detail == "row 1: GET /api/*"
    assert steps[Check.USER].detail == "maria"


def test_what_a_key_is_not_bound_to_is_not_needed() -> None:
    desktop = KeyRecord(
        id="1",
        tenant="default",
        type=KeyType.DESKTOP,
        digest="d",
        description="d",
        created_at=RECORD.created_at,
    )
    steps = {step.check: step.outcome for step in explain(Decision(Reason.ALLOWED, desktop), REQUEST)}
    assert steps[Check.SCOPE] is Outcome.NOT_NEEDED
    assert steps[Check.PRIVILEGES] is Outcome.NOT_NEEDED


@pytest.mark.parametrize("reason", [Reason.STORE_UNAVAILABLE, Reason.MATCHING_FAILED, Reason.INTERNAL_ERROR])
def test_where_nobody_could_tell_no_check_was_reached(reason: Reason) -> None:
    assert {step.outcome for step in explain(Decision(reason), None)} == {Outcome.NOT_REACHED}


def test_where_a_source_did_not_say_the_check_of_the_user_tells_why() -> None:
    steps = {
        step.check: step
        for step in explain(Decision(Reason.PRIVILEGES_UNAVAILABLE, RECORD), REQUEST, said="It is silent.")
    }
    assert steps[Check.KEY].outcome is Outcome.PASSED
    assert steps[Check.USER] == Step(Check.USER, Outcome.FAILED, "privileges_unavailable (It is silent.)")
    assert steps[Check.PRIVILEGES].outcome is Outcome.NOT_REACHED


def test_who_said_what_the_user_may_do_stands_behind_the_checks_of_the_user() -> None:
    decision = Decision(Reason.PRIVILEGE_MISSING, RECORD, 0, ("calls.view",))
    told = {step.check: step.detail for step in explain(decision, REQUEST, said="the source http said so")}
    assert told[Check.USER].endswith("(the source http said so)")
    assert told[Check.PRIVILEGES] == "privilege_missing: calls.view (the source http said so)"
    assert "said so" not in told[Check.KEY] + told[Check.SCOPE]
