"""Whatever two readers may read differently is refused before anybody is asked, whoever holds a key.

Each attack comes with a key that opens everything. What the other servers read in a way of their own is
named here: it reaches the upstream as one clean request, or is cut off before its end.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from wire import attacks
from wire.servers import KEY, WRONG_KEY, chunked, ok, request
from wire.wires import Cut

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

    from wire.servers import Server
    from wire.wires import Message, Upstream, Wire

_LINE_FEEDS = {
    "LF ends the request line",
    "LF ends a field",
    "LF ends every line",
    "LF ends the head",
    "coding behind LF",
}
_OTHER_AUTHORITIES = {
    "another host in the target",
    "another port in the target",
    "a user in the target",
    "another scheme in the target",
    "fragment",
}
_SPACES = {"two spaces before the version", "two spaces before the target", "RTSP"}
# What a server reads in one way, and hands over without a trace of the other.
CLEANED = {
    "own": {"size behind 300 zeros"},
    "granian": {
        *_LINE_FEEDS,
        *_OTHER_AUTHORITIES,
        "length and coding",
        "coding and length",
        "coding, length, and a request in a chunk",
        "equal lengths",
        "size behind 300 zeros",
        "space behind the size",
        "tab behind the size",
        "NUL in an extension",
        "CRLF in a quoted extension",
    },
    "uvicorn": {*_OTHER_AUTHORITIES, *_SPACES, "size behind 300 zeros"},
    "uvicorn-h11": {
        *_LINE_FEEDS,
        "equal lengths",
        "list of equal lengths",
        "coding in a folded line",
        "a folded line",
        "a folded line with a tab",
        "DEL in a value",
        "a bell in a value",
        "space behind the size",
        "tab behind the size",
        "CR in an extension",
        "NUL in an extension",
        "CRLF in a quoted extension",
        "LF ends the trailers",
        "LF ends a trailer",
        "a folded trailer",
    },
}
# What a server takes for two requests, or for the beginning of one; it is not asked about them.
_NOT_ASKED = {
    "own": set[str](),
    # RFC 9112 section 6.3 lets Transfer-Encoding win; what is behind is the next request then.
    "granian": {"length, coding, and a request behind", "HTTP/2 preface"},
    "uvicorn": set[str](),
    "uvicorn-h11": {
        "length, coding, and a request behind",
        "length beyond 64 bits",
        "coding behind a space",
        "CR before the head ends",
        "HTTP/2 preface",
    },
}
STATUSES = {400, 401, 405, 411, 414, 501, 505}


def _cases(table: dict[str, set[str]]) -> list[ParameterSet]:
    """The table, server by server."""
    return [pytest.param(name, case, id=f"{name}-{case}") for name in table for case in sorted(table[name])]


def _refused() -> dict[str, set[str]]:
    return {
        name: (attacks.ALL if name == "own" else attacks.HEADS_ALONE).keys()
        - CLEANED[name]
        - _NOT_ASKED[name]
        for name in CLEANED
    }


def _never_whole() -> dict[str, set[str]]:
    return {name: attacks.CHUNKS.keys() - CLEANED[name] for name in CLEANED if name != "own"}


@pytest.mark.parametrize(("server", "case"), _cases(_refused()), indirect=["server"])
def test_an_attack_is_refused_once_and_nothing_of_it_passes(
    server: Server, upstream: Upstream, case: str
) -> None:
    with server.connect() as client:
        client.send(attacks.ALL[case])
        refusal = client.answer()
        assert refusal.status in STATUSES
        assert_nothing_is_left(server, upstream, client, refusal)


@pytest.mark.parametrize("server", ["own"], indirect=True)
@pytest.mark.parametrize("case", sorted(attacks.HEADS_ALONE.keys() - CLEANED["own"]))
def test_an_attack_that_comes_byte_by_byte_is_refused_too(
    server: Server, upstream: Upstream, case: str
) -> None:
    with server.connect() as client:
        client.dribble(attacks.ALL[case])
        assert client.answer().status in STATUSES
        # Of a body behind a refused head the rest may be refused again, on a connection that closes.
        assert upstream.is_left_alone()


@pytest.mark.parametrize("server", ["own"], indirect=True)
@pytest.mark.parametrize("case", sorted(attacks.ALL.keys() - CLEANED["own"]))
@pytest.mark.parametrize("key", [KEY, WRONG_KEY], ids=["right", "wrong"])
def test_an_attack_behind_harmless_requests_is_refused_too(
    server: Server, upstream: Upstream, case: str, key: bytes
) -> None:
    """Also where its fields are those of the requests before, byte for byte."""
    attack = attacks.ALL[case].replace(KEY, key)
    harmless = attacks.get(b"GET /harmless HTTP/1.1").replace(KEY, key)
    with server.connect() as client:
        for _ in range(2):
            client.send(harmless)
            if key == KEY:
                peer = upstream.called()
                assert peer.request().target == b"/harmless"
                peer.send(ok())
            assert client.answer().status == (200 if key == KEY else 401)
        client.send(attack)
        refusal = client.answer()
        assert refusal.status in STATUSES
        assert_nothing_is_left(server, upstream, client, refusal)


@pytest.mark.parametrize(("server", "case"), _cases(CLEANED), indirect=["server"])
def test_what_a_server_reads_in_one_way_arrives_clean(server: Server, upstream: Upstream, case: str) -> None:
    with server.connect() as client:
        client.send(attacks.ALL[case])
        peer = upstream.called()
        arrived = peer.request()
        assert arrived.target == b"/attack"
        assert arrived.values(b"host") == [b"a"]
        peer.send(ok())
        answer = client.answer()
        assert answer.status == 200
        assert_nothing_is_left(server, upstream, client, answer)


@pytest.mark.parametrize(("server", "case"), _cases(_never_whole()), indirect=["server"])
def test_a_body_that_is_not_valid_never_arrives_whole(server: Server, upstream: Upstream, case: str) -> None:
    """These servers hand over what they have read before they see what is wrong, if they are fast."""
    with server.connect() as client, server.connect() as other:
        client.send(attacks.ALL[case])
        client.sock.shutdown(socket.SHUT_WR)
        assert b" 200 " not in client.whatever()
        other.send(request(target=b"/next"))
        while (arrived := (peer := upstream.called()).head()).target != b"/next":
            with pytest.raises(Cut):
                peer.with_body(arrived)
        peer.send(ok(b"next"))
        assert other.answer().body == b"next"
    assert upstream.is_left_alone()


@pytest.mark.parametrize("server", ["own"], indirect=True)
@pytest.mark.parametrize("case", sorted(attacks.CHUNKS.keys() - CLEANED["own"]))
def test_a_body_that_turns_out_to_be_not_valid_is_cut_off(
    server: Server, upstream: Upstream, case: str
) -> None:
    head, _, body = attacks.ALL[case].partition(b"\r\n\r\n")
    with server.connect() as client:
        client.send(head + b"\r\n\r\n1\r\n")
        peer = upstream.called()
        arrived = peer.head()
        client.send(b"X\r\n" + body)
        with pytest.raises(Cut):
            peer.with_body(arrived)
        assert client.answer().status == 400
        assert client.rest() == b""
    assert upstream.is_left_alone()


@pytest.mark.parametrize("server", ["own", "granian", "uvicorn", "uvicorn-h11"], indirect=True)
@pytest.mark.parametrize("framing", [b"Content-Length: ", b"Transfer-Encoding: chunked"])
def test_a_request_in_a_body_is_a_body(server: Server, upstream: Upstream, framing: bytes) -> None:
    hidden = request(target=b"/smuggled")
    if framing.endswith(b" "):
        raw = attacks.post(framing + b"%d" % len(hidden), body=hidden)
    else:
        raw = attacks.post(framing, body=chunked(hidden))
    with server.connect() as client:
        client.send(raw + request(target=b"/second"))
        peer = upstream.called()
        assert peer.request().body == hidden
        peer.send(ok(b"first"))
        assert client.answer().body == b"first"
        peer = upstream.called()
        assert peer.request().target == b"/second"
        peer.send(ok(b"second"))
        assert client.answer().body == b"second"


@pytest.mark.parametrize("server", ["own", "granian", "uvicorn", "uvicorn-h11"], indirect=True)
@pytest.mark.parametrize("length", [b"Content-Length: 0", b"X: a"])
def test_what_follows_a_request_without_a_body_is_a_request(
    server: Server, upstream: Upstream, length: bytes
) -> None:
    """And is judged as one: here without a key."""
    with server.connect() as client:
        client.send(attacks.post(length, body=request(target=b"/smuggled", key=b"")))
        peer = upstream.called()
        assert peer.request().target == b"/attack"
        peer.send(ok())
        assert client.answer().status == 200
        refusal = client.answer()
        assert refusal.status == 401
        assert_nothing_is_left(server, upstream, client, refusal)


@pytest.mark.parametrize("server", ["own"], indirect=True)
def test_nothing_follows_what_is_not_valid(server: Server, upstream: Upstream) -> None:
    """The request before it gets its answer, where it was whole before; there is no second one."""
    with server.connect() as client:
        client.send(request(target=b"/first"))
        peer = upstream.called()
        assert peer.request().target == b"/first"
        client.send(b"garbage\r\n\r\n" + request(target=b"/smuggled"))
        peer.send(ok())
        answer = client.answer()
        assert (answer.status, answer.closes) == (200, True)
        assert client.rest() == b""
        assert peer.is_silent(0.1)
    assert upstream.is_left_alone()


def assert_nothing_is_left(server: Server, upstream: Upstream, client: Wire, answer: Message) -> None:
    """The connection is closed, or safe for another request, and that is the next that anybody sees."""
    with server.connect() as other:
        asker = client
        if answer.closes:
            assert client.is_over()
            asker = other
        asker.send(request(target=b"/next"))
        peer = upstream.called()
        assert peer.request().target == b"/next"
        peer.send(ok(b"next"))
        assert asker.answer().body == b"next"
        assert upstream.is_left_alone()
