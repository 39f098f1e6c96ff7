"""WebSockets by hand: the opening handshake, frames as exact bytes, and an echo server to talk to."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from websockets.utils import accept_key

from wire.servers import KEY, request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wire.servers import Server
    from wire.wires import Message, Upstream, Wire

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NONCE = b"dGhlIHNhbXBsZSBub25jZQ=="
ECHO_LIMIT = 12 << 20
_MASK = b"\x0f\xf0\x55\xaa"
_UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")


class Frame(NamedTuple):
    """A frame as it was read, without its mask."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """A frame of the client, or of the server if it is not `masked`."""
    size = len(payload)
    head = bytes([fin << 7 | rsv << 4 | opcode])
    flag = masked << 7
    if size < 126:
        head += bytes([flag | size])
    elif size < 1 << 16:
        head += bytes([flag | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([flag | 127]) + size.to_bytes(8, "big")
    return head + (_MASK + _xor(payload) if masked else payload)


def close_frame(code: int, reason: bytes = b"", *, masked: bool = True) -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason, masked=masked)


def read_frame(wire: Wire) -> Frame:
    first, second = wire.read(2)
    size = second & 0x7F
    if size == 126:
        size = int.from_bytes(wire.read(2), "big")
    elif size == 127:
        size = int.from_bytes(wire.read(8), "big")
    mask = wire.read(4) if second >> 7 else b""
    payload = wire.read(size)
    if mask:
        repeated = (mask * (size // 4 + 1))[:size]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
    return Frame(first & 0xF, payload, bool(first >> 7), first >> 4 & 7)


def handshake(target: bytes = b"/", *fields: bytes, key: bytes = KEY) -> bytes:
    return request(b"GET", target, *_UPGRADE, b"Sec-WebSocket-Key: " + NONCE, *fields, key=key)


def switching(asked: Message, *fields: bytes, accept: bytes | None = None) -> bytes:
    """The upstream's consent to the handshake `asked`."""
    (key,) = asked.values(b"sec-websocket-key")
    if accept is None:
        accept = accept_key(key.decode()).encode()
    lines = (
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept,
        *fields,
    )
    return b"\r\n".join(lines) + b"\r\n\r\n"


def opened(client: Wire, upstream: Upstream, *fields: bytes) -> Wire:
    """The upstream's end of a WebSocket for `client`."""
    client.send(handshake(b"/", *fields))
    peer = upstream.called()
    peer.send(switching(peer.head()))
    assert client.head().status == 101
    return peer


def echoing(server: Server) -> Wire:
    """A WebSocket to the echo server behind `server`."""
    client = server.connect()
    client.send(handshake(b"/echo"))
    assert client.head().status == 101
    return client


@contextmanager
def echo_server() -> Iterator[int]:
    """The port of a server that returns each message."""

    def echo(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            for message in connection:
                connection.send(message)

    with serve(
        echo, "127.0.0.1", 0, max_size=ECHO_LIMIT, subprotocols=None, ping_interval=None, close_timeout=5
    ) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


def _xor(payload: bytes) -> bytes:
    size = len(payload)
    mask = (_MASK * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
