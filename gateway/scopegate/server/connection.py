"""One client's connection: requests in, answers out, in order."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, cast

from scopegate.core.reasons import Reason, RequestRefused
from scopegate.problems import refusal
from scopegate.proxy.exchange import Exchange
from scopegate.proxy.failures import ClientTooSlow, ExchangeFailed, UpstreamProtocolError
from scopegate.requestid import new_request_id
from scopegate.server.reading import Received, RequestReader
from scopegate.server.tunnel import Tunnel, accepts
from scopegate.server.writing import answer_head, chunk, interim_head, problem_answer, switching_head

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from scopegate.core.headers import Field
    from scopegate.core.keys import KeyRecord
    from scopegate.core.limits import Limits
    from scopegate.metrics import WorkerMetrics
    from scopegate.problems import Problem
    from scopegate.proxy.connection import Connection
    from scopegate.proxy.pool import Pool
    from scopegate.proxy.request import Outgoing
    from scopegate.proxy.response import Answer

# How long a client whose request was not read to its end has to read the answer, in seconds.
_LINGER = 2.0
# How much a client may say for a WebSocket that the upstream has not agreed to, in bytes.
_EARLY = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what is not sent yet is dropped, and the end is a reset


class Handler(Protocol):
    """Who says what becomes of a request."""

    limits: Limits

    def serve(self, request: Received, client: ClientConnection) -> None:
        """Have `client` forward `request`, refuse it, or wait for the answer to that."""
        ...

    async def review(self, client: ClientConnection, *, last: bool) -> bool:
        """Have `client` withdraw its current request if that may no longer go on; false if nobody can tell.

        `last`: withdraw it also if nobody can tell.
        """
        ...

    def forget(self, client: ClientConnection) -> None:
        """`client` is gone, and whatever it was let in for is over."""
        ...


class Host(Protocol):
    """Where the connection belongs."""

    draining: bool
    head_timeout: float
    idle_timeout: float
    loop: asyncio.AbstractEventLoop
    metrics: WorkerMetrics

    def opened(self, client: ClientConnection) -> bool:
        """Count a new connection in; false if there are too many."""
        ...

    def closed(self, client: ClientConnection) -> None:
        """Count a connection out."""
        ...

    def tunnelled(self, tunnel: Tunnel) -> None:
        """A connection has become a WebSocket's."""
        ...

    def tunnel_ended(self, tunnel: Tunnel) -> None:
        """A WebSocket is over."""
        ...


class ClientConnection(asyncio.Protocol):
    """The protocol under one client's connection, and the client's side of its exchanges.

    One request is served at a time; those that are sent ahead wait, and reading with them.
    """

    __slots__ = (
        "_began",
        "_body_held",
        "_chunked",
        "_closing",
        "_current",
        "_exchange",
        "_full",
        "_handler",
        "_head_begun",
        "_host",
        "_keep_alive",
        "_metrics",
        "_reader",
        "_receiving",
        "_serving",
        "_since",
        "_status",
        "_task",
        "_trailers",
        "_transport",
        "_tunnel",
        "_until_close",
        "_waits",
        "address",
        "record",
        "request_id",
    )

    def __init__(self, handler: Handler, host: Host) -> None:
        self._handler = handler
        self._host = host
        self._metrics = host.metrics
        self._reader = RequestReader(handler.limits)
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._current: Received | None = None
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._tunnel: Tunnel | None = None
        self._receiving = False  # the body of the current request is still coming, for its exchange
        self._serving = False
        self._status = 0  # of the answer whose head is out, or 0
        self._chunked = False
        self._until_close = False  # only the end of the connection ends the answer
        self._trailers = False
        self._keep_alive = False
        self._full = False  # the client takes nothing more for now
        self._closing = False  # nothing that the client still sends counts
        self._head_begun = False
        self._body_held = False  # the exchange wants no more of the body for now
        self._waits = False  # nothing is read for now
        self._since = 0.0
        self._began = 0.0  # when the request went to the upstream
        self.address: str | None = None
        self.record: KeyRecord | None = None  # of the key that let the latest request in
        self.request_id = ""

    @property
    def current(self) -> Received | None:
        """The request that is being served, or that a WebSocket began with."""
        return self._current

    @property
    def running(self) -> bool:
        """Whether something is under way that was let in."""
        return self._exchange is not None or self._tunnel is not None

    async def review(self, *, last: bool) -> bool:
        """As `Handler.review`."""
        return await self._handler.review(self, last=last)

    # What the handler calls

    def await_verdict(self, serving: Coroutine[None, None, None]) -> None:
        """Serve the current request when `serving` is done; nothing is read before."""
        self.hold_body()
        self._task = asyncio.ensure_future(serving)

    def forward(self, outgoing: Outgoing, pool: Pool, *, takes_trailers: bool) -> None:
        """Send the current request to an upstream."""
        request = self._current
        if request is None:
            return
        self._trailers = takes_trailers
        self._receiving = not request.complete
        if self._task is not None:
            self._task = None
            self.want_body()
        self._exchange = exchange = Exchange(outgoing, self, pool)
        self._metrics.exchange_began()
        self._began = time.perf_counter()
        try:
            exchange.start(request.take(), more=not request.complete)
        except ExchangeFailed as failure:
            self.fail(failure)
            return
        if self._full:
            exchange.pause()

    def refuse(self, problem: Problem) -> None:
        """Answer the current request with `problem`."""
        if self._transport.is_closing():
            return
        request = self._current
        self._keep_alive = (
            request is not None and request.complete and request.keep_alive and not self._host.draining
        )
        self._status = problem.status
        self._transport.write(
            problem_answer(
                problem,
                self.request_id or new_request_id(),
                to_head=request is not None and request.method == "HEAD",
                keep_alive=self._keep_alive,
            )
        )
        self._finish()

    def withdraw(self, problem: Problem) -> None:
        """End what is under way, for the key that let it in no longer does.

        A client that has no answer yet gets `problem`; half an answer is cut off, and what the client
        has not read of it is lost.
        """
        if self._tunnel is not None:
            self._tunnel.withdraw(problem.code)
        elif self._exchange is not None and self._status:
            self._metrics.answered("" if self._current is None else self._current.method, self._status)
            self._until_close = True
            self.abort()
        elif self._current is not None and self._current.complete:
            self._cancel()
            self.refuse(problem)
        else:
            self._cut_short(problem)

    # What the exchange calls

    def interim(self, status: int, headers: list[Field]) -> None:
        """Pass an interim answer on; clients of HTTP/1.0 would not understand it."""
        request = self._current
        if request is not None and request.head.http_version == "1.1" and not self._transport.is_closing():
            self._transport.write(interim_head(status, headers))

    def respond(self, answer: Answer, piece: bytes, *, last: bool) -> None:
        """Write the head of the answer, and what there is of its body."""
        request = self._current
        if request is None or self._transport.is_closing():
            return
        self._status = answer.status
        in_chunks = answer.unmeasured and not answer.bodiless
        knows_chunks = request.head.http_version == "1.1"
        self._keep_alive = (
            request.keep_alive
            and (request.complete or not last)
            and (knows_chunks or not in_chunks)
            and not self._host.draining
        )
        connection = (b"" if knows_chunks else b"keep-alive") if self._keep_alive else b"close"
        self._chunked = in_chunks and knows_chunks
        self._until_close = in_chunks and not knows_chunks
        if self._chunked:
            piece = chunk(piece, last=last, trailers=answer.trailers if self._trailers else ())
        self._transport.write(answer_head(answer, chunked=self._chunked, connection=connection) + piece)
        if last:
            self._finish()

    def write(self, answer: Answer, piece: bytes, *, last: bool) -> None:
        """Write more of the body."""
        if self._transport.is_closing():
            return
        if self._chunked:
            piece = chunk(piece, last=last, trailers=answer.trailers if self._trailers else ())
        if piece:
            self._transport.write(piece)
        if last:
            self._finish()

    def switch(self, answer: Answer, connection: Connection) -> None:
        """Join the client and the upstream."""
        request = self._current
        if request is None or self._transport.is_closing():
            connection.close()
            return
        if not accepts(answer.headers, request.head.headers):
            connection.close()
            self.fail(UpstreamProtocolError())
            return
        upstream = connection.detach()
        self._transport.write(switching_head(answer))
        self._metrics.answered(request.method, answer.status)
        self._host.closed(self)
        self._tunnel = Tunnel(self._transport, upstream, on_end=self._tunnel_ended)
        self._host.tunnelled(self._tunnel)
        if self._waits:
            self._transport.resume_reading()
        self._tunnel.begin(early_client=self._reader.surplus, early_upstream=answer.surplus)
        self._end_exchange()
        self._reader.close()

    def fail(self, failure: ExchangeFailed) -> None:
        """Tell the client, or cut it off where it has half an answer."""
        self._metrics.failed(failure.problem.code)
        self._end_exchange()
        if self._status:
            self._metrics.answered("" if self._current is None else self._current.method, self._status)
            self.abort()
        else:
            self.refuse(failure.problem)

    def hold_body(self) -> None:
        """Read no more for now."""
        self._body_held = True
        self._read_or_wait()

    def want_body(self) -> None:
        """Read on."""
        self._body_held = False
        self._read_or_wait()

    def lingers(self) -> None:
        """Nothing: the transport tells when the client leaves."""

    # What the host calls

    def check(self, now: float) -> None:
        """Look after a client that is slow or silent: called about once a second."""
        silent = now - self._since
        if self._closing:
            if self._transport.get_write_buffer_size():
                if silent > self._host.idle_timeout:
                    self.abort()
            elif silent > _LINGER:
                self._transport.abort()
        elif self._current is not None:
            self._since = now
        elif self._reader.reading_head:
            if silent > self._host.head_timeout:
                self.request_id = ""
                self._metrics.failed(ClientTooSlow.problem.code)
                self.refuse(ClientTooSlow.problem)
        elif silent > (_LINGER if self._host.draining else self._host.idle_timeout):
            self._close()

    def abort(self) -> None:
        """Cut the client off."""
        self._closing = True
        self._cancel()
        if self._until_close:  # an orderly end would make half an answer a whole one
            connected = self._transport.get_extra_info("socket")
            with suppress(OSError):  # it is closed already
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else None
        self._since = self._host.loop.time()
        if not self._host.opened(self):
            self._closing = True
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        if self._closing:
            return
        reader = self._reader
        try:
            reader.feed(data)
        except RequestRefused as refused:
            self._break(refused.reason)
            return
        if self._current is None:
            self._serve_next()
        elif self._receiving:
            self._feed()
        if reader.requests or reader.surplus:
            self._read_or_wait()
        if reader.reading_head and not self._head_begun:
            self._head_begun = True
            self._since = self._host.loop.time()

    def eof_received(self) -> None:
        """The client has closed its side, which is how it leaves; the transport closes ours."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - its kind does not matter
        """The client is gone, and with it whatever was done for it."""
        self._closing = True
        self._cancel()
        self._reader.close()
        self._host.closed(self)
        self._handler.forget(self)

    def pause_writing(self) -> None:
        """The client takes the answer more slowly than it comes."""
        self._full = True
        if self._exchange is not None:
            self._exchange.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._full = False
        if self._exchange is not None:
            self._exchange.resume()

    # Steps

    def _serve_next(self) -> None:
        """Serve the requests that have come, until one has to wait for its answer."""
        requests = self._reader.requests
        while requests and self._current is None and not self._closing:
            self._current = request = requests.popleft()
            self._status = 0
            self.request_id = ""
            self._keep_alive = request.keep_alive
            self._head_begun = False
            self._serving = True
            self._handler.serve(request, self)
            self._serving = False

    def _read_or_wait(self) -> None:
        """Read no further than the exchange wants, and than to the request behind the current one."""
        waits = (
            self._body_held
            or (self._current is not None and bool(self._reader.requests))
            or len(self._reader.surplus) > _EARLY
        )
        if waits is self._waits or self._transport.is_closing():
            return
        self._waits = waits
        if waits:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _feed(self) -> None:
        """Hand what has come of the body to the exchange."""
        request, exchange = self._current, self._exchange
        if request is None or exchange is None:
            return
        limit = self._handler.limits.body
        if limit and request.size > limit:
            self._cut_short(refusal(Reason.BODY_TOO_LARGE))
            return
        if request.pieces or request.complete:
            self._receiving = not request.complete
            exchange.feed(request.take(), more=self._receiving)

    def _finish(self) -> None:
        """The current request has its answer; go on to the next."""
        request, self._current = self._current, None
        self._task = None
        self._receiving = self._body_held = False
        self._metrics.answered("" if request is None else request.method, self._status)
        if self._exchange is not None:
            self._end_exchange(time.perf_counter() - self._began)
        if not self._keep_alive or request is None or not request.complete:
            self._close_behind(request)
            return
        self._since = self._host.loop.time()
        if self._reader.requests and not self._serving:
            self._serve_next()
        if self._waits:
            self._read_or_wait()

    def _break(self, reason: Reason) -> None:
        """What the client sends is no HTTP that everybody reads alike."""
        self._reader.requests.clear()
        request = self._current
        if request is not None and request.complete:
            # The current request was whole before; it gets its answer, and nothing follows.
            self._keep_alive = False
            request.keep_alive = False
            return
        self._metrics.decided(reason, None)
        self._cut_short(refusal(reason))

    def _cut_short(self, problem: Problem) -> None:
        """Refuse a request whose body cannot be taken, or cut the client off if it has half an answer."""
        self._cancel()
        request = self._current
        if request is None:
            self.request_id = ""
        elif self._status:
            self.abort()
            return
        else:
            request.keep_alive = False
        self.refuse(problem)

    def _cancel(self) -> None:
        """Let go of whatever is being done for the current request."""
        exchange = self._exchange
        if exchange is not None:
            exchange.cancel()
            self._end_exchange()
        if self._task is not None:
            self._task.cancel()

    def _tunnel_ended(self, tunnel: Tunnel) -> None:
        self._tunnel = None
        self._host.tunnel_ended(tunnel)
        self._handler.forget(self)

    def _end_exchange(self, seconds: float | None = None) -> None:
        if self._exchange is not None:
            self._exchange = None
            self._metrics.exchange_ended(seconds)

    def _close_behind(self, request: Received | None) -> None:
        """Close when the answer is out.

        A client that still sends would be answered with a reset, which can overtake the answer (RFC
        9112 section 9.6), so what it sends is read and dropped for a while.
        """
        self._closing = True
        self._since = self._host.loop.time()
        if request is not None and request.complete:
            self._transport.close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.want_body()

    def _close(self) -> None:
        self._closing = True
        self._since = self._host.loop.time()
        self._transport.close()
