"""No upstream reads an accepted path as one that the rule which admitted it does not admit.

`core.upstream_models` says how upstreams read, and which readings are out of scope by decision.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from core.strategies import acceptable_raw_paths, raw_paths
from core.upstream_models import DECODINGS, STEPS, UNCOVERED, Model, admits, decode, readings_of
from scopegate.core.errors import InvalidInput
from scopegate.core.languages import witness
from scopegate.core.paths import canonical_path, other_readings
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.core.request import canonicalize
from scopegate.core.target import split_target
from scopegate.core.wildcard import UrlPattern

# Pieces of a name that some upstream reads otherwise: escapes, dots, semicolons, and letters that are
# the digits of an escape when something else stands before them.
_LETTERS_AND_SIGNS = "a b 0 20 2e 2F 3B A9 41 u002e u002f - _ ~ * : @ + , = ! $ & ' ( ) %7e %41 %2B %26 %2A"
_DOTS_AND_DELIMITERS = ". .. ... ; ;v=1 ;. ;.. %3B %3Bx %3F %3Fq %23 %23q %20 .%20 %20. %2e %2E%2e %2f %5C \\"
_ODD_ESCAPES = "%25 %25u002e %25u %C3%A9 %E2%82%AC %EF%BC%8E %C4%AF %c0%ae %e0%80%af %00 %0a %u002e %252e"
_NAME_PIECES = f"{_LETTERS_AND_SIGNS} {_DOTS_AND_DELIMITERS} {_ODD_ESCAPES}".split()
_names = st.lists(st.sampled_from(_NAME_PIECES), max_size=4).map("".join)
_dotted = st.builds(
    "{}{}{}".format,
    st.sampled_from(("", ".", "..", "...", "%2e", ".%2E")),
    st.sampled_from(("", ";", "%3B", "%3F", "%23", "%20", "%2f", "%5c", "%00", "%25u002f", "%c0%af")),
    st.sampled_from(("", "", "a", "..", ";", "%20")),
)
_nasty_paths = st.lists(st.one_of(_names, _names, _dotted), min_size=1, max_size=5).map(
    lambda names: "/" + "/".join(names)
)

# The same without what is refused wherever it stands, so that most are accepted.
_CALM = [
    piece
    for piece in _NAME_PIECES
    if piece not in {"\\", "%u002e"} and not re.search("%(?:2f|5c|00|0a|25|c0|e0)", piece, re.IGNORECASE)
]
_calm_names = st.builds(
    "{}{}".format,
    st.sampled_from(("a", "b.", "0", "~", "...", "x%20")),
    st.lists(st.sampled_from(_CALM), max_size=3).map("".join),
)
_calm_paths = st.builds(
    "/{}{}".format,
    st.lists(_calm_names, min_size=1, max_size=4).map("/".join),
    st.sampled_from(("", "", "/", "/;v", "/%3Fq", "/%20", "/...", "%25")),
)
_paths = st.one_of(
    _nasty_paths.map(str.encode),
    _calm_paths.map(str.encode),
    _calm_paths.map(str.encode),
    raw_paths(),
    acceptable_raw_paths(),
)


def canonical(raw: bytes) -> str | None:
    try:
        return canonical_path(raw)
    except RequestRefused:
        return None


@st.composite
def _rules(draw: st.DrawFn, path: str) -> str:
    """Rules, most of which admit `path`: itself, with stars for parts of it, halves of escapes included."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.one_of(st.just("*"), _nasty_paths.map(lambda text: text.replace("a", "*"))))
    rule = path
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(1, len(rule)))
        end = draw(st.one_of(st.integers(begin, len(rule)), st.integers(begin, min(len(rule), begin + 4))))
        rule = rule[:begin] + "*" + rule[end:]
    return rule


def misread(path: str, rule: str, *, most_habits: int = 2) -> tuple[Model, str] | None:
    """An upstream that takes `path` for one that `rule` does not admit, and what it takes it for."""
    for (reading, spelling), model in readings_of(path, most_habits=most_habits).items():
        if not admits(rule, reading, spelling):
            return model, reading
    return None


# What has gone wrong, or would without one of the checks: a path, and a rule that must not admit it.
CASES: dict[str, tuple[str, str]] = {
    "dots that are %u escapes once decoded": ("/api/%25u002e%25u002e/admin", "/api/*"),
    "a slash that is a %u escape once decoded": ("/api/..%25u002fadmin", "/api/*"),
    "dots and a space": ("/api/..%20/admin", "/api/*"),
    "dots and spaces": ("/api/..%20%20/admin", "/api/*"),
    "a dot and a space": ("/api/.%20/admin", "/api/*/admin"),
    "dots around a space": ("/api/.%20./admin", "/api/*/admin"),
    "dots and a space before a parameter": ("/api/..%20;x/admin", "/api/*"),
    "dots and a space before an escaped question mark": ("/api/..%20%3Fx", "/api/*"),
    "digits of an escape for the rule's digits": ("/year/admin%20/report", "/year*20/report"),
    "the last digit of an escape": ("/admin%20", "/*0"),
    "digits of an escaped letter": ("/admin%C3%A9", "/*A9"),
    "a dot at the end of a name": ("/files/report..", "/files/report.*"),
    "a space at the end of a name": ("/files/report%20", "/files/*%20"),
    "a name of dots": ("/api/.../roles", "/api/*/roles"),
    "a name of a space": ("/api/%20/roles", "/api/*/roles"),
    "dots before a parameter": ("/a/x.;v=b", "/a/*.*b"),
    "a parameter that hides the first of two cuts": ("/a/b;b%3F/c%3Fb", "/a/*b"),
    "an escaped question mark": ("/api/admin%3F/public", "/api/*/public"),
    "an escaped hash": ("/api/admin%23/public", "/api/*/public"),
    "a parameter": ("/static/admin;.css", "/static/*.css"),
    "an escaped semicolon": ("/static/admin%3B.css", "/static/*.css"),
    "dots and a parameter": ("/api/..;/admin", "/api/*"),
    "dots and an escaped semicolon": ("/api/..%3B/admin", "/api/*"),
    "dots and an escaped question mark": ("/api/..%3Fx", "/api/*"),
    "dots and an escaped hash": ("/api/..%23x", "/api/*"),
    "an empty segment": ("/api//admin", "/api/*/admin"),
    "a segment of a parameter": ("/api/;x/admin", "/api/*/admin"),
    "an escaped slash": ("/api/..%2fadmin", "/api/*"),
    "a backslash": ("/api/..%5cadmin", "/api/*"),
    "dots": ("/api/../admin", "/api/*"),
    "escaped dots": ("/api/%2e%2e/admin", "/api/*"),
    "doubly escaped dots": ("/api/%252e%252e/admin", "/api/*"),
    "over-long dots": ("/api/%c0%ae%c0%ae/admin", "/api/*"),
    "a NUL": ("/api/admin%00/public", "/api/*/public"),
}


@pytest.mark.parametrize(("raw", "rule"), CASES.values(), ids=list(CASES))
def test_a_path_that_some_upstream_reads_outside_the_rule_is_not_admitted(raw: str, rule: str) -> None:
    path = canonical(raw.encode())
    assert path is None or not UrlPattern.parse(rule).matches(path=path, host=None)
    # The models know why: as the path stands, they read it outside the rule.
    assert misread(raw, rule, most_habits=3)


@given(_paths)
def test_canonicalising_twice_changes_nothing(raw: bytes) -> None:
    path = canonical(raw)
    if path is not None:
        assert canonical(path.encode()) == path


class Seen:
    """How often the law had something to say."""

    paths: set[str]
    admitted: int
    rules: set[str]

    def __init__(self) -> None:
        self.paths, self.rules, self.admitted = set(), set(), 0


def test_no_upstream_reads_an_admitted_path_outside_its_rule() -> None:
    seen = Seen()

    @settings(max_examples=4_000, deadline=None)
    @given(_paths, st.data())
    def law(raw: bytes, data: st.DataObject) -> None:
        path = canonical(raw)
        assume(path is not None)
        assert path is not None
        seen.paths.add(path)
        others = other_readings(path)
        event(f"{min(len(others), 4)} other readings")
        for _ in range(3):
            try:
                pattern = UrlPattern.parse(data.draw(_rules(path)))
            except InvalidInput:
                continue
            if pattern.matches(path=path, host=None):
                seen.admitted += 1
                seen.rules.add(pattern.path)
                assert misread(path, pattern.path) is None, pattern.path

    law()
    assert len(seen.paths) > 1_500
    assert seen.admitted > 4_000
    assert len(seen.rules) > 600


@settings(max_examples=1_000)
@given(_paths)
def test_no_upstream_reads_an_accepted_path_with_dot_segments(raw: bytes) -> None:
    path = canonical(raw)
    assume(path is not None)
    assert path is not None
    for (reading, _), model in readings_of(path).items():
        assert not {".", ".."} & set(reading.split("/")), model.name


@settings(max_examples=300)
@given(_paths, st.data())
def test_the_slow_matcher_and_the_fast_one_agree_about_one_reading(raw: bytes, data: st.DataObject) -> None:
    path = canonical(raw)
    assume(path is not None)
    assert path is not None
    written = data.draw(_rules(path))
    try:
        pattern = UrlPattern.parse(written)
    except InvalidInput:
        return
    slowly = all(admits(pattern.path, decode.read(text), (decode,)) for text in (path, *other_readings(path)))
    # Not the other way round: + and %2B are one name to whoever decodes, and two to a rule.
    if pattern.matches(path=path, host=None):
        assert slowly


@given(_calm_paths, _calm_paths, st.data())
def test_what_two_rules_share_is_a_request_that_both_admit(one: str, other: str, data: st.DataObject) -> None:
    written = [data.draw(_rules(path)) for path in (one, other)]
    try:
        patterns = [UrlPattern.parse(text) for text in written]
    except InvalidInput:
        return
    shared = witness([[pattern] for pattern in patterns])
    if shared is not None:
        assert canonical(shared.path.encode()) == shared.path
        assert all(pattern.matches(path=shared.path, host=None) for pattern in patterns)
    else:
        assert not all(pattern.matches(path=patterns[1].path, host=None) for pattern in patterns)


# What is nobody's trick, and has to pass unchanged.
_LETTERS = "ABCXYZabcxyz0189-_~!$&'()*+,=:@"
_legit_names = st.one_of(
    st.text(_LETTERS, min_size=1, max_size=12),
    st.builds("{}{}".format, st.text(_LETTERS, min_size=1, max_size=3), st.text(_LETTERS + ".;", max_size=8)),
    st.builds("{}%20{}".format, st.text("abc", min_size=1), st.text("abc", min_size=1)),
    st.text(
        st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), min_codepoint=0xA0),
        min_size=1,
        max_size=5,
    ).map(lambda text: "".join(f"%{byte:02X}" for byte in text.encode())),
    st.sampled_from(
        (".well-known", "...", "a..b", "..a", "report.pdf", "v1.2.3", ".env", "100%25", "a%26b", "%40kim")
    ),
    st.text("ab", min_size=200, max_size=400),
)
_legit_paths = st.builds(
    "/{}{}".format, st.lists(_legit_names, min_size=1, max_size=12).map("/".join), st.sampled_from(("", "/"))
)
_queries = st.one_of(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=40),
    st.sampled_from(
        ("a=1&a=2", "q=../../x", "u=http://h/p?x", "a=%zz", "a=%00", "%ff", ";", "a[]=1", "x|y", "//")
    ),
)


@settings(max_examples=500)
@given(_legit_paths, _queries)
@example("/" + "x" * 8_000, "")
@example("/x" * 4_000 + "/", "q")
def test_a_path_of_ordinary_names_and_any_query_pass_unchanged(path: str, query: str) -> None:
    raw_path, raw_query = split_target(f"{path}?{query}".encode(), [(b"host", b"h")])
    assert (raw_path, raw_query) == (path.encode(), query.encode())
    request = canonicalize("GET", raw_path, query=raw_query, host=b"h")
    assert request.path == path
    for rule in ("*", "/*", f"{path}*", path.rsplit("/", 1)[0] + "/*"):
        try:
            pattern = UrlPattern.parse(rule)
        except InvalidInput:
            continue  # more stars than a rule may have, or longer
        if not other_readings(path) or rule in {"*", "/*"}:
            assert pattern.matches(path=request.path, host=request.host), rule


@pytest.mark.parametrize("model", UNCOVERED, ids=lambda model: model.name)
def test_upstreams_that_fold_characters_are_out_of_scope_and_the_documents_say_so(model: Model) -> None:
    raw = {"NFKC": "/api/%EF%BC%8E%EF%BC%8E%EF%BC%8Fadmin", "low byte": "/api/..%C4%AFadmin"}[model.name]
    path = canonical(raw.encode())
    assert path == raw
    assert UrlPattern.parse("/api/*").matches(path=path, host=None)
    assert model.read(path) == "/api/../admin"
    said = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    assert {"NFKC": "NFKC", "low byte": "U+012F"}[model.name] in said


def test_a_star_for_nothing_leaves_a_slash_that_some_upstreams_ignore() -> None:
    assert UrlPattern.parse("/api/*").matches(path="/api/", host=None)
    assert not UrlPattern.parse("/api/*").matches(path="/api", host=None)


def test_the_models_are_what_they_are_named_for() -> None:
    steps = {step.name: step for step in (*STEPS, *(step for steps in DECODINGS for step in steps))}
    for name, path, reading in (
        ("decode > decode", "/%252e", "/."),
        ("decode > decode %u", "/%25u002e", "/."),
        ("decode > over-long UTF-8", "/%c0%ae%e0%80%af%f0%80%80%ae", "/./."),
        ("decode > cut at ? or #", "/a%23b", "/a"),
        ("cut ;parameters > resolve dot segments", "/a/..;x/b", "/b"),
        ("decode > normpath", "/a/%2e%2e/b/", "/b/"),
        ("resolve dot segments", "/a/b/../c/./d/..", "/a/c/"),
        ("backslash is slash > resolve dot segments", "/a/..\\b", "/b"),
        ("decode > cut dots and spaces", "/a.%20/b..", "/a/b"),
        ("decode > cut spaces > resolve dot segments", "/a/..%20/b", "/b"),
        ("decode > until NUL", "/a%00b", "/a"),
        ("merge slashes", "//a///b", "/a/b"),
    ):
        model = Model.of(tuple(steps[step] for step in name.split(" > ")))
        assert model.name == name
        assert model.read(path) == reading
        assert (reading, model.spelling) in readings_of(path)


@pytest.mark.parametrize("raw", [b"/a/.%20", b"/..%20./x", b"/a/%20.", b"/a/...%20/b", b"/a/.%20%3Bx"])
def test_a_name_of_dots_and_spaces_is_a_dot_segment(raw: bytes) -> None:
    with pytest.raises(RequestRefused) as refused:
        canonical_path(raw)
    assert refused.value.reason is Reason.PATH_DOT_SEGMENT


def test_the_readings_of_a_path_are_few_whatever_it_is() -> None:
    hostile = "/a.;%23%20%3B.%3B/%23/..../%20%3F" * 200
    assert len(other_readings(hostile)) < 100
