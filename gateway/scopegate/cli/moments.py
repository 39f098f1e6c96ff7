"""Moments and periods as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from scopegate.core.errors import InvalidInput
from scopegate.core.rotation import require_overlap

NEVER = "never"
_PERIOD = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONG_UNITS = "hd"


def parse_expiry(text: str, now: datetime) -> datetime | None:
    """The moment that `text` names: ``never``, a period from `now`, or a date and time with offset.

    Raises:
        InvalidInput: it names none.
    """
    if text == NEVER:
        return None
    period = _period(text, _LONG_UNITS)
    if period is not None:
        return (now + period).replace(microsecond=0)
    moment = _moment(text)
    if moment is not None:
        return moment
    raise InvalidInput(
        "expires",
        f"{text!r} is not a date and time with an offset.",
        hint="Write 2027-03-31T23:59+02:00, 2027-03-31T21:59Z, a period such as 90d, or never.",
    )


def parse_overlap(text: str) -> timedelta:
    """For how long two secrets of a key are valid: 0, or a period of at most seven days.

    Raises:
        InvalidInput: it is neither.
    """
    overlap = timedelta(0) if text == "0" else _period(text, "".join(_UNITS))
    if overlap is None:
        raise InvalidInput(
            "overlap",
            f"{text!r} is not a period.",
            hint="Write 0 (at once), or a period of at most 7d, such as 24h, 90m or 30s.",
        )
    return require_overlap(overlap)


def parse_since(text: str, now: datetime) -> datetime:
    """The moment that `text` names: a period before `now`, or a date and time with offset.

    Raises:
        InvalidInput: it names none.
    """
    period = _period(text, _LONG_UNITS)
    try:
        moment = _moment(text) if period is None else now - period
    except OverflowError:
        moment = datetime.min.replace(tzinfo=UTC)  # longer ago than any
    if moment is None:
        raise InvalidInput(
            "since",
            f"{text!r} is not a date and time with an offset.",
            hint="Write 2027-03-31T23:59+02:00, 2027-03-31T21:59Z, or a period such as 30d.",
        )
    return moment


def parse_days(text: str) -> int:
    """How many whole days a period has.

    Raises:
        InvalidInput: it is none.
    """
    period = _period(text, "d")
    if period is None:
        raise InvalidInput("idle", f"{text!r} is not a number of days.", hint="Write a period such as 90d.")
    return period.days


def _period(text: str, units: str) -> timedelta | None:
    period = _PERIOD.fullmatch(text)
    if period is None or period[2] not in units:
        return None
    return timedelta(**{_UNITS[period[2]]: int(period[1])})


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
