"""Moments as Redis counts them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def milliseconds(moment: datetime) -> int:
    """The whole milliseconds from 1970 to an aware moment."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def moment(milliseconds: int) -> datetime:
    """The moment that many milliseconds after 1970, in UTC."""
    return _EPOCH + timedelta(milliseconds=milliseconds)
