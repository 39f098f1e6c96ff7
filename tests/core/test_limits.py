"""Requests that are too large."""

from __future__ import annotations

import pytest

from scopegate.core.errors import InvalidInput
from scopegate.core.limits import Limits
from scopegate.core.reasons import Reason

LIMITS = Limits(target=10, head=20, fields=3, body=100)


@pytest.mark.parametrize(
    ("fields", "size", "length", "reason"),
    [
        (0, 0, -1, None),
        (1, 16, 100, None),
        (2, 12, 100, None),
        (3, 8, 100, None),
        (1, 17, -1, Reason.HEAD_TOO_LARGE),
        (2, 13, -1, Reason.HEAD_TOO_LARGE),
        (4, 0, -1, Reason.HEAD_TOO_LARGE),
        (0, 0, 101, Reason.BODY_TOO_LARGE),
        (4, 0, 101, Reason.HEAD_TOO_LARGE),
    ],
)
def test_what_fits_passes_and_one_more_does_not(
    fields: int, size: int, length: int, reason: Reason | None
) -> None:
    assert LIMITS.exceeded(fields=fields, size=size, length=length) is reason


def test_a_body_may_have_no_limit() -> None:
    assert Limits(body=0).exceeded(fields=1, size=1, length=10**18 - 1) is None


@pytest.mark.parametrize("name", ["target", "head", "fields"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_that_nothing_fits_into_is_refused(name: str, value: int) -> None:
    with pytest.raises(InvalidInput) as invalid:
        Limits(**{name: value})
    assert invalid.value.field == name


def test_a_negative_limit_of_bodies_is_refused() -> None:
    with pytest.raises(InvalidInput):
        Limits(body=-1)
