"""What patterns have in common, against the matcher and all requests that there are of a few characters."""

from __future__ import annotations

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from core.smallworld import READINGS, canonical, patterns, requests_of, requests_of_any
from core.strategies import acceptable_raw_paths, small_paths, small_patterns
from scopegate.core.languages import (
    Budget,
    PatternIndex,
    Undecided,
    Witness,
    may_meet,
    meet,
    opens_nothing,
    witness,
)
from scopegate.core.paths import canonical_path, other_readings
from scopegate.core.request import canonical_host
from scopegate.core.wildcard import PatternSet, UrlPattern


def pattern(text: str) -> UrlPattern:
    return UrlPattern.parse(text)


def test_there_is_much_to_compare_with() -> None:
    assert len(READINGS) > 2_000
    assert sum(len(several) > 1 for several in READINGS.values()) > 1_000


groups = st.lists(st.lists(patterns(), min_size=1, max_size=2), min_size=1, max_size=2)


@settings(max_examples=150, deadline=None)
@given(groups, st.lists(patterns(), max_size=3))
@example([[pattern("/*")]], [pattern("/a*"), pattern("/b*")])
@example([[pattern("/*20")]], [pattern("/*%20")])
@example([[pattern("/*b/a*")], [pattern("/a*")]], [pattern("/ab/a*"), pattern("/a*b/a*")])
def test_a_witness_is_what_the_matcher_says_and_there_is_none_only_where_there_is_no_request(
    inside: list[list[UrlPattern]], outside: list[UrlPattern]
) -> None:
    found = witness(inside, outside)
    if found is None:
        event("nothing")
        left = frozenset.intersection(*map(requests_of_any, inside)) - requests_of_any(outside)
        if len(inside) > 1 and outside:  # as the function says
            left = frozenset((path, host) for path, host in left if not other_readings(path))
        assert not left
    else:
        event("something")
        path, host = found
        assert canonical(path)
        assert not other_readings(path)
        assert host is None or canonical_host(host.encode()) == host
        for group in inside:
            assert PatternSet((one, one) for one in group).matching(path, host)
        assert not PatternSet((one, one) for one in outside).matching(path, host)


@settings(max_examples=150, deadline=None)
@given(st.lists(patterns(), min_size=1, max_size=3), patterns())
@example([pattern("/a*"), pattern("/b*")], pattern("*"))
@example([pattern("/*")], pattern("*"))
@example([pattern("https://a/*"), pattern("https://b/*")], pattern("/a"))
def test_patterns_cover_another_together_only_if_one_of_them_does(
    several: list[UrlPattern], one: UrlPattern
) -> None:
    covered = witness([[one]], several) is None
    assert covered is (opens_nothing(one) or any(other.covers(one) for other in several))
    if covered:
        assert requests_of(one) <= requests_of_any(several)


@settings(max_examples=100, deadline=None)
@given(patterns())
@example(pattern("/a;b"))
@example(pattern("/a."))
@example(pattern("/*.*"))
@example(pattern("/*%20/*"))
def test_a_pattern_opens_nothing_if_no_request_is_admitted(one: UrlPattern) -> None:
    admitted = requests_of(one)
    found = witness([[one]])
    assert opens_nothing(one) is (found is None)
    if admitted:
        assert found is not None
    if found is None:
        assert not admitted


@given(small_patterns(), small_patterns(), small_paths())
def test_the_ends_of_patterns_never_tell_apart_what_a_request_matches(
    one: str, other: str, path: str
) -> None:
    pair = pattern(one), pattern(other)
    for host in (None, "b", "a.b"):
        if all(one.matches(path=path, host=host) for one in pair):
            assert may_meet(*pair)


@given(patterns(), st.lists(patterns(), max_size=6))
def test_an_index_finds_whatever_meets(one: UrlPattern, several: list[UrlPattern]) -> None:
    near = [value for _, value in PatternIndex((other, n) for n, other in enumerate(several)).near(one)]
    assert sorted(near) == [n for n, other in enumerate(several) if may_meet(one, other)]
    for n, other in enumerate(several):
        if meet(one, other):
            assert witness([[one], [other]]) is not None
            assert n in near
        else:
            assert witness([[one], [other]]) is None


@settings(max_examples=300)
@given(acceptable_raw_paths())
def test_the_last_reading_of_a_path_is_a_path_of_one_reading(raw: bytes) -> None:
    path = canonical_path(raw)
    last = min((path, *other_readings(path)), key=len)
    assert canonical(last)
    assert not other_readings(last)


# The nasty ones


@pytest.mark.parametrize(
    ("inside", "outside", "found"),
    [
        (["/api/*"], ["/api/recordings/*"], Witness("/api/")),
        (["/api/*"], ["/api/", "/api/recordings/*"], Witness("/api/x")),
        (["*"], ["/"], Witness("/x")),
        (["*"], ["/*"], None),
        (["/*"], ["*"], None),
        (["*"], ["/a*", "/b*"], Witness("/")),
        # An escape is one character.
        (["/*20", "/a%20"], [], None),
        (["/*%20b", "/a*"], [], Witness("/a%20b")),
        (["/a%20*"], ["/a*20", "/a%20"], Witness("/a%20x")),
        (["/a%C3%A9*", "/*b"], [], Witness("/a%C3%A9b")),
        (["/*%C3%A9"], ["/*%E2%82%AC"], Witness("/%C3%A9")),
        (["/a+b"], ["/a%2Bb"], Witness("/a+b")),
        # What no canonical path says.
        (["/*/", "/a/*"], ["/a/*/"], Witness("/a/")),
        (["/.*", "/*."], [], None),
        (["/a/.*", "/*/"], ["/a/.*/x"], Witness("/a/.x/")),
        (["/.*", "/*./x"], [], None),
        (["/a;b"], [], None),
        (["/a%3Fb*"], [], None),
        (["/a%25*", "/*41"], [], Witness("/a%25x41")),
        # A path may end within what could have become an escape in an escape.
        (["/a%25"], [], Witness("/a%25")),
        (["/a%254"], [], Witness("/a%254")),
        (["/a%25u00*", "/*1"], [], Witness("/a%25u001")),
        (["/a%25*", "/*4"], [], Witness("/a%254")),
        (["/%25*1", "/%254*"], [], Witness("/%254x1")),
        # Hosts and ports.
        (["https://a/*", "https://b/*"], [], None),
        (["https://*.example.com/*"], ["https://api.example.com/*"], Witness("/", ".example.com")),
        (["https://*/x", "https://a:8080/*"], [], Witness("/x", "a:8080")),
        (["https://a/x"], ["http://a:80/x"], None),
        (["https://a/x"], ["https://a:443/*"], None),
        (["https://a/x"], ["https://a:8080/*"], Witness("/x", "a")),
        (["https://*8080/x"], ["https://*:8080/x"], Witness("/x", "8080")),
        (["/x"], ["https://*/x"], Witness("/x", None)),
        (["/x", "https://*/*"], ["https://a*/x"], Witness("/x", "x")),
        (["https://[::1]:81/*"], ["https://[::1]/*"], Witness("/", "[::1]:81")),
        (["https://A.example/*"], ["https://a.example/*"], None),
    ],
)
def test_witnesses(inside: list[str], outside: list[str], found: Witness | None) -> None:
    assert witness([[pattern(one)] for one in inside], map(pattern, outside)) == found


HARD = [pattern("/" + "*".join(["a"] * 15) + "*"), pattern("/*" + "*b" * 14)]


def test_what_takes_too_many_states_is_undecided_and_not_guessed() -> None:
    with pytest.raises(Undecided):
        witness([[one] for one in HARD], budget=Budget(100))
    assert witness([[one] for one in HARD]) is not None


def test_questions_may_share_a_budget() -> None:
    budget = Budget(100)
    assert witness([[pattern("/api/*")]], budget=budget)
    left = budget.left
    assert left < 100
    assert witness([[pattern("/api/*")]], budget=budget)
    assert budget.left < left
