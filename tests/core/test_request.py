"""The canonical request: methods, hosts and queries that can be read in one way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.strategies import small_paths
from scopegate.core.credentials import DEFAULT_KEY_HEADER
from scopegate.core.head import HeadSorter
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.core.request import (
    METHODS,
    CanonicalRequest,
    canonical_host,
    canonicalize,
    rule_method,
    the_host,
)

HOSTS: dict[str, tuple[bytes, str]] = {
    "a name": (b"example.com", "example.com"),
    "capitals": (b"API.Example.COM", "api.example.com"),
    "a port": (b"example.com:8080", "example.com:8080"),
    "the default port": (b"example.com:443", "example.com:443"),
    "a name without dots": (b"localhost", "localhost"),
    "an underscore": (b"my_service:80", "my_service:80"),
    "a trailing dot": (b"example.com.", "example.com."),
    "IPv4": (b"127.0.0.1:8000", "127.0.0.1:8000"),
    "IPv6": (b"[2001:DB8::1]", "[2001:db8::1]"),
    "IPv6 and a port": (b"[::1]:8443", "[::1]:8443"),
    "IPv4 in IPv6": (b"[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]"),
    "a punycode name": (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
    "as long as may be": (b"a" * 255, "a" * 255),
}

NO_HOSTS: dict[str, bytes] = {
    "nothing": b"",
    "a port alone": b":80",
    "a path": b"example.com/admin",
    "a query": b"example.com?x",
    "a fragment": b"example.com#x",
    "a user": b"kim@example.com",
    "a port and a user": b"h:80@evil.example",
    "a scheme": b"http://example.com",
    "a list with a space": b"a.example, b.example",
    "a space": b"exam ple.com",
    "a leading space": b" example.com",
    "a trailing line feed": b"example.com\n",
    "a NUL": b"example.com\x00",
    "a tab": b"example.com\t",
    "a backslash": b"example.com\\x",
    "an escape": b"example%2ecom",
    "an empty port": b"example.com:",
    "letters for a port": b"example.com:http",
    "a sign in the port": b"example.com:+80",
    "two ports": b"example.com:80:443",
    "a port too long": b"example.com:123456",
    "digits outside ASCII in the port": "h:٨٠".encode(),
    "letters outside ASCII": "bücher.example".encode(),
    "a byte above ASCII": b"\xff",
    "IPv6 without brackets": b"::1",
    "an open bracket": b"[::1",
    "a closed bracket": b"::1]",
    "nothing in brackets": b"[]",
    "a name in brackets": b"[example]",
    "a zone in brackets": b"[fe80::1%25eth0]",
    "text after the brackets": b"[::1]x",
    "angle brackets": b"<h>",
    "too long": b"a" * 256,
}


def refusal(method: str, raw_path: bytes, *, query: bytes = b"", host: bytes | None = None) -> Reason | None:
    try:
        canonicalize(method, raw_path, query=query, host=host)
    except RequestRefused as refused:
        return refused.reason
    return None


@pytest.mark.parametrize(("raw", "host"), HOSTS.values(), ids=list(HOSTS))
def test_a_host_is_kept_in_lower_case_with_the_port_that_was_sent(raw: bytes, host: str) -> None:
    assert canonical_host(raw) == host
    assert canonicalize("GET", b"/", host=raw).host == host
    assert canonical_host(host.encode("ascii")) == host


@pytest.mark.parametrize("raw", NO_HOSTS.values(), ids=list(NO_HOSTS))
def test_what_is_no_host_is_refused(raw: bytes) -> None:
    assert refusal("GET", b"/", host=raw) is Reason.HOST_MALFORMED


def test_a_request_may_come_without_a_host() -> None:
    assert canonicalize("GET", b"/x") == CanonicalRequest("GET", "/x", None)


@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"a=1&a=2",
        b"a=%20%zz%",
        b"a[]=1&b={x}|y",
        b"a=b?c/d//../e",
        b"q='%22<>`^\\",
        b"a=%ff%00",
        b";;&&==",
    ],
)
def test_a_query_passes_unjudged(query: bytes) -> None:
    assert refusal("GET", b"/x", query=query) is None


@pytest.mark.parametrize(
    "query", [b"a b", b"a\nb", b"a\r", b"\t", b"a\x00", b"a#b", b"#", b"\x7f", b"caf\xc3\xa9", b"\xff"]
)
def test_a_query_with_bytes_that_end_or_split_a_request_line_is_refused(query: bytes) -> None:
    assert refusal("GET", b"/x", query=query) is Reason.QUERY_MALFORMED


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_standard_method_is_read(method: str) -> None:
    assert canonicalize(method, b"/x").method == method


@pytest.mark.parametrize(
    "method",
    [
        "CONNECT",
        "TRACE",
        "get",
        "Get",
        "",
        "GET ",
        " GET",
        "GET\n",
        "*",
        "PROPFIND",
        "QUERY",
        "GETS",
        "\uff27\uff25\uff34",
    ],
)
def test_any_other_method_is_refused(method: str) -> None:
    assert refusal(method, b"/x") is Reason.METHOD_UNSUPPORTED


@pytest.mark.parametrize(("method", "named"), [("HEAD", "GET"), ("GET", "GET"), ("POST", "POST")])
def test_a_rule_that_names_get_admits_head(method: str, named: str) -> None:
    assert rule_method(method) == named


def test_only_head_is_taken_for_another_method() -> None:
    assert {method for method in METHODS if rule_method(method) != method} == {"HEAD"}


@pytest.mark.parametrize(
    ("raw_path", "reason"), [(b"/a/../b", Reason.PATH_DOT_SEGMENT), (b"*", Reason.PATH_MALFORMED)]
)
def test_a_path_that_can_be_read_in_two_ways_refuses_the_request(raw_path: bytes, reason: Reason) -> None:
    assert refusal("GET", raw_path) is reason


def test_the_path_of_a_request_is_the_canonical_one() -> None:
    assert canonicalize("POST", b"/%7Ekim/%c3%a9", query=b"q=1", host=b"H").path == "/~kim/%C3%A9"


@given(st.binary(max_size=12))
def test_a_host_is_read_whole_or_refused(raw: bytes) -> None:
    try:
        host = canonical_host(raw)
    except RequestRefused:
        return
    assert host.encode("ascii") == raw.lower()
    assert not set(host) & set("/?#@\\% \t\r\n\x00")


@given(st.sampled_from(sorted(METHODS)), small_paths())
def test_reading_a_canonical_request_again_changes_nothing(method: str, path: str) -> None:
    request = canonicalize(method, path.encode("ascii"), host=b"h:80")
    again = canonicalize(request.method, request.path.encode("ascii"), host=b"h:80")
    assert again == request == CanonicalRequest(method, path, "h:80")


def host_field(fields: list[tuple[bytes, bytes]], *, http_version: str) -> bytes | None:
    _, hosts, *_ = HeadSorter(DEFAULT_KEY_HEADER).sort(fields)
    return the_host(hosts, http_version=http_version)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_the_one_host_field_is_the_host(version: str) -> None:
    fields = [(b"accept", b"*/*"), (b"host", b" h\t"), (b"x-host", b"other")]
    assert host_field(fields, http_version=version) == b"h"


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ([], "1.1"),
        ([], "2"),
        ([(b"x-host", b"h")], "1.1"),
        ([(b"host", b"h"), (b"host", b"h")], "1.1"),
        ([(b"host", b"h"), (b"host", b"other")], "1.0"),
    ],
)
def test_no_host_field_or_several_are_refused(fields: list[tuple[bytes, bytes]], version: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        host_field(fields, http_version=version)
    assert refused.value.reason is Reason.HOST_MALFORMED


def test_an_http_1_0_request_may_lack_the_host_field() -> None:
    assert host_field([], http_version="1.0") is None
