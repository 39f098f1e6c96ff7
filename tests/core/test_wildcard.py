"""URL patterns: what a star stands for, which URLs may be written, and that many match like one each."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.strategies import small_host_patterns, small_hosts, small_path_patterns, small_paths, small_patterns
from scopegate.core.errors import InvalidInput, MatchingFailed
from scopegate.core.paths import readings
from scopegate.core.wildcard import MAX_PATTERN_LENGTH, MAX_STARS, PatternSet, UrlPattern

PATHS: list[tuple[str, str, bool]] = [
    ("/api/users", "/api/users", True),
    ("/api/users", "/api/users/", False),
    ("/api/users/", "/api/users", False),
    ("/api/users", "/api/users2", False),
    ("/api/users", "/v1/api/users", False),
    ("/api/users", "/API/users", False),
    ("/api/users", "/api/Users", False),
    ("/", "/", True),
    ("/", "/a", False),
    # The star: any run, the empty one and '/' included; anchored at both ends.
    ("/api/*", "/api/users", True),
    ("/api/*", "/api/users/7/roles", True),
    ("/api/*", "/api/", True),
    ("/api/*", "/api", False),
    ("/api/*", "/apis", False),
    ("/api/*", "/x/api/users", False),
    ("/api*", "/api", True),
    ("/api*", "/api-internal/secrets", True),
    ("*", "/", True),
    ("*", "/a/b", True),
    ("/*", "/", True),
    ("/*/users", "/api/users", True),
    ("/*/users", "/api/v1/users", True),
    ("/*/users", "/users", False),
    ("/api/*/roles", "/api/users/7/roles", True),
    ("/api/*/roles", "/api/roles", False),
    ("/api/*/roles", "/api/users/roles/x", False),
    ("/api/*/roles", "/api/a/roles/b/roles", True),
    ("/api/**", "/api/users/7", True),
    ("/a*b*c", "/a1b2c", True),
    ("/a*b*c", "/abc", True),
    ("/a*b*c", "/acb", False),
    # Nothing else is special.
    ("/a.b", "/a.b", True),
    ("/a.b", "/axb", False),
    ("/.*", "/.env", True),
    ("/.*", "/env", False),
    ("/a+", "/a+", True),
    ("/a+", "/aa", False),
    ("/(a)", "/(a)", True),
    ("/(a)", "/a", False),
    ("/a$", "/a$", True),
    ("/a$", "/a", False),
    ("/!a", "/!a", True),
    ("/!a", "/b", False),
    ("/:id", "/:id", True),
    ("/:id", "/7", False),
    # A pattern's path is read like a request's.
    ("/%61pi/*", "/api/users", True),
    ("/caf%c3%a9", "/caf%C3%A9", True),
    ("/caf%C3%A9", "/cafe", False),
    ("/a%20b", "/a%20b", True),
    ("/a%2A", "/a%2A", True),
    ("/a%2A", "/a*", False),
    ("/a%2A", "/ab", False),
    ("/a*", "/a%2A", True),
    # Where the upstream may cut the path, a rule has to admit what is left too.
    ("/api/*/public", "/api/a/public", True),
    ("/api/*/public", "/api/admin%3F/public", False),
    ("/api/*/public", "/api/admin%23/public", False),
    ("/api/*/public", "/api/x/public%3F/public", True),
    ("/api/recordings/*", "/api/recordings/a%3Fb", True),
    ("/api/recordings/*", "/api/recordings/a%23b", True),
    ("/api/recordings/*", "/api/recordings/%3F", True),
    ("/api/recordings/*", "/api/recordings%3F/x", False),
    ("/api/users", "/api/users%3Fx", False),
    ("/api/*c", "/api/c%23admin%3Fc", False),
    ("/static/*.css", "/static/a.css", True),
    ("/static/*.css", "/static/admin;.css", False),
    ("/static/*.css", "/static/admin%3B.css", False),
    ("/static/*.css", "/static/a.css;v=.css", True),
    ("/static/*", "/static/a;v=1", True),
    ("/static/a", "/static/a;v=1", False),
    ("/api/*/roles", "/api;x=/users/roles", False),
]

HOSTS: list[tuple[str, str | None, str, bool]] = [
    ("https://h/x", "h", "/x", True),
    ("https://h/x", "h", "/y", False),
    ("https://h/x", "other", "/x", False),
    ("https://h/x", None, "/x", False),
    ("https://H/x", "h", "/x", True),
    ("http://h/x", "h", "/x", True),
    ("https://h/x", "h:443", "/x", True),
    ("https://h/x", "h:80", "/x", True),
    ("https://h:443/x", "h", "/x", True),
    ("http://h:80/x", "h:443", "/x", True),
    ("https://h/x", "h:8443", "/x", False),
    ("https://h:8443/x", "h:8443", "/x", True),
    ("https://h:8443/x", "h", "/x", False),
    ("https://h:8080/x", "h:80", "/x", False),
    ("https://[::1]/x", "[::1]", "/x", True),
    ("https://[::1]:80/x", "[::1]:443", "/x", True),
    ("https://[FE80::A]/x", "[fe80::a]", "/x", True),
    ("https://*.example.com/x", "api.example.com", "/x", True),
    ("https://*.example.com/x", "a.b.example.com", "/x", True),
    ("https://*.example.com/x", "example.com", "/x", False),
    ("https://*.example.com/x", "evilexample.com", "/x", False),
    ("https://*.example.com/x", "api.example.com.evil", "/x", False),
    ("https://*.example.com/x", "api.example.com:8080", "/x", False),
    ("https://*.example.com/x", "evil", "/.example.com/x", False),
    ("https://*.example.com/x", "evil", "/a.example.com/x", False),
    ("https://*/x", "any", "/x", True),
    ("https://*/x", "any", "/y/x", False),
    ("https://*/x", None, "/x", False),
    ("https://h.x/a", "hyx", "/a", False),
    ("/x", "any", "/x", True),
    ("/x", None, "/x", True),
    ("*", None, "/x", True),
    ("*", "any", "/x", True),
]

CANONICAL: list[tuple[str, str]] = [
    ("/api/users", "/api/users"),
    ("/api/***/x", "/api/*/x"),
    ("***", "*"),
    ("/%7Ekim/%c3%a9", "/~kim/%C3%A9"),
    ("HTTPS://API.Example.COM:443/X", "https://api.example.com/X"),
    ("http://h:80/*", "http://h/*"),
    ("http://h:8080/*", "http://h:8080/*"),
]

REFUSED: dict[str, tuple[str, str, str]] = {
    "nothing": ("", "is not a URL", "Start with https:// or /"),
    "no leading slash": ("api/users", "is not a URL", "Start with https:// or /"),
    "a star and no slash": ("*.example.com", "is not a URL", "Start with https:// or /"),
    "another scheme": ("ftp://h/x", "is not a URL", "Start with https:// or /"),
    "a scheme in letters that only look alike": (
        "http\N{LATIN SMALL LETTER LONG S}://h/x",
        "not a URL",
        "Start",
    ),
    "a star before the first slash": ("*/users", "is not a URL", "Start with https:// or /"),
    "a wildcard scheme": ("*://h/x", "is not a URL", "Start with https:// or /"),
    "white space in front": (" /x", "is not a URL", "Start with https:// or /"),
    "a full URL with a line feed": ("https://h/x\n", "is not a URL", "Start"),
    "a query": ("/x?a=1", "contains '?'", "Rules match the path, never the query"),
    "a fragment": ("/x#a", "contains '#'", "Rules match the path, never the query"),
    "a query in a full URL": ("https://h/x?a=*", "contains '?'", "Rules match the path, never the query"),
    "a host alone": ("https://h", "has no path", "for example https://h/*"),
    "no host": ("https:///x", "has no valid host", "Write https://host/path"),
    "a host with a user": ("https://kim@h/x", "has no valid host", "Write https://host/path"),
    "a host with a space": ("https://a b/x", "has no valid host", "Write https://host/path"),
    "a host with an escape": ("https://h%2e/x", "has no valid host", "Write https://host/path"),
    "a host outside ASCII": ("https://bücher.example/x", "has no valid host", "Write https://host/path"),
    "a wildcard port": ("https://h:*/x", "has no valid host", "Write https://host/path"),
    "letters for a port": ("https://h:http/x", "has no valid host", "Write https://host/path"),
    "dot segments": ("/api/../x", "can match no request (path_dot_segment)", "Write the path without"),
    "encoded dot segments": ("/api/%2e%2e/x", "can match no request (path_dot_segment)", "Write"),
    "empty segments": ("/api//x", "can match no request (path_empty_segment)", "Write the path without"),
    "empty segments after a host": ("https://h//x", "can match no request (path_empty_segment)", "Write"),
    "a space": ("/a b", "can match no request (path_illegal_character)", "Write the path without"),
    "a trailing line feed": ("/x\n", "can match no request (path_control_character)", "Write"),
    "a backslash": ("/a\\b", "can match no request (path_backslash)", "Write the path without"),
    "an encoded slash": ("/a%2Fb", "can match no request (path_encoded_slash)", "Write the path without"),
    "a template": ("/users/{id}", "can match no request (path_illegal_character)", "only wildcard"),
    "a set": ("/users/[0-9]*", "can match no request (path_illegal_character)", "only wildcard"),
    "a star inside an escape": ("/a%2*", "can match no request (path_broken_escape)", "Write the path"),
    "letters outside ASCII": ("/café/*", "characters outside ASCII", "percent-encoded: /caf%C3%A9/*"),
    "a lone surrogate": ("/a\udcff", "characters outside ASCII", "percent-encoded: /a%3F"),
    "too many stars": ("/a" + "*a" * (MAX_STARS + 1), f"more than {MAX_STARS} wildcards", "Use fewer *"),
    "too long": ("/" + "a" * MAX_PATTERN_LENGTH, f"longer than {MAX_PATTERN_LENGTH}", "Shorten it with *"),
}


@cache
def slowly_matches(pattern: str, text: str) -> bool:
    """The meaning of a pattern, letter by letter."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return slowly_matches(pattern[1:], text) or (bool(text) and slowly_matches(pattern, text[1:]))
    return bool(text) and text[0] == pattern[0] and slowly_matches(pattern[1:], text[1:])


def without_default_port(host: str) -> str:
    name, port = host.rsplit(":", 1) if ":" in host and not host.endswith("]") else (host, "")
    return name if port in {"", "80", "443"} else host


@pytest.mark.parametrize(("pattern", "path", "admits"), PATHS)
def test_a_star_stands_for_any_run_and_everything_else_for_itself(
    pattern: str, path: str, *, admits: bool
) -> None:
    assert UrlPattern.parse(pattern).matches(path=path, host=None) is admits


@pytest.mark.parametrize(("pattern", "host", "path", "admits"), HOSTS)
def test_a_full_url_needs_its_host_too(pattern: str, host: str | None, path: str, *, admits: bool) -> None:
    assert UrlPattern.parse(pattern).matches(path=path, host=host) is admits


@pytest.mark.parametrize(("written", "kept"), CANONICAL)
def test_a_pattern_is_kept_in_one_spelling(written: str, kept: str) -> None:
    assert UrlPattern.parse(written).text == kept


@pytest.mark.parametrize(("text", "what", "hint"), REFUSED.values(), ids=list(REFUSED))
def test_a_url_that_can_be_no_rule_is_refused_with_the_way_out(text: str, what: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        UrlPattern.parse(text)
    assert what in refused.value.message
    assert hint in (refused.value.hint or "")
    assert (refused.value.field, refused.value.code) == ("url", "url_invalid")


def test_a_url_as_long_and_starry_as_may_be_is_accepted() -> None:
    assert UrlPattern.parse("/" + "a" * (MAX_PATTERN_LENGTH - 1)).path
    assert UrlPattern.parse("/a" + "*a" * MAX_STARS).path
    assert UrlPattern.parse("/" + "*" * (MAX_STARS + 1)).path == "/*"


def numbered(patterns: list[UrlPattern]) -> PatternSet[int]:
    return PatternSet((pattern, number) for number, pattern in enumerate(patterns))


@given(small_path_patterns(), small_paths())
def test_matching_a_path_means_what_the_slow_matcher_says(written: str, path: str) -> None:
    pattern = UrlPattern.parse(written)
    expected = all(slowly_matches(pattern.path, reading) for reading in readings(path))
    assert pattern.matches(path=path, host=None) is expected


@given(small_host_patterns(), small_path_patterns(), small_hosts(), small_paths())
def test_the_host_is_matched_apart_from_the_path(
    host_pattern: str, path_pattern: str, host: str | None, path: str
) -> None:
    pattern = UrlPattern.parse(f"https://{host_pattern}{path_pattern}")
    expected = host is not None and (
        slowly_matches(without_default_port(host_pattern.lower()), without_default_port(host))
        and all(slowly_matches(pattern.path, reading) for reading in readings(path))
    )
    assert pattern.matches(path=path, host=host) is expected


@given(st.lists(small_patterns(), max_size=12), small_hosts(), small_paths())
def test_many_patterns_match_like_each_of_them_alone(written: list[str], host: str | None, path: str) -> None:
    patterns = [UrlPattern.parse(text) for text in written]
    alone = {i for i, pattern in enumerate(patterns) if pattern.matches(path=path, host=host)}
    assert set(numbered(patterns).matching(path, host)) == alone


@given(st.one_of(small_patterns(), st.text("/*aA.:%2FfEe;h[]~", max_size=12), st.text(max_size=5)))
def test_parsing_what_parsing_kept_changes_nothing(tail: str) -> None:
    for written in (tail, f"/{tail}", f"https://{tail}", f"http://h:80/{tail}"):
        try:
            pattern = UrlPattern.parse(written)
        except InvalidInput:
            continue
        assert UrlPattern.parse(pattern.text) == pattern


@given(small_path_patterns(), small_paths())
def test_a_pattern_with_one_more_star_admits_no_less(written: str, path: str) -> None:
    if UrlPattern.parse(written).matches(path=path, host=None):
        assert UrlPattern.parse(written + "*").matches(path=path, host=None)


def test_no_patterns_admit_nothing() -> None:
    assert numbered([]).matching("/", "h") == []


def test_a_hostile_pattern_compiles_and_says_no() -> None:
    pattern = UrlPattern.parse("/" + "a*" * MAX_STARS + "b")
    assert not pattern.matches(path="/" + "a" * 5_000, host=None)
    assert pattern.matches(path="/" + "a" * 5_000 + "b", host=None)


def test_a_thousand_patterns_match_at_once() -> None:
    patterns = numbered([UrlPattern.parse(f"/api/{i}/*/items/*") for i in range(1_000)])
    for i in (0, 1, 500, 999):
        assert patterns.matching(f"/api/{i}/a/b/items/c") == [i]
    assert patterns.matching("/api/1000/a/items/c") == []


@pytest.mark.parametrize("path", ["/a/b", "/b"])
def test_no_answer_of_re2_is_no_answer_of_ours(path: str) -> None:
    patterns = numbered([UrlPattern.parse("/a/*")])
    assert patterns._by_path is not None
    patterns._by_path._match = lambda text: []  # as where its memory runs out
    with pytest.raises(MatchingFailed):
        patterns.matching(path)


def test_patterns_that_do_not_fit_in_memory_are_refused_not_ignored() -> None:
    with pytest.raises(InvalidInput) as refused:
        numbered([UrlPattern.parse(f"/{i}" + "*b" * 16 + "c" * 2_000) for i in range(1_000)])
    assert refused.value.field == "rules"


@pytest.mark.parametrize("text", ["https://*:443/x", "http://api.*:80/x", "https://*:80/x"])
def test_a_wildcard_before_a_default_port_is_refused_for_it_would_stand_for_every_port(text: str) -> None:
    with pytest.raises(InvalidInput, match="wildcard right before a default port"):
        UrlPattern.parse(text)
