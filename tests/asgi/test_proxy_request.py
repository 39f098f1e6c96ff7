"""What goes upstream: the request head, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.framing import Body
from scopegate.proxy.failures import RawPathMissing, RequestNotForwardable
from scopegate.proxy.request import outgoing_of_scope

if TYPE_CHECKING:
    from scopegate.proxy.request import Outgoing

HOST = (b"host", b"api.example")
_FORWARDED = {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}


def forward(
    *fields: tuple[bytes, bytes],
    method: str = "GET",
    raw_path: bytes | None = b"/",
    query: bytes = b"",
    preserve_host: bool = True,
    **scope: object,
) -> Outgoing:
    full: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "raw_path": raw_path,
        "query_string": query,
        "headers": list(fields),
        "client": ("192.0.2.7", 4711),
        **scope,
    }
    return outgoing_of_scope(full, b"up:81", preserve_host=preserve_host)


def lines(*fields: tuple[bytes, bytes], **scope: Any) -> list[bytes]:
    return forward(*fields, **scope).head.split(b"\r\n")[:-1]


def test_the_whole_head() -> None:
    head = forward(
        HOST, (b"accept", b"*/*"), (b"x-a", b"1"), (b"x-a", b"2"), raw_path=b"/a%2Fb", query=b"q=%zz&&"
    ).head
    assert head == (
        b"GET /a%2Fb?q=%zz&& HTTP/1.1\r\n"
        b"host: api.example\r\n"
        b"accept: */*\r\n"
        b"x-a: 1\r\n"
        b"x-a: 2\r\n"
        b"x-forwarded-for: 192.0.2.7\r\n"
        b"x-forwarded-proto: https\r\n"
        b"x-forwarded-host: api.example\r\n"
        b"forwarded: for=192.0.2.7;proto=https;host=api.example\r\n"
        b"via: 1.1 scopegate\r\n"
    )


@pytest.mark.parametrize(
    "path", [b"/", b"/%2e%2e/x", b"//a//", b"/a/../b", b"/a;b=c", b"/\xc3\xa9", b"/a%00", b"/%C3%a9", b"/*"]
)
@pytest.mark.parametrize("query", [b"", b"a=b?c", b"%", b"\xff", b"a=%2f"])
def test_the_target_passes_byte_for_byte(path: bytes, query: bytes) -> None:
    expected = path + (b"?" + query if query else b"")
    assert lines(HOST, raw_path=path, query=query)[0] == b"GET " + expected + b" HTTP/1.1"


@pytest.mark.parametrize(
    "path",
    [
        b"/a b",
        b"/a\r\nx: y",
        b"/a\n",
        b"/a\r",
        b"/a\0",
        b"/a\t",
        b"/a\x7f",
        b"/a#b",
        b"/a?b",
        b"a",
        b"*",
        b"http://x/",
    ],
)
def test_a_target_that_could_be_read_otherwise_is_refused(path: bytes) -> None:
    with pytest.raises(RequestNotForwardable):
        forward(HOST, raw_path=path)


@pytest.mark.parametrize("query", [b"a b", b"a\r\nx: y", b"a\n", b"a\0", b"a#b"])
def test_a_query_that_could_be_read_otherwise_is_refused(query: bytes) -> None:
    with pytest.raises(RequestNotForwardable):
        forward(HOST, query=query)


@pytest.mark.parametrize("path", [None, b""])
def test_without_raw_path_nothing_is_forwarded(path: bytes | None) -> None:
    with pytest.raises(RawPathMissing):
        forward(HOST, raw_path=path)


def test_the_asterisk_is_for_options() -> None:
    assert lines(HOST, method="OPTIONS", raw_path=b"*")[0] == b"OPTIONS * HTTP/1.1"


@pytest.mark.parametrize("method", ["", "GE T", "GET\r\n", "GET\0", "GÉT", "GET /x HTTP/1.1\r\nx:", "☃"])
def test_a_method_that_is_no_token_is_refused(method: str) -> None:
    with pytest.raises(RequestNotForwardable):
        forward(HOST, method=method)


@pytest.mark.parametrize(
    "field",
    [
        (b"x", b"a\r\nevil: 1"),
        (b"x", b"a\nevil: 1"),
        (b"x", b"a\revil"),
        (b"x", b"a\0"),
        (b"x\r\nevil", b"1"),
        (b"x: y\r\nevil", b"1"),
        (b"x y", b"1"),
        (b"x:", b"1"),
        (b" x", b"folded"),
        (b"", b"1"),
        (b"x\xe9", b"1"),
        (b"Content-Length", b"5"),
        (b"Transfer-Encoding", b"chunked"),
    ],
)
def test_a_field_that_could_be_read_otherwise_is_refused(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(RequestNotForwardable):
        forward(HOST, (b"a", b"b"), field, (b"c", b"d"))


def test_latin_1_and_empty_values_pass() -> None:
    assert {b"x: caf\xe9\xff\x85", b"y: ", b"z: \t "} <= set(
        lines(HOST, (b"x", b"caf\xe9\xff\x85"), (b"y", b""), (b"z", b"\t "))
    )


@pytest.mark.parametrize(
    "fields",
    [
        [(b"connection", b"close, x-a"), (b"x-a", b"1")],
        [(b"keep-alive", b"1")],
        [(b"proxy-connection", b"keep-alive")],
        [(b"te", b"trailers"), (b"trailer", b"x")],
        [(b"upgrade", b"h2c"), (b"http2-settings", b"x"), (b"connection", b"http2-settings")],
        [(b"expect", b"100-continue")],
    ],
)
def test_hop_by_hop_fields_and_expect_end_here(
    fields: list[tuple[bytes, bytes]],
) -> None:
    assert lines(HOST, *fields) == lines(HOST)


@pytest.mark.parametrize(
    "name",
    [
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x_forwarded_for",
        b"x-forwarded_for",
    ],
)
def test_a_clients_own_forwarding_claims_are_replaced(name: bytes) -> None:
    assert lines(HOST, (name, b"6.6.6.6")) == lines(HOST)


def test_other_forwarding_fields_are_left_to_the_middleware() -> None:
    assert b"x-forwarded-port: 1" in lines(HOST, (b"x-forwarded-port", b"1"))


@pytest.mark.parametrize("client", [None, ("", 0)])
def test_a_client_without_an_address_has_no_forwarded_for(client: tuple[str, int] | None) -> None:
    assert not [line for line in lines(HOST, client=client) if line.startswith(b"x-forwarded-for")]


def test_a_client_address_cannot_split_the_head() -> None:
    assert lines(HOST, client=("1\r\nevil: 1", 0)) == lines(HOST, client=None)


def test_host_is_preserved_or_rewritten_and_the_clients_is_told_either_way() -> None:
    assert lines(HOST)[1] == b"host: api.example"
    rewritten = lines(HOST, preserve_host=False)
    assert rewritten[1] == b"host: up:81"
    assert b"x-forwarded-host: api.example" in rewritten


@pytest.mark.parametrize("fields", [[], [(b"host", b"")]])
def test_a_missing_host_is_the_upstreams(fields: list[tuple[bytes, bytes]]) -> None:
    assert lines(*fields)[1] == b"host: up:81"


@pytest.mark.parametrize("value", [b"a b", b"a/b", b"a,\tb", b"a\r\nx: y", b"a@b", b"a?b", b"a#b", b"\xe9"])
def test_a_malformed_host_is_refused(value: bytes) -> None:
    with pytest.raises(RequestNotForwardable):
        forward((b"host", value))


def test_two_hosts_are_refused() -> None:
    with pytest.raises(RequestNotForwardable):
        forward(HOST, HOST)


@pytest.mark.parametrize(
    ("fields", "body", "length", "line"),
    [
        ([], Body.NONE, -1, None),
        ([(b"content-length", b"0")], Body.NONE, 0, b"content-length: 0"),
        ([(b"content-length", b"5")], Body.LENGTH, 5, b"content-length: 5"),
        ([(b"content-length", b"007")], Body.LENGTH, 7, b"content-length: 7"),
        ([(b"transfer-encoding", b"Chunked")], Body.CHUNKED, -1, b"transfer-encoding: chunked"),
        (
            [(b"connection", b"content-length"), (b"content-length", b"5")],
            Body.LENGTH,
            5,
            b"content-length: 5",
        ),
        (
            [(b"connection", b"transfer-encoding"), (b"transfer-encoding", b"chunked")],
            Body.CHUNKED,
            -1,
            b"transfer-encoding: chunked",
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_framing_is_written_anew(
    method: str, fields: list[tuple[bytes, bytes]], body: Body, length: int, line: bytes | None
) -> None:
    request = forward(HOST, *fields, method=method)
    assert (request.body, request.length) == (body, length)
    framing = [
        item
        for item in request.head.split(b"\r\n")
        if item.startswith((b"content-length", b"transfer-encoding"))
    ]
    assert framing == ([line] if line else [])


@pytest.mark.parametrize(
    "fields",
    [
        [(b"content-length", value)]
        for value in (
            b"",
            b"-1",
            b"+1",
            b"1_0",
            b"0x5",
            b"1,1",
            b"1 ",
            b" 1",
            "٣".encode(),
            b"1.0",
            b"9" * 19,
        )
    ]
    + [
        [(b"content-length", b"5"), (b"content-length", b"5")],
        [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"transfer-encoding", b"xchunked")],
        [(b"transfer-encoding", b"chunked, identity")],
        [(b"transfer-encoding", b"\x0bchunked")],
        [(b"transfer-encoding", b"")],
    ],
    ids=str,
)
def test_framing_that_two_readers_could_read_differently_is_refused(
    fields: list[tuple[bytes, bytes]],
) -> None:
    with pytest.raises(RequestNotForwardable):
        forward(HOST, *fields, method="POST")


def test_a_body_over_http_2_may_come_unannounced() -> None:
    assert forward(HOST, http_version="2").body is Body.UNANNOUNCED
    assert forward(HOST, (b"content-length", b"0"), http_version="2").body is Body.NONE


@pytest.mark.parametrize(
    ("method", "idempotent"),
    [
        *((method, True) for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE")),
        *((method, False) for method in ("POST", "PATCH", "get", "PROPFIND")),
    ],
)
def test_which_requests_may_be_repeated(method: str, idempotent: bool) -> None:  # noqa: FBT001
    assert forward(HOST, method=method).idempotent is idempotent


@given(
    method=st.text(max_size=8),
    path=st.binary(max_size=12),
    query=st.binary(max_size=12),
    fields=st.lists(
        st.tuples(
            st.binary(max_size=6) | st.sampled_from([b"host", b"content-length", b"connection"]),
            st.binary(max_size=8),
        ),
        max_size=4,
    ),
)
def test_nothing_splits_the_head(
    method: str, path: bytes, query: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    try:
        head = forward(*fields, method=method, raw_path=b"/" + path, query=query).head
    except RequestNotForwardable:
        return
    request_line, *rest, end = head.split(b"\r\n")
    assert request_line.count(b" ") == 2
    assert end == b""
    assert not {10, 13, 0} & set(b"".join([request_line, *rest]))
    names = [line.split(b":")[0] for line in rest]
    assert names.count(b"host") == 1
    own = {b"host", b"via", b"forwarded", b"content-length"} | _FORWARDED
    assert set(names) <= own | {name for name, _ in fields}
