"""Which rules of a key its user could not use (rule D10)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.keys import Rule
from scopegate.core.preview import Gap, gaps
from scopegate.core.principal import Principal
from scopegate.core.wildcard import UrlPattern, common_path

CATALOGUE = Catalogue(
    [
        Endpoint(frozenset({"GET"}), "/api/*", frozenset({"api"})),
        Endpoint(frozenset({"GET"}), "/api/recordings/*", frozenset({"recordings.view"})),
        Endpoint(frozenset({"POST"}), "/api/recordings", frozenset({"recordings.create"})),
    ]
)
WITH_A_HOST = Catalogue(
    [*CATALOGUE.endpoints, Endpoint(frozenset({"*"}), "https://admin.example.com/*", frozenset({"admin"}))]
)


def found(
    method: str, url: str, *privileges: str, catalogue: Catalogue = CATALOGUE
) -> tuple[tuple[bool, tuple[str, ...]], ...]:
    principal = Principal("maria", active=True, privileges=frozenset(privileges))
    return tuple((gap.useless, gap.missing) for gap in gaps([Rule(method, url)], principal, catalogue))


@pytest.mark.parametrize(
    ("method", "url", "privileges", "expected"),
    [
        ("GET", "/api/recordings/1", ("api", "recordings.view"), ()),
        ("GET", "/api/recordings/1", ("api",), ((True, ("recordings.view",)),)),
        ("GET", "/api/recordings/1", (), ((True, ("api", "recordings.view")),)),
        ("GET", "/api/recordings/*", ("api",), ((True, ("recordings.view",)),)),
        ("GET", "/api/*", ("api",), ((False, ("recordings.view",)),)),
        ("GET", "*", ("api", "recordings.view"), ()),
        ("POST", "/api/recordings", ("recordings.create",), ()),
        ("POST", "/api/recordings", (), ((True, ("recordings.create",)),)),
        ("POST", "/api/users", ("api",), ((True, ()),)),
        (
            "GET",
            "https://admin.example.com/api/recordings/1",
            ("admin",),
            ((True, ("api", "recordings.view")),),
        ),
        ("GET", "https://other.example.com/api/x", ("api",), ()),
    ],
)
def test_a_rule_is_held_against_the_privileges_of_what_it_covers(
    method: str, url: str, privileges: tuple[str, ...], expected: tuple[tuple[bool, tuple[str, ...]], ...]
) -> None:
    assert found(method, url, *privileges) == expected


@pytest.mark.parametrize(
    ("url", "privileges", "expected"),
    [
        ("https://admin.example.com/api/x", ("admin",), ((True, ("api",)),)),
        ("https://admin.example.com/api/x", ("admin", "api"), ()),
        ("https://*.example.com/api/x", ("api",), ((False, ("admin",)),)),
        ("https://other.example.com/api/x", ("api",), ()),
        ("/api/x", ("api",), ((False, ("admin",)),)),
    ],
)
def test_an_entry_for_a_host_counts_for_rules_that_reach_it(
    url: str, privileges: tuple[str, ...], expected: tuple[tuple[bool, tuple[str, ...]], ...]
) -> None:
    assert found("GET", url, *privileges, catalogue=WITH_A_HOST) == expected


def test_a_gap_says_which_row_and_what_is_missing() -> None:
    rule = Rule("GET", "/api/*")
    assert Gap(2, rule, useless=True, missing=("a", "b")).sentence == (
        "Row 2 (GET /api/*) opens nothing for this user, who lacks: a, b."
    )
    assert "only a part" in Gap(2, rule, useless=False, missing=("a",)).sentence
    assert "no endpoint of the catalogue" in Gap(2, rule, useless=True, missing=()).sentence


def test_where_unlisted_endpoints_are_open_no_rule_is_useless() -> None:
    nobody = Principal("maria", active=True, privileges=frozenset())
    endpoints = CATALOGUE.endpoints
    assert gaps([Rule("GET", "/other")], nobody, Catalogue(endpoints, unlisted_allowed=True)) == ()


patterns = st.text("ab*/", max_size=8)


@given(patterns, patterns)
def test_a_common_path_is_matched_by_both_and_missing_only_where_there_is_none(one: str, other: str) -> None:
    def admits(pattern: str, path: str) -> bool:
        return UrlPattern(text=pattern, path=pattern).matches(path=path, host=None)

    shared = common_path(one, other)
    if shared is not None:
        assert admits(one, shared)
        assert admits(other, shared)
        assert "*" not in shared
    else:
        # What one pattern matches with its wildcards at their shortest, the other cannot match.
        assert not admits(other, one.replace("*", ""))
        assert not admits(one, other.replace("*", ""))


@given(patterns, st.text("ab/", max_size=8))
def test_a_common_path_with_a_plain_text_is_that_text(pattern: str, path: str) -> None:
    matches = UrlPattern(text=pattern, path=pattern).matches(path=path, host=None)
    assert common_path(pattern, path) == (path if matches else None)
