"""The canonical path: what is accepted, in which spelling, and what is refused for which reason."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.strategies import SUB_DELIMS, UNRESERVED, acceptable_raw_paths, raw_paths
from scopegate.core import paths
from scopegate.core.paths import canonical_path, readings
from scopegate.core.reasons import Check, Reason, RequestRefused, refused_by

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCEPTED: dict[str, tuple[bytes, str]] = {
    # Already canonical: what comes in goes out.
    "the root": (b"/", "/"),
    "one segment": (b"/users", "/users"),
    "a trailing slash": (b"/users/", "/users/"),
    "many segments": (b"/v1/orgs/7/users/12/roles", "/v1/orgs/7/users/12/roles"),
    "a plus": (b"/search/a+b", "/search/a+b"),
    "a tilde": (b"/~kim/notes", "/~kim/notes"),
    "a colon": (b"/v1/jobs/7:cancel", "/v1/jobs/7:cancel"),
    "an at sign": (b"/people/kim@example.org", "/people/kim@example.org"),
    "commas": (b"/points/1,2,3", "/points/1,2,3"),
    "a path parameter": (b"/map;zoom=3/tile", "/map;zoom=3/tile"),
    "a path parameter on the last segment": (b"/map/tile;v=1", "/map/tile;v=1"),
    "dots in a path parameter": (b"/map;v=../tile", "/map;v=../tile"),
    "a path parameter alone as the last segment": (b"/map/;v=1", "/map/;v=1"),
    "an equals sign": (b"/id=7", "/id=7"),
    "an exclamation mark": (b"/hey!", "/hey!"),
    "a dollar": (b"/$metadata", "/$metadata"),
    "an ampersand": (b"/r&d", "/r&d"),
    "an apostrophe": (b"/People('kim')", "/People('kim')"),
    "parentheses": (b"/Users(7)/Name", "/Users(7)/Name"),
    "a star, which is a character like others here": (b"/a*b", "/a*b"),
    "a dot in a name": (b"/report.pdf", "/report.pdf"),
    "dots in a name": (b"/a..b/c...d", "/a..b/c...d"),
    "three dots": (b"/.../x", "/.../x"),
    "four dots": (b"/....", "/...."),
    "a dot file": (b"/.env", "/.env"),
    "a dot folder": (b"/.well-known/jwks.json", "/.well-known/jwks.json"),
    "two leading dots in a name": (b"/..a/x", "/..a/x"),
    "a trailing dot in a name": (b"/a./x", "/a./x"),
    "two trailing dots in a name": (b"/a../x", "/a../x"),
    "only digits": (b"/0", "/0"),
    "a dash alone": (b"/-", "/-"),
    "upper case kept": (b"/API/Users", "/API/Users"),
    "an upper-case escape": (b"/a%20b", "/a%20b"),
    "a long path": (b"/" + b"x" * 60_000, "/" + "x" * 60_000),
    "a deep path": (b"/x" * 5_000, "/x" * 5_000),
    "a long path off the fast track": (b"/%20" + b"x" * 60_000, "/%20" + "x" * 60_000),
    # Other escapes than of unreserved characters stay, in upper case.
    "encoded spaces": (b"/a%20b%20c", "/a%20b%20c"),
    "an encoded space as a name": (b"/%20/x", "/%20/x"),
    "a trailing encoded space": (b"/users%20", "/users%20"),
    "e acute": (b"/caf%c3%a9", "/caf%C3%A9"),
    "e and a combining accent": (b"/cafe%cc%81", "/cafe%CC%81"),
    "a euro sign": (b"/%e2%82%ac", "/%E2%82%AC"),
    "an emoji": (b"/%f0%9f%8e%89", "/%F0%9F%8E%89"),
    "Hebrew": (b"/%d7%a9%d7%9c%d7%95%d7%9d", "/%D7%A9%D7%9C%D7%95%D7%9D"),
    "the last code point": (b"/%f4%8f%bf%bf", "/%F4%8F%BF%BF"),
    "a full-width dot, which is not a dot": (b"/%ef%bc%8e", "/%EF%BC%8E"),
    "a full-width slash, which is not a slash": (b"/a%ef%bc%8fb", "/a%EF%BC%8Fb"),
    "encoded braces": (b"/%7Bid%7d", "/%7Bid%7D"),
    "encoded brackets": (b"/a%5b0%5D", "/a%5B0%5D"),
    "an encoded pipe": (b"/a%7cb", "/a%7Cb"),
    "encoded quotes": (b"/%22a%22", "/%22a%22"),
    "an encoded caret": (b"/a%5eb", "/a%5Eb"),
    "an encoded plus stays apart from a plus": (b"/a%2bb", "/a%2Bb"),
    "an encoded star stays apart from a star": (b"/a%2ab", "/a%2Ab"),
    "an encoded at sign": (b"/a%40b", "/a%40b"),
    "an encoded colon": (b"/a%3ab", "/a%3Ab"),
    "an encoded semicolon": (b"/a%3bb", "/a%3Bb"),
    "an encoded question mark": (b"/a%3fb", "/a%3Fb"),
    "an encoded hash": (b"/a%23b", "/a%23b"),
    "a folder named with a hash": (b"/%23general/7", "/%23general/7"),
    "an encoded percent before no digits": (b"/100%25/x", "/100%25/x"),
    "an encoded percent at the end": (b"/100%25", "/100%25"),
    "an encoded percent before one digit": (b"/a%252", "/a%252"),
    "an encoded percent before a digit and no digit": (b"/a%252x", "/a%252x"),
    # Escapes of unreserved characters are the characters (RFC 3986 section 6.2.2.2).
    "an encoded letter": (b"/%61pi", "/api"),
    "an encoded capital": (b"/%41pi", "/Api"),
    "an encoded digit": (b"/v%31", "/v1"),
    "an encoded dash": (b"/a%2db", "/a-b"),
    "an encoded underscore": (b"/a%5fb", "/a_b"),
    "an encoded tilde": (b"/%7Ekim", "/~kim"),
    "an encoded dot inside a name": (b"/report%2epdf", "/report.pdf"),
    "three encoded dots": (b"/%2e%2e%2e", "/..."),
    "all of a name encoded": (b"/%61%64%6d%69%6e", "/admin"),
}

REFUSED: dict[str, tuple[bytes, Reason]] = {
    "nothing": (b"", Reason.PATH_MALFORMED),
    "no leading slash": (b"users", Reason.PATH_MALFORMED),
    "a star as target": (b"*", Reason.PATH_MALFORMED),
    "a full URL as target": (b"http://h/users", Reason.PATH_MALFORMED),
    "an authority as target": (b"h:443", Reason.PATH_MALFORMED),
    "a leading space": (b" /users", Reason.PATH_MALFORMED),
    "a leading backslash": (b"\\users", Reason.PATH_MALFORMED),
    "an encoded leading slash": (b"%2Fusers", Reason.PATH_MALFORMED),
    "a leading dot": (b"./users", Reason.PATH_MALFORMED),
    "a raw space": (b"/a b", Reason.PATH_ILLEGAL_CHARACTER),
    "a trailing raw space": (b"/a ", Reason.PATH_ILLEGAL_CHARACTER),
    "a raw double quote": (b'/a"b', Reason.PATH_ILLEGAL_CHARACTER),
    "a raw angle bracket": (b"/a<b", Reason.PATH_ILLEGAL_CHARACTER),
    "a raw brace": (b"/{id}", Reason.PATH_ILLEGAL_CHARACTER),
    "a raw bracket": (b"/a[0]", Reason.PATH_ILLEGAL_CHARACTER),
    "a raw pipe": (b"/a|b", Reason.PATH_ILLEGAL_CHARACTER),
    "a raw caret": (b"/a^b", Reason.PATH_ILLEGAL_CHARACTER),
    "a raw backtick": (b"/a`b", Reason.PATH_ILLEGAL_CHARACTER),
    "a raw question mark": (b"/a?b", Reason.PATH_ILLEGAL_CHARACTER),
    "a raw hash": (b"/a#b", Reason.PATH_ILLEGAL_CHARACTER),
    "raw UTF-8": ("/café".encode(), Reason.PATH_ILLEGAL_CHARACTER),
    "raw Latin-1": (b"/caf\xe9", Reason.PATH_ILLEGAL_CHARACTER),
    "a raw byte above ASCII": (b"/\xff", Reason.PATH_ILLEGAL_CHARACTER),
    "a raw NUL": (b"/a\x00b", Reason.PATH_CONTROL_CHARACTER),
    "a raw line feed": (b"/a\nb", Reason.PATH_CONTROL_CHARACTER),
    "a trailing raw line feed": (b"/users\n", Reason.PATH_CONTROL_CHARACTER),
    "a raw carriage return": (b"/a\rb", Reason.PATH_CONTROL_CHARACTER),
    "a raw tab": (b"/a\tb", Reason.PATH_CONTROL_CHARACTER),
    "a raw escape": (b"/\x1b[2J", Reason.PATH_CONTROL_CHARACTER),
    "a raw delete": (b"/a\x7f", Reason.PATH_CONTROL_CHARACTER),
    "an encoded NUL": (b"/a%00b", Reason.PATH_CONTROL_CHARACTER),
    "an encoded NUL after a name": (b"/users%00.png", Reason.PATH_CONTROL_CHARACTER),
    "an encoded line feed": (b"/users%0A", Reason.PATH_CONTROL_CHARACTER),
    "an encoded carriage return": (b"/a%0db", Reason.PATH_CONTROL_CHARACTER),
    "an encoded tab": (b"/a%09", Reason.PATH_CONTROL_CHARACTER),
    "the last encoded control": (b"/a%1F", Reason.PATH_CONTROL_CHARACTER),
    "an encoded delete": (b"/a%7f", Reason.PATH_CONTROL_CHARACTER),
    "an encoded next-line, the C1 control": (b"/a%C2%85", Reason.PATH_CONTROL_CHARACTER),
    "the last encoded C1 control": (b"/a%C2%9F", Reason.PATH_CONTROL_CHARACTER),
    "dots and a NUL": (b"/a/..%00/b", Reason.PATH_CONTROL_CHARACTER),
    "a raw backslash": (b"/a\\b", Reason.PATH_BACKSLASH),
    "a raw backslash traversal": (b"/a/..\\b", Reason.PATH_BACKSLASH),
    "an encoded backslash": (b"/a%5Cb", Reason.PATH_BACKSLASH),
    "an encoded backslash in lower case": (b"/a/..%5cb", Reason.PATH_BACKSLASH),
    "a percent alone": (b"/%", Reason.PATH_BROKEN_ESCAPE),
    "a percent at the end": (b"/100%", Reason.PATH_BROKEN_ESCAPE),
    "one digit at the end": (b"/a%2", Reason.PATH_BROKEN_ESCAPE),
    "one digit and a slash": (b"/a%2/b", Reason.PATH_BROKEN_ESCAPE),
    "no hexadecimal digits": (b"/a%zz", Reason.PATH_BROKEN_ESCAPE),
    "one hexadecimal digit": (b"/a%4g", Reason.PATH_BROKEN_ESCAPE),
    "a percent before an escape": (b"/a%%41", Reason.PATH_BROKEN_ESCAPE),
    "a sign for a digit": (b"/a%+1", Reason.PATH_BROKEN_ESCAPE),
    "a %u escape": (b"/a%u002e", Reason.PATH_BROKEN_ESCAPE),
    "an escape that an escape completes": (b"/a%2%65", Reason.PATH_BROKEN_ESCAPE),
    "an encoded slash": (b"/a%2Fb", Reason.PATH_ENCODED_SLASH),
    "an encoded slash in lower case": (b"/a%2fb", Reason.PATH_ENCODED_SLASH),
    "an encoded slash at the end": (b"/a%2F", Reason.PATH_ENCODED_SLASH),
    "an encoded slash and dots": (b"/a/..%2f..%2fb", Reason.PATH_ENCODED_SLASH),
    "an encoded slash beside a slash": (b"/a/%2Fb", Reason.PATH_ENCODED_SLASH),
    "a doubly encoded dot": (b"/a/%252e%252e/b", Reason.PATH_DOUBLE_ENCODED),
    "a doubly encoded slash": (b"/a%252Fb", Reason.PATH_DOUBLE_ENCODED),
    "a doubly encoded backslash": (b"/a%255cb", Reason.PATH_DOUBLE_ENCODED),
    "a doubly encoded letter": (b"/a%2541", Reason.PATH_DOUBLE_ENCODED),
    "a doubly encoded percent": (b"/a%2525", Reason.PATH_DOUBLE_ENCODED),
    "a trebly encoded dot": (b"/a/%25252e/b", Reason.PATH_DOUBLE_ENCODED),
    "a double escape whose digits are encoded": (b"/a%25%32%65", Reason.PATH_DOUBLE_ENCODED),
    "a double escape with one digit encoded": (b"/a%252%65", Reason.PATH_DOUBLE_ENCODED),
    "a doubly encoded question mark": (b"/a%253Fb", Reason.PATH_DOUBLE_ENCODED),
    "an over-long slash": (b"/a/..%c0%afb", Reason.PATH_INVALID_UTF8),
    "an over-long dot": (b"/a/%c0%ae%c0%ae/b", Reason.PATH_INVALID_UTF8),
    "an over-long slash of three bytes": (b"/a%e0%80%afb", Reason.PATH_INVALID_UTF8),
    "an over-long slash of four bytes": (b"/a%f0%80%80%afb", Reason.PATH_INVALID_UTF8),
    "an over-long backslash": (b"/a%c1%9cb", Reason.PATH_INVALID_UTF8),
    "an over-long NUL": (b"/a%c0%80", Reason.PATH_INVALID_UTF8),
    "a lone continuation byte": (b"/a%80", Reason.PATH_INVALID_UTF8),
    "a lone leading byte": (b"/a%c3", Reason.PATH_INVALID_UTF8),
    "a leading byte before a plain one": (b"/a%c3b", Reason.PATH_INVALID_UTF8),
    "encoded Latin-1": (b"/caf%e9", Reason.PATH_INVALID_UTF8),
    "an encoded surrogate": (b"/%ed%a0%80", Reason.PATH_INVALID_UTF8),
    "above the last code point": (b"/%f4%90%80%80", Reason.PATH_INVALID_UTF8),
    "a byte that UTF-8 never has": (b"/%ff", Reason.PATH_INVALID_UTF8),
    "two leading slashes": (b"//users", Reason.PATH_EMPTY_SEGMENT),
    "two leading slashes and a host": (b"//evil.example/users", Reason.PATH_EMPTY_SEGMENT),
    "two slashes": (b"//", Reason.PATH_EMPTY_SEGMENT),
    "two slashes inside": (b"/a//b", Reason.PATH_EMPTY_SEGMENT),
    "two slashes at the end": (b"/a//", Reason.PATH_EMPTY_SEGMENT),
    "three slashes": (b"/a///b", Reason.PATH_EMPTY_SEGMENT),
    "two slashes off the fast track": (b"/%20//b", Reason.PATH_EMPTY_SEGMENT),
    "a segment of nothing but a parameter": (b"/a/;v=1/b", Reason.PATH_EMPTY_SEGMENT),
    "a segment of a semicolon": (b"/;/b", Reason.PATH_EMPTY_SEGMENT),
    "a segment of an encoded semicolon": (b"/a/%3bx/b", Reason.PATH_EMPTY_SEGMENT),
    "two dots": (b"/a/../b", Reason.PATH_DOT_SEGMENT),
    "two dots first": (b"/../b", Reason.PATH_DOT_SEGMENT),
    "two dots last": (b"/a/..", Reason.PATH_DOT_SEGMENT),
    "two dots and a slash last": (b"/a/../", Reason.PATH_DOT_SEGMENT),
    "one dot": (b"/a/./b", Reason.PATH_DOT_SEGMENT),
    "one dot first": (b"/./b", Reason.PATH_DOT_SEGMENT),
    "one dot last": (b"/a/.", Reason.PATH_DOT_SEGMENT),
    "nothing but a dot": (b"/.", Reason.PATH_DOT_SEGMENT),
    "two encoded dots": (b"/a/%2e%2e/b", Reason.PATH_DOT_SEGMENT),
    "two encoded dots in upper case": (b"/a/%2E%2E/b", Reason.PATH_DOT_SEGMENT),
    "a dot and an encoded dot": (b"/a/.%2e/b", Reason.PATH_DOT_SEGMENT),
    "an encoded dot and a dot": (b"/a/%2e./b", Reason.PATH_DOT_SEGMENT),
    "one encoded dot": (b"/a/%2e/b", Reason.PATH_DOT_SEGMENT),
    "dots and a semicolon": (b"/a/..;/b", Reason.PATH_DOT_SEGMENT),
    "dots and a parameter": (b"/a/..;v=1/b", Reason.PATH_DOT_SEGMENT),
    "dots and an encoded semicolon": (b"/a/..%3b/b", Reason.PATH_DOT_SEGMENT),
    "encoded dots and an encoded semicolon": (b"/a/%2e%2e%3Bx/b", Reason.PATH_DOT_SEGMENT),
    "one dot and a parameter": (b"/a/.;v=1/b", Reason.PATH_DOT_SEGMENT),
    "dots and a parameter last": (b"/a/..;", Reason.PATH_DOT_SEGMENT),
    "dots before an encoded question mark": (b"/a/..%3Fx", Reason.PATH_DOT_SEGMENT),
    "dots before an encoded hash": (b"/a/..%23x", Reason.PATH_DOT_SEGMENT),
    "one dot before an encoded question mark": (b"/a/%2e%3f", Reason.PATH_DOT_SEGMENT),
}

NEVER = re.compile(b"(?!)")
PCHAR = f"(?:[{re.escape(UNRESERVED + SUB_DELIMS)}:@]|%[0-9A-F]{{2}})"
PATH_ABSOLUTE = re.compile(f"/(?:{PCHAR}+(?:/{PCHAR}*)*)?")  # RFC 3986 section 3.3


def outcome(raw: bytes) -> str | Reason:
    try:
        return canonical_path(raw)
    except RequestRefused as refused:
        return refused.reason


def carefully(raw: bytes) -> str | Reason:
    """The outcome without the fast track."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "_PLAIN", NEVER)
        return outcome(raw)


@pytest.mark.parametrize(("raw", "canonical"), ACCEPTED.values(), ids=list(ACCEPTED))
def test_a_path_that_everybody_reads_alike_is_accepted_in_one_spelling(raw: bytes, canonical: str) -> None:
    assert outcome(raw) == canonical
    assert carefully(raw) == canonical


@pytest.mark.parametrize(("raw", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_a_path_that_parsers_read_differently_is_refused_with_its_reason(raw: bytes, reason: Reason) -> None:
    assert outcome(raw) is reason
    assert carefully(raw) is reason


def test_the_table_of_refusals_shows_every_reason_that_a_path_can_be_refused_for() -> None:
    shown = {reason for _, reason in REFUSED.values()}
    assert shown == {reason for reason in Reason if reason.value.startswith("path_")}
    assert {refused_by(reason) for reason in shown} == {Check.REQUEST}


@given(st.one_of(raw_paths(), acceptable_raw_paths(), st.binary(max_size=20).map(b"/".__add__)))
@example(b"/;/a")
@example(b"/a;/../b")
def test_the_fast_track_and_the_careful_one_agree(raw: bytes) -> None:
    assert outcome(raw) == carefully(raw)


@given(acceptable_raw_paths())
def test_ordinary_paths_are_accepted(raw: bytes) -> None:
    assert not isinstance(outcome(raw), Reason)


@given(st.one_of(raw_paths(), acceptable_raw_paths()))
def test_canonicalising_twice_changes_nothing(raw: bytes) -> None:
    path = outcome(raw)
    if not isinstance(path, Reason):
        assert outcome(path.encode("ascii")) == path


@given(st.one_of(raw_paths(), acceptable_raw_paths()))
def test_an_accepted_path_is_an_absolute_path_of_rfc_3986(raw: bytes) -> None:
    path = outcome(raw)
    if not isinstance(path, Reason):
        assert PATH_ABSOLUTE.fullmatch(path)


@given(st.one_of(raw_paths(), acceptable_raw_paths()))
def test_an_accepted_path_decodes_to_the_bytes_that_were_sent(raw: bytes) -> None:
    path = outcome(raw)
    if not isinstance(path, Reason):
        assert unquote_to_bytes(path) == unquote_to_bytes(raw)


@given(st.one_of(raw_paths(), acceptable_raw_paths()), st.data())
def test_escaping_an_unreserved_character_changes_nothing(raw: bytes, data: st.DataObject) -> None:
    # Not the digits of an escape: "%4%31" is another, broken text.
    plain = [
        position
        for position in range(len(raw))
        if chr(raw[position]) in UNRESERVED and b"%" not in raw[max(0, position - 2) : position]
    ]
    if not plain:
        return
    at = data.draw(st.sampled_from(plain))
    form = data.draw(st.sampled_from((b"%%%02X", b"%%%02x")))
    spelled = raw[:at] + form % raw[at] + raw[at + 1 :]
    assert outcome(spelled) == outcome(raw)


def as_upstreams_may_read(path: str) -> Iterator[tuple[bytes, bool]]:
    """The path under every mix of the habits that back ends are known to have, and whether they cut it."""
    for decodings, backslashes, delimiters, parameters, merged in product(
        range(3), (False, True), ((), (b"?",), (b"#",), (b"?", b"#")), (False, True), (False, True)
    ):
        text = path.encode("ascii")
        for _ in range(decodings):
            text = unquote_to_bytes(text)
        if backslashes:
            text = text.replace(b"\\", b"/")
        for delimiter in delimiters:
            text = text.split(delimiter, 1)[0]
        if parameters:
            text = re.sub(b";[^/]*", b"", text)
        if merged:
            text = re.sub(b"/+", b"/", text)
        yield text, bool(delimiters)


@given(st.one_of(raw_paths(), acceptable_raw_paths()))
@example(b"/a/..%3Fx")
@example(b"/a/;x/b")
@example(b"/a/..%23;x")
@example(b"/a/%252e./b")
def test_an_accepted_path_has_the_same_segments_whatever_the_upstream_decodes_strips_or_merges(
    raw: bytes,
) -> None:
    path = outcome(raw)
    if isinstance(path, Reason):
        return
    for reading, cut in as_upstreams_may_read(path):
        segments = reading.split(b"/")
        assert not {b".", b".."} & set(segments)
        assert b"" not in segments[1:-1]
        assert cut or len(segments) == path.count("/") + 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", {"/a/b"}),
        ("/a%20b", {"/a%20b"}),
        ("/a%3Fb", {"/a%3Fb", "/a"}),
        ("/a%23b", {"/a%23b", "/a"}),
        ("/a%3Fb%3Fc", {"/a%3Fb%3Fc", "/a"}),
        ("/a%3Fb%23c", {"/a%3Fb%23c", "/a%3Fb", "/a"}),
        ("/a%23b%3Fc", {"/a%23b%3Fc", "/a%23b", "/a"}),
        ("/%3Fa", {"/%3Fa", "/"}),
        ("/a;v=1", {"/a;v=1", "/a"}),
        ("/a;v=1/b;w;x/c", {"/a;v=1/b;w;x/c", "/a/b/c"}),
        ("/a/;v=1", {"/a/;v=1", "/a/"}),
        ("/a%3Bb/c", {"/a%3Bb/c", "/a/c"}),
        ("/a%3Bb;c", {"/a%3Bb;c", "/a%3Bb", "/a"}),
        ("/a;b%3Fc/d", {"/a;b%3Fc/d", "/a;b", "/a/d", "/a"}),
    ],
)
def test_an_upstream_may_cut_a_path_at_the_delimiters_that_it_knows(path: str, expected: set[str]) -> None:
    assert set(readings(path)) == expected
    assert readings(path)[0] == path
    assert len(readings(path)) == len(expected)
