"""Requests beyond a limit are refused, and those just within it pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wire.servers import MAX_BODY, MAX_FIELDS, MAX_HEAD, MAX_TARGET, chunked, ok, request
from wire.wires import Cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from wire.servers import Server
    from wire.wires import Message, Upstream, Wire

OWN = pytest.mark.parametrize("server", ["own"], indirect=True)
_OVERHEAD = len(b": \r\n")
# Host and key, as `request` writes them.
_OUR_FIELDS = 2
_OUR_SIZE = sum(map(len, request().splitlines(keepends=True)[1:-1]))


def target_of(length: int) -> bytes:
    return request(target=b"/" + b"a" * (length - 1))


def query_of(length: int) -> bytes:
    return request(target=b"/?" + b"a" * (length - 2))


def fields_of(size: int) -> bytes:
    """A request whose fields have `size` bytes together: one long one."""
    return request(b"GET", b"/", b"X: " + b"a" * (size - _OUR_SIZE - _OVERHEAD - 1))


def name_of(size: int) -> bytes:
    return request(b"GET", b"/", b"x" * (size - _OUR_SIZE - _OVERHEAD) + b": ")


def fields_in_number(count: int) -> bytes:
    return request(b"GET", b"/", *(b"X: %d" % number for number in range(count - _OUR_FIELDS)))


_LIMITS = pytest.mark.parametrize(
    ("make", "limit", "status"),
    [
        (target_of, MAX_TARGET, 414),
        (query_of, MAX_TARGET, 414),
        (fields_of, MAX_HEAD, 431),
        (name_of, MAX_HEAD, 431),
        (fields_in_number, MAX_FIELDS, 431),
    ],
)


@_LIMITS
def test_a_head_just_within_a_limit_passes(
    server: Server, upstream: Upstream, make: Callable[[int], bytes], limit: int, status: int
) -> None:
    with server.connect() as client:
        client.send(make(limit))
        peer = upstream.called()
        peer.request()
        peer.send(ok())
        assert client.answer().status == 200


@_LIMITS
@pytest.mark.parametrize("excess", [1, 100_000])
def test_a_head_beyond_a_limit_is_refused(
    server: Server, upstream: Upstream, make: Callable[[int], bytes], limit: int, status: int, excess: int
) -> None:
    with server.connect() as client:
        refusal = _refusal(client, make(limit + excess))
        assert refusal is None or refusal.status == status or (server.name != "own" and excess > 1)
        assert server.name != "own" or refusal is not None
    assert upstream.is_left_alone()


@OWN
@pytest.mark.parametrize("length", [MAX_TARGET + 1, MAX_TARGET + MAX_HEAD, 200_000])
def test_a_target_beyond_the_limit_is_refused_behind_others_too(
    server: Server, upstream: Upstream, length: int
) -> None:
    """Also where its fields are those of the requests before, byte for byte."""
    with server.connect() as client:
        for _ in range(2):
            client.send(target_of(MAX_TARGET))
            peer = upstream.called()
            peer.request()
            peer.send(ok())
            assert client.answer().status == 200
        client.send(target_of(length))
        assert client.answer().status == 414
    assert upstream.is_left_alone()


@OWN
@_LIMITS
def test_a_head_beyond_a_limit_is_refused_before_it_ends(
    server: Server, upstream: Upstream, make: Callable[[int], bytes], limit: int, status: int
) -> None:
    size = MAX_HEAD if make is fields_in_number else MAX_HEAD + MAX_TARGET + 1_000
    raw = make(size)
    with server.connect() as client:
        client.send(raw[:-20])
        refusal = client.answer()
        assert (refusal.status, refusal.closes) == (status, True)
        assert client.rest() == b""
    assert upstream.is_left_alone()


@pytest.mark.parametrize("size", [MAX_BODY - 1, MAX_BODY])
def test_a_body_just_within_the_limit_begins_to_pass(server: Server, upstream: Upstream, size: int) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", b"Content-Length: %d" % size) + b"hello")
        peer = upstream.called()
        assert peer.head().values(b"content-length") == [b"%d" % size]
        peer.send(b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        assert client.answer().status == 400


@pytest.mark.parametrize("size", [MAX_BODY + 1, 1 << 40, 10**17])
@pytest.mark.parametrize("key", ["right", "none"])
def test_a_stated_body_beyond_the_limit_is_refused_unread(
    server: Server, upstream: Upstream, size: int, key: str
) -> None:
    raw = request(b"POST", b"/", b"Content-Length: %d" % size)
    if key == "none":
        raw = request(b"POST", b"/", b"Content-Length: %d" % size, key=b"")
    with server.connect() as client:
        client.send(raw)
        assert client.answer().status == 413
    assert upstream.is_left_alone()


def test_a_chunked_body_within_the_limit_passes(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        peer, head = _fill(client, upstream)
        client.send(chunked())
        assert peer.with_body(head).body == b""
        peer.send(ok())
        assert client.answer().status == 200


def test_a_chunked_body_that_grows_beyond_the_limit_is_cut_off(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        peer, head = _fill(client, upstream)
        client.send(b"1\r\nx\r\n")
        assert client.answer().status == 413
        with pytest.raises(Cut):
            peer.with_body(head)


@OWN
def test_a_body_that_outgrows_the_limit_amid_the_answer_cuts_that_off(
    server: Server, upstream: Upstream
) -> None:
    with server.connect() as client:
        peer, _ = _fill(client, upstream)
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
        head = client.head()
        assert client.chunk() == b"early"
        client.send(b"1\r\nx\r\n")
        with pytest.raises(Cut):
            client.with_body(head)
        assert peer.is_over()


@OWN
@pytest.mark.parametrize(
    "endless",
    [b"0\r\nX: ", b"5;", b"5" + b"0" * 14, b"0\r\n"],
    ids=["a trailer", "an extension", "zeros", "trailers"],
)
def test_what_nobody_hears_of_is_bounded_too(server: Server, upstream: Upstream, endless: bytes) -> None:
    piece = b"X: a\r\n" * 100 if endless == b"0\r\n" else b"0" * 700
    with server.connect() as client:
        client.send(request(b"POST", b"/", b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
        peer = upstream.called()
        head = peer.head()
        assert peer.chunk() == b"hello"
        client.send(endless)
        for _ in range((MAX_HEAD + MAX_TARGET) // len(piece) + 2):
            client.send(piece)
        assert client.answer().status in {400, 431}
        with pytest.raises(Cut):
            peer.with_body(head)


@OWN
def test_trailers_within_the_bound_of_a_head_are_passed_over(server: Server, upstream: Upstream) -> None:
    trailers = b"X: " + b"a" * (MAX_HEAD - 100) + b"\r\n"
    with server.connect() as client:
        for _ in range(2):
            client.send(request(b"POST", b"/", b"Transfer-Encoding: chunked") + b"5;a=b\r\nhello\r\n")
            client.dribble(b"0\r\n" + trailers + b"\r\n")
            peer = upstream.called()
            assert peer.request().body == b"hello"
            peer.send(ok())
            assert client.answer().status == 200


def _fill(client: Wire, upstream: Upstream) -> tuple[Wire, Message]:
    """Send as much of a chunked body as fits; the upstream that has read it, and its head there."""
    size = 1 << 18
    piece = chunked(bytes(size)).removesuffix(chunked())
    client.send(request(b"POST", b"/", b"Transfer-Encoding: chunked") + piece)
    peer = upstream.called()
    head = peer.head()
    for number in range(MAX_BODY // size):
        if number:
            client.send(piece)
        left = size
        while left:
            left -= len(peer.chunk())
    return peer, head


def _refusal(client: Wire, raw: bytes) -> Message | None:
    """The refusal, if the server gives one before it cuts the connection off."""
    try:
        client.send(raw)
        return client.answer()
    except (Cut, ConnectionError):
        return None
