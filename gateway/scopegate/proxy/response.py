"""One HTTP/1.1 response, parsed as its bytes come. Pure: no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

from scopegate.proxy.failures import UpstreamProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scopegate.core.headers import Field

MAX_HEAD = 128 * 1024  # bytes of response head, interim responses included
_MAX_PIECE = 64 * 1024  # small chunks are joined up to this size

_PROTOCOL = b"HTTP/1."
_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL = 200
_BODILESS = frozenset({204, 304})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class Answer:
    """The answer to one request, and the target of the parser's callbacks.

    Each request gets its own, with its own parser, so nothing that one answer leaves behind can
    be taken for a part of the next. Field names come out in lower case, as ASGI wants them, and
    values as they are.

    ``started``: a byte has arrived. ``interims``: status and fields of the interim answers so far.
    ``head_complete``: ``status`` and ``headers`` are final. ``complete``: the whole answer was
    received, ``trailers`` included. ``reusable``: the connection may carry another exchange.
    ``queued``: bytes of body that `take` has not handed out. ``unmeasured``: the body has no stated
    length. ``bodiless``: there is none, whatever the fields say. ``switched``: the upstream has
    agreed to the `upgrade` that was asked for, and ``surplus`` is what it has said in the new
    protocol.
    """

    # Most answers leave most of these as they are.
    status = 0
    interims: tuple[tuple[int, list[Field]], ...] = ()
    trailers: Sequence[Field] = ()
    surplus = b""
    bodiless = False
    switched = False
    started = False
    head_complete = False
    complete = False
    reusable = False
    queued = 0
    unmeasured = False
    _interim = False
    _until_close = False
    _head_size = 0
    _tail = b""
    _opening = b""

    def __init__(self, *, to_head: bool, upgrade: bool = False) -> None:
        self.headers: list[Field] = []
        self._take_field: Callable[[Field], None] = self.headers.append
        self._to_head = self.bodiless = to_head
        self._upgrade = upgrade
        self._pieces: list[bytes] = []
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take in what the connection received; raises `UpstreamProtocolError`."""
        self.started = True
        if self._opening != _PROTOCOL:
            # The parser would take any version, and other protocols that look like this one.
            self._opening = (self._opening + data).lstrip(b"\r\n")[: len(_PROTOCOL)]
            if not _PROTOCOL.startswith(self._opening):
                raise UpstreamProtocolError
        if self._parser is None:
            self.reusable = False  # bytes after the end of the answer
            return
        if not self.head_complete:
            self._head_size += len(data)
        self._parse(self._parser, data)
        if self.complete:
            if self._to_head:
                self._check_end_of_head(data)
            self._parser = None  # ends the reference cycle with its bound callbacks
        elif not self.head_complete:
            self._tail = (self._tail + data)[-4:]
            if self._head_size > MAX_HEAD:
                raise UpstreamProtocolError

    def feed_eof(self) -> None:
        """The upstream closed its side in good order, which ends an answer of unstated length."""
        if self._until_close and not self.complete:
            self.complete = True
            self._parser = None

    def take(self) -> bytes:
        """The next piece of the body, empty if none is queued."""
        pieces = self._pieces
        if len(pieces) == 1:
            self.queued = 0
            return pieces.pop()
        if self.queued > _MAX_PIECE:
            piece = pieces.pop(0)
            self.queued -= len(piece)
            return piece
        piece = b"".join(pieces)
        pieces.clear()
        self.queued = 0
        return piece

    # What the parser calls.

    def on_message_begin(self) -> None:
        """The first byte of a message, or of what follows one."""
        if self.complete:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head, or of the trailer section."""
        self._take_field((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """The end of a head, final or interim."""
        parser = self._parser
        if self.complete or parser is None:
            return
        status = parser.get_status_code()
        if status == _SWITCHING_PROTOCOLS and self._upgrade:
            self.status = status
            self.switched = self.head_complete = True
            self._end()
            return
        if status < 100 or status == _SWITCHING_PROTOCOLS:  # noqa: PLR2004 - RFC 9110 section 15
            raise UpstreamProtocolError
        if status < _FIRST_FINAL:
            if any(name in _FRAMING for name, _ in self.headers):
                raise UpstreamProtocolError  # RFC 9112 section 6: no such answer has a body
            self._interim = True
            self.interims += ((status, self.headers),)
            self.headers = []
            self._take_field = self.headers.append
            return
        self._find_end(status)
        self.status = status
        self.reusable = parser.should_keep_alive()
        self.head_complete = True
        if not self.complete:
            self.trailers = []
            self._take_field = self.trailers.append

    def on_chunk_header(self) -> None:
        """The size line of a chunk."""
        if self.complete:
            self.reusable = False

    def on_body(self, data: bytes) -> None:
        """A piece of the body, out of its chunk."""
        if self.complete:
            self.reusable = False
            return
        self._pieces.append(data)
        self.queued += len(data)

    def on_message_complete(self) -> None:
        """The end of a message, final or interim."""
        if self._interim:
            self._interim = False
        else:
            self._end()

    def _end(self) -> None:
        """The answer is whole; what still comes belongs to nobody."""
        self.complete = True
        self._take_field = _drop

    def _parse(self, parser: httptools.HttpResponseParser, data: bytes) -> None:
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.reusable = False
            if not self.complete:
                raise UpstreamProtocolError from None
            self.surplus = data[upgrade.args[0] :]
        except httptools.HttpParserError:
            # Trouble after the end is surplus: it spoils the connection, not the answer.
            self.reusable = False
            if not self.complete:
                raise UpstreamProtocolError from None

    def _find_end(self, status: int) -> None:
        """Settle how the body ends (RFC 9112 section 6.3)."""
        if self._to_head:
            # The parser cannot be told that it reads the answer to HEAD and would wait for a body.
            self._end()
            return
        if status in _BODILESS:
            self.bodiless = True
            self.headers = [field for field in self.headers if field[0] != b"content-length"]
            return
        names = dict(self.headers)
        self.unmeasured = b"content-length" not in names
        if b"transfer-encoding" not in names:
            self._until_close = self.unmeasured
            return
        # Any other coding would have to be undone here, as the field itself does not pass on.
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings != [b"chunked"]:
            raise UpstreamProtocolError

    def _check_end_of_head(self, data: bytes) -> None:
        """Keep the connection only if the head ends the data: a body must not follow it."""
        if not (self._tail + data).endswith(b"\r\n\r\n"):
            self.reusable = False


def _drop(_field: Field) -> None:
    pass
