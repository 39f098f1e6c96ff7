"""Answers of the upstream that are cut short or are no HTTP: a 502, or half an answer that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wire.servers import ok, request
from wire.wires import Cut

if TYPE_CHECKING:
    from wire.servers import Server
    from wire.wires import Upstream, Wire

OWN = pytest.mark.parametrize("server", ["own"], indirect=True)
ALL_SERVERS = pytest.mark.parametrize("server", ["own", "granian", "uvicorn", "uvicorn-h11"], indirect=True)
_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"

# No head that could be passed on.
NO_ANSWERS = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 2",
    "a status line": _OK,
    "half a head": _OK + b"Content-Length: 5\r\n",
    "garbage": b"garbage\r\n\r\n",
    "HTTP/0.9": b"<html></html>",
    "no version": b"200 OK\r\n\r\n",
    "status 99": b"HTTP/1.1 099 Low\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "101 that nobody asked for": b"HTTP/1.1 101 Switch\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "101 to HTTP/2": b"HTTP/1.1 101 Switch\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a folded line": _OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "space before a colon": _OK + b"Content-Length : 0\r\n\r\n",
    "NUL in a value": _OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "CR in a value": _OK + b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
    "no colon": _OK + b"X\r\nContent-Length: 0\r\n\r\n",
    "length and coding": _OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "different lengths": _OK + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello",
    "list of lengths": _OK + b"Content-Length: 5, 5\r\n\r\nhello",
    "length -1": _OK + b"Content-Length: -1\r\n\r\n",
    "length +5": _OK + b"Content-Length: +5\r\n\r\nhello",
    "length 5a": _OK + b"Content-Length: 5a\r\n\r\nhello",
    "length beyond 64 bits": _OK + b"Content-Length: 18446744073709551621\r\n\r\nhello",
    "gzip coding": _OK + b"Transfer-Encoding: gzip\r\n\r\nhello",
    "gzip, chunked": _OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "xchunked": _OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a head without end": _OK + b"X: " + b"a" * 200_000,
    "interim answers without end": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5_000,
}

# The beginning of an answer that lacks its end, when the upstream closes the connection behind it.
HALVES = {
    "a short body": _OK + b"Content-Length: 10\r\n\r\nhalf",
    "no last chunk": _CHUNKED + b"4\r\nhalf\r\n",
    "no end of a chunk": _CHUNKED + b"8\r\nhalf",
    "no end of the trailers": _CHUNKED + b"4\r\nhalf\r\n0\r\nX: a\r\n",
    "half the end": _CHUNKED + b"4\r\nhalf\r\n0\r\n",
}

# Chunks that are none.
BROKEN = {
    "size": b"zz\r\nhalf\r\n0\r\n\r\n",
    "size -1": b"-1\r\nhalf\r\n0\r\n\r\n",
    "size 0x4": b"0x4\r\nhalf\r\n0\r\n\r\n",
    "size beyond 64 bits": b"10000000000000004\r\nhalf\r\n0\r\n\r\n",
    "LF behind the size": b"4\nhalf\r\n0\r\n\r\n",
    "no end of the data": b"4\r\nhalf0\r\n\r\n",
    "LF behind the data": b"4\r\nhalf\n0\r\n\r\n",
    "a trailer without a colon": b"4\r\nhalf\r\n0\r\nX\r\n\r\n",
}


@pytest.mark.parametrize("case", NO_ANSWERS)
@ALL_SERVERS
def test_what_is_no_answer_is_a_502(server: Server, upstream: Upstream, case: str) -> None:
    with server.connect() as client:
        client.send(request(b"POST", body=b"hello"))
        with upstream.called() as peer:
            peer.request()
            peer.send_what_is_taken(NO_ANSWERS[case])
        answer = client.head()
        while answer.status == 103:
            answer = client.head()
        assert answer.status == 502
        assert b'"code": "upstream_protocol_error"' in client.with_body(answer).body
        _serves_the_next(client, upstream)


@pytest.mark.parametrize("case", HALVES)
@pytest.mark.parametrize("end", ["close", "reset"])
@ALL_SERVERS
def test_half_an_answer_does_not_look_whole(server: Server, upstream: Upstream, case: str, end: str) -> None:
    with server.connect() as client:
        client.send(request())
        peer = upstream.called()
        peer.request()
        peer.send(HALVES[case])
        head = client.head()
        assert head.status == 200
        if end == "close":
            peer.close()
        else:
            peer.reset()
        with pytest.raises(Cut):
            client.with_body(head)
        assert client.is_over()


@pytest.mark.parametrize("case", HALVES)
@OWN
def test_half_an_answer_does_not_look_whole_to_a_client_of_http_1_0(
    server: Server, upstream: Upstream, case: str
) -> None:
    """With no chunks to miss, a reset is what is left."""
    with server.connect() as client:
        client.send(request(version=b"1.0"))
        peer = upstream.called()
        peer.request()
        peer.send(HALVES[case])
        head = client.head()
        peer.close()
        with pytest.raises(Cut):
            client.with_body(head, to_the_end=True)


@OWN
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_an_answer_that_only_a_close_would_end_is_not_ended_by_a_reset(
    server: Server, upstream: Upstream, version: bytes
) -> None:
    with server.connect() as client:
        client.send(request(version=version))
        peer = upstream.called()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        head = client.head()
        assert b"half" in client.until(b"half")
        peer.reset()
        with pytest.raises(Cut):
            client.until(b"0\r\n\r\n") if version == b"1.1" else client.with_body(head, to_the_end=True)


@pytest.mark.parametrize("case", BROKEN)
@ALL_SERVERS
def test_a_broken_chunk_ends_the_answer_before_its_end(server: Server, upstream: Upstream, case: str) -> None:
    with server.connect() as client:
        client.send(request())
        peer = upstream.called()
        peer.request()
        peer.send(_CHUNKED + b"2\r\nok\r\n")
        head = client.head()
        assert client.chunk() == b"ok"
        peer.send(BROKEN[case])
        with pytest.raises(Cut):
            client.with_body(head)
        assert peer.is_over()


@OWN
@pytest.mark.parametrize("method", [b"GET", b"PUT", b"POST"])
def test_a_request_is_repeated_once_where_that_does_no_harm(
    server: Server, upstream: Upstream, method: bytes
) -> None:
    """The upstream closes an idle connection just when the next request arrives on it."""
    raw = request(method) if method == b"GET" else request(method, body=b"hello")
    with server.connect() as client:
        client.send(raw)
        peer = upstream.called()
        peer.request()
        peer.send(ok())
        client.answer()
        client.send(raw)
        assert upstream.called() is peer
        peer.request()
        peer.close()
        if method == b"POST":
            assert client.answer().status == 502
            assert upstream.is_left_alone()
            return
        peer = upstream.called()
        peer.request()
        peer.close()
        assert client.answer().status == 502
        assert upstream.is_left_alone()


def _serves_the_next(client: Wire, upstream: Upstream) -> None:
    client.send(request(target=b"/next"))
    peer = upstream.called()
    assert peer.request().target == b"/next"
    peer.send(ok(b"next"))
    assert client.answer().body == b"next"
