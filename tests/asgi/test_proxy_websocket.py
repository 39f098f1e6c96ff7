"""WebSockets through ReverseProxy: under real servers, and between a hand-made one and raw bytes."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, unix_serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol
from websockets.utils import accept_key

from asgi.servers import proxy_served_by
from asgi.upstreams import Peer, Visit, ok, on_both_loops, replies, upstream
from scopegate import AuthorizationMiddleware
from scopegate.commands import Commands
from scopegate.core.keys import KeyType, Rule
from scopegate.proxy import ReverseProxy, Timeouts
from scopegate.proxy.failures import RequestNotForwardable
from scopegate.proxy.request import handshake
from scopegate.proxy.websocket import HIGH_WATER, MAX_MESSAGE, Upstream
from scopegate.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from websockets.http11 import Request, Response

    from scopegate.asgi import ASGIApp

SERVERS = {
    "granian": ("granian --interface asgi --http 1 --loop uvloop --port", "Started worker"),
    "uvicorn-websockets": (
        "uvicorn --no-proxy-headers --ws websockets --loop uvloop --port",
        "Uvicorn running",
    ),
    "uvicorn-sansio": (
        "uvicorn --no-proxy-headers --ws websockets-sansio --loop asyncio --port",
        "Uvicorn running",
    ),
}
MIB = 1024 * 1024


@dataclass(frozen=True)
class Served:
    """A server that runs the proxy."""

    name: str
    port: int
    socket_path: str

    def connect(self, target: str = "/", **options: Any) -> connect:
        options = {"proxy": None, "max_size": 2 * MIB, **options}
        return connect(f"ws://127.0.0.1:{self.port}{target}", **options)

    @asynccontextmanager
    async def upstream(
        self, handler: Callable[[ServerConnection], Awaitable[None]], **options: Any
    ) -> AsyncIterator[list[ServerConnection]]:
        """An upstream behind the proxy, with the connections that it has had; no handler outlives it."""
        connections: list[ServerConnection] = []

        async def handle(connection: ServerConnection) -> None:
            connections.append(connection)
            await handler(connection)

        async with unix_serve(handle, self.socket_path, **{"max_size": 2 * MAX_MESSAGE, **options}):
            yield connections


@pytest.fixture(scope="module", params=SERVERS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    command, ready = SERVERS[request.param]
    with proxy_served_by(command, ready, tmp_path_factory.mktemp("served")) as (port, socket_path):
        yield Served(request.param, port, socket_path)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def until_closed(connection: ServerConnection | ClientConnection) -> tuple[int, str]:
    """The close that the other side has sent; 1006 if there was none."""
    with suppress(ConnectionClosed):
        async for _ in connection:
            pass
    return connection.close_code or 0, connection.close_reason or ""


# Under real servers


@pytest.mark.parametrize(
    "message",
    ["text", "", b"bytes \x00\xff", b"", "gr\u00fc\u00dfe \U0001f600", b"x" * MIB, "y" * MIB],
    ids=["text", "empty-text", "binary", "empty-binary", "utf-8", "1MiB-binary", "1MiB-text"],
)
async def test_a_message_passes_both_ways(served: Served, message: str | bytes) -> None:
    async with served.upstream(echo), served.connect() as client:
        await client.send(message)
        assert await client.recv() == message


async def test_many_messages_pass_in_order_both_ways_at_once(served: Served) -> None:
    count = 2_000

    async def handler(connection: ServerConnection) -> None:
        async def count_down() -> None:
            for number in range(count):
                await connection.send(f"down {number}")

        async def collect() -> None:
            for number in range(count):
                assert await connection.recv() == f"up {number}"

        await asyncio.gather(count_down(), collect())
        await connection.send("all")

    async def count_up(client: ClientConnection) -> None:
        for number in range(count):
            await client.send(f"up {number}")

    async with served.upstream(handler), served.connect() as client:
        uploading = asyncio.ensure_future(count_up(client))
        assert [await client.recv() for _ in range(count)] == [f"down {number}" for number in range(count)]
        assert await client.recv() == "all"
        await uploading


async def test_a_fragmented_message_arrives_whole(served: Served) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send(["fra", "", "gmen", "ted \u00fc"])
        await connection.send([b"1", b"2"])
        assert await connection.recv() == b"abc"

    async with served.upstream(handler), served.connect() as client:
        assert [await client.recv(), await client.recv()] == ["fragmented \u00fc", b"12"]
        await client.send([b"a", b"b", b"c"])
        assert await until_closed(client) == (1000, "")


async def test_a_message_from_the_upstream_that_is_too_big_closes_both_sides(served: Served) -> None:
    closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    async def handler(connection: ServerConnection) -> None:
        await connection.send(b"x" * (MAX_MESSAGE + MIB))
        closed.set_result(await until_closed(connection))

    async with served.upstream(handler, close_timeout=1), served.connect() as client:
        assert await until_closed(client) == (1009, "message too big")
        assert (await closed)[0] == 1009


async def test_a_message_from_the_client_that_is_too_big_closes_both_sides(served: Served) -> None:
    closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    async def handler(connection: ServerConnection) -> None:
        closed.set_result(await until_closed(connection))

    async with served.upstream(handler), served.connect() as client:
        with suppress(ConnectionClosed):
            await client.send([b"x" * MIB] * 17)
        assert (await until_closed(client))[0] == 1009
        # One server refuses the message itself, and says no more than that the client has gone.
        assert (await closed)[0] == (1001 if served.name == "uvicorn-websockets" else 1009)


@pytest.mark.parametrize(("supported", "chosen"), [(["b", "c"], "b"), (["z"], None), ([], None)])
async def test_the_upstream_chooses_the_subprotocol(
    served: Served, supported: list[str], chosen: str | None
) -> None:
    def select(connection: ServerConnection, offered: Any) -> Subprotocol | None:
        assert list(offered) == ["a", "b"]
        return next((name for name in offered if name in supported), None)

    async with (
        served.upstream(echo, subprotocols=[Subprotocol("b")], select_subprotocol=select),
        served.connect(subprotocols=["a", "b"]) as client,
    ):
        assert client.subprotocol == chosen


@pytest.mark.parametrize(
    ("code", "reason", "seen"),
    [(1000, "", (1000, "")), (4000, "b\u00fce", (4000, "b\u00fce")), (1001, "x", (1001, "x"))],
)
async def test_the_upstreams_close_reaches_the_client(
    served: Served, code: int, reason: str, seen: tuple[int, str]
) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send("last")
        await connection.close(code, reason)

    async with served.upstream(handler), served.connect() as client:
        assert await client.recv() == "last"
        assert await until_closed(client) == seen


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4000, "b\u00fce"), (3999, "x" * 123)])
async def test_the_clients_close_reaches_the_upstream(served: Served, code: int, reason: str) -> None:
    closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    async def handler(connection: ServerConnection) -> None:
        closed.set_result(await until_closed(connection))

    async with served.upstream(handler), served.connect() as client:
        await client.send("last")
        await client.close(code, reason)
        # Granian does not tell the application the reason.
        assert await closed == (code, "" if served.name == "granian" else reason)


async def test_a_close_without_a_code_from_the_client(served: Served) -> None:
    closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    async def handler(connection: ServerConnection) -> None:
        closed.set_result(await until_closed(connection))

    async with served.upstream(handler), served.connect() as client:
        client.protocol.send_close()
        client.send_data()
        assert await closed == (1005, "")


async def test_a_close_without_a_code_from_the_upstream(served: Served) -> None:
    async def handler(connection: ServerConnection) -> None:
        connection.protocol.send_close()
        connection.send_data()
        await connection.wait_closed()

    async with served.upstream(handler), served.connect() as client:
        assert await until_closed(client) == (1000, ""), "ASGI knows no close without a code"


async def test_a_ping_from_the_upstream_is_answered(served: Served) -> None:
    async def handler(connection: ServerConnection) -> None:
        await (await connection.ping(b"there?"))
        await connection.send("it answers")

    async with served.upstream(handler), served.connect() as client:
        assert await client.recv() == "it answers"


async def test_the_upstream_refuses(served: Served) -> None:
    def deny(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(HTTPStatus.UNAUTHORIZED, "not you")
        response.headers["X-Why"] = "because"
        return response

    async with served.upstream(echo, process_request=deny):
        with pytest.raises(InvalidStatus) as refused:
            await served.connect()
    response = refused.value.response
    assert (response.status_code, bytes(response.body)) == (401, b"not you")
    assert response.headers["x-why"] == "because"
    assert response.headers.get_all("content-length") == ["7"]


async def test_the_upstream_is_not_there(served: Served) -> None:
    async with served.upstream(echo):
        pass
    with pytest.raises(InvalidStatus) as refused:
        await served.connect()
    response = refused.value.response
    assert response.status_code == 502
    assert json.loads(response.body)["code"] == "upstream_unreachable"


async def test_the_handshake_passes_byte_for_byte(served: Served) -> None:
    def answer(connection: ServerConnection, request: Request, response: Response) -> None:
        response.headers["Set-Cookie"] = "a=1"
        response.headers["Set-Cookie"] = "b=2"
        response.headers["Connection"] = "x-hop"
        response.headers["X-Hop"] = "1"

    async with (
        served.upstream(echo, process_response=answer) as connections,
        served.connect(
            "/a%2e%2e//b;c?x=%zz&y",
            origin="https://app.example",
            additional_headers={"X-Scopegate-User": "maria", "X-Forwarded-For": "6.6.6.6"},
        ) as client,
    ):
        assert client.response is not None
        if served.name != "granian":  # it drops what an application adds to the handshake
            assert client.response.headers.get_all("set-cookie") == ["a=1", "b=2"]
        assert "x-hop" not in client.response.headers
        assert len(client.response.headers.get_all("sec-websocket-accept")) == 1
        request = connections[0].request
        assert request is not None
        assert request.path == "/a%2e%2e//b;c?x=%zz&y"
        fields = request.headers
        assert fields["host"] == f"127.0.0.1:{served.port}"
        assert fields["origin"] == "https://app.example"
        assert fields["x-scopegate-user"] == "maria"
        assert fields["x-forwarded-for"] == "127.0.0.1"
        assert fields["x-forwarded-proto"] == "http"
        assert fields["via"] == "1.1 scopegate"
        assert "sec-websocket-extensions" not in fields
        assert len(fields.get_all("sec-websocket-key")) == 1


async def test_a_client_that_vanishes_closes_the_upstream(served: Served) -> None:
    closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    async def handler(connection: ServerConnection) -> None:
        await connection.send("hello")
        closed.set_result(await until_closed(connection))

    async with served.upstream(handler), served.connect() as client:
        await client.recv()
        client.transport.abort()
        # Only one server tells the application this from a close without a code.
        assert (await closed)[0] == (1001 if served.name == "uvicorn-websockets" else 1005)


async def test_an_upstream_that_vanishes_closes_the_client(served: Served) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send("hello")
        connection.transport.abort()

    async with served.upstream(handler), served.connect() as client:
        assert await client.recv() == "hello"
        assert await until_closed(client) == (1011, "upstream connection lost")


async def test_a_client_that_does_not_read_stops_the_upstream(served: Served) -> None:
    count, sent = 64, 0
    stuck = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        nonlocal sent
        while sent < count:
            sending = asyncio.ensure_future(connection.send(bytes([sent]) * MIB))
            sent += 1
            _, late = await asyncio.wait([sending], timeout=0.5)
            if late:
                stuck.set()
                await sending

    async with (
        served.upstream(handler, ping_interval=None),
        served.connect(max_queue=1, ping_interval=None, compression=None) as client,
    ):
        await stuck.wait()
        assert sent < count // 2
        for number in range(count):
            assert await client.recv() == bytes([number]) * MIB


async def test_an_upstream_that_does_not_read_stops_the_client(served: Served) -> None:
    count, sent = 128, 0  # one server queues 32 messages
    read = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        await read.wait()
        for number in range(count):
            assert await connection.recv() == bytes([number]) * MIB
        await connection.send("all")

    async with (
        served.upstream(handler, max_queue=1, ping_interval=None),
        served.connect(ping_interval=None, compression=None) as client,
    ):
        while sent < count:
            sending = asyncio.ensure_future(client.send(bytes([sent]) * MIB))
            sent += 1
            _, late = await asyncio.wait([sending], timeout=0.5)
            if late:
                read.set()
                await sending
                break
        assert sent < count // 2
        for number in range(sent, count):
            await client.send(bytes([number]) * MIB)
        assert await client.recv() == "all"


async def test_a_key_opens_a_websocket_and_its_owner_is_named_to_the_upstream(valkey_url: str) -> None:
    async def seed() -> dict[str, str]:
        store = Store.at(valkey_url)
        try:
            commands = Commands(store)
            await commands.set_scoped_api(on=True)
            key = await commands.create_key(
                key_type=KeyType.CUSTOM, description="c", rules=(Rule("GET", "/live/*"),)
            )
        finally:
            await store.aclose()
        return {"id": key.record.id, "secret": key.new_secret}

    key = await seed()

    async def handler(peer: Peer) -> None:
        await agree(peer)
        await peer.closed()

    async with upstream(handler) as served:
        app = AuthorizationMiddleware(ReverseProxy(served.url), redis_url=valkey_url)
        try:
            refused = await Call(target=b"/other/a").to(app)
            assert refused.status == 401
            call = Call(
                target=b"/live/a?b=%20",
                headers=(
                    (b"host", b"api.example"),
                    (b"x-api-key", key["secret"].encode()),
                    (b"x-scopegate-key-id", b"forged"),
                ),
            )
            serving = asyncio.ensure_future(call.to(app))
            await call.until(lambda call: call.started)
            assert call.sent[0]["type"] == "websocket.accept"
            call.hang_up(1000)
            await serving
        finally:
            await app.aclose()
    [request] = served.requests
    assert request.startswith(b"GET /live/a?b=%20 HTTP/1.1\r\n")
    assert b"\r\nx-scopegate-key-id: " + key["id"].encode() + b"\r\n" in request
    assert b"forged" not in request
    assert key["secret"].encode() not in request


# Between a hand-made server and raw bytes


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of these upstreams never make their half of the closing handshake."""
    monkeypatch.setattr("scopegate.proxy.websocket._CLOSING", 0.1)


class Call(Visit):
    """A WebSocket as an ASGI server puts it to an application."""

    def __init__(
        self,
        target: bytes = b"/",
        headers: tuple[tuple[bytes, bytes], ...] = ((b"host", b"api.example"),),
        *,
        deniable: bool = True,
        **scope: object,
    ) -> None:
        super().__init__(target=target, headers=headers, body=None)
        del self.scope["method"]
        self.scope |= {"type": "websocket", "scheme": "ws", "subprotocols": [], "extensions": {}, **scope}
        if deniable:
            self.scope["extensions"]["websocket.http.response"] = {}
        self._incoming.put_nowait({"type": "websocket.connect"})

    def say(self, **message: object) -> None:
        self._incoming.put_nowait({"type": "websocket.receive", **message})

    def hang_up(self, code: int) -> None:
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": code})

    async def to(self, app: ASGIApp) -> Call:
        await super().to(app)
        return self

    @property
    def code(self) -> str:
        assert [message["type"] for message in self.sent] == [
            "websocket.http.response.start",
            "websocket.http.response.body",
        ]
        return str(json.loads(self.body)["code"])


async def agree(peer: Peer, *fields: bytes) -> None:
    request = await peer.request()
    key = request.split(b"sec-websocket-key: ")[1].split(b"\r\n")[0].decode()
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept_key(key).encode(),
        *fields,
    ]
    await peer.send(b"\r\n".join(lines) + b"\r\n\r\n")


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


def talk(*pieces: bytes) -> Callable[[Peer], Awaitable[None]]:
    """A handler that agrees, sends `pieces` and waits until it is left."""

    async def handler(peer: Peer) -> None:
        await agree(peer)
        await peer.send(*pieces)
        await peer.closed()

    return handler


@on_both_loops
async def test_an_upstream_that_is_not_there_is_a_502() -> None:
    call = await Call(headers=((b"x-request-id", b"id-1"),)).to(ReverseProxy("http://127.0.0.1:9"))
    assert (call.status, call.code) == (502, "upstream_unreachable")
    assert (b"x-request-id", b"id-1") in call.headers


@on_both_loops
async def test_a_server_that_knows_no_denial_is_told_to_close() -> None:
    call = await Call(deniable=False).to(ReverseProxy("http://127.0.0.1:9"))
    assert call.sent == [{"type": "websocket.close", "code": 1008, "reason": "upstream_unreachable"}]
    async with upstream(replies(ok(b"no"), then_close=True)) as served:
        call = await Call(deniable=False).to(ReverseProxy(served.url))
        assert call.sent == [{"type": "websocket.close", "code": 1008}]


@on_both_loops
async def test_an_upstream_that_does_not_answer_is_a_504() -> None:
    async def handler(peer: Peer) -> None:
        await peer.closed()

    async with upstream(handler) as served:
        call = await Call().to(ReverseProxy(served.url, timeouts=Timeouts(head=0.05)))
        assert (call.status, call.code) == (504, "upstream_timeout")


@on_both_loops
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 99999999\r\n\r\n",
    ],
)
async def test_an_answer_that_makes_no_sense_is_a_502(answer: bytes) -> None:
    async with upstream(replies(answer, then_close=True)) as served:
        call = await Call().to(ReverseProxy(served.url))
        assert (call.status, call.code) == (502, "upstream_protocol_error")


@on_both_loops
@pytest.mark.parametrize(
    "field", [b"Sec-WebSocket-Protocol: b", b"Sec-WebSocket-Extensions: permessage-deflate"]
)
async def test_an_upstream_that_agrees_to_what_nobody_offered_is_a_502(field: bytes) -> None:
    async def handler(peer: Peer) -> None:
        await agree(peer, field)
        await peer.closed()

    async with upstream(handler) as served:
        call = await Call(subprotocols=["a"]).to(ReverseProxy(served.url))
        assert call.code == "upstream_protocol_error"


@on_both_loops
@pytest.mark.parametrize(
    ("answer", "status", "headers", "body"),
    [
        (ok(b"no", b"X-A: caf\xe9"), 200, [(b"x-a", b"caf\xe9"), (b"content-length", b"2")], b"no"),
        (
            b"HTTP/1.1 401 U\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            401,
            [(b"content-length", b"2")],
            b"no",
        ),
        (b"HTTP/1.1 404 N\r\nDate: x\r\n\r\nno", 404, [(b"content-length", b"2")], b"no"),
        (b"HTTP/1.1 204 N\r\n\r\n", 204, [], b""),
    ],
)
async def test_a_refusal_is_passed_on(
    answer: bytes, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    async with upstream(replies(answer, then_close=True)) as served:
        call = await Call().to(ReverseProxy(served.url))
        assert (call.status, call.headers, call.body) == (status, headers, body)


@on_both_loops
@pytest.mark.parametrize(
    ("pieces", "close"),
    [
        ((frame(Opcode.TEXT, b"\xff"),), (1011, "upstream protocol error")),
        ((b"\xff\xff",), (1011, "upstream protocol error")),
        ((frame(Opcode.CONT, b"x"),), (1011, "upstream protocol error")),
        ((b"\x82\x7f" + (MAX_MESSAGE + 1).to_bytes(8),), (1009, "message too big")),
        ((frame(Opcode.CLOSE, b"\x03\xe8bye"),), (1000, "bye")),
        ((frame(Opcode.CLOSE, b"\x03\xed"),), (1011, "upstream protocol error")),
    ],
    ids=["not-utf-8", "reserved", "stray", "too-big", "close", "1005-on-the-wire"],
)
async def test_what_the_upstream_does_wrong_ends_both_sides(
    pieces: tuple[bytes, ...], close: tuple[int, str]
) -> None:
    async def handler(peer: Peer) -> None:
        await agree(peer)
        await peer.send(*pieces)
        assert await peer.reader.readexactly(1) == b"\x88", "a close frame"

    async with upstream(handler) as served:
        call = await Call().to(ReverseProxy(served.url))
        code, reason = close
        assert call.sent[1:] == [{"type": "websocket.close", "code": code, "reason": reason}]


@on_both_loops
async def test_the_two_frames_that_came_with_the_handshake_are_not_lost() -> None:
    async def handler(peer: Peer) -> None:
        peer.writer.transport.set_write_buffer_limits(high=1 << 20)
        await agree(peer)
        await peer.send(
            frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.PING, b"") + frame(Opcode.CONT, b"b")
        )
        await peer.send(frame(Opcode.CLOSE, b""))

    async with upstream(handler) as served:
        call = await Call().to(ReverseProxy(served.url))
        assert call.sent[1:] == [{"type": "websocket.send", "text": "ab"}, {"type": "websocket.close"}]


@on_both_loops
async def test_what_waits_for_the_client_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Upstream] = []
    original = Upstream.connection_made

    def connection_made(self: Upstream, transport: asyncio.BaseTransport) -> None:
        made.append(self)
        original(self, transport)

    monkeypatch.setattr(Upstream, "connection_made", connection_made)
    size, count, written = 1000, 20_000, 0
    stuck = asyncio.Event()

    async def handler(peer: Peer) -> None:
        nonlocal written
        await agree(peer)
        while written < count:
            peer.writer.write(frame(Opcode.BINARY, b"x" * size))
            written += 1
            try:
                async with asyncio.timeout(0.3):
                    await peer.writer.drain()
            except TimeoutError:
                stuck.set()
                await peer.writer.drain()
        await peer.send(frame(Opcode.CLOSE, b""))

    async with upstream(handler) as served:
        call = Call()
        serving = asyncio.ensure_future(call.to(ReverseProxy(served.url)))
        await call.until(lambda call: call.started)
        call.reads_allowed.clear()
        await stuck.wait()
        assert made[0]._queued < HIGH_WATER + 512 * 1024, "what is queued, and one read more"
        call.reads_allowed.set()
        await serving
        assert len(call.sent) == count + 2


@on_both_loops
async def test_a_message_from_the_client_has_a_limit_too() -> None:
    async with upstream(talk()) as served:
        call = Call()
        call.say(bytes=b"x" * (MAX_MESSAGE + 1))
        await call.to(ReverseProxy(served.url))
        assert call.sent[1:] == [{"type": "websocket.close", "code": 1009, "reason": "message too big"}]


@on_both_loops
async def test_a_client_that_takes_nothing_more_ends_the_call() -> None:
    class Gone(Call):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if message["type"] == "websocket.send":
                self.hang_up(4001)
                raise OSError

    ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def handler(peer: Peer) -> None:
        await agree(peer)
        await peer.send(frame(Opcode.TEXT, b"x"))
        ended.set_result(await peer.reader.readexactly(8))

    async with upstream(handler) as served:
        call = await Gone().to(ReverseProxy(served.url))
        close = await ended
        assert close[:2] == b"\x88\x82"
        assert bytes(byte ^ mask for byte, mask in zip(close[6:], close[2:4], strict=True)) == b"\x0f\xa1"
        assert len(call.sent) == 2, "the client is told nothing more"


@on_both_loops
async def test_a_client_that_leaves_while_a_send_hangs_ends_the_call() -> None:
    class Stuck(Call):
        async def send(self, message: Any) -> None:
            await super().send(message)
            if message["type"] == "websocket.send":
                self.hang_up(1001)
                await asyncio.Event().wait()

    async with upstream(talk(frame(Opcode.TEXT, b"x"), frame(Opcode.TEXT, b"y"))) as served:
        call = await Stuck().to(ReverseProxy(served.url))
        assert [message["type"] for message in call.sent] == ["websocket.accept", "websocket.send"]


@on_both_loops
async def test_a_cancelled_call_leaves_nothing_behind() -> None:
    closed = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await agree(peer)
        await peer.closed()
        closed.set()

    async with upstream(handler) as served:
        before = asyncio.all_tasks()
        call = Call()
        serving = asyncio.ensure_future(call.to(ReverseProxy(served.url)))
        await call.until(lambda call: call.started)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        await closed.wait()
        assert len(asyncio.all_tasks() - before) <= 1, "the upstream's own"


@on_both_loops
async def test_a_receive_that_fails_is_raised() -> None:
    class Broken(Call):
        async def receive(self) -> Any:
            message = await super().receive()
            if message["type"] == "websocket.receive":
                raise RuntimeError("broken server")
            return message

    async with upstream(talk()) as served:
        call = Broken()
        call.say(text="x")
        with pytest.raises(RuntimeError, match="broken server"):
            await call.to(ReverseProxy(served.url))


def test_the_handshake_is_written_anew() -> None:
    call = Call(
        target=b"/a%2Fb?c",
        headers=(
            (b"host", b"api.example"),
            (b"connection", b"upgrade, x-hop"),
            (b"upgrade", b"websocket"),
            (b"x-hop", b"1"),
            (b"sec-websocket-key", b"client's"),
            (b"sec_websocket_key", b"client's"),
            (b"sec-websocket-extensions", b"permessage-deflate"),
            (b"sec-websocket-protocol", b"a, b"),
            (b"x-forwarded-proto", b"gopher"),
            (b"cookie", b"c=1"),
        ),
        scheme="wss",
        subprotocols=["a", "b"],
    )
    assert handshake(call.scope, b"up:81", preserve_host=False, key=b"KEY") == (
        b"GET /a%2Fb?c HTTP/1.1\r\nhost: up:81\r\ncookie: c=1\r\nx-forwarded-for: 192.0.2.7\r\n"
        b"x-forwarded-proto: https\r\nx-forwarded-host: api.example\r\n"
        b"forwarded: for=192.0.2.7;proto=https;host=api.example\r\nupgrade: websocket\r\n"
        b"connection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: KEY\r\n"
        b"sec-websocket-protocol: a, b\r\nvia: 1.1 scopegate\r\n\r\n"
    )


@pytest.mark.parametrize(
    "scope",
    [
        {"subprotocols": ["a\r\nx: y"]},
        {"subprotocols": [""]},
        {"subprotocols": ["a,b"]},
        {"headers": [(b"x", b"1\r\ny: 2")]},
        {"raw_path": b"/a b"},
        {"raw_path": b"*"},
    ],
)
def test_a_handshake_that_cannot_be_written_as_one_request_is_refused(scope: dict[str, Any]) -> None:
    with pytest.raises(RequestNotForwardable):
        handshake({**Call().scope, **scope}, b"up:81", preserve_host=True, key=b"KEY")
