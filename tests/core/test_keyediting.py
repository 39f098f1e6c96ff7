"""Changes of a key that exists obey the rules of its creation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scopegate.core.errors import Conflict, InvalidInput, NotFound
from scopegate.core.keyediting import KeyChanges, edited, with_rules, without_rules
from scopegate.core.keys import MAX_RULES, KeyRecord, KeyType, Rule

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
A, B, C = Rule("GET", "/a/*"), Rule("POST", "/b"), Rule("GET", "https://api.example/c")
KEY = KeyRecord(
    id="000abcdefghi",
    tenant="default",
    type=KeyType.CUSTOM,
    digest="d",
    description="test",
    created_at=NOW,
    rules=(A, B),
)
EXTERNAL = replace(KEY, type=KeyType.EXTERNAL, rules=())
DESKTOP = replace(KEY, type=KeyType.DESKTOP, rules=())
LATER = NOW + timedelta(days=1)


def test_rules_are_added_behind_those_that_are_there() -> None:
    assert with_rules(KEY, (C,)) == replace(KEY, rules=(A, B, C))
    assert with_rules(replace(KEY, rules=()), (C, A)) == replace(KEY, rules=(C, A))


@pytest.mark.parametrize(
    ("record", "added", "code"),
    [
        (KEY, (C, Rule("GET", "/%61/*")), "rule_duplicate"),
        (KEY, (C, C), "rule_duplicate"),
        (KEY, (Rule("DELETE", "/x"),), "method_not_allowed_value"),
        (KEY, tuple(Rule("GET", f"/{n}") for n in range(MAX_RULES - 1)), "rules_too_many"),
        (EXTERNAL, (C,), "rules_only_for_custom"),
        (DESKTOP, (C,), "rules_only_for_custom"),
    ],
    ids=["in another spelling", "twice", "method", "too many", "external", "desktop"],
)
def test_what_a_key_could_not_be_created_with_cannot_be_added(
    record: KeyRecord, added: tuple[Rule, ...], code: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        with_rules(record, added)
    assert refused.value.code == code


def test_rules_are_removed_by_what_they_say() -> None:
    assert without_rules(KEY, (A,), even_the_last=False) == replace(KEY, rules=(B,))
    assert without_rules(KEY, (Rule("GET", "/%61/*"),), even_the_last=False).rules == (B,)
    assert without_rules(KEY, (B, A), even_the_last=True).rules == ()


@pytest.mark.parametrize("rule", [C, Rule("POST", "/a/*"), Rule("GET", "/a/x")])
def test_a_rule_that_is_not_there_cannot_be_removed(rule: Rule) -> None:
    with pytest.raises(NotFound):
        without_rules(KEY, (A, rule), even_the_last=True)


def test_the_last_rule_goes_only_if_that_is_meant() -> None:
    with pytest.raises(Conflict) as refused:
        without_rules(KEY, (A, B), even_the_last=False)
    assert refused.value.code == "last_rule"


@pytest.mark.parametrize("record", [EXTERNAL, DESKTOP], ids=["external", "desktop"])
def test_a_key_without_rules_by_its_type_has_none_to_remove(record: KeyRecord) -> None:
    with pytest.raises(InvalidInput) as refused:
        without_rules(record, (A,), even_the_last=True)
    assert refused.value.code == "rules_only_for_custom"


@pytest.mark.parametrize(
    ("record", "changes"),
    [
        (KEY, {"description": "Another"}),
        (DESKTOP, {"description": "Another"}),
        (EXTERNAL, {"expires_at": LATER, "user": "kim"}),
        (replace(KEY, expires_at=LATER, user="kim"), {"expires_at": None, "user": None}),
        (replace(KEY, expires_at=NOW), {"expires_at": LATER}),
        (replace(KEY, expires_at=NOW), {"description": "Was needed"}),
        (DESKTOP, {"expires_at": None, "user": None}),
    ],
)
def test_what_is_named_changes_and_nothing_else(record: KeyRecord, changes: KeyChanges) -> None:
    assert edited(record, changes, NOW) == replace(record, **changes)


@pytest.mark.parametrize(
    ("record", "changes", "field", "code"),
    [
        (KEY, {"description": " "}, "description", "description_required"),
        (KEY, {"description": "x" * 501}, "description", "invalid"),
        (KEY, {"expires_at": NOW}, "expires_at", "expiry_in_past"),
        (DESKTOP, {"expires_at": LATER}, "expires_at", "expiry_not_allowed_for_desktop"),
        (DESKTOP, {"user": "kim"}, "user", "user_not_allowed_for_desktop"),
    ],
)
def test_a_change_that_breaks_a_rule_is_refused(
    record: KeyRecord, changes: Any, field: str, code: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        edited(record, changes, NOW)
    assert (refused.value.field, refused.value.code) == (field, code)
