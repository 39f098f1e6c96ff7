"""Interim answers, and requests that ask for another protocol. ASGI has none of the former."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wire.servers import chunked, ok, request
from wire.wires import Cut

if TYPE_CHECKING:
    from wire.servers import Server
    from wire.wires import Upstream

OWN = pytest.mark.parametrize("server", ["own"], indirect=True)
ALL_SERVERS = pytest.mark.parametrize("server", ["own", "granian", "uvicorn", "uvicorn-h11"], indirect=True)
_EXPECT = b"Expect: 100-continue"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FRAMINGS = pytest.mark.parametrize(
    ("framing", "body"),
    [(b"Content-Length: 5", b"hello"), (b"Transfer-Encoding: chunked", chunked(b"hello"))],
    ids=["length", "chunked"],
)


@OWN
@_FRAMINGS
@pytest.mark.parametrize("spelling", [_EXPECT, b"expect: 100-Continue"])
def test_the_upstream_says_100_and_the_client_hears_it(
    server: Server, upstream: Upstream, framing: bytes, body: bytes, spelling: bytes
) -> None:
    with server.connect() as client:
        for _ in range(2):
            client.send(request(b"POST", b"/", framing, spelling))
            peer = upstream.called()
            head = peer.head()
            assert head.values(b"expect") == [b"100-continue"]
            assert client.is_silent(0.05), "nobody but the upstream says 100"
            peer.send(_CONTINUE)
            assert client.head().start == b"HTTP/1.1 100 Continue"
            client.send(body)
            assert peer.with_body(head).body == b"hello"
            peer.send(ok())
            assert client.answer().status == 200


@pytest.mark.parametrize("server", ["granian", "uvicorn", "uvicorn-h11"], indirect=True)
@_FRAMINGS
def test_where_the_server_says_100_the_body_passes(
    server: Server, upstream: Upstream, framing: bytes, body: bytes
) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", framing, _EXPECT))
        assert client.head().status == 100
        client.send(body)
        peer = upstream.called()
        asked = peer.request()
        assert (asked.body, asked.values(b"expect")) == (b"hello", [])
        peer.send(ok())
        assert client.answer().status == 200


@ALL_SERVERS
@_FRAMINGS
def test_a_refusal_comes_without_100(server: Server, upstream: Upstream, framing: bytes, body: bytes) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", framing, _EXPECT, key=b""))
        assert client.answer().status == 401
    assert upstream.is_left_alone()


@OWN
@_FRAMINGS
@pytest.mark.parametrize("sends", [False, True], ids=["keeps its body", "sends its body"])
def test_behind_a_refusal_without_100_no_body_is_taken_for_a_request(
    server: Server, upstream: Upstream, framing: bytes, body: bytes, *, sends: bool
) -> None:
    """The body may or may not come, so the connection can carry nothing more."""
    with server.connect() as client:
        client.send(request(b"POST", b"/", framing, _EXPECT, key=b""))
        refusal = client.answer()
        assert (refusal.status, refusal.closes) == (401, True)
        client.send((body if sends else b"") + request(target=b"/smuggled"))
        assert client.rest() == b""
    assert upstream.is_left_alone()


@OWN
@_FRAMINGS
@pytest.mark.parametrize("status", [200, 302, 403, 413, 417])
def test_a_final_answer_may_come_instead_of_100(
    server: Server, upstream: Upstream, framing: bytes, body: bytes, status: int
) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", framing, _EXPECT))
        peer = upstream.called()
        peer.head()
        peer.send(b"HTTP/1.1 %d Said\r\nContent-Length: 2\r\n\r\nno" % status)
        answer = client.answer()
        assert (answer.status, answer.body, answer.closes) == (status, b"no", True)
        assert peer.is_over()
        assert client.rest() == b""


@OWN
def test_a_client_that_does_not_wait_for_100_needs_none(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", _EXPECT, body=b"hello"))
        peer = upstream.called()
        assert peer.request().body == b"hello"
        peer.send(ok())
        assert client.answer().status == 200


@OWN
def test_no_body_is_waited_for_where_there_is_none(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", _EXPECT, b"Content-Length: 0"))
        peer = upstream.called()
        peer.request()
        peer.send(_CONTINUE + ok())
        head = client.head()
        if head.status == 100:
            head = client.head()
        assert client.with_body(head).body == b"ok"


# uvicorn with httptools says 100 to clients of HTTP/1.0 too.
@pytest.mark.parametrize("server", ["own", "granian", "uvicorn-h11"], indirect=True)
def test_a_client_of_http_1_0_is_told_no_interim_answers(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", _EXPECT, version=b"1.0", body=b"hello"))
        peer = upstream.called()
        asked = peer.request()
        assert (asked.body, asked.values(b"expect")) == (b"hello", [])
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok())
        assert client.answer().body == b"ok"


@ALL_SERVERS
@pytest.mark.parametrize("expectation", [b"Expect: 200-ok", b"Expect: 100-continue, x"])
def test_another_expectation_does_not_pass(server: Server, upstream: Upstream, expectation: bytes) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", expectation, body=b"hello"))
        peer = upstream.called()
        assert peer.request().values(b"expect") == []
        peer.send(ok())
        answer = client.head()
        if answer.status == 100:
            answer = client.head()
        assert client.with_body(answer).body == b"ok"


@OWN
def test_early_hints_pass(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request())
        peer = upstream.called()
        peer.request()
        for number in range(3):
            peer.send(
                b"HTTP/1.1 103 Early Hints\r\nLink: </%d>\r\nConnection: x-hop\r\nX-Hop: a\r\n\r\n" % number
            )
            hints = client.head()
            assert hints.status == 103
            assert [(name.lower(), value) for name, value in hints.fields] == [(b"link", b"</%d>" % number)]
        peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" + ok())
        assert client.head().status == 102
        assert client.answer().body == b"ok"


@pytest.mark.parametrize("server", ["granian", "uvicorn", "uvicorn-h11"], indirect=True)
def test_early_hints_do_no_harm_where_nobody_can_pass_them(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request())
        peer = upstream.called()
        peer.request()
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", ok())
        answer = client.answer()
        assert (answer.body, answer.values(b"link")) == (b"ok", [])


@ALL_SERVERS
def test_an_upstream_that_closes_behind_an_interim_answer_has_given_none(
    server: Server, upstream: Upstream
) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", body=b"hello"))
        with upstream.called() as peer:
            peer.request()
            peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        head = client.head()
        if head.status == 103:
            head = client.head()
        assert head.status == 502


@pytest.mark.parametrize("protocol", [b"h2c", b"TLS/1.0", b"websocket/13"])
@pytest.mark.parametrize("server", ["own", "granian"], indirect=True)
def test_the_wish_for_another_protocol_is_ignored(
    server: Server, upstream: Upstream, protocol: bytes
) -> None:
    wish = (
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: " + protocol,
        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    )
    with server.connect() as client:
        for _ in range(2):
            client.send(request(b"GET", b"/", *wish))
            peer = upstream.called()
            asked = peer.request()
            assert not asked.values(b"upgrade")
            assert not asked.values(b"http2-settings")
            assert not asked.values(b"connection")
            peer.send(ok())
            assert client.answer().body == b"ok"


@OWN
@_FRAMINGS
@pytest.mark.parametrize("split", [False, True], ids=["whole", "byte by byte"])
def test_a_body_with_such_a_wish_is_a_body(
    server: Server, upstream: Upstream, framing: bytes, body: bytes, *, split: bool
) -> None:
    first = request(b"POST", b"/", b"Connection: Upgrade", b"Upgrade: h2c", framing) + body
    with server.connect() as client:
        for _ in range(2):
            (client.dribble if split else client.send)(first + request(target=b"/next"))
            peer = upstream.called()
            asked = peer.request()
            assert (asked.target, asked.body) == (b"/", b"hello")
            peer.send(ok())
            assert client.answer().body == b"ok"
            peer = upstream.called()
            assert peer.request().target == b"/next"
            peer.send(ok(b"next"))
            assert client.answer().body == b"next"


@OWN
@pytest.mark.parametrize("body", [b"5x\r\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n"], ids=["size", "data"])
def test_a_chunked_body_with_such_a_wish_is_read_as_strictly(
    server: Server, upstream: Upstream, body: bytes
) -> None:
    with server.connect() as client:
        client.send(
            request(b"POST", b"/", b"Connection: Upgrade", b"Upgrade: h2c", b"Transfer-Encoding: chunked")
            + body
        )
        assert client.answer().status == 400
        assert client.rest() == b""
    assert upstream.is_left_alone()


@OWN
def test_a_client_that_leaves_before_100_ends_the_exchange(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(request(b"POST", b"/", _EXPECT, b"Content-Length: 5"))
        peer = upstream.called()
        head = peer.head()
        client.close()
        with pytest.raises(Cut):
            peer.with_body(head)
