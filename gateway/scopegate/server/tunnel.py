"""A WebSocket between a client and the upstream: bytes both ways, once the handshake is done.

Frames pass as they are, so close codes, pings, extensions and limits are for the two ends to settle
(RFC 6455 sections 5 and 7), and what one end does not read stops the other. Only where they begin and
end is noted, to be able to say between two of them that it is over.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from websockets.frames import CloseCode
from websockets.utils import accept_key

from scopegate.server.frames import FrameEdges, close_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scopegate.core.headers import Field

_KEY = b"sec-websocket-key"
_ACCEPT = b"sec-websocket-accept"
# How long an end has to finish when the other has, in seconds.
_LINGER = 2.0


def accepts(answer: Sequence[Field], handshake: Iterable[Field]) -> bool:
    """Whether the upstream's answer belongs to the client's handshake (RFC 6455 section 4.1)."""
    keys = [value for name, value in handshake if name == _KEY]
    accepted = [value for name, value in answer if name == _ACCEPT]
    protocols = [value.lower() for name, value in answer if name == b"upgrade"]
    options = b",".join(value.lower() for name, value in answer if name == b"connection").split(b",")
    return (
        len(keys) == 1
        and len(accepted) == 1
        and accepted[0].decode("latin-1") == accept_key(keys[0].decode("latin-1"))
        and protocols == [b"websocket"]
        and b"upgrade" in [option.strip(b" \t") for option in options]
    )


class Tunnel:
    """Joins two transports; when one end says no more, the other is told behind what it still has to get.

    An end that is told goes on being read for a while: closing on what it still sends would reset the
    connection, which can overtake the last that it was told, such as why it was closed.

    Args:
        client: the client's transport.
        upstream: the upstream's.
        on_end: called once, when it is over.
    """

    def __init__(
        self,
        client: asyncio.Transport,
        upstream: asyncio.Transport,
        *,
        on_end: Callable[[Tunnel], None],
    ) -> None:
        self._client = _End(self, client, upstream)
        self._upstream = _End(self, upstream, client)
        self._on_end = on_end
        self._finished: set[asyncio.Transport] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        self._withdrawn = False
        client.set_protocol(self._client)
        upstream.set_protocol(self._upstream)

    def begin(self, *, early_client: bytes, early_upstream: bytes) -> None:
        """Pass on what the two have said before they were joined."""
        self._upstream.pass_on(early_upstream)
        self._client.pass_on(early_client)

    def withdraw(self, reason: str) -> None:
        """End it, for the client may no longer have it: both are told, and nothing passes any more.

        An end that is in the middle of a frame cannot be told, and is cut off.
        """
        if self._over or self._withdrawn:
            return
        self._withdrawn = True
        self._upstream.withdraw(close_frame(CloseCode.POLICY_VIOLATION, reason, masked=False))
        self._client.withdraw(close_frame(CloseCode.GOING_AWAY, masked=True))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LINGER, self._end)

    def abort(self) -> None:
        """Cut both ends off."""
        self._client.transport.abort()
        self._upstream.transport.abort()

    def finished(self, end: asyncio.Transport, other: asyncio.Transport) -> None:
        """Tell `other` that `end` says no more."""
        if self._over or end in self._finished:
            return
        self._finished.add(end)
        if other in self._finished:
            self._end()
            return
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LINGER, self._end)
        if other.is_closing():
            return
        if other.can_write_eof():
            other.write_eof()
            other.resume_reading()  # whether or not `end` takes more
        else:
            other.close()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._withdrawn:
            self.abort()  # one that takes nothing would keep its connection otherwise
        else:
            self._client.transport.close()
            self._upstream.transport.close()
        self._on_end(self)


class _End(asyncio.Protocol):
    """What one transport says goes to the other."""

    __slots__ = ("_edges", "_other", "_tunnel", "_withdrawn", "transport")

    def __init__(self, tunnel: Tunnel, own: asyncio.Transport, other: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self._other = other
        self._edges = FrameEdges()
        self._withdrawn = False
        self.transport = own

    def pass_on(self, data: bytes) -> None:
        """Say `data` to the other, as it is."""
        if data and not self._other.is_closing() and not self._withdrawn:
            self._edges.feed(data)
            self._other.write(data)

    def withdraw(self, frame: bytes) -> None:
        """Pass on nothing more, and say `frame` to the other in its place."""
        self._withdrawn = True
        if not self._edges.between:
            self._other.abort()
        elif not self._other.is_closing():
            self._other.write(frame)
            self.transport.resume_reading()  # whether or not the other takes more

    def data_received(self, data: bytes) -> None:
        self.pass_on(data)

    def eof_received(self) -> bool:
        """Keep what can be kept half open, for the other end's last words."""
        self._tunnel.finished(self.transport, self._other)
        return self.transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - its kind does not matter
        self._tunnel.finished(self.transport, self._other)

    def pause_writing(self) -> None:
        if not self._other.is_closing() and not self._withdrawn:
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if not self._other.is_closing():
            self._other.resume_reading()
