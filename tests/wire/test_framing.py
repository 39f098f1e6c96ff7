"""Bodies of either framing, whole and in pieces, and the connections that go on behind them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from wire.servers import WRONG_KEY, chunked, ok, request
from wire.wires import Cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from wire.servers import Server
    from wire.wires import Upstream, Wire

OWN = pytest.mark.parametrize("server", ["own"], indirect=True)
ALL_SERVERS = pytest.mark.parametrize("server", ["own", "granian", "uvicorn", "uvicorn-h11"], indirect=True)
SIZES = (0, 1, 15, 16, 17, 255, 256, 257, 65_535, 65_536, 65_537, 1_000_003)


def _bytes(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


def post_measured(body: bytes) -> bytes:
    return request(b"POST", body=body)


def post_chunked(body: bytes) -> bytes:
    return request(b"POST", b"/", b"Transfer-Encoding: chunked") + chunked(*_thirds(body))


def ok_chunked(body: bytes, *fields: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + chunked(*_thirds(body))


def _thirds(body: bytes) -> list[bytes]:
    """Three pieces of it, of different sizes, without empty ones."""
    cuts = (0, len(body) // 5, len(body) // 2, len(body))
    return [body[start:end] for start, end in pairwise(cuts) if start < end]


_REQUESTS = pytest.mark.parametrize("post", [post_measured, post_chunked], ids=["length", "chunked"])
_ANSWERS = pytest.mark.parametrize("answer", [ok, ok_chunked], ids=["length", "chunked"])


@ALL_SERVERS
@_REQUESTS
@_ANSWERS
def test_bodies_of_any_size_pass_both_ways(
    server: Server, upstream: Upstream, post: Callable[[bytes], bytes], answer: Callable[[bytes], bytes]
) -> None:
    with server.connect() as client:
        for size in SIZES:
            body = _bytes(size)
            client.send(post(body))
            peer = upstream.called()
            assert peer.request().body == body
            peer.send(answer(body[::-1]))
            assert client.answer().body == body[::-1]


@OWN
@_REQUESTS
@_ANSWERS
def test_bytes_that_come_one_by_one_pass_both_ways(
    server: Server, upstream: Upstream, post: Callable[[bytes], bytes], answer: Callable[[bytes], bytes]
) -> None:
    with server.connect() as client:
        for _ in range(2):
            client.dribble(post(b"a body"))
            peer = upstream.called()
            assert peer.request().body == b"a body"
            peer.dribble(answer(b"an answer"))
            assert client.answer().body == b"an answer"


@OWN
@_REQUESTS
@_ANSWERS
def test_requests_and_answers_may_be_split_anywhere(
    server: Server, upstream: Upstream, post: Callable[[bytes], bytes], answer: Callable[[bytes], bytes]
) -> None:
    sent, returned = post(b"a body"), answer(b"an answer")
    with server.connect() as client:
        for at in range(1, max(len(sent), len(returned))):
            client.send(sent[:at], sent[at:])
            peer = upstream.called()
            assert peer.request().body == b"a body"
            peer.send(returned[:at], returned[at:])
            assert client.answer().body == b"an answer"


@OWN
def test_each_piece_of_a_request_arrives_before_the_next_is_sent(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", b"Transfer-Encoding: chunked"))
        peer = upstream.called()
        peer.head()
        for piece in (b"one", b"two", b"three"):
            client.send(b"%x;extension=1\r\n%b\r\n" % (len(piece), piece))
            assert peer.chunk() == piece
        client.send(b"0\r\n\r\n")
        assert peer.chunk() == b""
        assert peer.until(b"\r\n") == b"\r\n"
        peer.send(ok())
        assert client.answer().status == 200


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nX: a\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"POST", b"HTTP/1.1 204 No Content\r\nX: a\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
)
@ALL_SERVERS
def test_behind_an_answer_without_a_body_comes_the_next(
    server: Server, upstream: Upstream, method: bytes, raw: bytes
) -> None:
    with server.connect() as client:
        for _ in range(2):
            client.send(request(method))
            peer = upstream.called()
            assert peer.request().start == method + b" / HTTP/1.1"
            peer.send(raw)
            answer = client.answer(to_head=method == b"HEAD")
            assert answer.status == int(raw[9:12])
        client.send(request())
        peer = upstream.called()
        peer.request()
        peer.send(ok(b"next"))
        assert client.answer().body == b"next"


@OWN
def test_the_answer_to_head_states_the_length_that_get_would_have(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request(b"HEAD"))
        peer = upstream.called()
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        assert client.answer(to_head=True).values(b"content-length") == [b"5"]


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("raw", [b"HTTP/1.1 204 No Content", b"HTTP/1.1 200 OK\r\nContent-Length: 1"])
@ALL_SERVERS
def test_bytes_behind_an_answer_are_nobodys(
    server: Server, upstream: Upstream, method: bytes, raw: bytes
) -> None:
    """An upstream that says more than it may say cannot answer the next request with it."""
    body = b"" if method == b"HEAD" or b"204" in raw else b"x"
    with server.connect() as client:
        client.send(request(method))
        peer = upstream.called()
        peer.request()
        peer.send(raw + b"\r\n\r\n" + body + ok(b"poisoned"))
        assert client.answer(to_head=method == b"HEAD").body == body
        assert peer.is_over()
        client.send(request())
        peer = upstream.called()
        peer.request()
        peer.send(ok(b"next"))
        assert client.answer().body == b"next"


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"]
)
@ALL_SERVERS
def test_an_answer_that_the_upstreams_close_ends_is_chunked(
    server: Server, upstream: Upstream, head: bytes
) -> None:
    with server.connect() as client:
        for _ in range(2):
            client.send(request())
            with upstream.called() as peer:
                peer.request()
                peer.send(head, b"one", b"two")
            answer = client.answer()
            assert (answer.is_chunked, answer.body) == (True, b"onetwo")


# uvicorn with httptools writes chunks for clients of HTTP/1.0 too.
@pytest.mark.parametrize("raw", [b"HTTP/1.1 200 OK\r\n\r\none", ok_chunked(b"one")], ids=["close", "chunked"])
@pytest.mark.parametrize("wish", [(), (b"Connection: keep-alive",)], ids=["", "keep-alive"])
@pytest.mark.parametrize("server", ["own", "granian", "uvicorn-h11"], indirect=True)
def test_a_client_of_http_1_0_gets_no_chunks(
    server: Server, upstream: Upstream, raw: bytes, wish: tuple[bytes, ...]
) -> None:
    with server.connect() as client:
        client.send(request(b"GET", b"/", *wish, version=b"1.0"))
        with upstream.called() as peer:
            assert peer.request().start == b"GET / HTTP/1.1"
            peer.send(raw)
        answer = client.answer()
        assert not answer.values(b"transfer-encoding")
        assert answer.body == b"one"


_WISHES = {
    "1.1": (b"1.1", b"X: a", True),
    "1.1 close": (b"1.1", b"Connection: close", False),
    "1.1 Close": (b"1.1", b"Connection: Close", False),
    "1.1 close among others": (b"1.1", b"Connection: X, close", False),
    "1.1 keep-alive": (b"1.1", b"Connection: keep-alive", True),
    "1.0": (b"1.0", b"X: a", False),
    "1.0 close": (b"1.0", b"Connection: close", False),
}
# Both uvicorns close behind every answer to HTTP/1.0.
_OLD_WISHES = {
    "1.0 keep-alive": (b"1.0", b"Connection: keep-alive", True),
    "1.0 Keep-Alive": (b"1.0", b"Connection: Keep-Alive", True),
}


@pytest.mark.parametrize(
    ("server", "version", "field", "stays"),
    [
        pytest.param(server, *wish, id=f"{server}-{name}")
        for server in ("own", "granian", "uvicorn", "uvicorn-h11")
        for name, wish in {**_WISHES, **({} if "uvicorn" in server else _OLD_WISHES)}.items()
    ],
    indirect=["server"],
)
@pytest.mark.parametrize("key", ["right", "none"])
def test_the_connection_stays_as_the_client_wishes(
    server: Server, upstream: Upstream, version: bytes, field: bytes, key: str, *, stays: bool
) -> None:
    first = request(b"GET", b"/", field, version=version)
    if key == "none":
        first = request(b"GET", b"/", field, version=version, key=b"")
    with server.connect() as client:
        client.send(first)
        if key == "right":
            peer = upstream.called()
            peer.request()
            peer.send(ok())
        answer = client.answer()
        assert answer.status == (200 if key == "right" else 401)
        if not stays:
            assert client.rest() == b""
            return
        assert not answer.closes
        client.send(request())
        peer = upstream.called()
        peer.request()
        peer.send(ok(b"next"))
        assert client.answer().body == b"next"


@OWN
def test_a_client_of_http_1_0_is_told_that_the_connection_stays(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request(b"GET", b"/", b"Connection: keep-alive", version=b"1.0"))
        peer = upstream.called()
        peer.request()
        peer.send(ok())
        assert client.answer().values(b"connection") == [b"keep-alive"]


@ALL_SERVERS
def test_an_upstream_that_closes_does_not_close_the_client(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        for _ in range(3):
            client.send(request())
            peer = upstream.called()
            peer.request()
            peer.send(ok(b"ok", b"Connection: close"))
            answer = client.answer()
            assert not answer.closes
            assert peer.is_over(), "it is taken at its word"


@pytest.mark.parametrize("post", [request, post_measured, post_chunked], ids=["get", "length", "chunked"])
@ALL_SERVERS
def test_requests_that_are_sent_ahead_are_answered_in_order(
    server: Server, upstream: Upstream, post: Callable[..., bytes]
) -> None:
    def numbered(number: int) -> bytes:
        raw = request() if post is request else post(b"body %d" % number)
        return raw.replace(b" / ", b" /%d " % number)

    with server.connect() as client:
        client.send(b"".join(map(numbered, range(10))))
        for number in range(10):
            peer = upstream.called()
            asked = peer.request()
            assert asked.target == b"/%d" % number
            assert asked.body == (b"" if post is request else b"body %d" % number)
            peer.send(ok(b"answer %d" % number) if number % 2 else ok_chunked(b"answer %d" % number))
        assert [client.answer().body for _ in range(10)] == [b"answer %d" % number for number in range(10)]
        assert upstream.is_left_alone()


@OWN
def test_requests_that_are_sent_ahead_are_judged_one_by_one(server: Server, upstream: Upstream) -> None:
    allowed, refused = request(target=b"/allowed"), request(target=b"/refused", key=b"")
    with server.connect() as client:
        client.send(refused + allowed + refused + refused + allowed)
        assert client.answer().status == 401
        for _ in range(2):
            peer = upstream.called()
            assert peer.request().target == b"/allowed"
            peer.send(ok())
        assert [client.answer().status for _ in range(4)] == [200, 401, 401, 200]


@pytest.mark.parametrize("post", [post_measured, post_chunked], ids=["length", "chunked"])
def test_an_empty_line_between_requests_is_passed_over(
    server: Server, upstream: Upstream, post: Callable[[bytes], bytes]
) -> None:
    """RFC 9112 section 2.2: some clients end a body with a line of its own."""
    with server.connect() as client:
        for _ in range(2):
            client.send(b"\r\n" + post(b"hello"))
            peer = upstream.called()
            assert peer.request().body == b"hello"
            peer.send(ok())
            assert client.answer().status == 200
            client.send(b"\r\n")


def test_a_target_in_absolute_form_is_its_path(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request(target=b"http://api.example/a?b"))
        peer = upstream.called()
        asked = peer.request()
        assert (asked.target, asked.values(b"host")) == (b"/a?b", [b"api.example"])
        peer.send(ok())
        assert client.answer().status == 200


@OWN
@pytest.mark.parametrize("key", [b"", WRONG_KEY], ids=["none", "wrong"])
@pytest.mark.parametrize("framing", [b"Content-Length: %d" % (8 << 20), b"Transfer-Encoding: chunked"])
def test_a_refusal_arrives_however_busy_the_client_is(
    server: Server, upstream: Upstream, framing: bytes, key: bytes
) -> None:
    """A connection that is closed on a client who still sends is reset, which may overtake the answer."""
    body = bytes(8 << 20) if b"Length" in framing else chunked(bytes(8 << 20))
    with server.connect() as client:
        client.send(request(b"POST", b"/", framing, key=key))
        client.send(body)
        answer = client.answer()
        assert (answer.status, answer.closes) == (401, True)
        assert client.rest() == b""
    assert upstream.is_left_alone()


@OWN
def test_nothing_is_answered_behind_connection_close(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request(b"GET", b"/", b"Connection: close"))
        peer = upstream.called()
        peer.request()
        client.send(request(target=b"/second"))
        peer.send(ok())
        assert client.answer().closes
        assert client.is_over()
        assert peer.is_silent(0.1)
        assert upstream.is_left_alone()


@ALL_SERVERS
def test_fields_pass_in_order_and_byte_for_byte(server: Server, upstream: Upstream) -> None:
    fields = (
        b"Set-Cookie: b=1; Path=/",
        b"X-Latin: caf\xe9",
        b"X-Empty:",
        b"set-cookie: a=2",
        b"SET-COOKIE: b=3",
    )
    with server.connect() as client:
        client.send(request(b"GET", b"/", b"X-Sent: \xfcber", b"X-Void:", b"X-Sent: b", b"Cookie: c"))
        peer = upstream.called()
        asked = peer.request()
        assert asked.values(b"x-sent") == [b"\xfcber", b"b"]
        assert asked.values(b"x-void") == [b""]
        assert asked.values(b"cookie") == [b"c"]
        peer.send(ok(b"ok", *fields))
        answer = client.answer()
        assert answer.values(b"set-cookie") == [b"b=1; Path=/", b"a=2", b"b=3"]
        assert answer.values(b"x-latin") == [b"caf\xe9"]
        assert answer.values(b"x-empty") == [b""]


@pytest.mark.parametrize("status", [200, 201, 206, 299, 300, 307, 400, 401, 418, 451, 500, 503, 599])
@ALL_SERVERS
def test_a_status_passes_as_it_is(server: Server, upstream: Upstream, status: int) -> None:
    with server.connect() as client:
        client.send(request())
        peer = upstream.called()
        peer.request()
        peer.send(b"HTTP/1.1 %d Said\r\nContent-Length: 2\r\n\r\nok" % status)
        answer = client.answer()
        assert (answer.status, answer.body) == (status, b"ok")


@pytest.mark.parametrize(
    ("wish", "passed"),
    [
        ((b"TE: trailers", b"Connection: TE"), True),
        ((b"TE: gzip, trailers", b"Connection: keep-alive, te"), True),
        ((b"TE: gzip", b"Connection: TE"), False),
        ((b"TE: trailers",), False),
        ((), False),
    ],
    ids=["trailers", "among others", "gzip", "not of this connection", "none"],
)
@OWN
def test_trailers_of_an_answer_pass_to_those_who_take_them(
    server: Server, upstream: Upstream, wish: tuple[bytes, ...], *, passed: bool
) -> None:
    with server.connect() as client:
        client.send(request(b"GET", b"/", *wish))
        peer = upstream.called()
        assert peer.request().values(b"te") == ([b"trailers"] if passed else [])
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
        peer.send(chunked(b"summed", trailers=b"X-Sum: 1\r\nX-Other: 2\r\n"))
        answer = client.answer()
        assert answer.body == b"summed"
        expected = ((b"x-sum", b"1"), (b"x-other", b"2")) if passed else ()
        assert tuple((name.lower(), value) for name, value in answer.trailers) == expected


@ALL_SERVERS
def test_trailers_of_a_request_are_dropped(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", b"Transfer-Encoding: chunked", b"Trailer: X-Scopegate-User"))
        client.send(chunked(b"hello", trailers=b"X-Scopegate-User: root\r\n"))
        peer = upstream.called()
        asked = peer.request()
        assert (asked.body, asked.trailers) == (b"hello", ())
        assert not asked.values(b"trailer")
        peer.send(ok())
        assert client.answer().status == 200


def open_post(client: Wire, upstream: Upstream, length: int = 10) -> Wire:
    """A request of which half the body is sent, at the upstream."""
    client.send(request(b"POST", b"/", b"Content-Length: %d" % length) + b"hello")
    peer = upstream.called()
    peer.head()
    assert peer.read(5) == b"hello"
    return peer


@ALL_SERVERS
def test_an_answer_may_come_while_the_body_is_sent(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        peer = open_post(client, upstream)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nearly")
        head = client.head()
        assert (head.status, client.read(5)) == (200, b"early")
        client.send(b"world")
        assert peer.read(5) == b"world"
        peer.send(b"later")
        assert client.read(5) == b"later"


@OWN
@pytest.mark.parametrize("status", [200, 413])
def test_a_whole_answer_before_the_end_of_the_body_ends_the_connection(
    server: Server, upstream: Upstream, status: int
) -> None:
    with server.connect() as client:
        peer = open_post(client, upstream)
        peer.send(b"HTTP/1.1 %d Said\r\nContent-Length: 5\r\n\r\nearly" % status)
        answer = client.answer()
        assert (answer.status, answer.body, answer.closes) == (status, b"early", True)
        assert peer.is_over()
        client.send(b"world" + request(target=b"/smuggled"))
        assert client.rest() == b""
        assert upstream.is_left_alone()


@OWN
def test_a_refused_body_is_not_passed_on(server: Server, upstream: Upstream) -> None:
    """The upstream has said no, so nothing more of the body is worth its while."""
    with server.connect() as client:
        peer = open_post(client, upstream)
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nearly")
        assert (client.head().status, client.read(5)) == (403, b"early")
        client.send(b"world")
        assert peer.is_silent()
        peer.send(b"later")
        assert client.read(5) == b"later"


@pytest.mark.parametrize("framing", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
@ALL_SERVERS
def test_a_client_that_leaves_amid_its_body_has_sent_no_request(
    server: Server, upstream: Upstream, framing: bytes
) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", framing))
        client.send(b"5\r\nhello\r\n" if b"chunked" in framing else b"hello")
        peer = upstream.called()
        head = peer.head()
        client.close()
        with pytest.raises(Cut):
            peer.with_body(head)
