"""The two ends between which a proxy is tested: a scripted upstream and an ASGI server's calls.

Both are real as far as the proxy can tell: the upstream is a socket that answers exact bytes, and
the caller is an ASGI server made by hand.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable

    from scopegate.asgi import ASGIApp, Message

Fields = list[tuple[bytes, bytes]]


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on asyncio's own loop and on uvloop."""

    @functools.wraps(test)
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **arguments: object) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test(**arguments))

    inner = inspect.signature(test)
    new_loop = inspect.Parameter("new_loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inner.replace(  # type: ignore[attr-defined] # what pytest reads
        parameters=[new_loop, *inner.parameters.values()]
    )
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    marked: Callable[..., None] = pytest.mark.parametrize("new_loop", loops, ids=["asyncio", "uvloop"])(run)
    return marked


class Peer:
    """The upstream's end of one connection."""

    def __init__(
        self, upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.upstream = upstream
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """The head of the next request, exactly as sent."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> bytes:
        """The next request, exactly as sent; it is recorded."""
        raw = await self.head()
        fields = dict(line.split(b": ", 1) for line in raw.split(b"\r\n")[1:-2])
        if b"content-length" in fields:
            raw += await self.reader.readexactly(int(fields[b"content-length"]))
        elif b"transfer-encoding" in fields:
            while not raw.endswith(b"0\r\n\r\n"):
                raw += await self.reader.readuntil(b"\r\n")
        self.upstream.requests.append(raw)
        return raw

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Close without saying goodbye."""
        self.writer.transport.abort()

    async def closed(self) -> None:
        """Return when the proxy has closed the connection; what it still sent is dropped."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass


class Upstream:
    """A listening upstream, with what has reached it."""

    def __init__(self) -> None:
        self.url = ""
        self.port = 0
        self.requests: list[bytes] = []
        self.connections = 0

    @property
    def targets(self) -> list[bytes]:
        return [request.split(b" ")[1] for request in self.requests]


@asynccontextmanager
async def upstream(
    handler: Callable[[Peer], Awaitable[None]], *, socket_path: str = "", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Upstream]:
    """An upstream whose every connection is handled by `handler`, whose failures fail the test."""
    served = Upstream()
    tasks: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.connections += 1
        try:
            await handler(Peer(served, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the proxy has closed the connection
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.ensure_future(handle(reader, writer)))

    if socket_path:
        server = await asyncio.start_unix_server(accept, socket_path)
        served.url = f"unix:{socket_path}"
    else:
        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
        served.port = server.sockets[0].getsockname()[1]
        served.url = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{served.port}"
    try:
        yield served
    finally:
        server.close()
        for task in tasks:
            if not task.done():
                task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(3):  # let the transports go
            await asyncio.sleep(0)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


def replies(
    *answers: bytes | tuple[bytes, ...], then_close: bool = False
) -> Callable[[Peer], Awaitable[None]]:
    """A handler that gives `answers` in turn, over however many connections, the last one for ever."""
    left = list(answers)

    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            answer = left.pop(0) if len(left) > 1 else left[0]
            await peer.send(*([answer] if isinstance(answer, bytes) else answer))
            if then_close:
                return

    return handler


def ok(body: bytes = b"ok", *fields: bytes) -> bytes:
    """A plain answer with `body`."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Visit:
    """One request as an ASGI server puts it to an application, and what came of it."""

    def __init__(
        self,
        method: str = "GET",
        target: bytes = b"/",
        headers: Iterable[tuple[bytes, bytes]] = ((b"host", b"api.example"),),
        body: Iterable[bytes] | None = (),
        **scope: object,
    ) -> None:
        path, _, query = target.partition(b"?")
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(headers),
            "client": ("192.0.2.7", 4711),
            "server": ("127.0.0.1", 80),
            **scope,
        }
        self.sent: list[Message] = []
        self.received = 0
        self.reads_allowed = asyncio.Event()  # whether the client takes what it is sent
        self.reads_allowed.set()
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._moved = asyncio.Event()
        if body is not None:
            pieces = list(body) or [b""]
            for number, piece in enumerate(pieces, 1):
                self.upload(piece, more=number < len(pieces))

    def upload(self, piece: bytes, *, more: bool = True) -> None:
        self._incoming.put_nowait({"type": "http.request", "body": piece, "more_body": more})

    def leave(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        message = await self._incoming.get()
        self.received += 1
        self._moved.set()
        return message

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self._moved.set()
        await self.reads_allowed.wait()

    async def until(self, condition: Callable[[Visit], bool]) -> None:
        """Return when what was sent and received meets `condition`."""
        while not condition(self):
            self._moved.clear()
            await self._moved.wait()

    async def to(self, app: ASGIApp) -> Visit:
        """Make the request, and return when `app` is done with it."""
        await app(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> Fields:
        return list(self.sent[0]["headers"])

    @property
    def pieces(self) -> list[bytes]:
        return [message.get("body", b"") for message in self.sent[1:]]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def started(self) -> bool:
        return bool(self.sent)

    @property
    def complete(self) -> bool:
        return len(self.sent) > 1 and not self.sent[-1].get("more_body", False)
