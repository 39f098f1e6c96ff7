"""What is found of keys, and which keys reach an endpoint, held against all requests of a few characters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from core.smallworld import HOSTS, LONGER, shorter_urls
from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.decision import Scope, decide_in
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import KeyRecord, KeyState, KeyType, Rule
from scopegate.core.languages import Undecided
from scopegate.core.principal import Principal
from scopegate.core.reaching import Question, Reacher, who_reaches
from scopegate.core.reasons import Reason
from scopegate.core.request import CanonicalRequest
from scopegate.core.review import FindingCode, Review, broader
from scopegate.core.wildcard import UrlPattern

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
CATALOGUE = Catalogue(
    [
        Endpoint(frozenset({"GET"}), "/api/recordings/*", frozenset({"recordings.view"})),
        Endpoint(frozenset({"GET"}), "/api/archive/*", frozenset({"archive.view"})),
        Endpoint(frozenset({"*"}), "/api/status"),
    ]
)
KIM = Principal("kim", active=True, privileges=frozenset({"recordings.view"}))
GONE = Principal("tom", active=False, privileges=frozenset())
PRINCIPALS = {"kim": KIM, "tom": GONE, "who": None}


def key(*rules: str, name: str = "k", **others: Any) -> KeyRecord:
    fields: dict[str, Any] = {
        "id": name,
        "tenant": "t",
        "type": KeyType.CUSTOM,
        "digest": "d" * 64,
        "description": "d",
        "created_at": NOW,
        "rules": tuple(Rule(*rule.split(" ", 1)) for rule in rules),
        **others,
    }
    return KeyRecord(**fields)


def of(record: KeyRecord) -> list[tuple[str, int | None, str | None]]:
    return [(one.code.value, one.row, one.other) for one in Review(PRINCIPALS, CATALOGUE).findings(record)]


def requests() -> Iterator[CanonicalRequest]:
    for path in LONGER:
        for host in HOSTS:
            for method in ("GET", "HEAD", "POST"):
                yield CanonicalRequest(method, path, host)


# Findings


def test_of_a_key_in_order_nothing_is_found() -> None:
    assert of(key("GET /api/recordings/*", user="kim")) == []
    assert of(key("GET /anything")) == []
    assert of(key(type=KeyType.EXTERNAL, user="kim")) == []


def test_rules_that_open_nothing_or_nothing_more_are_found() -> None:
    assert of(
        key("GET /api/*", "GET /api/x", "POST /api/x", "GET /a;b", "HEAD /x", "GET http://h/api/*")
    ) == [
        ("rule_shadowed", 2, "1"),
        ("rule_admits_nothing", 4, None),
        ("rule_admits_nothing", 5, None),
        ("rule_shadowed", 6, "1"),
    ]
    assert of(key("GET /*", "GET *")) == [("rule_shadowed", 2, "1")]
    assert of(key("GET http://h/x", "GET https://h/x")) == [("rule_shadowed", 2, "1")]
    assert of(key("GET *", "GET /a*", "GET /b*"))[0] == ("rule_shadowed", 2, "1")
    assert of(key("GET /a*", "GET /b*", "GET *")) == [("rule_shadowed", 1, "3"), ("rule_shadowed", 2, "3")]


def test_a_key_that_opens_nothing_is_found() -> None:
    assert of(key()) == [("no_rules", None, None)]
    assert of(key(type=KeyType.EXTERNAL, user="who")) == [("user_unknown", None, None)]
    assert of(key("GET /api/*", user="tom")) == [("user_inactive", None, None)]


def test_what_the_user_cannot_use_is_found_with_a_request_that_shows_it() -> None:
    record = key("GET /api/*", "GET /api/archive/*", "GET /none", user="kim")
    found = list(Review(PRINCIPALS, CATALOGUE).findings(record))
    partly, shadowed, missing, unlisted = found[0], found[1], found[2], found[3]
    assert (partly.code, partly.row, partly.missing) == ("privileges_partly_missing", 1, ("archive.view",))
    assert partly.endpoint == "GET /api/archive/*"
    assert partly.request == CanonicalRequest("GET", "/api/archive/", None)
    assert shadowed.code is FindingCode.SHADOWED
    assert (missing.code, missing.row) == ("privileges_missing", 2)
    assert "Row 2 (GET /api/archive/*) opens nothing" in missing.message
    assert (unlisted.code, unlisted.missing, unlisted.request) == (
        "privileges_missing",
        (),
        CanonicalRequest("GET", "/none", None),
    )


def test_a_rule_that_several_keys_have_is_told_of_each_with_its_row() -> None:
    review = Review(PRINCIPALS, CATALOGUE)
    first = key("GET /api/archive/*", name="one", user="kim")
    second = key("GET /api/status", "GET /api/archive/*", name="two", user="kim")
    assert [(one.key, one.row) for record in (first, second) for one in review.findings(record)] == [
        ("one", 1),
        ("two", 2),
    ]


rules = st.lists(st.builds(Rule, st.sampled_from(("GET", "GET", "HEAD", "POST")), shorter_urls()), max_size=4)
catalogues = st.builds(
    Catalogue,
    st.lists(
        st.builds(
            Endpoint,
            st.frozensets(st.sampled_from(("GET", "HEAD", "*")), min_size=1),
            shorter_urls(),
            st.frozensets(st.sampled_from("pq")),
        ),
        max_size=4,
    ),
    unlisted_allowed=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(rules, catalogues, st.frozensets(st.sampled_from("pq")))
def test_what_is_found_is_what_the_decisions_say(
    drawn: list[Rule], catalogue: Catalogue, privileges: frozenset[str]
) -> None:
    record = key(user="kim", rules=tuple(dict.fromkeys(drawn)))
    kim = Principal("kim", active=True, privileges=privileges)
    found = list(Review({"kim": kim}, catalogue).findings(record))
    by_code = {code: {one.row for one in found if one.code == code} for code in FindingCode}
    assert not by_code[FindingCode.UNDECIDED]
    alone = [Scope(key(user="kim", rules=(rule,))) for rule in record.rules]
    opened = [{asked for asked in requests() if scope.admitting_rule(asked) is not None} for scope in alone]
    for row, scope in enumerate(alone, start=1):
        mine = opened[row - 1]
        assert (row in by_code[FindingCode.ADMITS_NOTHING]) is (not mine)
        if not mine:
            continue
        wider = any(mine < other for other in opened)
        twin = any(mine == other for other in opened[: row - 1])
        assert (row in by_code[FindingCode.SHADOWED]) is (wider or twin)
        decisions = [decide_in(scope, asked, kim, catalogue) for asked in mine]
        usable = any(decision.allowed for decision in decisions)
        missing = {one for decision in decisions for one in decision.missing}
        assert (row in by_code[FindingCode.PRIVILEGES_MISSING]) is (not usable)
        assert (row in by_code[FindingCode.PARTLY_MISSING]) is (usable and bool(missing))
    for one in found:
        event(one.code)
        if one.code in {FindingCode.PRIVILEGES_MISSING, FindingCode.PARTLY_MISSING}:
            assert one.request is not None
            assert one.row is not None
            decision = decide_in(alone[one.row - 1], one.request, kim, catalogue)
            assert not decision.allowed
            assert set(decision.missing) <= set(one.missing)


# Broader than others


def test_a_row_that_others_do_not_cover_is_found_with_what_they_do_not_open() -> None:
    mine = key("GET /api/recordings/*", "GET /api/a", "POST /api/b", name="mine")
    other = key("GET /api/recordings/7*", "GET /api/*a", name="other")
    assert [(one.row, one.other, one.request) for one in broader(mine, [other])] == [
        (1, "other", CanonicalRequest("GET", "/api/recordings/", None)),
        (3, "other", CanonicalRequest("POST", "/api/b", None)),
    ]
    third = key("GET /api/*", name="third")
    assert [(one.row, one.other) for one in broader(mine, [other, third])] == [(3, None)]
    assert [one.row for one in broader(mine, [])] == [1, 2, 3]


def test_a_key_without_rules_opens_everything() -> None:
    everything = key(type=KeyType.EXTERNAL, name="all")
    mine = key("GET /api/*", name="mine")
    assert list(broader(mine, [everything])) == []
    [found] = broader(everything, [mine])
    assert (found.row, found.code) == (None, FindingCode.BROADER)
    assert list(broader(everything, [key("GET *", "POST *", name="two"), everything])) == []


@settings(max_examples=60, deadline=None)
@given(rules, st.lists(rules, max_size=2))
def test_a_row_is_broader_just_if_it_opens_what_no_other_key_does(
    drawn: list[Rule], others: list[list[Rule]]
) -> None:
    mine = key(name="mine", rules=tuple(drawn))
    theirs = [key(name=f"o{n}", rules=tuple(several)) for n, several in enumerate(others)]
    scopes = [Scope(record) for record in theirs]
    found = {one.row: one for one in broader(mine, theirs)}
    for row, rule in enumerate(drawn, start=1):
        scope = Scope(key(rules=(rule,)))
        left = [
            asked
            for asked in requests()
            if scope.admitting_rule(asked) is not None
            and not any(other.admitting_rule(asked) is not None for other in scopes)
        ]
        assert (row in found) is bool(left)
        if left:
            request = found[row].request
            assert request is not None
            assert scope.admitting_rule(request) is not None
            assert not any(other.admitting_rule(request) is not None for other in scopes)


# Who reaches


def reachers(method: str, url: str, *records: KeyRecord) -> list[Reacher]:
    asked = Question(method, UrlPattern.parse(url))
    return list(who_reaches(asked, records, PRINCIPALS, CATALOGUE, NOW))


def test_a_key_that_reaches_an_endpoint_is_told_with_its_row_and_what_stands_against_it() -> None:
    keys = [
        key("POST /api/*", "GET /api/*", name="kims", user="kim"),
        key("GET /api/arch*", name="off", user="kim", enabled=False),
        key("GET /api/archive/7", name="all"),
        key("GET /other", name="elsewhere"),
        key(name="external", type=KeyType.EXTERNAL, user="tom"),
        key(name="desktop", type=KeyType.DESKTOP),
        key("GET *", name="late", expires_at=NOW - timedelta(days=1), user="who"),
    ]
    assert [
        (one.record.id, one.state, one.row, one.wholly, one.reason, one.missing)
        for one in reachers("GET", "/api/archive/*", *keys)
    ] == [
        ("kims", KeyState.ACTIVE, 2, True, Reason.PRIVILEGE_MISSING, ("archive.view",)),
        ("off", KeyState.DISABLED, 1, True, Reason.KEY_DISABLED, ("archive.view",)),
        ("all", KeyState.ACTIVE, 1, False, Reason.ALLOWED, ()),
        ("external", KeyState.ACTIVE, None, True, Reason.USER_INACTIVE, ()),
        ("desktop", KeyState.ACTIVE, None, True, Reason.ALLOWED, ()),
        ("late", KeyState.EXPIRED, 1, True, Reason.KEY_EXPIRED, ()),
    ]


def test_of_several_requests_one_is_shown_that_the_user_may_send() -> None:
    [one] = reachers("GET", "/api/*", key("GET /api/archive/*", "GET /api/*", user="kim"))
    assert (one.reason, one.row) == (Reason.ALLOWED, 2)
    [one] = reachers("HEAD", "/api/*", key("GET /api/status", user="kim"))
    assert one.request == CanonicalRequest("HEAD", "/api/status", None)


def test_a_rule_for_a_host_is_reached_there() -> None:
    record = key("GET https://a.example/api/*")
    [one] = reachers("GET", "/api/x", record)
    assert one.request == CanonicalRequest("GET", "/api/x", "a.example")
    assert one.wholly is False
    assert reachers("GET", "https://b.example/*", record) == []


def test_one_url_that_is_read_in_several_ways_can_be_asked_for() -> None:
    assert [one.record.id for one in reachers("GET", "/api/status;v=1", key("GET /api/*", name="wide"))]
    assert reachers("GET", "/api/status;v=1", key("GET /api/status*;v=1", "GET /api/*/x")) == []
    [one] = reachers("GET", "/api/x;y", key("GET https://*.example/api/*"))
    assert one.request == CanonicalRequest("GET", "/api/x;y", ".example")
    assert reachers("GET", "/api/x;y", key(type=KeyType.DESKTOP))
    assert reachers("GET", "/api/x;y", key()) == []
    with pytest.raises(InvalidInput, match="several ways"):
        Question("GET", UrlPattern.parse("/api/*;y"))
    with pytest.raises(InvalidInput, match="no HTTP method"):
        Question("TRACE", UrlPattern.parse("/"))


def test_what_nobody_can_tell_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def undecided(*_arguments: object, **_more: object) -> None:
        raise Undecided

    monkeypatch.setattr("scopegate.core.reaching.witness", undecided)
    [one] = reachers("GET", "/api/*", key("GET /*", user="kim"))
    assert (one.reason, one.request) == (None, None)


@settings(max_examples=60, deadline=None)
@given(
    rules, catalogues, st.frozensets(st.sampled_from("pq")), st.sampled_from(("GET", "HEAD")), shorter_urls()
)
def test_a_key_reaches_just_what_the_decisions_say(
    drawn: list[Rule], catalogue: Catalogue, privileges: frozenset[str], method: str, url: str
) -> None:
    record = key(user="kim", rules=tuple(dict.fromkeys(drawn)))
    kim = Principal("kim", active=True, privileges=privileges)
    pattern = UrlPattern.parse(url)
    try:
        asked = Question(method, pattern)
    except InvalidInput:
        return
    scope = Scope(record)
    let_in = [
        request
        for request in requests()
        if request.method == method
        and scope.admitting_rule(request) is not None
        and pattern_matches(pattern, request)
    ]
    found = list(who_reaches(asked, [record], {"kim": kim}, catalogue, NOW))
    assert bool(found) is bool(let_in)
    for one in found:
        request = one.request
        assert request is not None
        assert pattern_matches(pattern, request)
        decision = decide_in(scope, request, kim, catalogue)
        assert (decision.reason, decision.missing) == (one.reason, one.missing)
        assert decision.rule is not None
        assert one.row == decision.rule + 1
        usable = any(decide_in(scope, asked, kim, catalogue).allowed for asked in let_in)
        assert decision.allowed is usable


def pattern_matches(pattern: UrlPattern, request: CanonicalRequest) -> bool:
    return pattern.matches(path=request.path, host=request.host) or (
        pattern.path == request.path and pattern.host in {None, request.host}
    )
