"""Requests that are too large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scopegate.core.errors import InvalidInput
from scopegate.core.limits import Limits
from scopegate.core.reasons import Reason

if TYPE_CHECKING:
    from scopegate.core.headers import Field

LIMITS = Limits(target=10, head=20, fields=3, body=100)


@pytest.mark.parametrize(
    ("target", "headers", "length", "reason"),
    [
        (10, [(b"a", b"b")], 100, None),
        (0, [], -1, None),
        (11, [], -1, Reason.TARGET_TOO_LONG),
        (10, [(b"abcdefgh", b"12345678")], -1, None),
        (10, [(b"abcdefgh", b"123456789")], -1, Reason.HEAD_TOO_LARGE),
        (10, [(b"abcd", b"12"), (b"abcd", b"12")], -1, None),
        (10, [(b"abcd", b"12"), (b"abcd", b"123")], -1, Reason.HEAD_TOO_LARGE),
        (10, [(b"a", b"")] * 3, -1, None),
        (10, [(b"a", b"")] * 4, -1, Reason.HEAD_TOO_LARGE),
        (10, [], 101, Reason.BODY_TOO_LARGE),
        (11, [(b"a", b"")] * 4, 101, Reason.TARGET_TOO_LONG),
        (10, [(b"a", b"")] * 4, 101, Reason.HEAD_TOO_LARGE),
    ],
)
def test_what_fits_passes_and_one_more_does_not(
    target: int, headers: list[Field], length: int, reason: Reason | None
) -> None:
    assert LIMITS.exceeded(target, headers, length=length) is reason


def test_a_body_may_have_no_limit() -> None:
    assert Limits(body=0).exceeded(1, [], length=10**18 - 1) is None


@pytest.mark.parametrize("name", ["target", "head", "fields"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_that_nothing_fits_into_is_refused(name: str, value: int) -> None:
    with pytest.raises(InvalidInput) as invalid:
        Limits(**{name: value})
    assert invalid.value.field == name


def test_a_negative_limit_of_bodies_is_refused() -> None:
    with pytest.raises(InvalidInput):
        Limits(body=-1)
