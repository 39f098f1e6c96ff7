"""One request on its way to the upstream, and the answer on its way back."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from scopegate.core.framing import Body
from scopegate.proxy.failures import (
    BodyLengthMismatch,
    ExchangeFailed,
    GatewayFailed,
    UpstreamClosed,
    UpstreamTimeout,
)
from scopegate.proxy.response import Answer

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from scopegate.core.headers import Field
    from scopegate.proxy.connection import Connection
    from scopegate.proxy.pool import Pool, Pooled
    from scopegate.proxy.request import Outgoing

logger = logging.getLogger("scopegate.proxy")

_FIRST_ERROR = 400


class ClientSide(Protocol):
    """The client's end of an exchange, whatever server it is connected to."""

    def interim(self, status: int, headers: list[Field]) -> None:
        """An interim answer (RFC 9110 section 15.2), which may be dropped."""
        ...

    def respond(self, answer: Answer, piece: bytes, *, last: bool) -> None:
        """The head of the answer, with the first piece of its body, which may be empty."""
        ...

    def write(self, answer: Answer, piece: bytes, *, last: bool) -> None:
        """More of the body; trailers are complete with the last of it."""
        ...

    def switch(self, answer: Answer, connection: Connection) -> None:
        """The upstream has agreed to speak another protocol on `connection`."""
        ...

    def fail(self, failure: ExchangeFailed) -> None:
        """Nothing more will come. Half an answer must not be taken for a whole one."""
        ...

    def hold_body(self) -> None:
        """Feed no more of the request body for now."""
        ...

    def want_body(self) -> None:
        """Feed on."""
        ...

    def lingers(self) -> None:
        """The exchange takes its time; said once."""
        ...


class Exchange:
    """Forwards one request. Nothing of it waits: each step is taken when its cause comes.

    The client's side calls `start`, `feed`, `pause`, `resume` and `cancel`; the connection calls the
    rest. Only to get a new connection a task is needed.
    """

    answered = False
    _connection: Pooled | None = None
    _answer: Answer | None = None
    _task: asyncio.Task[None] | None = None
    _opening = b""
    _unsent = False  # some of the body is still to come
    _held = False  # the client was told to feed no more
    _paused = False  # the client takes no more
    _refused = False  # the answer is an error, so the rest of the body is not wanted
    _over = False

    def __init__(self, request: Outgoing, client: ClientSide, pool: Pool) -> None:
        self._request = request
        self._client = client
        self._pool = pool
        self._left = request.length  # bytes of the body that are still to come
        self._repeatable = request.idempotent

    # What the client's side calls

    def start(self, first: bytes = b"", *, more: bool = False) -> None:
        """Send the request with the first piece of its body; `more` of it may follow.

        Raises `BodyLengthMismatch` if the body is not as long as the request says.
        """
        self._count(first, more=more)
        self._unsent = more
        self._opening = _opening(self._request, first, more=more)
        connection = self._pool.take()
        if connection is None:
            self._hold()
            self._open_with(self._pool.obtain())
        else:
            self._send_on(connection)

    def feed(self, data: bytes, *, more: bool) -> None:
        """Send more of the request body.

        Raises `BodyLengthMismatch` as `start` does; the exchange is over then.
        """
        if self._over or self._refused:
            return
        try:
            self._count(data, more=more)
        except BodyLengthMismatch:
            self.cancel()
            raise
        self._unsent = more
        self._repeatable = False
        connection = self._connection
        if connection is None:
            # The client's side may still have had this at hand when it was told to hold.
            self._opening += b"".join(self._framed(data, more=more))
            return
        connection.write(self._framed(data, more=more))
        if not more:
            connection.request_sent()

    def pause(self) -> None:
        """Read no more of the answer for now: the client is slow."""
        self._paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if self._connection is not None:
            self._connection.resume()

    def cancel(self) -> None:
        """End the exchange at once: the client is gone, or no longer to be believed."""
        self._over = True
        if self._task is not None:
            self._task.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # What the connection calls

    @property
    def awaits_client(self) -> bool:
        """Whether it is the client's turn to send or to take something."""
        return self._paused or (self._unsent and not self._held)

    def moved(self) -> None:
        """Pass on what there is of the answer."""
        answer = self._answer
        if answer is None:
            return
        if answer.interims:
            for status, headers in answer.interims:
                self._client.interim(status, headers)
            answer.interims = ()
        if answer.switched:
            self._switch(answer)
        elif answer.head_complete:
            self._pass_on(answer)

    def _pass_on(self, answer: Answer) -> None:
        client = self._client
        if not self.answered and self._connection is not None:
            self._pool.answered(self._connection.place)
        while not self._over:
            piece = answer.take()
            last = answer.complete and not answer.queued
            if last:
                self._release()
            if not self.answered:
                self.answered = True
                # Spare an upstream that refuses the request the rest of the body. After any other
                # status the body goes on, as an upstream may well answer while it reads.
                self._refused = answer.status >= _FIRST_ERROR
                client.respond(answer, piece, last=last)
            elif piece or last:
                client.write(answer, piece, last=last)
            if not answer.queued:
                return

    def failed(self, failure: ExchangeFailed) -> None:
        """Try once more on a new connection if that can do no harm, else tell the client.

        RFC 9110 section 9.2.2: the upstream may have closed an idle connection just as the request
        went out, or died of something else. Only an idempotent request may be repeated without
        asking, and ours only as long as all that was sent of it is at hand. One that may only have
        taken too long is not: it would take as long again.
        """
        connection, self._connection = self._connection, None
        if connection is not None and (self._answer is None or not self._answer.started):
            closed = isinstance(failure, UpstreamClosed)
            if isinstance(failure, UpstreamTimeout) or (closed and not connection.reused):
                self._pool.missed(connection.place)
            if closed and self._may_repeat(connection):
                self._repeatable = False
                self._open_with(self._pool.replace(connection))
                return
        self._fail(failure)

    def _may_repeat(self, connection: Pooled) -> bool:
        return self._repeatable and not self._unsent and (connection.reused or self._pool.several)

    def full(self) -> None:
        """The upstream takes the body more slowly than it comes."""
        self._hold()

    def drained(self) -> None:
        """The upstream has caught up."""
        if self._held:
            self._held = False
            self._client.want_body()

    def lingers(self) -> None:
        """The exchange takes its time."""
        self._client.lingers()

    # Steps

    def _open_with(self, coming: Coroutine[None, None, Pooled]) -> None:
        self._task = asyncio.ensure_future(self._open(coming))

    async def _open(self, coming: Coroutine[None, None, Pooled]) -> None:
        try:
            connection = await coming
        except ExchangeFailed as failure:
            self._task = None
            self._fail(failure)
            return
        except Exception:
            logger.exception("no connection to the upstream could be opened")
            self._task = None
            self._fail(GatewayFailed())
            return
        self._task = None
        if self._over:
            self._pool.give_back(connection)
            return
        self._send_on(connection)
        self.drained()

    def _send_on(self, connection: Pooled) -> None:
        answer = self._answer = Answer(to_head=self._request.to_head, upgrade=self._request.upgrade)
        self._connection = connection
        opening = self._opening
        if connection.place.host_line:
            # The second line of the head, in which nothing else can look like it.
            opening = opening.replace(self._pool.host_line, connection.place.host_line, 1)
        try:
            connection.begin(opening, answer, self)
        except ExchangeFailed as failure:
            self.failed(failure)
            return
        if not self._repeatable:
            self._opening = b""
        if self._unsent:
            connection.progress()
        if self._paused:
            connection.pause()

    def _release(self) -> None:
        """Let go of the connection: nothing more is to come from it."""
        self._over = True
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._unsent:
            connection.close()
        else:
            self._pool.give_back(connection)

    def _switch(self, answer: Answer) -> None:
        self._over = True
        self.answered = True
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.answered(connection.place)
            self._client.switch(answer, connection)

    def _fail(self, failure: ExchangeFailed) -> None:
        if not self._over:
            self._over = True
            self._client.fail(failure)

    def _hold(self) -> None:
        if self._unsent and not self._held:
            self._held = True
            self._client.hold_body()

    def _count(self, data: bytes, *, more: bool) -> None:
        if self._request.body is Body.LENGTH:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                raise BodyLengthMismatch

    def _framed(self, data: bytes, *, more: bool) -> list[bytes]:
        return [data] if self._request.body is Body.LENGTH else _chunk(data, more=more)


def _opening(request: Outgoing, first: bytes, *, more: bool) -> bytes:
    """The head with the first piece of the body."""
    head, body = request.head, request.body
    if body is Body.NONE:
        return head + b"\r\n"
    if body is Body.LENGTH:
        return b"%b\r\n%b" % (head, first)
    if body is Body.CHUNKED:
        return b"%b\r\n%b" % (head, b"".join(_chunk(first, more=more)))
    if more:
        return b"%btransfer-encoding: chunked\r\n\r\n%b" % (head, b"".join(_chunk(first, more=True)))
    if first:
        return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(first), first)
    return head + b"\r\n"


def _chunk(data: bytes, *, more: bool) -> list[bytes]:
    """`data` in the chunked coding (RFC 9112 section 7.1)."""
    pieces = [b"%x\r\n" % len(data), data, b"\r\n"] if data else []
    if not more:
        pieces.append(b"0\r\n\r\n")
    return pieces
