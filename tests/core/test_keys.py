"""API keys: what a key looks like, what a record may hold, and what a key is at a given moment."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from core.strategies import base62
from scopegate.core import keys
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import (
    BASE62,
    DELETION_DELAY,
    MAX_DESCRIPTION,
    MAX_RULES,
    KeyRecord,
    KeyState,
    KeyText,
    KeyType,
    Rule,
    digest,
    mint,
    parse,
    require_creatable,
    require_future_expiry,
    require_prefix,
    state,
)

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
PREFIXES = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,15}", fullmatch=True)
RULE = Rule("GET", "/api/recordings/*")

VALID = "sg_000abcdefghi_0123456789ABCDEFGHIJKLMNOPQRSTUV3I68wT"


def key_with(*, prefix: str = "sg", tag: str = "000", rest: str = "abcdefghi" + "S" * 32) -> KeyText:
    """A key whose random characters are those of `rest`."""
    characters = iter(rest)
    return mint(tag, lambda _alphabet: next(characters), prefix=prefix)


def record(**changes: Any) -> KeyRecord:
    fields: dict[str, Any] = {
        "id": "000abcdefghi",
        "tenant": "default",
        "type": KeyType.EXTERNAL,
        "digest": "d1g35t",
        "description": "Created for Face-to-Face recording",
        "created_at": NOW,
    }
    return KeyRecord(**(fields | changes))


def custom(*rules: Rule, **changes: Any) -> KeyRecord:
    return record(type=KeyType.CUSTOM, rules=rules, **changes)


# The text of a key


@given(PREFIXES, base62(3), base62(41))
def test_a_minted_key_is_parsed_as_itself(prefix: str, tag: str, rest: str) -> None:
    key = key_with(prefix=prefix, tag=tag, rest=rest)
    assert parse(key.text, prefix=prefix) == key
    assert key.id == tag + rest[:9]
    assert key.tenant_tag == tag


@given(PREFIXES, base62(3), base62(41))
def test_a_key_is_its_prefix_its_id_and_its_secret_with_a_checksum(prefix: str, tag: str, rest: str) -> None:
    first, key_id, secret = key_with(prefix=prefix, tag=tag, rest=rest).text.split("_")
    assert first == prefix
    assert key_id == tag + rest[:9]
    assert secret[:32] == rest[9:]
    assert len(secret) == 32 + 6
    assert set(secret[32:]) <= set(BASE62)


def test_every_character_is_chosen_from_all_62() -> None:
    alphabets: list[str] = []

    def choose(alphabet: str) -> str:
        alphabets.append(alphabet)
        return alphabet[0]

    mint("000", choose)
    assert alphabets == [BASE62] * (9 + 32)
    assert len(set(BASE62)) == 62


def test_the_format_is_the_one_that_secret_scanners_were_told() -> None:
    assert key_with(rest="abcdefghi0123456789ABCDEFGHIJKLMNOPQRSTUV").text == VALID


@given(base62(41), st.data())
def test_any_one_changed_character_makes_it_no_key(rest: str, data: st.DataObject) -> None:
    text = key_with(rest=rest).text
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.one_of(st.sampled_from(BASE62 + "_"), st.characters()))
    assume(other != text[at])
    assert parse(text[:at] + other + text[at + 1 :]) is None


@given(base62(41), st.integers(0, 54), st.one_of(st.sampled_from(BASE62 + "_ \n"), st.characters()))
def test_any_inserted_character_makes_it_no_key(rest: str, at: int, character: str) -> None:
    text = key_with(rest=rest).text
    assert parse(text[:at] + character + text[at:]) is None


@given(base62(41), st.integers(0, 53))
def test_any_missing_character_makes_it_no_key(rest: str, at: int) -> None:
    text = key_with(rest=rest).text
    assert parse(text[:at] + text[at + 1 :]) is None


@given(base62(41), st.integers(0, 52))
def test_two_characters_that_changed_places_make_it_no_key(rest: str, at: int) -> None:
    text = key_with(rest=rest).text
    assume(text[at] != text[at + 1])
    assert parse(text[:at] + text[at + 1] + text[at] + text[at + 2 :]) is None


@given(st.one_of(st.text(), st.text("sg_0a", max_size=60), base62(50).map("sg_".__add__)))
def test_other_text_is_no_key(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sg",
        "sg__",
        VALID.upper(),
        VALID.lower(),
        f" {VALID}",
        f"{VALID} ",
        f"{VALID}\n",
        f"{VALID}\x00",
        f"{VALID}\N{NO-BREAK SPACE}",
        f"Bearer {VALID}",
        f"{VALID},{VALID}",
        VALID.replace("sg_", "SG_"),
        VALID.replace("sg_", "s%67_"),
        VALID.replace("_", "-"),
        VALID.replace("a", "\N{CYRILLIC SMALL LETTER A}"),
        VALID.replace("1", "\N{FULLWIDTH DIGIT ONE}"),
        VALID[:-6],
        "sg_000abcdefghi_*",
        "sg_000abcdefghi",
    ],
)
def test_what_only_looks_like_a_key_is_none(text: str) -> None:
    assert parse(VALID) is not None
    assert parse(text) is None


@pytest.mark.parametrize(
    "body",
    [
        "sg_000abcdefghi_" + "S" * 31,
        "sg_000abcdefghi_" + "S" * 33,
        "sg_000abcdefghi_" + "S" * 40 + "\n",
        "sg_000abcdefgh_" + "S" * 32,
        "sg_000abcdefghij_" + "S" * 32,
        "sg_000abcdefghi" + "S" * 33,
        "sg_*_" + "S" * 32,
        "sg_" + "S" * 32,
        "_000abcdefghi_" + "S" * 32,
        "sk_000abcdefghi_" + "S" * 32,
    ],
)
def test_a_right_checksum_does_not_make_a_key_of_another_shape(body: str) -> None:
    assert parse(body + keys._checksum(body)) is None
    good = "sg_000abcdefghi_" + "S" * 32
    assert parse(good + keys._checksum(good)) is not None


@given(PREFIXES, PREFIXES, base62(41))
@example("sg", "sg2", "x" * 41)
@example("sg2", "sg", "x" * 41)
def test_a_key_of_another_prefix_is_none_of_ours(ours: str, theirs: str, rest: str) -> None:
    assume(ours != theirs)
    assert parse(key_with(prefix=theirs, rest=rest).text, prefix=ours) is None


@pytest.mark.parametrize("prefix", ["sg", "S", "a1", "a" * 16])
def test_a_prefix_is_letters_and_digits(prefix: str) -> None:
    assert require_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["", "1a", "a_b", "a-b", "a.", "é", "a\n", " a", "a" * 17, "\u0661a"])
def test_no_other_prefix_is_taken(prefix: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        require_prefix(prefix)
    assert refused.value.field == "key_prefix"
    assert refused.value.hint


def test_a_key_is_stored_as_the_hash_of_all_its_text() -> None:
    key = key_with()
    assert digest(key) == hashlib.sha256(key.text.encode()).hexdigest()
    assert digest(key, pepper=b"") == digest(key)


def test_with_a_pepper_the_hash_is_worth_nothing_to_who_lacks_it() -> None:
    key = key_with()
    assert digest(key, pepper=b"p1") == hmac.new(b"p1", key.text.encode(), "sha256").hexdigest()
    assert len({digest(key), digest(key, pepper=b"p1"), digest(key, pepper=b"p2")}) == 3


@given(base62(41), base62(41))
def test_two_keys_have_two_digests(one: str, other: str) -> None:
    assume(one != other)
    assert digest(key_with(rest=one)) != digest(key_with(rest=other))


def test_no_repr_shows_a_secret() -> None:
    key = key_with(rest="abcdefghi" + "Q7" * 16)
    assert "Q7Q7" not in repr(key)
    assert key.text[-6:] not in repr(key)
    assert key.id in repr(key)
    assert "d1g35t" not in repr(record())


# The record


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"type": KeyType.DESKTOP, "expires_at": NOW}, "expires_at", "expiry_not_allowed_for_desktop"),
        ({"type": KeyType.DESKTOP, "user": "kim"}, "user", "user_not_allowed_for_desktop"),
        ({"type": KeyType.DESKTOP, "rules": (RULE,)}, "rules", "rules_only_for_custom"),
        ({"type": KeyType.EXTERNAL, "rules": (RULE,)}, "rules", "rules_only_for_custom"),
        ({"expires_at": NOW.replace(tzinfo=None)}, "expires_at", "invalid"),
        ({"expires_at": datetime.max.replace(tzinfo=UTC)}, "expires_at", "invalid"),
        ({"expires_at": datetime(9999, 1, 1, tzinfo=UTC)}, "expires_at", "invalid"),
    ],
)
def test_a_record_cannot_hold_what_its_type_does_not_have(
    changes: dict[str, Any], field: str, code: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        record(**changes)
    assert (refused.value.field, refused.value.code) == (field, code)
    assert refused.value.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"type": KeyType.DESKTOP},
        {"type": KeyType.DESKTOP, "enabled": False},
        {"type": KeyType.EXTERNAL, "expires_at": NOW, "user": "kim"},
        {"type": KeyType.CUSTOM, "expires_at": NOW, "user": "kim", "rules": (RULE,)},
        {"type": KeyType.CUSTOM, "rules": ()},
    ],
)
def test_a_record_holds_what_its_type_has(changes: dict[str, Any]) -> None:
    assert record(**changes).type is changes["type"]


def test_a_new_record_is_enabled_and_never_expires() -> None:
    assert record().enabled
    assert record().expires_at is None
    assert record().delete_at is None
    assert state(record(), NOW + timedelta(days=36_500)) is KeyState.ACTIVE


def test_a_key_is_deleted_seven_days_after_its_expiry() -> None:
    assert timedelta(days=7) == DELETION_DELAY
    assert record(expires_at=NOW).delete_at == datetime(2026, 5, 11, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("offset", [-14, 0, 14])
def test_the_last_expiry_that_is_accepted_has_a_day_of_deletion(offset: int) -> None:
    zone = timezone(timedelta(hours=offset))
    last = record(expires_at=datetime(9998, 12, 31, 23, 59, tzinfo=zone))
    assert last.delete_at is not None
    assert last.delete_at.astimezone(UTC).year == 9999
    assert state(last, NOW) is KeyState.ACTIVE


@pytest.mark.parametrize(
    ("after_expiry", "expected"),
    [
        (-timedelta(days=365), KeyState.ACTIVE),
        (-MILLISECOND, KeyState.ACTIVE),
        (timedelta(0), KeyState.EXPIRED),
        (MILLISECOND, KeyState.EXPIRED),
        (timedelta(days=7) - MILLISECOND, KeyState.EXPIRED),
        (timedelta(days=7), KeyState.DELETED),
        (timedelta(days=7) + MILLISECOND, KeyState.DELETED),
        (timedelta(days=365), KeyState.DELETED),
    ],
)
def test_the_state_follows_the_expiry_to_the_millisecond(after_expiry: timedelta, expected: KeyState) -> None:
    key = record(expires_at=NOW)
    assert state(key, NOW + after_expiry) is expected
    assert state(key, (NOW + after_expiry).astimezone(timezone(timedelta(hours=9)))) is expected
    # A disabled key differs only while it has not expired.
    disabled = KeyState.DISABLED if expected is KeyState.ACTIVE else expected
    assert state(replace(key, enabled=False), NOW + after_expiry) is disabled


def test_a_disabled_key_that_never_expires_stays_disabled() -> None:
    assert state(record(enabled=False), NOW) is KeyState.DISABLED
    assert state(record(enabled=False), NOW + timedelta(days=36_500)) is KeyState.DISABLED


MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- the zone is the next argument
STAGES = [KeyState.ACTIVE, KeyState.DISABLED, KeyState.EXPIRED, KeyState.DELETED]


@given(MOMENTS, st.booleans(), st.tuples(MOMENTS, MOMENTS).map(sorted))
@example(expires_at=NOW, enabled=True, moments=[NOW, NOW + DELETION_DELAY])
def test_time_alone_never_brings_a_key_back(
    expires_at: datetime,
    enabled: bool,  # noqa: FBT001 -- drawn
    moments: list[datetime],
) -> None:
    key = record(expires_at=expires_at, enabled=enabled)
    earlier, later = (state(key, moment) for moment in moments)
    assert STAGES.index(earlier) <= STAGES.index(later)


@given(MOMENTS, MOMENTS)
def test_disabling_never_makes_a_key_active(expires_at: datetime, moment: datetime) -> None:
    assert state(record(expires_at=expires_at, enabled=False), moment) is not KeyState.ACTIVE


# Rules and creation


def test_rules_that_say_the_same_are_equal_values() -> None:
    assert Rule("GET", "/api/%7Eu/**") == Rule("GET", "/api/~u/*")
    assert Rule("GET", "/api/x") != Rule("POST", "/api/x")


def test_a_rule_with_a_url_that_can_match_nothing_cannot_be() -> None:
    with pytest.raises(InvalidInput) as refused:
        Rule("GET", "/api/../x")
    assert refused.value.field == "url"


CREATABLE: dict[str, KeyRecord] = {
    "an external key": record(),
    "a desktop key": record(type=KeyType.DESKTOP),
    "a custom key": custom(RULE),
    "a custom key of a user, with an expiry": custom(RULE, user="kim", expires_at=NOW + MILLISECOND),
    "one URL under both methods": custom(Rule("GET", "/x"), Rule("POST", "/x")),
    "overlapping URLs": custom(Rule("GET", "/x/*"), Rule("GET", "/x/y")),
    "as many rules as may be": custom(*(Rule("GET", f"/{i}") for i in range(MAX_RULES))),
    "as long a description as may be": record(description="é" * MAX_DESCRIPTION),
    "an emoji in the description": record(description="Für die Aufnahme 🎉"),
}

NOT_CREATABLE: dict[str, tuple[KeyRecord, str, str]] = {
    "no description": (record(description=""), "description", "description_required"),
    "a blank description": (record(description=" \t "), "description", "description_required"),
    "too long a description": (record(description="x" * (MAX_DESCRIPTION + 1)), "description", "invalid"),
    "a description of two lines": (record(description="a\nb"), "description", "invalid"),
    "a description with an escape": (record(description="a\x1b[2Jb"), "description", "invalid"),
    "a description that turns the line around": (record(description="a\u202eb"), "description", "invalid"),
    "an expiry now": (record(expires_at=NOW), "expires_at", "expiry_in_past"),
    "an expiry that was": (record(expires_at=NOW - MILLISECOND), "expires_at", "expiry_in_past"),
    "a custom key without rules": (custom(), "rules", "rules_required"),
    "a rule too many": (custom(*(Rule("GET", f"/{i}") for i in range(1_001))), "rules", "rules_too_many"),
    "a rule twice": (custom(RULE, RULE), "rules[2]", "rule_duplicate"),
    "a rule twice, spelled apart": (
        custom(Rule("GET", "/api/%7Eu"), Rule("GET", "/api/x"), Rule("GET", "/api/~u")),
        "rules[3]",
        "rule_duplicate",
    ),
    "a host twice, spelled apart": (
        custom(Rule("GET", "https://H/x"), Rule("GET", "https://h:443/x")),
        "rules[2]",
        "rule_duplicate",
    ),
    "another method": (custom(RULE, Rule("PUT", "/x")), "rules[2].method", "method_not_allowed_value"),
    "a method in lower case": (custom(Rule("get", "/x")), "rules[1].method", "method_not_allowed_value"),
    "a star for a method": (custom(Rule("*", "/x")), "rules[1].method", "method_not_allowed_value"),
}


@pytest.mark.parametrize("key", CREATABLE.values(), ids=list(CREATABLE))
def test_a_key_that_keeps_the_rules_may_be_created(key: KeyRecord) -> None:
    require_creatable(key, NOW)


@pytest.mark.parametrize(("key", "field", "code"), NOT_CREATABLE.values(), ids=list(NOT_CREATABLE))
def test_a_key_that_breaks_a_rule_is_refused_with_the_way_out(key: KeyRecord, field: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        require_creatable(key, NOW)
    assert (refused.value.field, refused.value.code) == (field, code)
    assert refused.value.hint


def test_a_tenant_may_let_rules_name_more_methods() -> None:
    key = custom(Rule("DELETE", "/x"))
    require_creatable(key, NOW, rule_methods=frozenset({"GET", "DELETE"}))
    with pytest.raises(InvalidInput) as refused:
        require_creatable(key, NOW, rule_methods=frozenset({"GET", "POST"}))
    assert refused.value.hint == "Choose GET or POST."


def test_a_duplicate_is_named_by_both_rows() -> None:
    with pytest.raises(InvalidInput) as refused:
        require_creatable(custom(Rule("GET", "/a"), Rule("GET", "/b"), Rule("GET", "/a")), NOW)
    assert refused.value.message == "Row 3 says the same as row 1: GET /a."


def test_an_expiry_is_judged_in_any_time_zone_and_the_answer_is_in_utc() -> None:
    vienna = timezone(timedelta(hours=2))
    require_future_expiry(datetime(2026, 5, 4, 14, 1, tzinfo=vienna), NOW)
    require_future_expiry(None, NOW)
    with pytest.raises(InvalidInput) as refused:
        require_future_expiry(datetime(2026, 5, 4, 13, 59, tzinfo=vienna), NOW.astimezone(vienna))
    assert "2026-05-04T12:00:00Z" in refused.value.message


@pytest.mark.parametrize("odd", ["\n", "\x1b", "\x85", "\u2028", "\u202e", "\u2066"])
def test_a_description_is_one_line_that_reads_as_it_is_stored(odd: str) -> None:
    with pytest.raises(InvalidInput, match="line breaks, control characters"):
        require_creatable(record(description=f"a{odd}b"), NOW)


@pytest.mark.parametrize("text", ["Gesprächsaufzeichnung", "क\u094d\u200dष", "👩\u200d💻", "a\u00a0b"])
def test_a_description_is_written_in_any_script(text: str) -> None:
    require_creatable(record(description=text), NOW)
