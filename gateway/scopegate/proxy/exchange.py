"""One request on its way to the upstream, and the answer on its way back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scopegate.core.headers import end_to_end
from scopegate.proxy.failures import BodyLengthMismatch, ClientGone, ClientTooSlow, UpstreamClosed
from scopegate.proxy.request import Body
from scopegate.proxy.response import Answer

if TYPE_CHECKING:
    from scopegate.asgi import Receive, Send
    from scopegate.proxy.connection import Connection
    from scopegate.proxy.pool import Pool
    from scopegate.proxy.request import Outgoing
    from scopegate.proxy.timeouts import Timeouts

_FIRST_ERROR = 400


class Exchange:
    """Forwards one request.

    Two flows meet here. `run` sends the request, waits for the answer and passes it on. `_follow`,
    a task, sends what is left of the body and then waits for the client to go away, which is the
    only way to hear of it: most servers swallow what is sent to a client that has gone. A request
    whose body is at hand and that is answered at once needs neither the task nor a timer; the task
    of any other is started by the pool's sweep.
    """

    __slots__ = (
        "_connection",
        "_follower",
        "_left",
        "_pool",
        "_receive",
        "_refused",
        "_request",
        "_send",
        "_timeouts",
        "_unsent",
        "answered",
    )

    def __init__(
        self, request: Outgoing, receive: Receive, send: Send, *, pool: Pool, timeouts: Timeouts
    ) -> None:
        self._request = request
        self._receive = receive
        self._send = send
        self._pool = pool
        self._timeouts = timeouts
        self._connection: Connection | None = None
        self._follower: asyncio.Task[None] | None = None
        self._left = request.length  # bytes of the body that are still to come
        self._unsent = False
        self._refused = False  # the answer is an error, so the rest of the body is not wanted
        self.answered = False

    async def run(self) -> None:
        """Forward the request and pass the answer on.

        Raises an `ExchangeFailed`, or what `receive` or `send` raised. Once ``answered`` is true the
        head of the answer is out, and the only honest end of a failed exchange is an aborted one.
        """
        try:
            answer = await self._ask()
            await self._deliver(answer)
        finally:
            if self._follower is not None:
                self._follower.cancel()
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    async def _ask(self) -> Answer:
        """Send the request, or as much of it as is at hand; return the answer when its head is in."""
        request = self._request
        first = request.head + b"\r\n" if request.body is Body.NONE else await self._begin_body()
        connection = self._pool.take() or await self._pool.obtain()
        while True:
            answer = Answer(to_head=request.to_head)
            self._connection = connection
            connection.begin(first, answer, self._start_following)
            if self._unsent:
                connection.progress()
                self._start_following()
            try:
                while not answer.head_complete:
                    await connection.wait()
            except UpstreamClosed:
                # RFC 9110 section 9.2.2: the upstream may have closed an idle connection just as the
                # request went out. Only an idempotent one may be repeated without asking, and ours
                # only if nothing of its body has been taken from the client.
                repeatable = request.idempotent and request.body is Body.NONE
                if answer.started or not connection.reused or not repeatable:
                    raise
                self._connection = None
                connection = await self._pool.replace()
            else:
                return answer

    async def _deliver(self, answer: Answer) -> None:
        """Pass the answer on, piece by piece as it comes."""
        # Spare an upstream that refuses the request the rest of the body. After any other status the
        # body goes on, as an upstream may well answer while it reads.
        self._refused = answer.status >= _FIRST_ERROR
        start = {
            "type": "http.response.start",
            "status": answer.status,
            "headers": end_to_end(answer.headers),
        }
        connection = self._connection
        # A server may hold the head back until there is a piece of body. Where the upstream takes its
        # time with a stream of events, an empty piece gets the head out.
        flush = answer.unmeasured
        while True:
            piece = answer.take()
            last = answer.complete and not answer.queued
            if last:
                self._release()
            if not self.answered:
                self.answered = True
                await self._send(start)
            if piece or last or flush:
                await self._send({"type": "http.response.body", "body": piece, "more_body": not last})
                flush = False
            if last or connection is None:
                return
            connection.progress()
            if not answer.queued:
                await connection.wait()

    def _release(self) -> None:
        """Let go of the connection: nothing more is to come from it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._unsent:
            connection.close()
        else:
            self._pool.give_back(connection)

    # The client's side

    async def _begin_body(self) -> bytes:
        """The head with the first piece of the body; a short body is complete with that.

        No connection is taken before, so clients that dawdle hold none.
        """
        try:
            async with asyncio.timeout(self._timeouts.idle):
                data, more = await self._next_piece()
        except TimeoutError:
            raise ClientTooSlow from None
        self._unsent = more
        head, body = self._request.head, self._request.body
        if body is Body.LENGTH:
            return b"%b\r\n%b" % (head, data)
        if body is Body.CHUNKED:
            return b"%b\r\n%b" % (head, b"".join(_chunk(data, more=more)))
        if more:
            return b"%btransfer-encoding: chunked\r\n\r\n%b" % (head, b"".join(_chunk(data, more=True)))
        if data:
            return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(data), data)
        return head + b"\r\n"

    async def _next_piece(self) -> tuple[bytes, bool]:
        """What the client sends next, and whether there is more."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            # Also how a server reports a body that is cut short or malformed: never the end of it.
            raise ClientGone
        data: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        if self._request.body is Body.LENGTH:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                raise BodyLengthMismatch
        return data, more

    def _start_following(self) -> None:
        if self._follower is None and self._connection is not None:
            self._follower = asyncio.ensure_future(self._follow(self._connection))

    async def _follow(self, connection: Connection) -> None:
        """Send the rest of the body, then wait until the client is gone, which ends the exchange."""
        try:
            if self._unsent:
                await self._send_rest(connection)
            await self._watch_client()
        except Exception as error:  # noqa: BLE001 - `run` raises it
            # The connection may serve another exchange by now; then it is none of our business.
            if self._connection is connection:
                connection.abort(error)

    async def _send_rest(self, connection: Connection) -> None:
        """Send what the client sends, until its last piece or until the upstream refuses the request."""
        more = True
        while more:
            connection.awaiting_client = True
            data, more = await self._next_piece()
            connection.awaiting_client = False
            if self._refused:
                return
            connection.progress()
            await connection.write([data] if self._request.body is Body.LENGTH else _chunk(data, more=more))
        self._unsent = False
        connection.request_sent()

    async def _watch_client(self) -> None:
        """Raise `ClientGone` when it is; what it may still send is dropped."""
        final_pieces = 0
        # One final piece is what a server says of a request without a body. A server that repeats it
        # would keep us busy for ever.
        while final_pieces < 2:  # noqa: PLR2004
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            final_pieces += not message.get("more_body", False)


def _chunk(data: bytes, *, more: bool) -> list[bytes]:
    """`data` in the chunked coding (RFC 9112 section 7.1)."""
    pieces = [b"%x\r\n" % len(data), data, b"\r\n"] if data else []
    if not more:
        pieces.append(b"0\r\n\r\n")
    return pieces
