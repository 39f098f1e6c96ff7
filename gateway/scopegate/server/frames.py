"""Where WebSocket frames begin and end (RFC 6455 section 5.2). Pure: no I/O."""

from __future__ import annotations

import struct

_SHORT = 126  # the length follows in 2 bytes
_LONG = 127  # the length follows in 8 bytes
_MASKED = 0x80
_FINAL_CLOSE = 0x88
_NO_MASK = b"\0\0\0\0"
_LONGEST_REASON = 123  # bytes; a control frame holds 125 (RFC 6455 section 5.5)


class FrameEdges:
    """Follows the frames that pass in one direction, without looking into them.

    ``between`` tells whether all that has passed is whole frames, so that one of ours may follow.
    """

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""  # what has passed of a frame's head
        self._left = 0  # bytes of payload that are still to pass

    @property
    def between(self) -> bool:
        """Whether no frame is under way."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> None:
        """Note what has passed."""
        at = self._left
        if self._head:
            data = self._head + data
            self._head = b""
        size = len(data)
        while at < size:
            payload = _payload(data, at)
            if payload is None:
                self._head = data[at:]
                self._left = 0
                return
            at = payload
        self._left = at - size


def _payload(data: bytes, at: int) -> int | None:
    """Where the frame that begins at `at` ends, or None if its head is not whole."""
    size = len(data) - at
    if size < 2:  # noqa: PLR2004 -- the fixed part of a head
        return None
    second = data[at + 1]
    length = second & ~_MASKED
    head = 6 if second & _MASKED else 2
    if length == _SHORT:
        head += 2
        if size >= head:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
    elif length == _LONG:
        head += 8
        if size >= head:
            length = int.from_bytes(data[at + 2 : at + 10], "big")
    return at + head + length if size >= head else None


def close_frame(code: int, reason: str = "", *, masked: bool) -> bytes:
    """A close frame (RFC 6455 section 5.5.1); what a client sends is `masked`.

    The mask is there against caches that take frames for requests; what we say is our own, so the
    zero mask does.
    """
    payload = struct.pack("!H", code) + reason.encode()[:_LONGEST_REASON]
    if masked:
        return bytes((_FINAL_CLOSE, _MASKED | len(payload))) + _NO_MASK + payload
    return bytes((_FINAL_CLOSE, len(payload))) + payload
