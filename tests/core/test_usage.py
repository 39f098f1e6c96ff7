"""What is counted, and what can be said truthfully of it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from scopegate.core import usage
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import KeyRecord, KeyType, RetiringSecret, Rule
from scopegate.core.reasons import Reason
from scopegate.core.usage import Count, KeyUsage, Known, LastUse, Span

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)
RULE = Rule("GET", "/api/recordings/*")
ALLOWED = Reason.ALLOWED


def ago(days: float) -> datetime:
    return NOW - days * DAY


def key(**changes: Any) -> KeyRecord:
    facts: dict[str, Any] = {
        "id": "000000000001",
        "tenant": "default",
        "type": KeyType.EXTERNAL,
        "digest": "a" * 64,
        "description": "a key",
        "created_at": ago(30),
    }
    return KeyRecord(**(facts | changes))


def test_a_rule_is_known_by_its_text_and_by_nothing_else() -> None:
    same = usage.rule_id(Rule("GET", "/api/%72ecordings/*"))
    assert usage.rule_id(RULE) == same
    others = {
        usage.rule_id(Rule(method, url))
        for method, url in [("POST", "/api/recordings/*"), ("GET", "/api/recordings"), ("GET", "/api/*")]
    }
    assert len(others | {same}) == 4


def test_the_name_of_a_rule_and_of_a_secret_stay_what_they_are() -> None:
    # They lie in Redis for months: another spelling would begin all counts anew.
    assert usage.rule_id(RULE) == "2cf810155ac5"
    assert usage.of_secret("000000000001", "0123456789abcdef" * 4) == "000000000001:0123456789abcdef"


@pytest.mark.parametrize("reason", [one for one in Reason if one is not Reason.KEY_DELETED])
def test_whatever_comes_of_a_proved_secret_is_counted(reason: Reason) -> None:
    assert usage.is_counted(reason)


def test_a_key_that_is_gone_has_no_use() -> None:
    assert not usage.is_counted(Reason.KEY_DELETED)


@pytest.mark.parametrize(
    ("at", "created", "known_since", "said"),
    [
        (ago(1), ago(9), ago(5), LastUse(Known.USED, ago(1))),
        (ago(1), ago(9), None, LastUse(Known.USED, ago(1))),
        (ago(8), ago(9), ago(5), LastUse(Known.USED, ago(8))),
        (None, ago(4), ago(5), LastUse(Known.NEVER)),
        (None, ago(5), ago(5), LastUse(Known.NEVER)),
        (None, ago(6), ago(5), LastUse(Known.NOT_SINCE, ago(5))),
        (None, ago(4), None, LastUse(Known.NOTHING)),
    ],
)
def test_what_is_said_of_a_last_use_is_what_is_known(
    at: datetime | None, created: datetime, known_since: datetime | None, said: LastUse
) -> None:
    assert usage.last_use(at, created_at=created, known_since=known_since) == said


@pytest.mark.parametrize(
    ("counted", "missed", "known"),
    [
        (None, None, None),
        (None, ago(1), None),
        (ago(9), None, ago(9)),
        (ago(9), ago(3), ago(3)),
        (ago(3), ago(9), ago(3)),
        (ago(500), None, ago(400)),
        (ago(500), ago(450), ago(400)),
    ],
)
def test_all_is_known_since_it_is_counted_and_nothing_was_missed_or_forgotten(
    counted: datetime | None, missed: datetime | None, known: datetime | None
) -> None:
    assert usage.known_since(counted, missed, NOW) == known


OLD = RetiringSecret("b" * 64, NOW + DAY)
OVER = RetiringSecret("b" * 64, NOW)
ID = "000000000001"
NEW_USE, OLD_USE = (usage.of_secret(ID, digit * 64) for digit in "ab")


@pytest.mark.parametrize(
    ("record", "uses", "said"),
    [
        (key(), {}, ("never", "never", None)),
        (key(), {ID: ago(1), NEW_USE: ago(1)}, (ago(1), ago(1), None)),
        # Rotated: what was used is what the key had before.
        (key(retiring=OLD), {ID: ago(2), OLD_USE: ago(2)}, (ago(2), "never", ago(2))),
        (key(retiring=OLD), {ID: ago(1), NEW_USE: ago(1), OLD_USE: ago(2)}, (ago(1), ago(1), ago(2))),
        # The overlap is over, or there was none: the use of the key stays.
        (key(retiring=OVER), {ID: ago(2), OLD_USE: ago(2)}, (ago(2), "never", None)),
        (key(), {ID: ago(2), OLD_USE: ago(2)}, (ago(2), "never", None)),
        (key(), {"000000000002": ago(2)}, ("never", "never", None)),
    ],
)
def test_each_valid_secret_of_a_key_has_a_last_use_of_its_own(
    record: KeyRecord, uses: dict[str, datetime], said: tuple[Any, ...]
) -> None:
    found = usage.key_last_use(record, uses, known_since=ago(40), now=NOW)
    expected = [
        None if one is None else LastUse(Known.NEVER) if one == "never" else LastUse(Known.USED, one)
        for one in said
    ]
    assert [found.key, found.current, found.retiring] == expected


def at(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


USAGE = KeyUsage(
    MONDAY,
    TUESDAY,
    (
        Count(at(MONDAY, 0), usage.rule_id(RULE), ALLOWED, 5),
        Count(at(MONDAY, 0), usage.rule_id(RULE), Reason.PRIVILEGE_MISSING, 2),
        Count(at(MONDAY, 0), usage.NO_RULE, Reason.URL_NOT_ALLOWED, 1),
        Count(at(TUESDAY, 23), usage.rule_id(RULE), ALLOWED, 7),
    ),
    None,
)


def test_usage_adds_up_by_outcome() -> None:
    span = USAGE.in_all()
    assert (span.allowed, span.refused) == (12, 3)
    assert span.reasons == {ALLOWED: 12, Reason.PRIVILEGE_MISSING: 2, Reason.URL_NOT_ALLOWED: 1}


def test_days_and_hours_without_requests_are_shown() -> None:
    assert [(span.start, span.allowed, span.refused) for span in USAGE.by_day()] == [
        (at(MONDAY, 0), 5, 3),
        (at(TUESDAY, 0), 7, 0),
    ]
    hours = USAGE.by_hour()
    assert [span.start for span in hours] == [at(MONDAY, 0) + timedelta(hours=one) for one in range(48)]
    assert [span.allowed for span in hours] == [5, *[0] * 46, 7]


def test_a_rule_that_admitted_nothing_has_nothing() -> None:
    assert USAGE.of_rule(RULE).in_all().allowed == 12
    assert USAGE.of_rule(Rule("GET", "/api/*")).in_all() == Span(at(MONDAY, 0))
    assert USAGE.of_rule(None).in_all().reasons == {Reason.URL_NOT_ALLOWED: 1}


@pytest.mark.parametrize(
    ("first", "last", "number"),
    [(MONDAY, MONDAY, 1), (MONDAY, TUESDAY, 2), (MONDAY - 89 * DAY, MONDAY, 90)],
)
def test_a_period_has_all_its_days(first: date, last: date, number: int) -> None:
    found = usage.days(first, last)
    assert (found[0], found[-1], len(found)) == (first, last, number)


@pytest.mark.parametrize(("first", "last"), [(TUESDAY, MONDAY), (MONDAY - 90 * DAY, MONDAY)])
def test_a_period_that_is_none_or_too_long_is_refused(first: date, last: date) -> None:
    with pytest.raises(InvalidInput) as refused:
        usage.days(first, last)
    assert refused.value.code == "period_invalid"
