"""A WebSocket between a client and the upstream: bytes both ways, once the handshake is done.

Frames pass as they are, so close codes, pings, extensions and limits are for the two ends to settle
(RFC 6455 sections 5 and 7), and what one end does not read stops the other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from websockets.utils import accept_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scopegate.core.headers import Field

_KEY = b"sec-websocket-key"
_ACCEPT = b"sec-websocket-accept"


def accepts(answer: Iterable[Field], handshake: Iterable[Field]) -> bool:
    """Whether the upstream's answer belongs to the client's handshake (RFC 6455 section 4.2.2)."""
    keys = [value for name, value in handshake if name == _KEY]
    accepted = [value for name, value in answer if name == _ACCEPT]
    return (
        len(keys) == 1
        and len(accepted) == 1
        and accepted[0].decode("latin-1") == accept_key(keys[0].decode("latin-1"))
    )


class Tunnel:
    """Joins two transports; when one end closes, the other is closed behind what it still has to get."""

    def __init__(self, client: asyncio.Transport, upstream: asyncio.Transport) -> None:
        self._client = client
        self._upstream = upstream
        self.on_end: Callable[[Tunnel], None] = lambda _tunnel: None
        client.set_protocol(_End(self, upstream))
        upstream.set_protocol(_End(self, client))

    def abort(self) -> None:
        """Cut both ends off."""
        self._client.abort()
        self._upstream.abort()

    def ended(self) -> None:
        """One end has closed."""
        self._client.close()
        self._upstream.close()
        self.on_end(self)


class _End(asyncio.Protocol):
    """What one transport says goes to the other."""

    __slots__ = ("_other", "_tunnel")

    def __init__(self, tunnel: Tunnel, other: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self._other = other

    def data_received(self, data: bytes) -> None:
        if not self._other.is_closing():
            self._other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - its kind does not matter
        self._tunnel.ended()

    def pause_writing(self) -> None:
        if not self._other.is_closing():
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if not self._other.is_closing():
            self._other.resume_reading()
