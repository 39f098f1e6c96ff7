"""One HTTP/1.1 connection to the upstream, carrying one exchange at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from scopegate.proxy.failures import ClientTooSlow, ExchangeFailed, UpstreamClosed, UpstreamTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from scopegate.proxy.response import Answer
    from scopegate.proxy.timeouts import Timeouts

# Reading pauses when this many bytes of a body wait for the client.
HIGH_WATER = 256 * 1024


class Connection(asyncio.Protocol):
    """The protocol under one upstream connection.

    `begin` starts an exchange, `wait` sleeps until its answer has moved on, `finish` ends it.
    A connection that fails in any way, or hears something that nobody asked for, is closed: no
    byte of one exchange can reach another.
    """

    __slots__ = (
        "_deadline",
        "_drained",
        "_linger",
        "_loop",
        "_on_lost",
        "_paused",
        "_seen",
        "_timeouts",
        "_transport",
        "_waiter",
        "answer",
        "awaiting_client",
        "failure",
        "idle_since",
        "reused",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, timeouts: Timeouts, on_lost: Callable[[Connection], None]
    ) -> None:
        self._loop = loop
        self._timeouts = timeouts
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._deadline = 0.0
        self._linger: Callable[[], None] | None = None
        self._seen = False
        self.answer: Answer | None = None
        self.failure: Exception | None = None
        self.awaiting_client = False
        self.reused = False
        self.idle_since = 0.0

    # One exchange

    def begin(self, data: bytes, answer: Answer, linger: Callable[[], None]) -> None:
        """Write the first `data` of a request, and let `answer` take what comes back.

        `linger` is called once, by `check`, if the exchange is still under way some time later.
        """
        self.answer = answer
        self._linger = linger
        self._seen = False
        self._deadline = self._loop.time() + self._timeouts.head
        self._open_transport().write(data)

    async def wait(self) -> None:
        """Return when there is more of the answer than before; raise what made that impossible."""
        if self.failure is not None:
            raise self.failure
        transport = self._open_transport()
        if self._paused:
            self._paused = False
            if not transport.is_closing():
                transport.resume_reading()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def write(self, pieces: list[bytes]) -> None:
        """Send more of the request body, as fast as the upstream takes it."""
        if self.failure is not None:
            raise self.failure
        self._open_transport().writelines(pieces)
        if self._drained is not None:
            await self._drained

    def progress(self) -> None:
        """Note that a piece of a body has passed."""
        self._deadline = self._loop.time() + self._timeouts.idle

    def request_sent(self) -> None:
        """From now on the upstream has ``timeouts.head`` to begin its answer."""
        if self.answer is not None and not self.answer.head_complete:
            self._deadline = self._loop.time() + self._timeouts.head

    def finish(self) -> bool:
        """End the exchange; true if the connection may carry another."""
        answer, self.answer, self._linger = self.answer, None, None
        self.reused = True
        transport = self._transport
        if (
            answer is None
            or not answer.complete
            or not answer.reusable
            or self.failure is not None
            or transport is None
            or transport.get_write_buffer_size()  # the answer came before the request was out
        ):
            self.close()
            return False
        return True

    def abort(self, failure: Exception) -> None:
        """Close at once; whoever waits on this connection gets `failure`."""
        if self.failure is None:
            self.failure = failure
        if self._transport is not None:
            self._transport.abort()
        self._wake()
        self._wake_writer()

    def close(self) -> None:
        """Close a connection on which nobody waits."""
        self.abort(UpstreamClosed())

    def check(self, now: float) -> None:
        """Look after the exchange under way, if there is one: called a few times a second."""
        if self.answer is None or self.failure is not None:
            return
        if now >= self._deadline:
            self.abort(ClientTooSlow() if self.awaiting_client else UpstreamTimeout())
        elif not self._seen:
            self._seen = True
        elif self._linger is not None:
            linger, self._linger = self._linger, None
            linger()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, TLS included."""
        self._transport = cast("asyncio.Transport", transport)
        if self.failure is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer, or nobody's."""
        answer = self.answer
        if answer is None or self.failure is not None:
            self.close()
            return
        try:
            answer.feed(data)
        except ExchangeFailed as failure:
            self.abort(failure)
            return
        if not answer.head_complete:
            return
        if not answer.complete:
            self._deadline = self._loop.time() + self._timeouts.idle
            if answer.queued > HIGH_WATER and not self._paused:
                self._pause()
        self._wake()

    def eof_received(self) -> None:
        """The upstream has closed its side in good order; the transport closes ours."""
        if self.answer is not None:
            self.answer.feed_eof()
        else:
            self.close()  # at once, so that no request is put on it meanwhile

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - its kind does not matter
        """Closed, by whichever side."""
        answer = self.answer
        if self.failure is None and (answer is None or not answer.complete):
            self.failure = UpstreamClosed()
        self._transport = None
        self._on_lost(self)
        self._wake()
        self._wake_writer()

    def pause_writing(self) -> None:
        """The upstream takes the body more slowly than it comes."""
        if self._drained is None:
            self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """The upstream has caught up."""
        self._wake_writer()

    def _pause(self) -> None:
        transport = self._open_transport()
        if not transport.is_closing():
            transport.pause_reading()
            self._paused = True

    def _open_transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise self.failure or UpstreamClosed()
        return self._transport

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _wake_writer(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
