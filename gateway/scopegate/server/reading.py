"""Requests as they come in on one connection. Pure: no I/O."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from scopegate.core.reasons import Reason, RequestRefused

if TYPE_CHECKING:
    from scopegate.core.headers import Field
    from scopegate.core.limits import Limits

_VERSIONS = frozenset({"1.0", "1.1"})
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]*) HTTP/1\.1")
_ANY_REQUEST_LINE = re.compile(rb"[A-Z-]+ [^ \t]+ HTTP/[0-9]\.[0-9]")
_END_OF_LINE = b"\r\n"
_END_OF_HEAD = b"\r\n\r\n"


class Head:
    """What a request says beside its first line.

    ``upgrade``: the client asks for another protocol. ``note`` is what the handler has made of the
    fields, for as long as they come again.
    """

    __slots__ = ("headers", "http_version", "note", "upgrade")

    def __init__(self) -> None:
        self.headers: list[Field] = []
        self.http_version = ""
        self.upgrade = False
        self.note: object = None


class Received:
    """One request: its head, complete, and what has come of its body.

    ``size``: bytes of body so far. ``complete``: the whole body has come. ``keep_alive``: the
    connection may be used again behind it.
    """

    method = ""
    target = b""
    keep_alive = False
    size = 0
    complete = False

    def __init__(self, head: Head) -> None:
        self.head = head
        self.pieces: list[bytes] = []

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        pieces = self.pieces
        if not pieces:
            return b""
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return piece


class RequestReader:
    """Reads the requests of one connection, and refuses what two readers might read differently.

    llhttp in its strict mode refuses bare LF, obs-fold, white space around names, control characters,
    and a message with two lengths (RFC 9112 sections 2.2, 5 and 6.3). ``requests`` are those whose
    heads are complete, in order; they may still grow. ``surplus`` is what came after a request for
    another protocol.

    Field names come out in lower case. Trailers are dropped (RFC 9110 section 6.5.1), as nobody who
    decides on a request waits for its end.

    A client mostly sends the same fields over and over, byte for byte. A request without a body whose
    fields are those of the one before gets the same `Head`, without reading it anew.
    """

    __slots__ = (
        "_again",
        "_head_size",
        "_latest",
        "_limits",
        "_line",
        "_parser",
        "_priming",
        "_tail",
        "reading_head",
        "requests",
        "surplus",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._latest = Received(Head())
        self._latest.complete = True
        self._again: tuple[bytes, Head] | None = None  # the fields of the request before, as they came
        self._head_size = 0
        self._line: bytes | None = None  # what has come of a request line that is not complete
        self._priming = False
        self._tail = b""  # the last bytes of a request that is not over
        self.reading_head = False
        self.requests: deque[Received] = deque()
        self.surplus = b""

    def feed(self, data: bytes) -> None:
        """Take in what the connection received.

        Raises:
            RequestRefused: no reader of HTTP may read on behind this.
        """
        if self._again is not None and data.endswith(self._again[0]) and self._read_again(data):
            return
        start = 0
        while start < len(data):
            if self._parser is None:
                if self._latest.head.upgrade:
                    self.surplus += data[start:]
                return
            end = self._end_of_part(data, start)
            self._feed_part(data if end - start == len(data) else data[start:end])
            start = end

    def _end_of_part(self, data: bytes, start: int) -> int:
        """How far to read at a time, so that a part holds nothing of two requests.

        A head ends in an empty line, and so does a chunked body (RFC 9112 sections 2.1 and 7.1).
        """
        length = None if self.reading_head or self._latest.complete else _length(self._latest.head)
        if length is not None:
            return min(len(data), start + length - self._latest.size)
        if self._tail and not start:
            straddling = (self._tail + data[:3]).find(_END_OF_HEAD)
            if straddling >= 0:
                return straddling + len(_END_OF_HEAD) - len(self._tail)
        found = data.find(_END_OF_HEAD, start)
        return len(data) if found < 0 else found + len(_END_OF_HEAD)

    def _feed_part(self, data: bytes) -> None:
        parser = cast("httptools.HttpRequestParser", self._parser)
        between = not self.reading_head and self._latest.complete
        if between or self._line is not None:
            self._require_request_line(data)
        before, size = self._latest, self._latest.size
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._after_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._parser = None
            cause = error.__context__
            if isinstance(cause, RequestRefused):
                raise cause from None
            raise RequestRefused(Reason.REQUEST_MALFORMED) from None
        self._require_bounded(len(data), silent=self._latest is before and before.size == size)
        if between:
            self._remember(data)
        over = self._latest.complete and not self.reading_head
        self._tail = b"" if over else (self._tail + data[-3:])[-3:]

    def _require_request_line(self, data: bytes) -> None:
        """Refuse what the parser takes: several spaces, other protocols (RFC 9112 section 3)."""
        text = ((self._line or b"") + data).lstrip(_END_OF_LINE)
        end = text.find(_END_OF_LINE)
        self._line = text if end < 0 else None
        if end >= 0 and not _ANY_REQUEST_LINE.fullmatch(text, 0, end):
            raise RequestRefused(Reason.REQUEST_MALFORMED)

    def _read_again(self, data: bytes) -> bool:
        """Take a request that differs from the one before in its first line only, if this is one."""
        fields, head = cast("tuple[bytes, Head]", self._again)
        if self.reading_head or not self._latest.complete:
            return False
        line = _REQUEST_LINE.fullmatch(data, 0, len(data) - len(fields))
        if line is None:
            return False
        self._latest = request = Received(head)
        method, request.target = line.groups()
        request.method = method.decode("ascii")
        request.keep_alive = request.complete = True
        self.requests.append(request)
        return True

    def _remember(self, data: bytes) -> None:
        """Keep the fields of the request that `data` is, if it has no body and another may follow it."""
        request = self._latest
        start = data.find(_END_OF_LINE)
        if (
            request.complete
            and not request.size
            and request.keep_alive
            and request.head.http_version == "1.1"
            and data.find(_END_OF_HEAD) == len(data) - len(_END_OF_HEAD)
            and start > 0
            and not any(name in _FRAMING for name, _ in request.head.headers)
        ):
            self._again = (data[start:], request.head)
        else:
            self._again = None

    def close(self) -> None:
        """Let go of the parser, which holds on to this."""
        self._parser = None

    def _after_upgrade(self, rest: bytes) -> None:
        """Read on behind a request that asked for another protocol, at which the parser stops.

        The wish for anything but a WebSocket is ignored, so the request may have a body, which the
        parser took for the other protocol: a new one is told of its framing.
        """
        request = self._latest
        self._parser = None
        if request.head.upgrade:
            self.surplus = rest
            return
        framing = [b": ".join(field) for field in request.head.headers if field[0] in _FRAMING]
        self._parser = httptools.HttpRequestParser(self)
        request.complete = False
        self._priming = True
        try:
            self._parser.feed_data(b"\r\n".join([b"POST / HTTP/1.1", *framing, b"", b""]))
        except httptools.HttpParserError:
            self._parser = None
            raise RequestRefused(Reason.REQUEST_MALFORMED) from None
        self._priming = False
        if rest:
            self.feed(rest)

    def _require_bounded(self, size: int, *, silent: bool) -> None:
        """Bound what nobody hears of before its end: a head, and a body's trailers and chunk extensions."""
        if self.reading_head:
            self._head_size += size
        elif self._latest.complete:
            return
        else:
            self._head_size = self._head_size + size if silent else 0
        if len(self._latest.target) > self._limits.target:
            raise RequestRefused(Reason.TARGET_TOO_LONG)
        if self._head_size > self._limits.target + self._limits.head:
            raise RequestRefused(Reason.HEAD_TOO_LARGE)

    # What the parser calls

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if not self._priming:
            self._latest = Received(Head())
            self._head_size = 0
            self.reading_head = True

    def on_url(self, target: bytes) -> None:
        """The request target, or a piece of it."""
        if not self._priming:
            self._latest.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head, or of the trailer section."""
        if self.reading_head:
            self._latest.head.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """The end of a head."""
        if self._priming:
            return
        self.reading_head = False
        parser = cast("httptools.HttpRequestParser", self._parser)
        request = self._latest
        head = request.head
        request.method = parser.get_method().decode("ascii")
        head.http_version = parser.get_http_version()
        if head.http_version not in _VERSIONS:
            raise RequestRefused(Reason.HTTP_VERSION_UNSUPPORTED)
        if parser.should_upgrade():
            head.upgrade = head.http_version == "1.1" and any(
                name == b"upgrade" and value.lower() == b"websocket" for name, value in head.headers
            )
        # Behind a handshake nothing is read as HTTP again, whatever the upstream says to it.
        request.keep_alive = parser.should_keep_alive() and not head.upgrade
        self.requests.append(request)

    def on_body(self, data: bytes) -> None:
        """A piece of the body, out of its chunk."""
        self._latest.pieces.append(data)
        self._latest.size += len(data)

    def on_message_complete(self) -> None:
        """The end of a request."""
        self._latest.complete = True


def _length(head: Head) -> int | None:
    """The length of the body as its request says it, or None if it comes in chunks."""
    return next((int(value) for name, value in head.headers if name == b"content-length"), None)
