"""One WebSocket between a client behind its ASGI server and the upstream.

The upstream's handshake comes first: only when it has agreed is the client accepted, so that its
refusal is a refusal for the client too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, PayloadTooBig
from websockets.frames import EXTERNAL_CLOSE_CODES, CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from scopegate.core.headers import end_to_end
from scopegate.problems import send_problem
from scopegate.proxy.failures import UpstreamProtocolError, UpstreamTimeout, UpstreamUnreachable
from scopegate.proxy.request import handshake, is_websocket_field

if TYPE_CHECKING:
    from scopegate.asgi import Message, Receive, Scope, Send
    from scopegate.core.headers import Field
    from scopegate.problems import Problem
    from scopegate.proxy.origin import Origin
    from scopegate.proxy.timeouts import Timeouts

MAX_MESSAGE = 16 * 1024 * 1024
# Reading from the upstream pauses when more than this waits for the client.
HIGH_WATER = 256 * 1024
_MESSAGE_OVERHEAD = 128  # what an empty message costs
# How long the upstream has for its half of the closing handshake.
_CLOSING = 5.0
# How long a client that takes nothing more has to say why.
_LAST_WORD = 1.0

_DENIAL = "websocket.http.response"
_POLICY_VIOLATION = 1008
# Fields that the client's server writes into its own answer; one breaks on a second Date.
_THE_SERVERS = frozenset({b"content-length", b"date", b"server"})
_BODYLESS = frozenset({204, 304})
_FIRST_FINAL_STATUS = 200
_PRIVATE_CODES = range(3000, 5000)
_LONGEST_REASON = 123  # RFC 6455 section 5.5: a control frame has 125 bytes, of which the code takes 2
# The protocol object wants a URI for the request that it would write; ours is written elsewhere.
_URI = parse_uri("ws://upstream/")

End = tuple[int | None, str]

# 1014 would say it better, but some clients take a code that RFC 6455 does not have for an error.
_CONNECTION_LOST: End = CloseCode.INTERNAL_ERROR, "upstream connection lost"
_PROTOCOL_ERROR: End = CloseCode.INTERNAL_ERROR, "upstream protocol error"
_TOO_BIG: End = CloseCode.MESSAGE_TOO_BIG, "message too big"


async def relay(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    origin: Origin,
    timeouts: Timeouts,
    preserve_host: bool,
) -> None:
    """Serve one websocket scope; nothing of it is left when this returns.

    Raises an `ExchangeFailed` if the client has been told nothing yet, or what `receive` or `send`
    raised.
    """
    await receive()  # websocket.connect
    upstream = Upstream(scope.get("subprotocols") or None)
    request = handshake(scope, origin.authority, preserve_host=preserve_host, key=upstream.key)
    try:
        response = await upstream.open(request, origin, timeouts)
        fields = [
            field
            for field in end_to_end(
                [
                    (name.lower().encode("latin-1"), value.encode("latin-1"))
                    for name, value in response.headers.raw_items()
                ]
            )
            if field[0] not in _THE_SERVERS and not is_websocket_field(field[0])
        ]
        if upstream.is_open():
            try:
                await send(
                    {"type": "websocket.accept", "subprotocol": upstream.subprotocol, "headers": fields}
                )
            except OSError:
                return  # the client has left meanwhile
            await _Relay(upstream, receive, send).run()
        else:
            await _pass_refusal(scope, send, response, fields)
    finally:
        await upstream.abort()


async def refuse(scope: Scope, send: Send, problem: Problem, request_id: str) -> None:
    """Refuse the handshake, with `problem` where the server lets an application say so much."""
    if _DENIAL in scope.get("extensions", {}):
        await send_problem(send, problem, request_id, kind=_DENIAL)
    else:
        # The server turns a close before the handshake into 403 (ASGI: websocket.close).
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": problem.code})


async def _pass_refusal(scope: Scope, send: Send, response: Response, fields: list[Field]) -> None:
    if _DENIAL not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        return
    body = bytes(response.body)
    if response.status_code not in _BODYLESS:
        fields.append((b"content-length", b"%d" % len(body)))
    await send({"type": f"{_DENIAL}.start", "status": response.status_code, "headers": fields})
    await send({"type": f"{_DENIAL}.body", "body": body})


class _Relay:
    """Passes messages both ways until either side is gone, and then tells the other.

    `run` passes on what the upstream says, `_follow`, a task, what the client says.
    """

    def __init__(self, upstream: Upstream, receive: Receive, send: Send) -> None:
        self._upstream = upstream
        self._receive = receive
        self._send = send
        self._listening = asyncio.timeout(None)  # expires when the client's side has come to its end
        self._client_end: End | None = None
        self._too_big = False
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Raises what `receive` or `send` raised."""
        follower = asyncio.ensure_future(self._follow())
        try:
            try:
                async with self._listening:
                    await self._listen(follower)
            except TimeoutError:
                if not self._listening.expired():
                    raise
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
        if self._failure is not None:
            raise self._failure
        if self._too_big:
            await self._close_client(_TOO_BIG)
        elif self._client_end is None:
            await self._close_client(self._upstream.end or (CloseCode.GOING_AWAY, ""))
        await self._upstream.close(self._client_end or (CloseCode.GOING_AWAY, ""))

    async def _listen(self, follower: asyncio.Task[None]) -> None:
        while (message := await self._upstream.next_message()) is not None:
            try:
                await self._send(message)
            except OSError:
                # The client is gone (ASGI: websocket.send). It may have said why; `receive` knows.
                await asyncio.wait([follower], timeout=_LAST_WORD)
                self._client_end = self._client_end or (CloseCode.GOING_AWAY, "")
                return

    async def _close_client(self, end: End) -> None:
        code, reason = end
        message: Message = {"type": "websocket.close"}
        if code is not None:  # ASGI has no close without a code; the server's default is 1000
            message.update(code=int(code), reason=reason)
        with contextlib.suppress(OSError):  # it left at the same time
            await self._send(message)

    async def _follow(self) -> None:
        try:
            self._client_end = await self._pass_on()
        except Exception as error:  # noqa: BLE001 - `run` raises it
            self._failure = error
        self._listening.reschedule(asyncio.get_running_loop().time())

    async def _pass_on(self) -> End:
        """Send the upstream what the client says, until the client has come to its end."""
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return _client_end(message)
            data: bytes | None = message.get("bytes")
            text = data is None
            if data is None:
                data = message["text"].encode()
            if len(data) > MAX_MESSAGE:
                self._too_big = True
                return _TOO_BIG
            await self._upstream.write(data, text=text)


def _client_end(message: Message) -> End:
    """What the upstream is told of a client that has gone."""
    code: int = message.get("code") or CloseCode.NO_STATUS_RCVD
    if code == CloseCode.NO_STATUS_RCVD:
        return None, ""
    if code not in EXTERNAL_CLOSE_CODES and code not in _PRIVATE_CODES:
        return CloseCode.GOING_AWAY, ""  # 1006: it did not say goodbye
    reason: str = message.get("reason") or ""
    return code, reason.encode()[:_LONGEST_REASON].decode(errors="ignore")


class Upstream(asyncio.Protocol):
    """The connection to the upstream, in the part of a WebSocket client.

    ``end`` says how the upstream has ended the conversation, as the client is to hear it.
    """

    def __init__(self, subprotocols: list[str] | None) -> None:
        offered = [Subprotocol(subprotocol) for subprotocol in subprotocols] if subprotocols else None
        self._protocol = ClientProtocol(_URI, subprotocols=offered, max_size=MAX_MESSAGE)
        self._protocol.debug = False  # it would log what passes
        self._transport: asyncio.Transport | None = None
        self._lost: asyncio.Future[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._closing = False
        self._response: Response | None = None
        self._messages: deque[tuple[Message, int]] = deque()
        self._queued = 0
        self._partial = bytearray()  # of a message that comes in fragments
        self._partial_is_text = False
        self.end: End | None = None

    @property
    def key(self) -> bytes:
        """The Sec-WebSocket-Key of the handshake."""
        return self._protocol.key.encode("ascii")

    @property
    def subprotocol(self) -> str | None:
        """What the upstream has chosen."""
        return self._protocol.subprotocol

    def is_open(self) -> bool:
        """Whether the upstream has agreed to the handshake, even if it has closed since."""
        return self._protocol.handshake_exc is None and self._response is not None

    async def open(self, request: bytes, origin: Origin, timeouts: Timeouts) -> Response:
        """Connect and make the handshake; the answer may be a refusal. Raises an `ExchangeFailed`."""
        try:
            async with asyncio.timeout(timeouts.connect):
                await origin.connect(self)
        except TimeoutError:
            raise UpstreamTimeout from None
        except OSError:
            raise UpstreamUnreachable from None
        if self._transport is not None:
            self._transport.write(request)
        try:
            async with asyncio.timeout(timeouts.head):
                while self._response is None and self.end is None:
                    await self._wait()
        except TimeoutError:
            raise UpstreamTimeout from None
        if self._response is None:
            raise UpstreamProtocolError
        return self._response

    async def next_message(self) -> Message | None:
        """The next message as ASGI has it, or none: then ``end`` is set."""
        while not self._messages:
            if self.end is not None:
                return None
            self._resume()
            await self._wait()
        message, size = self._messages.popleft()
        self._queued -= size
        return message

    async def write(self, data: bytes, *, text: bool) -> None:
        """Send a message, as fast as the upstream takes it; what comes after its end is dropped."""
        if self._protocol.state is not State.OPEN:
            return
        if text:
            self._protocol.send_text(data)
        else:
            self._protocol.send_binary(data)
        self._flush()
        if self._drained is not None:
            await self._drained

    async def close(self, end: End) -> None:
        """Make the closing handshake, and return when the connection is closed, or soon after."""
        self._closing = True
        self._messages.clear()
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(*end)
            self._flush()
        self._resume()  # its half of the handshake comes after all that it has sent before
        if self._lost is not None:
            await asyncio.wait([self._lost], timeout=_CLOSING)

    async def abort(self) -> None:
        """Close without further ado; the transport is gone when this returns."""
        if self._transport is not None:
            self._transport.abort()
        if self._lost is not None:
            await asyncio.wait([self._lost])

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, TLS included."""
        self._transport = cast("asyncio.Transport", transport)
        self._lost = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Bytes of the handshake, then of frames."""
        protocol = self._protocol
        protocol.receive_data(data)
        self._take_events()
        # RFC 6455 section 5.5.3: of many pings only the last need be answered. While the upstream
        # does not read, none is, so that its pings cannot pile up our pongs.
        if self._drained is None or protocol.state is not State.OPEN:
            self._flush()
        else:
            protocol.data_to_send()
        if self._queued > HIGH_WATER and not self._paused and self.end is None:
            self._pause()
        self._wake()

    def eof_received(self) -> None:
        """The upstream has closed its side; the transport closes ours."""
        self._protocol.receive_eof()
        self._take_events()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - its kind does not matter
        """Closed, by whichever side."""
        self._transport = None
        if self.end is None:
            self.end = _CONNECTION_LOST
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)
        self._wake()
        self._wake_writer()

    def pause_writing(self) -> None:
        """The upstream takes messages more slowly than they come."""
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """The upstream has caught up."""
        self._wake_writer()

    # What comes in

    def _take_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._take_response(event)
            elif isinstance(event, Frame) and not self._closing and self.end is None:
                self._take_frame(event)
        protocol = self._protocol
        if self.end is not None:
            return
        if self._response is None and protocol.handshake_exc is not None:
            if isinstance(protocol.handshake_exc, InvalidStatus):
                self._take_response(protocol.handshake_exc.response)
            self.end = _PROTOCOL_ERROR
        elif isinstance(protocol.parser_exc, PayloadTooBig):
            self.end = _TOO_BIG
        elif isinstance(protocol.parser_exc, EOFError):
            self.end = _CONNECTION_LOST
        elif protocol.parser_exc is not None:
            self.end = _PROTOCOL_ERROR

    def _take_response(self, response: Response) -> None:
        refusal = self._protocol.handshake_exc
        if refusal is None or (
            isinstance(refusal, InvalidStatus) and response.status_code >= _FIRST_FINAL_STATUS
        ):
            self._response = response

    def _take_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.CLOSE:
            close = self._protocol.close_rcvd
            if close is not None and close.code != CloseCode.NO_STATUS_RCVD:
                self.end = close.code, close.reason
            else:
                self.end = None, ""
            return
        if opcode not in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
            return
        if opcode is not Opcode.CONT:
            self._partial_is_text = opcode is Opcode.TEXT
        data = bytes(frame.data)
        if not frame.fin or self._partial:
            self._partial += data
            if not frame.fin:
                return
            data = bytes(self._partial)
            self._partial = bytearray()
        message: Message = {"type": "websocket.send"}
        if self._partial_is_text:
            try:
                message["text"] = data.decode()
            except UnicodeDecodeError:
                self.end = _PROTOCOL_ERROR
                self._protocol.fail(CloseCode.INVALID_DATA)
                return
        else:
            message["bytes"] = data
        size = len(data) + _MESSAGE_OVERHEAD
        self._queued += size
        self._messages.append((message, size))

    # Flow

    def _flush(self) -> None:
        pieces = [piece for piece in self._protocol.data_to_send() if piece]
        if pieces and self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(pieces)

    def _pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._paused = True

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _wake_writer(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
