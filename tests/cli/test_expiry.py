"""The forms in which an expiry can be written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scopegate.cli.moments import parse_expiry
from scopegate.core.errors import InvalidInput

NOW = datetime(2026, 11, 24, 12, 30, 15, 999_999, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("never", None),
        ("1h", datetime(2026, 11, 24, 13, 30, 15, tzinfo=UTC)),
        ("36h", datetime(2026, 11, 26, 0, 30, 15, tzinfo=UTC)),
        ("90d", datetime(2027, 2, 22, 12, 30, 15, tzinfo=UTC)),
        ("999999d", NOW.replace(microsecond=0) + timedelta(days=999_999)),
        ("2027-03-31T21:59Z", datetime(2027, 3, 31, 21, 59, tzinfo=UTC)),
        ("2027-03-31T23:59+02:00", datetime(2027, 3, 31, 21, 59, tzinfo=UTC)),
        ("2027-03-31 23:59:30-05:30", datetime(2027, 4, 1, 5, 29, 30, tzinfo=UTC)),
        ("2020-01-01T00:00:00Z", datetime(2020, 1, 1, tzinfo=UTC)),  # whether it is past is said elsewhere
    ],
)
def test_a_moment(text: str, expected: datetime | None) -> None:
    parsed = parse_expiry(text, NOW)
    assert parsed == expected
    assert parsed is None or parsed.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "Never",
        "tomorrow",
        "90",
        "0d",
        "-1d",
        "1.5h",
        "1000000d",
        "90 d",
        "90m",
        "1w",
        "٣d",
        "2027-03-31",
        "2027-03-31T23:59",
        "2027-13-01T00:00Z",
        "2027-02-29T00:00Z",
        "2027-03-31T24:01Z",
        "0001-01-01T00:00+14:00",
        "9999-12-31T23:59-12:00",
        "2027-03-31T23:59+02:00\n",
        "\udcff",
    ],
)
def test_no_moment(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_expiry(text, NOW)
    assert refused.value.field == "expires"
    assert repr(text) in refused.value.message
    assert refused.value.hint
