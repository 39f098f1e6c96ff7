"""One HTTP/1.1 connection to the upstream, carrying one exchange at a time."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Protocol, cast

from scopegate.proxy.failures import ClientTooSlow, ExchangeFailed, UpstreamClosed, UpstreamTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scopegate.proxy.response import Answer
    from scopegate.proxy.timeouts import Timeouts


class Listener(Protocol):
    """What hears how its exchange goes on."""

    @property
    def awaits_client(self) -> bool:
        """Whether it is the client's turn to send or to take something."""
        ...

    def moved(self) -> None:
        """There is more of the answer than before."""
        ...

    def failed(self, failure: ExchangeFailed) -> None:
        """Nothing more will come; the connection is closed."""
        ...

    def full(self) -> None:
        """The upstream takes the body more slowly than it comes."""
        ...

    def drained(self) -> None:
        """The upstream has caught up."""
        ...

    def lingers(self) -> None:
        """The exchange is still under way some time after it began; said once."""
        ...


class Connection(asyncio.Protocol):
    """The protocol under one upstream connection.

    `begin` starts an exchange, whose listener then hears how its answer moves on; `finish` ends it.
    A connection that fails in any way, or hears something that nobody asked for, is closed: no
    byte of one exchange can reach another.
    """

    __slots__ = (
        "_deadline",
        "_ends_at",
        "_listener",
        "_loop",
        "_on_lost",
        "_seen",
        "_timeouts",
        "_transport",
        "answer",
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
        self._listener: Listener | None = None
        self._deadline = 0.0
        self._ends_at = inf
        self._seen = 0
        self.answer: Answer | None = None
        self.failure: ExchangeFailed | None = None
        self.reused = False
        self.idle_since = 0.0

    # One exchange

    def begin(self, data: bytes, answer: Answer, listener: Listener) -> None:
        """Write the first `data` of a request, and let `answer` take what comes back.

        Raises an `ExchangeFailed` if the connection has been lost meanwhile.
        """
        transport = self._transport
        if transport is None or self.failure is not None:
            raise self.failure or UpstreamClosed()
        self.answer = answer
        self._listener = listener
        self._seen = 0
        now = self._loop.time()
        self._deadline = now + self._timeouts.head
        self._ends_at = now + self._timeouts.total if self._timeouts.total else inf
        transport.write(data)

    def write(self, pieces: Iterable[bytes]) -> None:
        """Send more of the request body."""
        if self._transport is not None:
            self._deadline = self._loop.time() + self._timeouts.idle
            self._transport.writelines(pieces)

    def progress(self) -> None:
        """Note that a piece of a body has passed, or may pass again."""
        self._deadline = self._loop.time() + self._timeouts.idle

    def request_sent(self) -> None:
        """From now on the upstream has ``timeouts.head`` to begin its answer."""
        if self.answer is not None and not self.answer.head_complete:
            self._deadline = self._loop.time() + self._timeouts.head

    def pause(self) -> None:
        """Read no more for now: the client is slow."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self.progress()

    def finish(self) -> bool:
        """End the exchange; true if the connection may carry another."""
        answer, self.answer, self._listener = self.answer, None, None
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

    def detach(self) -> asyncio.Transport:
        """Hand over the transport, which speaks another protocol from now on."""
        transport = self._transport
        if transport is None:
            raise self.failure or UpstreamClosed()
        self._transport = self._listener = self.answer = None
        self.failure = UpstreamClosed()
        self._on_lost(self)
        return transport

    def abort(self, failure: ExchangeFailed) -> None:
        """Close at once; the exchange under way fails with `failure`."""
        if self.failure is None:
            self.failure = failure
        if self._transport is not None:
            self._transport.abort()
        self._tell_failure()

    def close(self) -> None:
        """Close a connection to whose exchange nobody listens any more."""
        self._listener = None
        self.abort(UpstreamClosed())

    def check(self, now: float) -> None:
        """Look after the exchange under way, if there is one: called a few times a second."""
        listener = self._listener
        if listener is None:
            return
        if now >= self._deadline or now >= self._ends_at:
            self.abort(ClientTooSlow() if listener.awaits_client else UpstreamTimeout())
            return
        self._seen += 1
        if self._seen == 2:  # noqa: PLR2004 - at least one interval has passed
            listener.lingers()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, TLS included."""
        self._transport = cast("asyncio.Transport", transport)
        if self.failure is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer, or nobody's."""
        answer, listener = self.answer, self._listener
        if answer is None or listener is None or self.failure is not None:
            self.close()
            return
        try:
            answer.feed(data)
        except ExchangeFailed as failure:
            self.abort(failure)
            return
        if answer.head_complete and not answer.complete:
            self._deadline = self._loop.time() + self._timeouts.idle
        listener.moved()

    def eof_received(self) -> None:
        """The upstream has closed its side in good order; the transport closes ours."""
        answer, listener = self.answer, self._listener
        if answer is None or listener is None:
            self.close()  # at once, so that no request is put on it meanwhile
            return
        answer.feed_eof()
        if answer.complete:
            listener.moved()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - its kind does not matter
        """Closed, by whichever side."""
        if self._transport is None:
            return
        self._transport = None
        if self.failure is None:
            self.failure = UpstreamClosed()
        self._on_lost(self)
        self._tell_failure()

    def pause_writing(self) -> None:
        """The upstream takes the body more slowly than it comes."""
        if self._listener is not None:
            self._listener.full()

    def resume_writing(self) -> None:
        """The upstream has caught up."""
        if self._listener is not None:
            self._listener.drained()

    def _tell_failure(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None and self.failure is not None:
            listener.failed(self.failure)
