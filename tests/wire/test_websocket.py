"""WebSockets through the gateway: judged at the handshake, then frames both ways.

The gateway's own server passes frames as they are. Behind the others there are two conversations, whose
messages and close codes are the same.
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.sync.client import ClientConnection, connect
from websockets.utils import accept_key

from wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    ECHO_LIMIT,
    NONCE,
    PING,
    PONG,
    TEXT,
    Frame,
    close_frame,
    echoing,
    frame,
    handshake,
    opened,
    read_frame,
    switching,
)
from wire.servers import KEY, WRONG_KEY, ok, request

if TYPE_CHECKING:
    from wire.servers import Server
    from wire.wires import Upstream, Wire

OWN = pytest.mark.parametrize("server", ["own"], indirect=True)
_LARGE = 64 << 20
_BOUND = 24 << 20


# The handshake


@pytest.mark.parametrize("key", [b"", WRONG_KEY, KEY[:-1]], ids=["none", "wrong", "short"])
def test_without_the_right_key_there_is_no_handshake(server: Server, upstream: Upstream, key: bytes) -> None:
    with server.connect() as client:
        client.send(handshake(key=key))
        assert client.head().status == 401
    assert upstream.is_left_alone()


@OWN
def test_a_refused_handshake_is_the_last_of_its_connection(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(handshake(key=b"") + request(target=b"/smuggled"))
        refusal = client.answer()
        assert (refusal.status, refusal.closes) == (401, True)
        assert client.is_over()
    assert upstream.is_left_alone()


def test_the_upstream_gets_a_handshake_with_our_fields(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(handshake(b"/chat?room=1", b"X-Scopegate-User: root", b"Origin: http://page.example"))
        peer = upstream.called()
        asked = peer.head()
        assert asked.target == b"/chat?room=1"
        assert asked.values(b"upgrade") == [b"websocket"]
        assert asked.values(b"connection") == [b"Upgrade"]
        assert asked.values(b"sec-websocket-version") == [b"13"]
        assert asked.values(b"origin") == [b"http://page.example"]
        assert asked.values(b"x-scopegate-tenant") == [b"default"]
        assert not asked.values(b"x-scopegate-user")
        assert not asked.values(b"x-api-key")
        peer.send(switching(asked, b"X-Said: a"))
        answer = client.head()
        assert answer.status == 101
        assert answer.values(b"sec-websocket-accept") == [accept_key(NONCE.decode()).encode()]
        # granian has no fields for the consent of an application.
        assert answer.values(b"x-said") == ([] if server.name == "granian" else [b"a"])


def test_a_subprotocol_is_chosen_by_the_upstream(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(handshake(b"/", b"Sec-WebSocket-Protocol: one, two"))
        peer = upstream.called()
        asked = peer.head()
        assert asked.values(b"sec-websocket-protocol") == [b"one, two"]
        peer.send(switching(asked, b"Sec-WebSocket-Protocol: two"))
        assert client.head().values(b"sec-websocket-protocol") == [b"two"]


@OWN
@pytest.mark.parametrize("status", [400, 403, 426, 503])
def test_a_refusal_of_the_upstream_passes(server: Server, upstream: Upstream, status: int) -> None:
    with server.connect() as client:
        client.send(handshake())
        peer = upstream.called()
        peer.head()
        peer.send(b"HTTP/1.1 %d No\r\nContent-Length: 5\r\nX-Said: a\r\n\r\nnever" % status)
        answer = client.answer()
        assert (answer.status, answer.body, answer.values(b"x-said")) == (status, b"never", [b"a"])
        assert client.is_over()


@pytest.mark.parametrize("server", ["granian", "uvicorn"], indirect=True)
def test_a_refusal_of_the_upstream_is_one_for_the_client(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(handshake())
        peer = upstream.called()
        peer.head()
        peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nnever")
        assert client.head().status == 403


_OTHER = accept_key("bm90IHRoZSBzYW1lIGtleSE=").encode()
_ACCEPTED = b"Sec-WebSocket-Accept: " + accept_key(NONCE.decode()).encode() + b"\r\n"
BAD_CONSENTS = {
    "another key": b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + _OTHER + b"\r\n",
    "no accept": b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
    "another protocol": b"Upgrade: h2c\r\nConnection: Upgrade\r\n" + _ACCEPTED,
    "no protocol": b"Connection: Upgrade\r\n" + _ACCEPTED,
    "two protocols": b"Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n" + _ACCEPTED,
    "no connection option": b"Upgrade: websocket\r\n" + _ACCEPTED,
    "two accepts": b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + _ACCEPTED * 2,
}


@OWN
@pytest.mark.parametrize("case", BAD_CONSENTS)
def test_a_consent_that_is_not_to_this_handshake_is_a_502(
    server: Server, upstream: Upstream, case: str
) -> None:
    with server.connect() as client:
        client.send(handshake())
        peer = upstream.called()
        peer.head()
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\n" + BAD_CONSENTS[case] + b"\r\n")
        answer = client.answer()
        assert answer.status == 502
        assert b'"code": "upstream_protocol_error"' in answer.body
        assert client.is_over()
        assert peer.is_over()


@OWN
@pytest.mark.parametrize(
    "raw",
    [
        request(b"POST", b"/", b"Connection: Upgrade", b"Upgrade: websocket", body=b"hello"),
        request(b"POST", b"/", b"Connection: Upgrade", b"Upgrade: websocket"),
        handshake(b"/", b"Content-Length: 5") + b"hello",
        handshake(b"/", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    ],
    ids=["POST with a body", "POST", "length", "chunked"],
)
def test_a_handshake_is_a_get_without_a_body(server: Server, upstream: Upstream, raw: bytes) -> None:
    with server.connect() as client:
        client.send(raw + request(target=b"/smuggled"))
        refusal = client.answer()
        assert (refusal.status, refusal.closes) == (400, True)
        assert client.is_over()
    assert upstream.is_left_alone()


@OWN
@pytest.mark.parametrize(
    "raw",
    [
        handshake().replace(b"HTTP/1.1", b"HTTP/1.0"),
        handshake().replace(b"Connection: Upgrade", b"Connection: keep-alive"),
        handshake().replace(b"Upgrade: websocket", b"Upgrade: websockets"),
    ],
    ids=["HTTP/1.0", "no Connection: Upgrade", "another protocol"],
)
def test_what_is_no_handshake_is_a_request(server: Server, upstream: Upstream, raw: bytes) -> None:
    with server.connect() as client:
        client.send(raw)
        peer = upstream.called()
        asked = peer.request()
        assert not asked.values(b"upgrade")
        assert not asked.values(b"connection")
        peer.send(ok())
        assert client.answer().body == b"ok"


@OWN
def test_a_handshake_may_come_byte_by_byte_and_behind_other_requests(
    server: Server, upstream: Upstream
) -> None:
    with server.connect() as client:
        client.dribble(request(target=b"/before") + handshake())
        peer = upstream.called()
        assert peer.request().target == b"/before"
        peer.send(ok())
        assert client.answer().status == 200
        peer = upstream.called()
        peer.dribble(switching(peer.head()) + frame(TEXT, b"hello", masked=False))
        assert client.head().status == 101
        assert read_frame(client) == Frame(TEXT, b"hello")


@OWN
def test_what_either_end_says_with_its_handshake_arrives(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(handshake() + frame(TEXT, b"early"))
        peer = upstream.called()
        asked = peer.head()
        assert peer.is_silent(), "nothing is due before the upstream has agreed"
        client.send(frame(TEXT, b"earlier"))
        peer.send(switching(asked) + frame(TEXT, b"back", masked=False))
        assert client.head().status == 101
        assert read_frame(client) == Frame(TEXT, b"back")
        assert [read_frame(peer).payload for _ in range(2)] == [b"early", b"earlier"]


@OWN
def test_much_that_is_said_too_early_waits_at_the_client(server: Server, upstream: Upstream) -> None:
    raw = frame(BINARY, bytes(_LARGE), masked=False)
    with server.connect() as client:
        client.send(handshake())
        peer = upstream.called()
        asked = peer.head()
        sent = client.send_while_taken(raw)
        assert sent < _BOUND
        assert peer.is_silent(0)
        peer.send(switching(asked))
        sender = Thread(target=client.send, args=(raw[sent:],))
        sender.start()
        assert len(read_frame(peer).payload) == _LARGE
        sender.join()
        assert client.head().status == 101


@OWN
def test_what_a_client_says_with_a_handshake_that_is_refused_is_dropped(
    server: Server, upstream: Upstream
) -> None:
    with server.connect() as client:
        client.send(handshake() + request(target=b"/smuggled"))
        peer = upstream.called()
        peer.head()
        peer.send(ok(b"no WebSocket here"))
        answer = client.answer()
        assert (answer.status, answer.closes) == (200, True)
        assert client.is_over()
        assert peer.is_silent(0.1)
        assert upstream.is_left_alone()


@OWN
def test_a_client_that_leaves_during_the_handshake_ends_it(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        client.send(handshake())
        peer = upstream.called()
        peer.head()
        client.close()
        assert peer.is_over()


# Messages

_SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_pass_both_ways(server: Server, upstream: Upstream, opcode: int) -> None:
    with server.connect() as client:
        peer = opened(client, upstream)
        for size in _SIZES:
            payload = (b"caf\xc3\xa9" * (size // 5 + 1))[: size // 5 * 5]
            client.send(frame(opcode, payload))
            assert read_frame(peer) == Frame(opcode, payload)
            peer.send(frame(opcode, payload[::-1] if opcode == BINARY else payload, masked=False))
            assert _message(client) == (opcode, payload[::-1] if opcode == BINARY else payload)


def test_fragments_pass_as_one_message(server: Server, upstream: Upstream) -> None:
    pieces = [(TEXT, b"one ", False), (CONTINUATION, b"", False), (CONTINUATION, b"two", True)]
    with server.connect() as client:
        peer = opened(client, upstream)
        for opcode, payload, fin in pieces:
            client.send(frame(opcode, payload, fin=fin))
            peer.send(frame(opcode, payload, fin=fin, masked=False))
        assert _message(peer) == (TEXT, b"one two")
        assert _message(client) == (TEXT, b"one two")


@OWN
def test_frames_pass_as_they_are(server: Server, upstream: Upstream) -> None:
    """Fragments stay fragments, reserved bits and unknown opcodes are for the two ends to judge."""
    sent = [
        frame(TEXT, b"one", fin=False),
        frame(PING, b"in between"),
        frame(CONTINUATION, b"two"),
        frame(PONG),
        frame(BINARY, b"deflated", rsv=4),
        frame(0x3, b"unknown"),
        frame(TEXT, b"\xff"),
        frame(TEXT, b"without a mask", masked=False),
    ]
    with server.connect() as client:
        peer = opened(client, upstream)
        client.dribble(b"".join(sent))
        assert peer.read(len(b"".join(sent))) == b"".join(sent)
        peer.dribble(b"".join(sent))
        assert client.read(len(b"".join(sent))) == b"".join(sent)


@OWN
def test_pings_are_answered_by_the_other_end(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        peer = opened(client, upstream)
        client.send(frame(PING, b"there?"))
        assert read_frame(peer) == Frame(PING, b"there?")
        assert client.is_silent(0.1)
        peer.send(frame(PONG, b"there?", masked=False))
        assert read_frame(client) == Frame(PONG, b"there?")
        peer.send(frame(PING, masked=False))
        assert read_frame(client) == Frame(PING)


@pytest.mark.parametrize("server", ["granian", "uvicorn"], indirect=True)
def test_pings_are_answered_by_the_server(server: Server, upstream: Upstream) -> None:
    with server.connect() as client:
        peer = opened(client, upstream)
        client.send(frame(PING, b"there?"))
        assert read_frame(client) == Frame(PONG, b"there?")
        peer.send(frame(PING, b"there?", masked=False))
        assert read_frame(peer) == Frame(PONG, b"there?")


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 3000, 4999])
@pytest.mark.parametrize("first", ["client", "upstream"])
def test_a_close_code_passes(server: Server, upstream: Upstream, code: int, first: str) -> None:
    with server.connect() as client:
        peer = opened(client, upstream)
        speaker, hearer = (client, peer) if first == "client" else (peer, client)
        speaker.send(close_frame(code, b"bye", masked=speaker is client))
        # granian does not tell an application why a client has gone.
        reason = b"" if (server.name, first) == ("granian", "client") else b"bye"
        assert read_frame(hearer) == Frame(CLOSE, code.to_bytes(2, "big") + reason)
        hearer.send(close_frame(code, masked=hearer is client))
        if first == "client":
            peer.close()
        assert read_frame(speaker).payload[:2] == code.to_bytes(2, "big")
        peer.close()
        assert client.is_over()


@OWN
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("who", ["client", "upstream"])
def test_when_one_end_leaves_the_other_is_told(
    server: Server, upstream: Upstream, who: str, how: str
) -> None:
    with server.connect() as client:
        peer = opened(client, upstream)
        leaver, other = (client, peer) if who == "client" else (peer, client)
        leaver.send(frame(TEXT, b"last", masked=leaver is client))
        assert read_frame(other).payload == b"last"
        getattr(leaver, how)()
        assert other.is_over()


@OWN
def test_what_the_upstream_says_last_arrives_however_busy_the_client_is(
    server: Server, upstream: Upstream
) -> None:
    """A connection that is closed on a client who still sends is reset, which may overtake the last words."""
    with server.connect() as client:
        peer = opened(client, upstream)
        peer.send(close_frame(1009, b"too big", masked=False))
        peer.close()
        client.send_what_is_taken(frame(BINARY, bytes(4 << 20)))
        assert read_frame(client) == Frame(CLOSE, b"\x03\xf1too big")


@OWN
def test_extensions_are_negotiated_between_the_ends(server: Server, upstream: Upstream) -> None:
    url = f"ws://127.0.0.1:{server.port}/echo"
    with connect(
        url,
        additional_headers={"X-API-Key": KEY.decode()},
        proxy=None,
        ping_interval=None,
        compression="deflate",
    ) as ws:
        assert [type(extension) for extension in ws.protocol.extensions] == [PerMessageDeflate]
        ws.send("deflated " * 1_000)
        assert ws.recv() == "deflated " * 1_000


def test_a_message_beyond_the_upstreams_limit_is_1009(server: Server, upstream: Upstream) -> None:
    url = f"ws://127.0.0.1:{server.port}/echo"
    with connect(
        url, additional_headers={"X-API-Key": KEY.decode()}, proxy=None, ping_interval=None, compression=None
    ) as ws:
        with pytest.raises(ConnectionClosedError) as closed:
            _exchange(ws, bytes(ECHO_LIMIT + 1))
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_big_messages_pass_both_ways(server: Server, upstream: Upstream) -> None:
    payload = bytes(range(256)) * (10 << 12)
    with echoing(server) as client:
        sender = Thread(target=client.send, args=(frame(BINARY, payload),))
        sender.start()
        assert _message(client) == (BINARY, payload)
        sender.join()


@OWN
@pytest.mark.parametrize("who", ["client", "upstream"])
def test_an_end_that_does_not_read_stops_the_other(server: Server, upstream: Upstream, who: str) -> None:
    with server.connect() as client:
        peer = opened(client, upstream)
        speaker, hearer = (client, peer) if who == "upstream" else (peer, client)
        raw = frame(BINARY, bytes(_LARGE), masked=False)
        sent = speaker.send_while_taken(raw)
        assert sent < _BOUND
        sender = Thread(target=speaker.send, args=(raw[sent:],))
        sender.start()
        assert len(read_frame(hearer).payload) == _LARGE
        sender.join()


def _exchange(ws: ClientConnection, message: bytes) -> None:
    ws.send(message)
    ws.recv()


def _message(wire: Wire) -> tuple[int, bytes]:
    """The next message, of however many frames."""
    opcode, payload, fin, _ = read_frame(wire)
    while not fin:
        following = read_frame(wire)
        assert following.opcode == CONTINUATION
        payload, fin = payload + following.payload, following.fin
    return opcode, payload
