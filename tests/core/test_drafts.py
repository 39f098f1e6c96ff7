"""What can be told of a key before it is made."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.drafts import Access, Circumstances, Draft, DraftRule, Preview, preview
from scopegate.core.keys import KeyType
from scopegate.core.principal import Principal
from scopegate.core.quota import quota_of
from scopegate.core.tenants import TenantSettings
from scopegate.core.wildcard import UrlPattern

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
CATALOGUE = Catalogue(
    [
        Endpoint(frozenset({"GET"}), "/api/recordings/*", frozenset({"recordings.view"})),
        Endpoint(frozenset({"GET"}), "/api/archive/*", frozenset({"archive.view"})),
        Endpoint(frozenset({"*"}), "/api/status"),
    ]
)
KIM = Principal("kim", active=True, privileges=frozenset({"recordings.view"}))
THERE = Circumstances(
    at=NOW,
    settings=TenantSettings(default_lifetime=30, max_lifetime=90),
    scoped_api=True,
    quota=quota_of([], NOW, limit=300, used=299),
    principal=KIM,
    catalogue=CATALOGUE,
)
VALID = Draft(type=KeyType.CUSTOM, description="d", rules=(DraftRule("GET", "/api/recordings/*"),))


def of(*urls: str, there: Circumstances = THERE, **changes: Any) -> Preview:
    rules = tuple(DraftRule(*url.split(" ", 1)) for url in urls)
    return preview(replace(VALID, rules=rules or VALID.rules, **changes), there)


def access(url: str, row: int, *missing: str) -> Access:
    return Access("GET", url, row, wholly=True, allowed=not missing, missing=missing)


def test_of_a_valid_draft_nothing_is_wrong() -> None:
    seen = of(user="kim")
    assert (seen.problems, seen.cautions, seen.left) == ((), (), 0)
    assert seen.expires_at == NOW + 30 * DAY
    assert seen.access == (access("/api/recordings/*", 1),)
    [rule] = seen.rules
    assert "'/' included" in rule.sentence


def test_all_that_is_wrong_is_told_at_once() -> None:
    full = replace(THERE, scoped_api=False, principal=None, quota=quota_of([], NOW, limit=3, used=3))
    seen = of(
        "GET nonsense",
        "DELETE /x",
        "GET /y",
        "GET /y",
        there=full,
        description="",
        expires_at=NOW - DAY,
        user="who",
    )
    assert {(one.field, one.code) for one in seen.problems} == {
        ("description", "description_required"),
        ("expires_at", "expiry_in_past"),
        ("user", "user_not_found"),
        ("rules[1].url", "url_invalid"),
        ("rules[2].method", "method_not_allowed_value"),
        ("rules[4]", "rule_duplicate"),
        ("type", "feature_disabled"),
        ("", "key_limit_reached"),
    }
    assert [rule.row for rule in seen.rules] == [2, 3, 4]
    assert (seen.access, seen.left) == ((), 0)


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"type": KeyType.DESKTOP, "rules": (), "expires_at": NOW + DAY}, "expires_at", None),
        ({"type": KeyType.DESKTOP, "rules": (), "user": "kim"}, "user", None),
        ({"type": KeyType.EXTERNAL}, "rules", "rules_only_for_custom"),
        ({"rules": ()}, "rules", "rules_required"),
        ({"expires_at": None}, "expires_at", "expiry_too_late"),
    ],
)
def test_what_a_type_cannot_have_is_a_problem(changes: dict[str, Any], field: str, code: str | None) -> None:
    [problem] = preview(replace(VALID, **changes), THERE).problems
    assert problem.field == field
    assert code is None or problem.code == code
    assert problem.hint


def test_what_the_user_lacks_is_told_by_row() -> None:
    seen = of("GET nonsense", "GET /api/archive/*", "GET /api/*", user="kim")
    assert ("rules[2]", "privileges_missing") in {(one.field, one.code) for one in seen.problems}
    [caution] = seen.cautions[1:]
    assert (caution.row, caution.code) == (3, "privileges_partly_missing")
    assert caution.missing == ("archive.view",)
    by_url = {one.url: one for one in seen.access}
    assert by_url["/api/recordings/*"].allowed
    assert by_url["/api/archive/*"] == access("/api/archive/*", 2, "archive.view")


def test_rules_that_open_nothing_new_and_rules_that_open_everything_are_told() -> None:
    seen = of("GET /api/*", "GET /api/recordings/*", "GET https://a.example.com/api/x", "POST *", "POST /*")
    assert [(one.row, one.covered_by) for one in seen.rules] == [(1, None), (2, 1), (3, 1), (4, None), (5, 4)]
    assert [(one.row, one.code) for one in seen.cautions] == [
        (2, "rule_shadowed"),
        (3, "rule_shadowed"),
        (4, "url_pattern_too_broad"),
        (5, "rule_shadowed"),
        (5, "url_pattern_too_broad"),
    ]
    assert "any path" in seen.rules[3].sentence
    assert "just the path /api/x" in seen.rules[2].sentence


def test_a_key_without_rules_opens_what_its_user_may() -> None:
    seen = preview(Draft(type=KeyType.EXTERNAL, description="d", user="kim"), THERE)
    assert {(one.url, one.allowed) for one in seen.access} == {
        ("/api/recordings/*", True),
        ("/api/archive/*", False),
        ("/api/status", True),
    }
    assert all(one.row is None and one.wholly for one in seen.access)


patterns = st.text("ab*/", max_size=7)


@given(patterns, patterns, st.lists(st.text("ab/", max_size=3), min_size=7, max_size=7))
def test_a_pattern_that_covers_another_admits_what_that_admits(
    one: str, other: str, stars: list[str]
) -> None:
    wider, narrower = UrlPattern(one, one), UrlPattern(other, other)
    filling = iter(stars)
    admitted = "".join(next(filling) if character == "*" else character for character in other)
    if wider.covers(narrower):
        assert wider.matches(path=admitted, host=None)
    elif "*" not in other:
        assert not wider.matches(path=other, host=None)
    assert wider.covers(wider)


@pytest.mark.parametrize(
    ("one", "other", "covers"),
    [
        ("/a*", "/ab*", True),
        ("/ab*", "/a*", False),
        ("/*a*", "/ba", True),
        ("/a*a", "/a", False),
        ("/*20", "/a%20", False),
        ("https://*.example.com/*", "https://a.example.com/x", True),
        ("https://a.example.com/*", "/x", False),
        ("/*", "https://a.example.com/x", True),
    ],
)
def test_patterns_cover_others(one: str, other: str, *, covers: bool) -> None:
    assert UrlPattern.parse(one).covers(UrlPattern.parse(other)) is covers
