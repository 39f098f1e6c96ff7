"""The client's end of an exchange behind an ASGI server."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from scopegate.core.framing import Body
from scopegate.core.headers import end_to_end
from scopegate.proxy.exchange import Exchange
from scopegate.proxy.failures import ClientGone, ClientTooSlow, ExchangeFailed, UpstreamProtocolError

if TYPE_CHECKING:
    from scopegate.asgi import Message, Receive, Send
    from scopegate.core.headers import Field
    from scopegate.proxy.connection import Connection
    from scopegate.proxy.pool import Pool
    from scopegate.proxy.request import Outgoing
    from scopegate.proxy.response import Answer

# Reading the answer pauses when this many bytes of it wait for the client.
HIGH_WATER = 256 * 1024


class AsgiClient:
    """Carries one exchange between an ASGI server's `receive` and `send` and the upstream.

    Two flows meet here. `run` passes the answer on. `_follow`, a task, feeds what is left of the
    body and then waits for the client to go away, which is the only way to hear of it: most servers
    swallow what is sent to a client that has gone. A request whose body is at hand and that is
    answered at once needs no such task.
    """

    def __init__(
        self, request: Outgoing, receive: Receive, send: Send, *, pool: Pool, idle_timeout: float
    ) -> None:
        self._request = request
        self._receive = receive
        self._send = send
        self._idle_timeout = idle_timeout
        self._exchange = Exchange(request, self, pool)
        self._messages: deque[Message] = deque()
        self._queued = 0
        self._paused = False
        self._ended = False
        self._failure: Exception | None = None
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._moved = asyncio.Event()
        self._unsent = False
        self._follower: asyncio.Task[None] | None = None
        self.answered = False

    async def run(self) -> None:
        """Forward the request and pass the answer on.

        Raises an `ExchangeFailed`, or what `receive` or `send` raised. Once ``answered`` is true the
        head of the answer is out, and the only honest end of a failed exchange is an aborted one.
        """
        try:
            await self._start()
            while True:
                await self._moved.wait()
                self._moved.clear()
                await self._deliver()
                if self._failure is not None:
                    raise self._failure
                if self._ended:
                    return
        finally:
            if self._follower is not None:
                self._follower.cancel()
            self._exchange.cancel()

    async def _start(self) -> None:
        data, more = b"", False
        if self._request.body is not Body.NONE:
            # No connection is taken before, so clients that dawdle hold none.
            try:
                async with asyncio.timeout(self._idle_timeout):
                    data, more = await self._next_piece()
            except TimeoutError:
                raise ClientTooSlow from None
        self._unsent = more
        self._exchange.start(data, more=more)
        if more:
            self.lingers()

    async def _deliver(self) -> None:
        messages = self._messages
        while messages:
            message = messages.popleft()
            self.answered = True
            await self._send(message)
            self._queued -= len(message.get("body", b""))
        if self._paused and not self._ended:
            self._paused = False
            self._exchange.resume()

    # The client's side

    async def _next_piece(self) -> tuple[bytes, bool]:
        """What the client sends next, and whether there is more."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            # Also how a server reports a body that is cut short or malformed: never the end of it.
            raise ClientGone
        return message.get("body", b""), message.get("more_body", False)

    async def _follow(self) -> None:
        """Feed the rest of the body, then wait until the client is gone, which ends the exchange."""
        try:
            while self._unsent:
                await self._wanted.wait()
                data, more = await self._next_piece()
                self._unsent = more
                self._exchange.feed(data, more=more)
            await self._watch()
        except Exception as error:  # noqa: BLE001 - `run` raises it
            self._exchange.cancel()
            self._end_with(error)

    async def _watch(self) -> None:
        """Raise `ClientGone` when it is; what it may still send is dropped."""
        final_pieces = 0
        # One final piece is what a server says of a request without a body. A server that repeats it
        # would keep us busy for ever.
        while final_pieces < 2:  # noqa: PLR2004
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            final_pieces += not message.get("more_body", False)

    # What the exchange calls

    def interim(self, status: int, headers: list[Field]) -> None:
        """Dropped: ASGI has no interim answers."""

    def respond(self, answer: Answer, piece: bytes, *, last: bool) -> None:
        """Queue the head of the answer and what there is of its body."""
        self._messages.append(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": end_to_end(answer.headers),
            }
        )
        # A server may hold the head back until there is a piece of body. Where the upstream takes its
        # time with a stream of events, an empty piece gets the head out.
        if piece or last or answer.unmeasured:
            self.write(answer, piece, last=last)
        self._moved.set()

    def write(self, answer: Answer, piece: bytes, *, last: bool) -> None:  # noqa: ARG002 - of the protocol
        """Queue more of the body."""
        self._messages.append({"type": "http.response.body", "body": piece, "more_body": not last})
        self._queued += len(piece)
        self._ended = last
        if not last and not self._paused and self._queued > HIGH_WATER:
            self._paused = True
            self._exchange.pause()
        self._moved.set()

    def switch(self, answer: Answer, connection: Connection) -> None:  # noqa: ARG002 - of the protocol
        """Never asked for here."""
        connection.close()
        self._end_with(UpstreamProtocolError())

    def fail(self, failure: ExchangeFailed) -> None:
        """Give up."""
        self._end_with(failure)

    def hold_body(self) -> None:
        """Receive no more of the body for now."""
        self._wanted.clear()

    def want_body(self) -> None:
        """Receive on."""
        self._wanted.set()

    def lingers(self) -> None:
        """Watch the client from now on."""
        if self._follower is None:
            self._follower = asyncio.ensure_future(self._follow())

    def _end_with(self, failure: Exception) -> None:
        if self._failure is None and not self._ended:
            self._failure = failure
            self._moved.set()
