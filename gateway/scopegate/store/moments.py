"""Moments as Redis compares them: whole milliseconds since 1970, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def milliseconds(moment: datetime) -> int:
    """The millisecond that an aware `moment` is in."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def moment(milliseconds: float) -> datetime:
    """The beginning of a millisecond, aware."""
    return _EPOCH + timedelta(milliseconds=milliseconds)
