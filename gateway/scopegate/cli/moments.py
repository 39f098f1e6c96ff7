"""Moments and periods as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from scopegate.core.errors import InvalidInput

_PERIOD = re.compile(r"([1-9][0-9]{0,5})([hd])")


def parse_period(text: str) -> timedelta | None:
    """The period that `text` names, such as ``90d`` or ``12h``; None if it names none."""
    period = _PERIOD.fullmatch(text)
    return None if period is None else timedelta(hours=int(period[1]) * (24 if period[2] == "d" else 1))


def parse_moment(text: str) -> datetime | None:
    """The moment that a date and time with an offset names, in UTC; None if `text` is none."""
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_since(text: str, now: datetime) -> datetime:
    """The moment that `text` names: a period before `now`, or a date and time with offset.

    Raises:
        InvalidInput: it names none.
    """
    period = parse_period(text)
    try:
        moment = parse_moment(text) if period is None else now - period
    except OverflowError:
        moment = datetime.min.replace(tzinfo=UTC)  # longer ago than any
    if moment is None:
        raise InvalidInput(
            "since",
            f"{text!r} is not a date and time with an offset.",
            hint="Write 2027-03-31T23:59+02:00, 2027-03-31T21:59Z, or a period such as 30d.",
        )
    return moment
