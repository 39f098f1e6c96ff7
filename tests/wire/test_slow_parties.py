"""Clients and upstreams that are slow, silent or gone."""

from __future__ import annotations

import time
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from wire.servers import HEAD_TIMEOUT, IDLE_TIMEOUT, MAX_BODY, ok, request
from wire.wires import Cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wire.servers import Server
    from wire.wires import Upstream, Wire

ALL_SERVERS = pytest.mark.parametrize("server", ["own", "granian", "uvicorn", "uvicorn-h11"], indirect=True)
IMPATIENT = pytest.mark.parametrize("server", ["own-impatient"], indirect=True)
_LARGE = 64 << 20
# What sockets may hold on the way, whose buffers the system sizes.
_BOUND = 24 << 20
_SMALL_BUFFER = 65_536
_EARLY = 0.05  # by so much may a clock be wrong


@contextmanager
def takes(at_least: float) -> Iterator[None]:
    """Fail if it is over sooner than after so many seconds."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began >= at_least - _EARLY


@IMPATIENT
@pytest.mark.parametrize(
    ("part", "before"),
    [(b"G", 0), (b"GET / HTTP/1.1\r\n", 0), (request()[:-1], 0), (b"G", 1)],
    ids=["a byte", "a line", "all but a byte", "the second"],
)
def test_half_a_head_is_answered_408(server: Server, upstream: Upstream, part: bytes, before: int) -> None:
    with server.connect() as client:
        for _ in range(before):
            client.send(request())
            peer = upstream.called()
            peer.request()
            peer.send(ok())
            client.answer()
        client.send(part)
        with takes(HEAD_TIMEOUT):
            answer = client.answer()
        assert (answer.status, answer.closes) == (408, True)
        assert client.rest() == b""


@IMPATIENT
def test_a_head_that_comes_drop_by_drop_gets_no_more_time(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nX: ")
        while client.is_silent(HEAD_TIMEOUT / 5):
            client.send(b"a")
        assert client.answer().status == 408
    assert upstream.is_left_alone()


@IMPATIENT
@pytest.mark.parametrize("answered", [False, True], ids=["first", "kept alive"])
def test_a_silent_client_is_let_go(server: Server, upstream: Upstream, *, answered: bool) -> None:
    with server.connect() as client:
        if answered:
            client.send(request())
            peer = upstream.called()
            peer.request()
            peer.send(ok())
            client.answer()
        with takes(IDLE_TIMEOUT):
            assert client.rest() == b""


@IMPATIENT
@pytest.mark.parametrize("framing", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
def test_half_a_body_is_answered_408(server: Server, upstream: Upstream, framing: bytes) -> None:
    with server.connect() as client:
        client.send(
            request(b"POST", b"/", framing) + (b"5\r\nhello\r\n" if b"chunked" in framing else b"hello")
        )
        peer = upstream.called()
        head = peer.head()
        with takes(IDLE_TIMEOUT):
            answer = client.answer()
        assert (answer.status, answer.closes) == (408, True)
        with pytest.raises(Cut):
            peer.with_body(head)


@IMPATIENT
def test_an_upstream_that_says_nothing_is_a_504(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request(b"POST", body=b"hello"))
        peer = upstream.called()
        peer.request()
        with takes(IDLE_TIMEOUT):
            assert client.answer().status == 504
        assert peer.is_over()


@IMPATIENT
def test_an_upstream_that_stops_amid_its_answer_is_cut_off(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request())
        peer = upstream.called()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        with takes(IDLE_TIMEOUT), pytest.raises(Cut):
            client.answer()
        assert peer.is_over()


@IMPATIENT
def test_a_client_that_takes_nothing_is_cut_off(server: Server, upstream: Upstream) -> None:
    with server.connect(receive_buffer=_SMALL_BUFFER) as client:
        peer = _ask_for_much(client, upstream)
        assert peer.send_while_taken(bytes(_LARGE)) < _LARGE
        assert peer.is_over()
        with pytest.raises(Cut):
            client.answer()


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
@ALL_SERVERS
def test_a_client_that_leaves_while_it_waits_ends_the_exchange(
    server: Server, upstream: Upstream, method: bytes, leave: str
) -> None:
    with server.connect() as client:
        client.send(request(method, body=b"hello" if method == b"POST" else None))
        peer = upstream.called()
        peer.request()
        getattr(client, leave)()
        assert peer.is_over()


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000", b"Transfer-Encoding: chunked", b"X: until the end"]
)
@ALL_SERVERS
def test_a_client_that_leaves_amid_the_answer_ends_the_exchange(
    server: Server, upstream: Upstream, framing: bytes
) -> None:
    with server.connect() as client:
        client.send(request())
        peer = upstream.called()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        peer.send(b"4\r\nhalf\r\n" if b"chunked" in framing else b"half")
        client.until(b"half")
        client.close()
        assert peer.is_over()


@ALL_SERVERS
def test_a_client_that_leaves_amid_its_body_ends_the_exchange(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", b"Content-Length: 10") + b"hello")
        peer = upstream.called()
        peer.head()
        assert peer.read(5) == b"hello"
        client.close()
        assert peer.is_over()


@pytest.mark.parametrize("framing", [b"Content-Length: %d" % _LARGE, b"Transfer-Encoding: chunked"])
def test_a_client_that_does_not_read_stops_the_upstream(
    server: Server, upstream: Upstream, framing: bytes
) -> None:
    body = bytes(_LARGE)
    with server.connect(receive_buffer=_SMALL_BUFFER) as client:
        client.send(request())
        peer = upstream.called()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        if b"chunked" in framing:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (_LARGE, body)
        sent = peer.send_while_taken(body)
        assert sent < _BOUND
        with _in_background(peer, body[sent:]):
            answer = client.answer()
        assert len(answer.body) == _LARGE


def test_an_upstream_that_does_not_read_stops_the_client(server: Server, upstream: Upstream) -> None:
    body = bytes(MAX_BODY)
    with server.connect() as client:
        client.send(request(b"POST", b"/", b"Content-Length: %d" % MAX_BODY) + body[:1])
        peer = upstream.called()
        head = peer.head()
        sent = 1 + client.send_while_taken(body[1:])
        assert sent < _BOUND
        with _in_background(client, body[sent:]):
            assert len(peer.with_body(head).body) == MAX_BODY
        peer.send(ok())
        assert client.answer().status == 200


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Connection: close"])
@ALL_SERVERS
def test_each_event_arrives_before_the_next_is_sent(
    server: Server, upstream: Upstream, framing: bytes
) -> None:
    with server.connect() as client:
        client.send(request(b"GET", b"/", b"Accept: text/event-stream"))
        peer = upstream.called()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + framing + b"\r\n\r\n")
        assert client.head().is_chunked, "the head does not wait for the first event"
        for number in range(5):
            event = b"data: %d\n\n" % number
            peer.send(b"%x\r\n%b\r\n" % (len(event), event) if b"chunked" in framing else event)
            assert client.chunk() == event
        peer.send(b"0\r\n\r\n") if b"chunked" in framing else peer.close()
        assert client.chunk() == b""


def _ask_for_much(client: Wire, upstream: Upstream) -> Wire:
    client.send(request())
    peer = upstream.called()
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _LARGE)
    return peer


@contextmanager
def _in_background(wire: Wire, data: bytes) -> Iterator[None]:
    """Send `data` while something else is done."""
    sender = Thread(target=wire.send, args=(data,))
    sender.start()
    try:
        yield
    finally:
        sender.join()
