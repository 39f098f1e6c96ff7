"""Rotation: what a record becomes, and when it is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scopegate.core.errors import Conflict, InvalidInput
from scopegate.core.keys import KeyRecord, KeyType, RetiringSecret, retiring_at
from scopegate.core.rotation import DEFAULT_OVERLAP, MAX_OVERLAP, rotated

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
RECORD = KeyRecord(
    id="000abcdefghi",
    tenant="default",
    type=KeyType.EXTERNAL,
    digest="first",
    description="test",
    created_at=NOW,
)


def rotate(record: KeyRecord, digest: str = "second", **changes: Any) -> KeyRecord:
    given: dict[str, Any] = {"overlap": DEFAULT_OVERLAP, "now": NOW, "drop_retiring": False}
    return rotated(record, digest, **(given | changes))


@pytest.mark.parametrize("overlap", [INSTANT, DEFAULT_OVERLAP, MAX_OVERLAP])
def test_the_old_secret_retires_and_nothing_else_changes(overlap: timedelta) -> None:
    record = rotate(RECORD, overlap=overlap)
    assert record == replace(RECORD, digest="second", retiring=RetiringSecret("first", NOW + overlap))
    assert retiring_at(record, NOW + overlap - INSTANT) == record.retiring
    assert retiring_at(record, NOW + overlap) is None


def test_without_overlap_nothing_retires() -> None:
    assert rotate(RECORD, overlap=timedelta(0)) == replace(RECORD, digest="second")


@pytest.mark.parametrize("overlap", [-INSTANT, MAX_OVERLAP + INSTANT])
def test_an_overlap_has_bounds(overlap: timedelta) -> None:
    with pytest.raises(InvalidInput) as refused:
        rotate(RECORD, overlap=overlap)
    assert (refused.value.field, refused.value.code) == ("overlap", "overlap_invalid")


def test_only_two_secrets_are_ever_valid() -> None:
    twice = rotate(rotate(RECORD), "third", drop_retiring=True)
    assert (twice.digest, twice.retiring) == ("third", RetiringSecret("second", NOW + DEFAULT_OVERLAP))


def test_a_secret_that_retires_is_not_dropped_unasked() -> None:
    once = rotate(RECORD)
    with pytest.raises(Conflict) as refused:
        rotate(once, "third", now=NOW + DEFAULT_OVERLAP - INSTANT)
    assert refused.value.code == "secret_retiring"
    assert rotate(once, "third", now=NOW + DEFAULT_OVERLAP).digest == "third"


@pytest.mark.parametrize("expired_for", [timedelta(0), timedelta(days=8)])
def test_an_expired_key_is_refused(expired_for: timedelta) -> None:
    with pytest.raises(Conflict) as refused:
        rotate(replace(RECORD, expires_at=NOW - expired_for))
    assert refused.value.code == "key_expired"
    assert "extend" in str(refused.value.hint)


@pytest.mark.parametrize(
    "facts",
    [{"type": KeyType.DESKTOP}, {"type": KeyType.CUSTOM}, {"enabled": False}, {"expires_at": NOW + INSTANT}],
    ids=str,
)
def test_every_other_key_can_be_rotated(facts: dict[str, Any]) -> None:
    assert rotate(replace(RECORD, **facts)).digest == "second"


def test_an_end_without_a_time_zone_is_none() -> None:
    with pytest.raises(InvalidInput):
        RetiringSecret("first", datetime(2026, 5, 4))  # noqa: DTZ001 -- the point
