"""The vocabulary of outcomes."""

from __future__ import annotations

import re

import pytest

from scopegate.core import reasons
from scopegate.core.reasons import Check, Reason, RequestRefused, refused_by

NO_CHECK = {
    Reason.ALLOWED,
    Reason.STORE_UNAVAILABLE,
    Reason.PRIVILEGES_UNAVAILABLE,
    Reason.MATCHING_FAILED,
    Reason.INTERNAL_ERROR,
}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_to_refuse_belongs_to_exactly_one_check(reason: Reason) -> None:
    checks = [check for check, listed in reasons._CHECKS.items() for name in listed if name is reason]
    assert len(checks) == (0 if reason in NO_CHECK else 1)
    assert refused_by(reason) is (checks[0] if checks else None)


def test_the_checks_are_listed_in_the_order_in_which_they_are_made() -> None:
    assert list(reasons._CHECKS) == list(Check)


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_a_slug_named_like_its_member(reason: Reason) -> None:
    assert re.fullmatch(r"[a-z]+[a-z0-9_]*", reason.value)
    assert reason.name.lower() == reason.value


def test_a_refused_request_tells_its_reason_and_nothing_of_the_request() -> None:
    refused = RequestRefused(Reason.PATH_BACKSLASH)
    assert refused.reason is Reason.PATH_BACKSLASH
    assert str(refused) == "path_backslash"
