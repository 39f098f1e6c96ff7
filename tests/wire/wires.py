"""One end of a TCP connection, and a strict reader of what comes over it."""

from __future__ import annotations

import re
import select
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

Fields = tuple[tuple[bytes, bytes], ...]

DEADLINE = 20.0  # seconds; generous, for a busy machine is not a failure
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-5][0-9]{2} [^\r\n\0]*")
_REQUEST_LINE = re.compile(rb"[A-Z]+ [!-~\x80-\xff]+ HTTP/1\.1")


class Cut(Exception):
    """The connection has ended before what was read on it was complete."""


@dataclass(frozen=True)
class Message:
    """A request or an answer; ``body`` is without its framing."""

    start: bytes
    fields: Fields
    body: bytes = b""
    trailers: Fields = ()

    @property
    def status(self) -> int:
        assert _STATUS_LINE.fullmatch(self.start), self.start
        return int(self.start[9:12])

    @property
    def target(self) -> bytes:
        assert _REQUEST_LINE.fullmatch(self.start), self.start
        return self.start.split(b" ")[1]

    def values(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.fields if field.lower() == name]

    @property
    def is_chunked(self) -> bool:
        return self.values(b"transfer-encoding") == [b"chunked"]

    @property
    def closes(self) -> bool:
        return b"close" in self.values(b"connection")


class Wire:
    """One end of a connection, blocking."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self.sock.fileno()

    # Sending

    def send(self, *pieces: bytes) -> None:
        """Send each piece in a segment of its own."""
        for piece in pieces:
            self.sock.sendall(piece)

    def dribble(self, data: bytes) -> None:
        """Send byte by byte."""
        self.send(*(data[at : at + 1] for at in range(len(data))))

    def send_while_taken(self, data: bytes, *, patience: float = 0.7) -> int:
        """Send until all of `data` is out or nobody has taken any for `patience` seconds; how much went."""
        view = memoryview(data)
        sent = 0
        while sent < len(data) and select.select([], [self], [], patience)[1]:
            sent += self.sock.send(view[sent : sent + 65_536])
        return sent

    def send_what_is_taken(self, data: bytes) -> None:
        """Send `data`, whether or not the other end stays to hear it."""
        with suppress(ConnectionError):
            self.send(data)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Close without saying goodbye."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # Reading

    def until(self, marker: bytes) -> bytes:
        """What comes up to `marker`, and `marker`."""
        while marker not in self._buffer:
            self._receive()
        data, found, self._buffer = self._buffer.partition(marker)
        return data + found

    def read(self, count: int) -> bytes:
        pieces = [self._buffer]
        left = count - len(self._buffer)
        while left > 0:
            self._buffer = b""
            self._receive()
            pieces.append(self._buffer)
            left -= len(self._buffer)
        data = b"".join(pieces)
        self._buffer = data[count:]
        return data[:count]

    def rest(self) -> bytes:
        """All that comes before the other end closes in good order."""
        pieces = []
        while True:
            pieces.append(self._buffer)
            self._buffer = self.sock.recv(65_536)
            if not self._buffer:
                return b"".join(pieces)

    def whatever(self) -> bytes:
        """All that comes before the connection ends, in whatever manner."""
        pieces = []
        with suppress(ConnectionError):
            while data := self.sock.recv(65_536):
                pieces.append(data)
        return b"".join([self._buffer, *pieces])

    def is_over(self) -> bool:
        """Wait for the end, in whatever manner; whether nothing came before."""
        if self._buffer:
            return False
        try:
            return self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def is_over_now(self) -> bool:
        """Whether the other end has closed, and nothing is left to be read."""
        try:
            return not self._buffer and not self.sock.recv(1, socket.MSG_PEEK)
        except ConnectionError:
            return True

    def is_silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes, and the connection stays."""
        return not self._buffer and not select.select([self], [], [], seconds)[0]

    def head(self) -> Message:
        """The next head alone, also that of an interim answer."""
        start, *lines = self.until(b"\r\n\r\n")[:-4].split(b"\r\n")
        return Message(start, _fields(lines))

    def answer(self, *, to_head: bool = False) -> Message:
        """The next final answer."""
        head = self.head()
        assert head.status >= 200
        if to_head or head.status in {204, 304}:
            return head
        return self.with_body(head, to_the_end=True)

    def request(self) -> Message:
        """The next request."""
        head = self.head()
        assert head.target
        return self.with_body(head)

    def with_body(self, head: Message, *, to_the_end: bool = False) -> Message:
        """The message that begins with `head`."""
        lengths = head.values(b"content-length")
        codings = head.values(b"transfer-encoding")
        assert len(lengths) + len(codings) <= 1, "a message has one length"
        if codings:
            assert codings == [b"chunked"]
            return Message(head.start, head.fields, *self._chunked())
        if lengths:
            return Message(head.start, head.fields, self.read(int(lengths[0])))
        return Message(head.start, head.fields, self._to_the_end() if to_the_end else b"")

    def chunk(self) -> bytes:
        """The next chunk, empty for the last."""
        size = self.until(b"\r\n")[:-2]
        assert re.fullmatch(rb"[0-9A-Fa-f]{1,8}", size), size
        data = self.read(int(size, 16))
        assert not data or self.read(2) == b"\r\n"
        return data

    def _chunked(self) -> tuple[bytes, Fields]:
        pieces = []
        while piece := self.chunk():
            pieces.append(piece)
        lines = []
        while (line := self.until(b"\r\n")) != b"\r\n":
            lines.append(line[:-2])
        return b"".join(pieces), _fields(lines)

    def _to_the_end(self) -> bytes:
        try:
            return self.rest()
        except ConnectionError:
            raise Cut from None

    def _receive(self) -> None:
        try:
            data = self.sock.recv(262_144)
        except ConnectionError:
            raise Cut from None
        if not data:
            raise Cut
        self._buffer += data


def connect(port: int, *, receive_buffer: int = 0) -> Wire:
    """A new connection to `port` of this machine."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(DEADLINE)
    sock.connect(("127.0.0.1", port))
    return Wire(sock)


class Upstream:
    """A listening socket, at which a test takes the connections that the gateway makes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE)
        self._taken: list[Wire] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def accept(self) -> Wire:
        """The next connection of the gateway."""
        wire = Wire(self._listener.accept()[0])
        self._taken.append(wire)
        return wire

    def called(self) -> Wire:
        """The connection on which something comes next: one that there is, or a new one."""
        while True:
            visitor, calls = self._calls(DEADLINE)
            if visitor:
                return self.accept()
            assert calls, "nothing comes"
            for wire in calls:
                if not wire.is_over_now():
                    return wire
                self._drop(wire)

    def is_left_alone(self) -> bool:
        """Whether nothing has come that no test has read."""
        visitor, calls = self._calls(0)
        return not visitor and all(wire.is_over_now() for wire in calls)

    def forget(self) -> None:
        """Close all connections, and return when the gateway has closed them too.

        So no test finds a connection of another in the gateway's pool.
        """
        while self._calls(0)[0]:
            self.accept()
        for wire in tuple(self._taken):
            # One that a test has closed is gone at the gateway as well, or will be.
            with suppress(OSError):
                wire.sock.shutdown(socket.SHUT_WR)
                while wire.sock.recv(1 << 20):
                    pass
            self._drop(wire)

    def close(self) -> None:
        self.forget()
        self._listener.close()

    def _calls(self, seconds: float) -> tuple[bool, list[Wire]]:
        """Whether somebody connects, and the connections on which there is something to be read."""
        self._taken = [wire for wire in self._taken if wire.fileno() >= 0]
        found = select.select([self._listener.fileno(), *map(Wire.fileno, self._taken)], [], [], seconds)[0]
        return self._listener.fileno() in found, [wire for wire in self._taken if wire.fileno() in found]

    def _drop(self, wire: Wire) -> None:
        self._taken.remove(wire)
        wire.close()


def _fields(lines: Iterable[bytes]) -> Fields:
    found = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        assert field is not None, line
        found.append((field[1], field[2]))
    return tuple(found)
