"""ReverseProxy under real servers, with the client's side of the wire looked at byte by byte."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from asgi.servers import proxy_served_by
from asgi.upstreams import Peer, ok, replies, upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SERVERS = {
    "granian": ("granian --interface asgi --http 1 --loop uvloop --no-ws --port", "Started worker"),
    "uvicorn-httptools": ("uvicorn --http httptools --loop uvloop --port", "Uvicorn running"),
    "uvicorn-h11": ("uvicorn --http h11 --loop asyncio --port", "Uvicorn running"),
}


@dataclass(frozen=True)
class Served:
    """A server that runs the proxy."""

    name: str
    port: int
    socket_path: str

    @asynccontextmanager
    async def connected(
        self, request: bytes
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            yield reader, writer
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def exchange(self, request: bytes) -> bytes:
        """All that comes back until the server closes the connection."""
        async with self.connected(request) as (reader, _):
            return await reader.read()


@pytest.fixture(scope="module", params=SERVERS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    command, ready = SERVERS[request.param]
    with proxy_served_by(command, ready, tmp_path_factory.mktemp("served")) as (port, socket_path):
        yield Served(request.param, port, socket_path)


def get(target: bytes = b"/", method: bytes = b"GET", *, close: bool = True) -> bytes:
    return (
        method
        + b" "
        + target
        + b" HTTP/1.1\r\nHost: api.example\r\n"
        + (b"Connection: close\r\n" if close else b"")
        + b"\r\n"
    )


def parts(raw: bytes) -> tuple[bytes, bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    return head.lower(), body


async def test_a_request_passes_byte_for_byte(served: Served) -> None:
    answer = ok(b"fine", b"Set-Cookie: b", b"X-L: caf\xe9", b"Set-Cookie: a")
    async with upstream(replies(answer), socket_path=served.socket_path) as up:
        head, body = parts(await served.exchange(get(b"/a%2e%2e//b;c?x=%zz&y")))
        assert up.requests[0].split(b"\r\n")[0] == b"GET /a%2e%2e//b;c?x=%zz&y HTTP/1.1"
        assert b"\r\nhost: api.example\r\n" in up.requests[0]
        assert b"\r\nx-forwarded-for: 127.0.0.1\r\n" in up.requests[0]
        assert head.startswith(b"http/1.1 200 ")
        assert head.index(b"set-cookie: b") < head.index(b"set-cookie: a")
        assert b"x-l: caf\xe9" in head
        assert body == b"fine"


@pytest.mark.parametrize(
    ("method", "answer", "body"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", b"hi"),
    ],
)
async def test_every_framing_leaves_the_clients_connection_usable(
    served: Served, method: bytes, answer: bytes, body: bytes
) -> None:
    async with upstream(replies(answer, ok(b"next")), socket_path=served.socket_path):
        raw = await served.exchange(get(method=method, close=False) + get())
        first, second = raw[: raw.rindex(b"HTTP/1.1 ")], raw[raw.rindex(b"HTTP/1.1 ") :]
        assert first.split(b" ")[1] == answer.split(b" ")[1]
        assert parts(first)[1] in {body, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)}
        assert parts(second)[1] == b"next"


@pytest.mark.parametrize("framing", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("end", ["close", "reset", "garbage"])
async def test_a_truncated_answer_is_cut_off(served: Served, framing: bytes, end: str) -> None:
    chunked = b"chunked" in framing
    go = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + (b"4\r\nhalf\r\n" if chunked else b"half")
        )
        await go.wait()
        if end == "reset":
            peer.reset()
        elif end == "garbage" and chunked:
            await peer.send(b"zz\r\n")

    async with (
        upstream(handler, socket_path=served.socket_path),
        served.connected(get(close=False)) as (reader, _),
    ):
        raw = await reader.readuntil(b"half")
        go.set()
        raw += await reader.read()
        head, body = parts(raw)
        if chunked:
            assert b"transfer-encoding: chunked" in head
            assert body == b"4\r\nhalf\r\n", "no last chunk"
        else:
            assert b"content-length: 10" in head
            assert body == b"half"


async def test_an_answer_without_a_head_is_a_502(served: Served) -> None:
    async with upstream(replies(b"garbage\r\n", then_close=True), socket_path=served.socket_path):
        head, body = parts(await served.exchange(get()))
        assert head.startswith(b"http/1.1 502 ")
        assert b'"code": "upstream_protocol_error"' in body


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_client_that_leaves_while_it_waits_ends_the_exchange(served: Served, method: bytes) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.closed()
        closed.set()

    async with upstream(handler, socket_path=served.socket_path):
        request = get(method=method)
        if method == b"POST":
            request = request[:-2] + b"Content-Length: 2\r\n\r\nhi"
        async with served.connected(request):
            await asked.wait()
        await closed.wait()


async def test_a_client_that_leaves_in_the_answer_ends_the_exchange(served: Served) -> None:
    closed = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await peer.closed()
        closed.set()

    async with upstream(handler, socket_path=served.socket_path):
        async with served.connected(get()) as (reader, _):
            await reader.readuntil(b"half")
        await closed.wait()


@pytest.mark.parametrize(
    ("field", "half", "end"),
    [
        (b"Content-Length: 10", b"half", b""),
        (b"Transfer-Encoding: chunked", b"4\r\nhalf\r\n", b""),
        (b"Transfer-Encoding: chunked", b"4\r\nhalf\r\n", b"broken chunk\r\n"),
    ],
)
async def test_a_body_that_is_cut_short_or_broken_is_never_passed_on_as_whole(
    served: Served, field: bytes, half: bytes, end: bytes
) -> None:
    asked = asyncio.Event()
    rest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def handler(peer: Peer) -> None:
        await peer.head()
        asked.set()
        rest.set_result(await peer.reader.read())

    async with upstream(handler, socket_path=served.socket_path):
        async with served.connected(get(method=b"POST")[:-2] + field + b"\r\n\r\n" + half) as (
            reader,
            writer,
        ):
            await asked.wait()
            if end:
                writer.write(end)
                assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        assert half.startswith(await rest), "no last chunk"


async def test_expect_is_answered_by_the_server(served: Served) -> None:
    async with upstream(replies(ok(b"fine")), socket_path=served.socket_path) as up:
        request = get(method=b"PUT")[:-2] + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        async with served.connected(request) as (reader, writer):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(b"hi")
            assert (await reader.read()).endswith(b"fine")
        assert b"expect" not in up.requests[0]


async def test_the_head_of_a_slow_stream_is_not_held_back(served: Served) -> None:
    go = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await go.wait()
        await peer.send(b"2\r\nhi\r\n0\r\n\r\n")

    async with upstream(handler, socket_path=served.socket_path), served.connected(get()) as (reader, _):
        head = await reader.readuntil(b"\r\n\r\n")
        go.set()
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await reader.read() == b"2\r\nhi\r\n0\r\n\r\n"


async def test_large_bodies_pass_both_ways_at_once(served: Served) -> None:
    size = 8 * 1024 * 1024

    async def handler(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        left = size
        while left:
            piece = await peer.reader.read(65536)
            left -= len(piece)
            await peer.send(piece)

    async with upstream(handler, socket_path=served.socket_path):
        body = os.urandom(65536) * (size // 65536)
        request = get(method=b"POST")[:-2] + b"Content-Length: %d\r\n\r\n" % size
        async with served.connected(request) as (reader, writer):

            async def upload() -> None:
                writer.write(body)
                await writer.drain()

            raw, _ = await asyncio.gather(reader.read(), upload())
        assert parts(raw)[1] == body


async def test_a_client_that_does_not_read_stops_the_upstream(served: Served) -> None:
    """Nothing between the two buffers an answer whole, and the client gets all of it in the end."""
    size = 64 * 1024 * 1024
    written = 0
    stuck = asyncio.Event()

    async def handler(peer: Peer) -> None:
        nonlocal written
        await peer.request()
        peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while written < size:
            peer.writer.write(b"x" * 65536)
            written += 65536
            try:
                async with asyncio.timeout(0.5):
                    await peer.writer.drain()
            except TimeoutError:
                stuck.set()
                await peer.writer.drain()

    async with upstream(handler, socket_path=served.socket_path), served.connected(get()) as (reader, _):
        await stuck.wait()
        assert written < size // 2
        await reader.readuntil(b"\r\n\r\n")
        read = 0
        while piece := await reader.read(1 << 20):
            read += len(piece)
        assert read == size
