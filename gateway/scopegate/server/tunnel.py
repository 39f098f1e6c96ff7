"""A WebSocket between a client and the upstream: bytes both ways, once the handshake is done.

Frames pass as they are, so close codes, pings, extensions and limits are for the two ends to settle
(RFC 6455 sections 5 and 7), and what one end does not read stops the other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from websockets.utils import accept_key

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
    """

    def __init__(self, client: asyncio.Transport, upstream: asyncio.Transport) -> None:
        self._client = client
        self._upstream = upstream
        self._finished: set[asyncio.Transport] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        self.on_end: Callable[[Tunnel], None] = lambda _tunnel: None
        client.set_protocol(_End(self, client, upstream))
        upstream.set_protocol(_End(self, upstream, client))

    def abort(self) -> None:
        """Cut both ends off."""
        self._client.abort()
        self._upstream.abort()

    def finished(self, end: asyncio.Transport, other: asyncio.Transport) -> None:
        """Tell `other` that `end` says no more."""
        if self._over or end in self._finished:
            return
        self._finished.add(end)
        if other in self._finished:
            self._end()
            return
        self._timer = asyncio.get_running_loop().call_later(_LINGER, self._end)
        if other.is_closing():
            return
        if other.can_write_eof():
            other.write_eof()
            other.resume_reading()  # whether or not `end` takes more
        else:
            other.close()

    def _end(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._client.close()
        self._upstream.close()
        self.on_end(self)


class _End(asyncio.Protocol):
    """What one transport says goes to the other."""

    __slots__ = ("_other", "_own", "_tunnel")

    def __init__(self, tunnel: Tunnel, own: asyncio.Transport, other: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self._own = own
        self._other = other

    def data_received(self, data: bytes) -> None:
        if not self._other.is_closing():
            self._other.write(data)

    def eof_received(self) -> bool:
        """Keep what can be kept half open, for the other end's last words."""
        self._tunnel.finished(self._own, self._other)
        return self._own.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - its kind does not matter
        self._tunnel.finished(self._own, self._other)

    def pause_writing(self) -> None:
        if not self._other.is_closing():
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if not self._other.is_closing():
            self._other.resume_reading()
