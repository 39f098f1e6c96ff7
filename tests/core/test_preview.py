"""Which rules of a key its user could not use (rule D10)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from core.smallworld import HOSTS, LONGER, shorter_urls
from scopegate.core import preview
from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.decision import Scope, decide_in
from scopegate.core.keys import KeyRecord, KeyType, Rule
from scopegate.core.preview import Gap, gaps, useless
from scopegate.core.principal import Principal
from scopegate.core.reach import admitted_methods
from scopegate.core.request import CanonicalRequest
from scopegate.core.wildcard import PatternSet, UrlPattern

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 5, 4, tzinfo=UTC)

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


def test_where_unlisted_endpoints_are_open_a_rule_is_useless_if_all_of_it_is_listed_and_closed() -> None:
    open_else = Catalogue(CATALOGUE.endpoints, unlisted_allowed=True)
    assert found("GET", "/api/recordings/*", "api", catalogue=open_else) == ((True, ("recordings.view",)),)
    assert found("GET", "/api/*", "api", catalogue=open_else) == ((False, ("recordings.view",)),)
    assert found("GET", "/*", catalogue=open_else) == ((False, ("api", "recordings.view")),)


@pytest.mark.parametrize(
    ("url", "privileges", "expected"),
    [
        # One request of what the rule and an entry share is not all of it.
        ("/api/re*", ("api",), ((False, ("recordings.view",)),)),
        ("/api/*/1", ("api",), ((False, ("recordings.view",)),)),
        ("/*/recordings/1", ("recordings.view",), ((True, ("api",)),)),
        ("/api/recordings/*", ("recordings.view",), ((True, ("api",)),)),
        # Where no request is like that.
        ("/api/;*", ("api",), ((True, ()),)),
        ("/api/x.", ("api",), ((True, ()),)),
    ],
)
def test_all_that_a_rule_admits_is_looked_at(
    url: str, privileges: tuple[str, ...], expected: tuple[tuple[bool, tuple[str, ...]], ...]
) -> None:
    assert found("GET", url, *privileges) == expected


def test_a_rule_for_get_is_of_use_where_head_is_open() -> None:
    catalogue = Catalogue(
        [
            Endpoint(frozenset({"HEAD"}), "/size", frozenset({"size"})),
            Endpoint(frozenset({"GET"}), "/all", frozenset({"all"})),
            Endpoint(frozenset({"HEAD"}), "/all", frozenset({"size"})),
        ]
    )
    assert found("GET", "/size", "size", catalogue=catalogue) == ()
    assert found("GET", "/size", catalogue=catalogue) == ((True, ("size",)),)
    assert found("GET", "/all", "all", catalogue=catalogue) == ((False, ("size",)),)
    assert found("HEAD", "/size", "size", catalogue=catalogue) == ((True, ()),)


def test_an_entry_with_several_readings_counts_for_the_request_that_it_is() -> None:
    catalogue = Catalogue([*CATALOGUE.endpoints, Endpoint(frozenset({"*"}), "/api/a;b", frozenset({"ab"}))])
    assert found("GET", "/api/a*", "api", catalogue=catalogue) == ((False, ("ab",)),)
    assert found("GET", "/api/b*", "api", catalogue=catalogue) == ()


def test_what_nobody_can_tell_counts_as_useless_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "_STATES_OF_RULE", 10)
    rules = [Rule("GET", "/*/recordings/1"), Rule("GET", "/other")]
    first, second = gaps(rules, Principal("maria", active=True, privileges=frozenset({"api"})), CATALOGUE)
    assert (first.undecided, first.useless, second.undecided) == (True, True, False)
    assert "too many wildcards" in first.sentence
    assert "Use fewer *" in str(useless([first], "maria").hint)


# Against all requests that there are of a few characters.


def requests_of(rule: Rule) -> Iterator[CanonicalRequest]:
    matches = PatternSet([(UrlPattern.parse(rule.url), None)]).matching
    for path in LONGER:
        for host in HOSTS:
            if matches(path, host):
                for method in admitted_methods(rule.method):
                    yield CanonicalRequest(method, path, host)


@settings(max_examples=150, deadline=None)
@given(
    method=st.sampled_from(("GET", "POST", "HEAD")),
    url=shorter_urls(),
    endpoints=st.lists(
        st.builds(
            Endpoint,
            st.frozensets(st.sampled_from(("GET", "HEAD", "*")), min_size=1),
            shorter_urls(),
            st.frozensets(st.sampled_from("pq")),
        ),
        max_size=4,
    ),
    privileges=st.frozensets(st.sampled_from("pq")),
    unlisted_allowed=st.booleans(),
)
def test_a_gap_is_what_the_decisions_say_of_all_requests(
    method: str, url: str, endpoints: list[Endpoint], privileges: frozenset[str], *, unlisted_allowed: bool
) -> None:
    catalogue = Catalogue(endpoints, unlisted_allowed=unlisted_allowed)
    principal = Principal("maria", active=True, privileges=privileges)
    rule = Rule(method, url)
    record = KeyRecord(
        id="k",
        tenant="t",
        type=KeyType.CUSTOM,
        digest="d",
        description="d",
        created_at=NOW,
        user="maria",
        rules=(rule,),
    )
    scope = Scope(record)
    usable, missing = False, set[str]()
    for request in requests_of(rule):
        decision = decide_in(scope, request, principal, catalogue)
        usable = usable or decision.allowed
        missing.update(decision.missing)
    [gap] = gaps([rule], principal, catalogue) or [None]
    event(f"usable: {usable}, missing: {bool(missing)}")
    assert (gap is None or not gap.useless) is usable
    assert set(() if gap is None else gap.missing) == missing
