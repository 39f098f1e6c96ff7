"""ReverseProxy between a hand-made ASGI server and a scripted upstream, over real sockets."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from asgi.upstreams import Peer, Visit, ok, on_both_loops, replies, upstream
from scopegate.proxy import ReverseProxy, Timeouts
from scopegate.proxy.asgiclient import HIGH_WATER
from scopegate.proxy.failures import ExchangeFailed, UpstreamClosed, UpstreamProtocolError, UpstreamTimeout
from scopegate.proxy.origin import parse_origin
from scopegate.proxy.pool import Pool
from scopegate.proxy.response import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

HOST = (b"host", b"api.example")
POST_2: dict[str, Any] = {"method": "POST", "headers": (HOST, (b"content-length", b"2")), "body": (b"hi",)}
HANDED_ON = (
    b"x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: http\r\nx-forwarded-host: api.example\r\n"
    b"forwarded: for=192.0.2.7;proto=http;host=api.example\r\n"
)
VIA = b"via: 1.1 scopegate\r\n"


@asynccontextmanager
async def proxied(
    handler: Callable[[Peer], Awaitable[None]], **options: Any
) -> AsyncIterator[tuple[ReverseProxy, Any]]:
    async with upstream(handler) as served:
        proxy = ReverseProxy(served.url, **options)
        try:
            yield proxy, served
        finally:
            await proxy.aclose()


def problem_code(visit: Visit) -> str:
    assert (b"content-type", b"application/problem+json") in visit.headers
    assert visit.complete
    return str(json.loads(visit.body)["code"])


@on_both_loops
async def test_a_request_reaches_the_upstream_byte_for_byte() -> None:
    async with proxied(replies(ok())) as (proxy, served):
        visit = await Visit(target=b"/a%2e%2e//b;c?x=%zz&y", headers=(HOST, (b"accept", b"*/*"))).to(proxy)
        assert served.requests == [
            b"GET /a%2e%2e//b;c?x=%zz&y HTTP/1.1\r\nhost: api.example\r\naccept: */*\r\n"
            + HANDED_ON
            + VIA
            + b"\r\n"
        ]
        assert (visit.status, visit.body, visit.complete) == (200, b"ok", True)
        assert len(visit.sent) == 2, "a small answer is one start and one body"
        assert visit.received == 0, "nothing is read of a request without a body"


@on_both_loops
async def test_field_values_and_their_order_come_back_untouched() -> None:
    answer = ok(
        b"", b"Set-Cookie: b=2", b"X-L: caf\xe9", b"Connection: x-hop", b"X-Hop: 1", b"Set-Cookie: a=1"
    )
    async with proxied(replies(answer)) as (proxy, _):
        visit = await Visit().to(proxy)
        assert visit.headers == [
            (b"content-length", b"0"),
            (b"set-cookie", b"b=2"),
            (b"x-l", b"caf\xe9"),
            (b"set-cookie", b"a=1"),
        ]


HEAD_OF_200 = b"HTTP/1.1 200 OK\r\n"


@on_both_loops
@pytest.mark.parametrize(
    ("method", "answer", "status", "body"),
    [
        ("GET", (ok(b"whole"),), 200, b"whole"),
        ("GET", (HEAD_OF_200 + b"Content-Length: 4\r\n\r\n", b"ab", b"cd"), 200, b"abcd"),
        (
            "GET",
            (HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\nab\r\n", b"0\r\n\r\n"),
            200,
            b"ab",
        ),
        ("GET", (HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: trailer\r\n\r\n",), 200, b""),
        ("GET", tuple(bytes([byte]) for byte in ok(b"byte by byte")), 200, b"byte by byte"),
        ("HEAD", (HEAD_OF_200 + b"Content-Length: 4\r\n\r\n",), 200, b""),
        ("GET", (b"HTTP/1.1 204 No Content\r\n\r\n",), 204, b""),
        ("GET", (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n",), 304, b""),
        ("GET", (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", ok()), 200, b"ok"),
    ],
)
async def test_answers_of_every_framing_pass_and_leave_the_connection_usable(
    method: str, answer: tuple[bytes, ...], status: int, body: bytes
) -> None:
    async with proxied(replies(answer)) as (proxy, served):
        for _ in range(2):
            visit = await Visit(method).to(proxy)
            assert (visit.status, visit.body, visit.complete) == (status, body, True)
        assert served.connections == 1


@on_both_loops
@pytest.mark.parametrize(
    "pieces",
    [(HEAD_OF_200 + b"\r\nab",), (HEAD_OF_200 + b"\r\n", b"a", b"b"), (b"HTTP/1.0 200 OK\r\n\r\nab",)],
)
async def test_a_body_may_last_until_the_connection_is_closed(pieces: tuple[bytes, ...]) -> None:
    async with proxied(replies(pieces, then_close=True)) as (proxy, served):
        for _ in range(2):
            visit = await Visit().to(proxy)
            assert (visit.status, visit.body, visit.complete) == (200, b"ab", True)
        assert served.connections == 2


@on_both_loops
@pytest.mark.parametrize(
    "answer",
    [
        ok(b"ok", b"Connection: close"),
        ok(b"ok", b"Connection: x, Close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        ok(b"ok") + b"surplus",
        ok(b"ok") + ok(b"evil"),
        HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n0\r\n\r\n",
    ],
)
async def test_a_connection_that_cannot_be_trusted_again_is_not_reused(answer: bytes) -> None:
    async with proxied(replies(answer)) as (proxy, served):
        for _ in range(2):
            assert (await Visit().to(proxy)).body == b"ok"
        assert served.connections == 2


@on_both_loops
async def test_a_body_after_the_answer_to_head_reaches_nobody() -> None:
    async with proxied(replies(ok(b"HTTP/1.1 200 OK\r\n\r\nevil"), ok(b"good"))) as (proxy, served):
        assert (await Visit("HEAD").to(proxy)).body == b""
        assert (await Visit().to(proxy)).body == b"good"
        assert served.connections == 2


@on_both_loops
async def test_bytes_that_arrive_while_idle_close_the_connection() -> None:
    answered, closed = asyncio.Event(), asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"first"))
        if peer.upstream.connections == 1:
            await answered.wait()
            await peer.send(ok(b"evil"))
            await peer.closed()
            closed.set()

    async with proxied(handler) as (proxy, served):
        assert (await Visit().to(proxy)).body == b"first"
        answered.set()
        await closed.wait()
        assert (await Visit().to(proxy)).body == b"first"
        assert served.connections == 2


@on_both_loops
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "upstream_protocol_error"),
        (b"HTTP/1.1 200 OK\r\nContent-", "upstream_protocol_error"),
        (b"garbage\r\n\r\n", "upstream_protocol_error"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "upstream_protocol_error",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "upstream_protocol_error"),
    ],
)
async def test_no_head_is_a_502(answer: bytes, code: str, caplog: pytest.LogCaptureFixture) -> None:
    async with proxied(replies(answer, then_close=True)) as (proxy, served):
        visit = await Visit(target=b"/secret?token=hunter2", headers=(HOST, (b"x-request-id", b"id-1"))).to(
            proxy
        )
        assert (visit.status, problem_code(visit)) == (502, code)
        assert (b"x-request-id", b"id-1") in visit.headers
        assert served.connections == 1, "a fresh connection that dies is not tried again"
    assert [record.levelno for record in caplog.records if record.name == "scopegate.proxy"] == [
        logging.WARNING
    ]
    assert "hunter2" not in caplog.text


@on_both_loops
@pytest.mark.parametrize(
    ("answer", "body", "failure"),
    [
        (HEAD_OF_200 + b"Content-Length: 10\r\n\r\nshort", b"short", UpstreamClosed),
        (HEAD_OF_200 + b"Content-Length: 10\r\n\r\n", b"", UpstreamClosed),
        (HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", b"short", UpstreamClosed),
        (HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n", b"short", UpstreamClosed),
        (HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", b"short", UpstreamProtocolError),
    ],
)
async def test_a_truncated_answer_never_looks_complete(
    answer: bytes, body: bytes, failure: type[Exception]
) -> None:
    headed = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await headed.wait()
        if failure is UpstreamProtocolError:
            await peer.send(b"bad chunk")

    async with proxied(handler) as (proxy, _):
        visit = Visit()
        task = asyncio.ensure_future(visit.to(proxy))
        await visit.until(lambda v: v.started and v.body == body)
        headed.set()
        with pytest.raises(failure):
            await task
        assert (visit.status, visit.body, visit.complete) == (200, body, False)


@on_both_loops
async def test_a_reset_does_not_end_a_body_that_lasts_until_close() -> None:
    headed = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD_OF_200 + b"\r\nab")
        await headed.wait()
        raw: socket.socket = peer.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.reset()

    async with proxied(handler) as (proxy, _):
        visit = Visit()
        task = asyncio.ensure_future(visit.to(proxy))
        await visit.until(lambda v: v.body == b"ab")
        headed.set()
        with pytest.raises(UpstreamClosed):
            await task
        assert not visit.complete


# Reuse and repetition


async def answers_once(peer: Peer) -> None:
    await peer.request()
    await peer.send(ok(b"first"))
    if peer.upstream.connections == 1:
        await peer.request()


@on_both_loops
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_an_idempotent_request_is_repeated_once_when_a_reused_connection_dies(method: str) -> None:
    async with proxied(answers_once) as (proxy, served):
        await Visit(target=b"/1").to(proxy)
        visit = await Visit(method, target=b"/2").to(proxy)
        assert visit.status == 200
        assert served.targets == [b"/1", b"/2", b"/2"]
        assert served.connections == 2


@on_both_loops
@pytest.mark.parametrize("framing", [(b"content-length", b"2"), (b"transfer-encoding", b"chunked")])
async def test_an_idempotent_request_is_repeated_with_a_body_that_is_still_at_hand(
    framing: tuple[bytes, bytes],
) -> None:
    async with proxied(answers_once) as (proxy, served):
        await Visit(target=b"/1").to(proxy)
        visit = await Visit("PUT", target=b"/2", headers=(HOST, framing), body=(b"hi",)).to(proxy)
        assert visit.status == 200
        assert served.targets == [b"/1", b"/2", b"/2"]
        assert served.requests[1] == served.requests[2]


@on_both_loops
@pytest.mark.parametrize(
    "request_",
    [
        {"method": "POST"},
        {"method": "PATCH"},
        {"method": "POST", "headers": (HOST, (b"content-length", b"2")), "body": (b"hi",)},
        {"method": "PUT", "headers": (HOST, (b"content-length", b"4")), "body": (b"hi", b"ho")},
        {"method": "PUT", "headers": (HOST, (b"transfer-encoding", b"chunked")), "body": (b"hi", b"ho")},
    ],
    ids=str,
)
async def test_any_other_request_is_not_repeated(request_: dict[str, Any]) -> None:
    async with proxied(answers_once) as (proxy, served):
        await Visit(target=b"/1").to(proxy)
        visit = await Visit(target=b"/2", **request_).to(proxy)
        assert (visit.status, problem_code(visit)) == (502, "upstream_protocol_error")
        assert served.targets == [b"/1", b"/2"]


@on_both_loops
async def test_nothing_is_repeated_once_a_byte_of_the_answer_is_in() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())
        await peer.request()
        await peer.send(b"H")

    async with proxied(handler) as (proxy, served):
        await Visit().to(proxy)
        assert (await Visit().to(proxy)).status == 502
        assert len(served.requests) == 2


@on_both_loops
async def test_a_repeated_request_goes_out_on_a_fresh_connection() -> None:
    both = asyncio.Barrier(2)

    async def handler(peer: Peer) -> None:
        first = peer.upstream.connections <= 2
        await peer.request()
        if first:
            await both.wait()
        await peer.send(ok())
        await peer.request()
        if not first:
            await peer.send(ok())

    async with proxied(handler) as (proxy, served):
        await asyncio.gather(Visit().to(proxy), Visit().to(proxy))
        assert served.connections == 2
        visit = await Visit(target=b"/2").to(proxy)
        assert visit.status == 200
        assert (served.connections, served.targets.count(b"/2")) == (3, 2)


@on_both_loops
async def test_the_most_recently_used_connection_is_taken_first() -> None:
    both = asyncio.Barrier(2)

    async def handler(peer: Peer) -> None:
        number = peer.upstream.connections
        await peer.request()
        await both.wait()
        while True:
            await peer.send(ok(b"%d" % number))
            await peer.request()

    async with proxied(handler) as (proxy, served):
        visits = [Visit(), Visit()]
        tasks = [asyncio.ensure_future(visit.to(proxy)) for visit in visits]
        done, _ = await asyncio.wait(tasks)
        assert len(done) == 2
        last = {(await Visit().to(proxy)).body for _ in range(3)}
        assert len(last) == 1
        assert served.connections == 2


@on_both_loops
async def test_an_idle_connection_is_closed_in_the_end() -> None:
    closed = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())
        await peer.closed()
        closed.set()

    async with proxied(handler, idle_expiry=0.01) as (proxy, _):
        await Visit().to(proxy)
        await closed.wait()


# Bounds and timeouts


@on_both_loops
async def test_an_unreachable_upstream_is_a_502() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        visit = await Visit().to(ReverseProxy(f"http://127.0.0.1:{unused.getsockname()[1]}"))
    assert (visit.status, problem_code(visit)) == (502, "upstream_unreachable")


@on_both_loops
async def test_an_unknown_host_is_a_502() -> None:
    visit = await Visit().to(ReverseProxy("http://no-such-host.invalid"))
    assert (visit.status, problem_code(visit)) == (502, "upstream_unreachable")


@on_both_loops
async def test_a_silent_upstream_is_a_504_and_is_let_go() -> None:
    closed = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.closed()
        closed.set()

    async with proxied(handler, timeouts=Timeouts(head=0.05)) as (proxy, _):
        visit = await Visit().to(proxy)
        assert (visit.status, problem_code(visit)) == (504, "upstream_timeout")
        await closed.wait()


@on_both_loops
async def test_an_upstream_that_stops_in_its_answer_is_cut_off() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD_OF_200 + b"Content-Length: 10\r\n\r\nhalf")
        await peer.closed()

    async with proxied(handler, timeouts=Timeouts(idle=0.05)) as (proxy, _):
        visit = Visit()
        with pytest.raises(UpstreamTimeout):
            await visit.to(proxy)
        assert (visit.body, visit.complete) == (b"half", False)


@on_both_loops
@pytest.mark.parametrize("uploaded", [[], [b"half"]])
async def test_a_client_that_stops_in_its_body_is_a_408(uploaded: list[bytes]) -> None:
    async def handler(peer: Peer) -> None:
        await peer.closed()

    async with proxied(handler, timeouts=Timeouts(idle=0.05)) as (proxy, served):
        visit = Visit("POST", headers=(HOST, (b"content-length", b"10")), body=None)
        for piece in uploaded:
            visit.upload(piece)
        await visit.to(proxy)
        assert (visit.status, problem_code(visit)) == (408, "request_timeout")
        assert served.connections == len(uploaded), "a client that sends nothing holds no connection"


@on_both_loops
async def test_a_handshake_that_hangs_is_a_504() -> None:
    async def handler(peer: Peer) -> None:
        await peer.closed()

    async with upstream(handler) as served:
        proxy = ReverseProxy(f"https://127.0.0.1:{served.port}", timeouts=Timeouts(connect=0.05))
        visit = await Visit().to(proxy)
        assert (visit.status, problem_code(visit)) == (504, "upstream_timeout")


@on_both_loops
async def test_more_requests_than_connections_wait_and_then_get_a_503() -> None:
    go, asked = asyncio.Event(), asyncio.Semaphore(0)

    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            asked.release()
            await go.wait()
            await peer.send(ok())

    async with proxied(handler, max_connections=2, timeouts=Timeouts(pool=0.05)) as (proxy, served):
        held = [asyncio.ensure_future(Visit().to(proxy)) for _ in range(2)]
        for _ in held:
            await asked.acquire()
        visit = await Visit().to(proxy)
        assert (visit.status, problem_code(visit)) == (503, "upstream_busy")
        assert (b"retry-after", b"1") in visit.headers
        go.set()
        await asyncio.gather(*held)
        assert (await Visit().to(proxy)).status == 200
        assert served.connections == 2


@on_both_loops
async def test_many_requests_share_few_connections() -> None:
    async with proxied(replies(ok()), max_connections=3) as (proxy, served):
        visits = await asyncio.gather(*(Visit().to(proxy) for _ in range(50)))
        assert {visit.status for visit in visits} == {200}
        assert served.connections <= 3


@on_both_loops
async def test_places_freed_by_closed_connections_are_given_to_those_who_wait() -> None:
    open_at_a_time = []

    async def handler(peer: Peer) -> None:
        await peer.request()
        open_at_a_time.append(len(proxy._upstream.opened._open))  # type: ignore[union-attr]
        await peer.send(ok(b"", b"Connection: close"))

    async with proxied(handler, max_connections=2) as (proxy, served):
        for _ in range(2):
            visits = await asyncio.gather(*(Visit().to(proxy) for _ in range(10)))
            assert {visit.status for visit in visits} == {200}
        assert max(open_at_a_time) == 2
        assert served.connections == 20


@on_both_loops
async def test_a_cancelled_wait_for_a_connection_costs_nobody_a_place() -> None:
    go = asyncio.Event()

    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            await go.wait()
            await peer.send(ok(b"", b"Connection: close"))

    async with proxied(handler, max_connections=1) as (proxy, _):
        held = asyncio.ensure_future(Visit().to(proxy))
        await asyncio.sleep(0)
        waiting = [asyncio.ensure_future(Visit().to(proxy)) for _ in range(6)]
        await asyncio.sleep(0)
        for task in waiting[::2]:
            task.cancel()
        go.set()
        done = await asyncio.gather(held, *waiting, return_exceptions=True)
        assert [getattr(visit, "status", None) for visit in done] == [200, None, 200, None, 200, None, 200]


class Listening:
    """Hears that the answer has moved on."""

    awaits_client = False

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    def moved(self) -> None:
        self.heard.set()

    def failed(self, failure: ExchangeFailed) -> None:
        raise failure

    def full(self) -> None: ...

    def drained(self) -> None: ...

    def lingers(self) -> None: ...


@on_both_loops
@pytest.mark.parametrize("reusable", [True, False])
async def test_what_a_cancelled_waiter_was_just_given_goes_to_the_next(reusable: bool) -> None:  # noqa: FBT001
    async with upstream(replies(ok())) as served:
        pool = Pool(parse_origin(served.url), Timeouts(), max_connections=1, idle_expiry=30)
        connection = await pool.obtain()
        listener = Listening()
        connection.begin(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Answer(to_head=False), listener)
        await listener.heard.wait()
        first, second = (asyncio.ensure_future(pool.obtain()) for _ in range(2))
        await asyncio.sleep(0)
        if reusable:
            pool.give_back(connection)
        else:
            connection.close()
            pool._lost(connection)
        first.cancel()
        given = await second
        assert first.cancelled()
        assert (given is connection) is reusable
        given.close()
        await pool.aclose()


# Request bodies


@on_both_loops
@pytest.mark.parametrize(
    ("field", "pieces", "sent"),
    [
        ((b"content-length", b"2"), [b"hi"], b"content-length: 2\r\nvia: 1.1 scopegate\r\n\r\nhi"),
        (
            (b"content-length", b"4"),
            [b"hi", b"", b"ho"],
            b"content-length: 4\r\nvia: 1.1 scopegate\r\n\r\nhiho",
        ),
        ((b"content-length", b"2"), [b"hi", b""], b"content-length: 2\r\nvia: 1.1 scopegate\r\n\r\nhi"),
        ((b"content-length", b"0"), [], b"content-length: 0\r\nvia: 1.1 scopegate\r\n\r\n"),
        (
            (b"transfer-encoding", b"chunked"),
            [b"hi", b"", b"x" * 17],
            b"transfer-encoding: chunked\r\nvia: 1.1 scopegate\r\n\r\n2\r\nhi\r\n11\r\n"
            + b"x" * 17
            + b"\r\n0\r\n\r\n",
        ),
        (
            (b"transfer-encoding", b"chunked"),
            [b""],
            b"transfer-encoding: chunked\r\nvia: 1.1 scopegate\r\n\r\n0\r\n\r\n",
        ),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_a_request_body_is_framed_anew(
    method: str, field: tuple[bytes, bytes], pieces: list[bytes], sent: bytes
) -> None:
    async with proxied(replies(ok())) as (proxy, served):
        for _ in range(2):
            visit = await Visit(method, headers=(HOST, field), body=pieces).to(proxy)
            assert visit.status == 200
            request = b"%b / HTTP/1.1\r\nhost: api.example\r\n" % method.encode() + HANDED_ON + sent
            assert served.requests[-1] == request
        assert served.connections == 1


@on_both_loops
@pytest.mark.parametrize(
    ("pieces", "end"),
    [
        ([], b"via: 1.1 scopegate\r\n\r\n"),
        ([b"hi"], b"via: 1.1 scopegate\r\ncontent-length: 2\r\n\r\nhi"),
        (
            [b"hi", b"ho"],
            b"via: 1.1 scopegate\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n2\r\nho\r\n0\r\n\r\n",
        ),
    ],
)
async def test_a_body_that_http_2_does_not_announce_is_framed_by_what_comes(
    pieces: list[bytes], end: bytes
) -> None:
    async with proxied(replies(ok())) as (proxy, served):
        visit = await Visit("POST", body=pieces, http_version="2").to(proxy)
        assert visit.status == 200
        assert served.requests[0].endswith(HANDED_ON + end)


@on_both_loops
@pytest.mark.parametrize("pieces", [[b"abc"], [b"a", b"bc"], [b"a"], [b""], [b"a", b""], [b"abc", b"d"]])
async def test_a_body_of_another_length_than_announced_is_never_passed_on_as_whole(
    pieces: list[bytes],
) -> None:
    async with proxied(replies(ok())) as (proxy, served):
        visit = await Visit("POST", headers=(HOST, (b"content-length", b"2")), body=pieces).to(proxy)
        assert (visit.status, problem_code(visit)) == (400, "body_length_mismatch")
        assert served.requests == []
        assert (await Visit(**POST_2).to(proxy)).status == 200


@on_both_loops
@pytest.mark.parametrize("pieces", [[b"abc"], [b"a", b"bc"]])
async def test_a_byte_too_much_ends_the_request_before_it_is_sent(pieces: list[bytes]) -> None:
    seen: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def handler(peer: Peer) -> None:
        await peer.head()
        seen.set_result(await peer.reader.read())

    async with proxied(handler) as (proxy, _):
        visit = Visit("POST", headers=(HOST, (b"content-length", b"2")), body=None)
        for piece in pieces:
            visit.upload(piece)
        await visit.to(proxy)
        assert problem_code(visit) == "body_length_mismatch"
        if len(pieces) > 1:
            assert b"a".startswith(await seen)


@on_both_loops
@pytest.mark.parametrize("field", [(b"content-length", b"10"), (b"transfer-encoding", b"chunked")])
@pytest.mark.parametrize("uploaded", [[], [b"half"]])
async def test_a_client_that_leaves_in_its_body_ends_the_request(
    field: tuple[bytes, bytes], uploaded: list[bytes]
) -> None:
    seen: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def handler(peer: Peer) -> None:
        await peer.head()
        seen.set_result(await peer.reader.read())

    async with proxied(handler) as (proxy, served):
        visit = Visit("POST", headers=(HOST, field), body=None)
        for piece in uploaded:
            visit.upload(piece)
        visit.leave()
        await visit.to(proxy)
        assert problem_code(visit) == "request_incomplete"
        if uploaded:
            assert (await seen) in {b"", b"half", b"4\r\nhalf\r\n"}, "no last chunk"
        assert served.connections <= len(uploaded)


@on_both_loops
async def test_an_early_refusal_is_delivered_and_the_body_stops() -> None:
    dropped = asyncio.Event()
    seen: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def handler(peer: Peer) -> None:
        await peer.head()
        if peer.upstream.connections == 1:
            await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 6\r\n\r\nrefu")
            await dropped.wait()
            await peer.send(b"se")
            seen.set_result(await peer.reader.read())
        else:
            await peer.send(ok())

    async with proxied(handler) as (proxy, served):
        visit = Visit("POST", headers=(HOST, (b"content-length", b"1000")), body=None)
        visit.upload(b"first")
        task = asyncio.ensure_future(visit.to(proxy))
        await visit.until(lambda v: v.started and v.body == b"refu")
        for _ in range(2):  # the second is asked for when the first has been dropped
            visit.upload(b"second")
        await visit.until(lambda v: v.received == 3)
        dropped.set()
        await task
        assert (visit.status, visit.body, visit.complete) == (413, b"refuse", True)
        assert await seen == b"first"
        assert (await Visit().to(proxy)).status == 200
        assert served.connections == 2


@on_both_loops
async def test_an_upstream_may_answer_while_it_reads() -> None:
    async def handler(peer: Peer) -> None:
        await peer.head()
        await peer.send(HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(2):
            piece = await peer.reader.readexactly(4)
            await peer.send(b"4\r\n" + piece + b"\r\n")
        await peer.send(b"0\r\n\r\n")
        await peer.request()
        await peer.send(ok())

    async with proxied(handler) as (proxy, served):
        visit = Visit("POST", headers=(HOST, (b"content-length", b"8")), body=None)
        visit.upload(b"ping")
        task = asyncio.ensure_future(visit.to(proxy))
        await visit.until(lambda v: v.body == b"ping")
        visit.upload(b"pong", more=False)
        await task
        assert (visit.body, visit.complete) == (b"pingpong", True)
        assert (await Visit().to(proxy)).status == 200
        assert served.connections == 1


@on_both_loops
async def test_an_answer_that_is_over_before_the_body_is_costs_the_connection() -> None:
    async def handler(peer: Peer) -> None:
        await peer.head()
        await peer.send(ok(b"early"))
        await peer.closed()

    async with proxied(handler) as (proxy, served):
        for number in (1, 2):
            visit = Visit("POST", headers=(HOST, (b"content-length", b"1000")), body=None)
            visit.upload(b"first")
            await visit.to(proxy)
            assert (visit.body, visit.complete) == (b"early", True)
            assert served.connections == number


@on_both_loops
async def test_what_receive_raises_reaches_the_caller() -> None:
    class TooLargeError(Exception):
        pass

    async with proxied(replies(ok())) as (proxy, _):
        visit = Visit("POST", headers=(HOST, (b"content-length", b"8")), body=None)
        visit.upload(b"ping")
        calls = 0

        async def receive() -> Any:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise TooLargeError
            return await visit.receive()

        with pytest.raises(TooLargeError):
            await proxy(visit.scope, receive, visit.send)


# Large bodies

PIECE = b"x" * 65536
PIECES = 1024


@on_both_loops
async def test_a_large_answer_waits_for_a_slow_client_in_bounded_memory() -> None:
    """64 MiB, and the upstream gets no further than the buffers while the client does not read."""
    written = 0
    stuck = asyncio.Event()

    async def handler(peer: Peer) -> None:
        nonlocal written
        await peer.request()
        peer.writer.write(HEAD_OF_200 + b"Content-Length: %d\r\n\r\n" % (len(PIECE) * PIECES))
        for _ in range(PIECES):
            peer.writer.write(PIECE)
            written += len(PIECE)
            try:
                async with asyncio.timeout(0.3):
                    await peer.writer.drain()
            except TimeoutError:
                stuck.set()
                await peer.writer.drain()

    async with proxied(handler) as (proxy, _):
        visit = Visit()
        visit.reads_allowed.clear()
        task = asyncio.ensure_future(visit.to(proxy))
        await stuck.wait()
        assert written < 16 * 1024 * 1024, "what both sockets and the queue hold, not the whole"
        (connection,) = proxy._upstream.opened._open  # type: ignore[union-attr]
        assert connection.answer is not None
        assert connection.answer.queued <= 2 * HIGH_WATER
        visit.reads_allowed.set()
        await task
        assert visit.complete
        assert sum(map(len, visit.pieces)) == len(PIECE) * PIECES


@on_both_loops
async def test_a_large_body_waits_for_a_slow_upstream_in_bounded_memory() -> None:
    """64 MiB, and no more is taken from the client than the buffers hold while the upstream does not read."""
    go = asyncio.Event()
    read = 0

    async def handler(peer: Peer) -> None:
        nonlocal read
        await peer.head()
        await go.wait()
        while read < len(PIECE) * PIECES:
            read += len(await peer.reader.read(1 << 20))
        await peer.send(ok())

    async with proxied(handler) as (proxy, _):
        visit = Visit("PUT", headers=(HOST, (b"content-length", b"%d" % (len(PIECE) * PIECES))), body=None)
        for number in range(1, PIECES + 1):
            visit.upload(PIECE, more=number < PIECES)
        task = asyncio.ensure_future(visit.to(proxy))
        taken = -1
        while taken != visit.received or not taken:
            taken = visit.received
            await asyncio.sleep(0.3)
        assert taken * len(PIECE) < 16 * 1024 * 1024
        (connection,) = proxy._upstream.opened._open  # type: ignore[union-attr]
        assert connection._transport is not None
        assert connection._transport.get_write_buffer_size() <= 4 * len(PIECE)
        go.set()
        await task
        assert (visit.status, read) == (200, len(PIECE) * PIECES)


# Leaving and cancelling


@on_both_loops
@pytest.mark.parametrize("request_", [{}, POST_2], ids=["GET", "POST"])
async def test_a_client_that_leaves_while_it_waits_ends_the_exchange(request_: dict[str, Any]) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.closed()
        closed.set()

    async with proxied(handler) as (proxy, _):
        visit = Visit(**request_)
        task = asyncio.ensure_future(visit.to(proxy))
        await asked.wait()
        visit.leave()
        await closed.wait()
        await task


@on_both_loops
async def test_a_client_that_leaves_in_the_answer_ends_the_exchange() -> None:
    closed = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await peer.closed()
        closed.set()

    async with proxied(handler) as (proxy, _):
        visit = Visit()
        task = asyncio.ensure_future(visit.to(proxy))
        await visit.until(lambda v: v.body == b"hi")
        visit.leave()
        await closed.wait()
        await task
        assert not visit.complete


@on_both_loops
async def test_a_send_that_fails_ends_the_exchange() -> None:
    closed = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await peer.closed()
        closed.set()

    async def send(_: Any) -> None:
        raise OSError

    async with proxied(handler) as (proxy, _):
        visit = Visit()
        with pytest.raises(OSError):  # noqa: PT011
            await proxy(visit.scope, visit.receive, send)
        await closed.wait()


@on_both_loops
async def test_the_head_of_a_slow_stream_goes_out_at_once() -> None:
    go = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n")
        await go.wait()
        await peer.send(b"2\r\nhi\r\n0\r\n\r\n")

    async with proxied(handler) as (proxy, _):
        visit = Visit()
        task = asyncio.ensure_future(visit.to(proxy))
        await visit.until(lambda v: len(v.sent) == 2)
        assert visit.pieces == [b""]
        assert not visit.complete
        go.set()
        await task
        assert (visit.body, visit.complete) == (b"hi", True)


@on_both_loops
@pytest.mark.parametrize("request_", [{}, POST_2], ids=["GET", "POST"])
async def test_the_late_answer_to_a_cancelled_exchange_reaches_nobody(request_: dict[str, Any]) -> None:
    """Cancel after every number of steps that an exchange takes; the next request gets its own answer."""

    async def handler(peer: Peer) -> None:
        while True:
            request = await peer.request()
            body = request.split(b" ")[1]
            head, rest = ok(body)[:20], ok(body)[20:]
            await peer.send(head)
            await asyncio.sleep(0)
            await peer.send(rest)

    async with proxied(handler, max_connections=2) as (proxy, _):
        for steps in range(60):
            task = asyncio.ensure_future(Visit(target=b"/cancelled", **request_).to(proxy))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            visits = await asyncio.gather(
                *(Visit(target=b"/%d/%d" % (steps, n), **request_).to(proxy) for n in range(2))
            )
            assert [visit.body for visit in visits] == [b"/%d/%d" % (steps, n) for n in range(2)]
            await asyncio.gather(task, return_exceptions=True)


# What is not forwarded


@on_both_loops
@pytest.mark.parametrize(
    "request_",
    [
        {"target": b"/a b"},
        {"target": b"/a\r\nevil: 1"},
        {"target": b"/?\r\nevil: 1"},
        {"method": "GET / HTTP/1.1\r\nevil:"},
        {"headers": (HOST, (b"x", b"1\r\nevil: 1"))},
        {"headers": (HOST, HOST)},
        {"headers": (HOST, (b"content-length", b"2"), (b"transfer-encoding", b"chunked"))},
    ],
    ids=str,
)
async def test_a_request_that_could_be_read_in_two_ways_is_a_400(request_: dict[str, Any]) -> None:
    async with proxied(replies(ok())) as (proxy, served):
        visit = await Visit(**request_).to(proxy)
        assert (visit.status, problem_code(visit)) == (400, "malformed_request")
        assert served.connections == 0


@on_both_loops
async def test_a_server_without_raw_path_is_a_500() -> None:
    async with proxied(replies(ok())) as (proxy, served):
        visit = await Visit(raw_path=None).to(proxy)
        assert (visit.status, problem_code(visit)) == (500, "raw_path_missing")
        assert served.connections == 0


@on_both_loops
@pytest.mark.parametrize("given", [None, b"", b"a b", b"\xe9", b"x" * 129])
async def test_an_answer_of_our_own_has_a_request_id(given: bytes | None) -> None:
    headers = [HOST, HOST] + ([(b"x-request-id", given)] if given is not None else [])
    visit = await Visit(headers=headers).to(ReverseProxy("http://127.0.0.1:9"))
    request_id = dict(visit.headers)[b"x-request-id"]
    assert len(request_id) == 36
    assert json.loads(visit.body)["instance"] == "urn:uuid:" + request_id.decode()


# Other upstreams and scopes


@on_both_loops
async def test_a_unix_socket_upstream(tmp_path: Path) -> None:
    async with upstream(replies(ok(b"unix")), socket_path=str(tmp_path / "up.sock")) as served:
        proxy = ReverseProxy(served.url, host_policy="rewrite")
        assert (await Visit().to(proxy)).body == b"unix"
        assert b"\r\nhost: localhost\r\n" in served.requests[0]
        await proxy.aclose()


@on_both_loops
async def test_lifespan_starts_and_closes_the_connections() -> None:
    closed = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())
        await peer.closed()
        closed.set()

    async with proxied(handler) as (proxy, _):
        incoming: asyncio.Queue[Any] = asyncio.Queue()
        sent: asyncio.Queue[Any] = asyncio.Queue()
        life = asyncio.ensure_future(proxy({"type": "lifespan"}, incoming.get, sent.put))
        incoming.put_nowait({"type": "lifespan.startup"})
        assert await sent.get() == {"type": "lifespan.startup.complete"}
        await Visit().to(proxy)
        incoming.put_nowait({"type": "lifespan.shutdown"})
        assert await sent.get() == {"type": "lifespan.shutdown.complete"}
        await life
        await closed.wait()


@on_both_loops
async def test_closing_lets_exchanges_finish_and_later_requests_work() -> None:
    asked, go, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await go.wait()
        await peer.send(ok())
        await peer.closed()
        closed.set()

    async with proxied(handler) as (proxy, served):
        task = asyncio.ensure_future(Visit().to(proxy))
        await asked.wait()
        await proxy.aclose()
        go.set()
        assert (await task).status == 200
        await closed.wait()
        assert (await Visit().to(proxy)).status == 200
        assert served.connections == 2


def test_a_proxy_may_be_used_from_one_loop_after_another(tmp_path: Path) -> None:
    """As Starlette's TestClient does, which has a loop of its own for every request."""
    socket_path = str(tmp_path / "up.sock")
    proxy = ReverseProxy(f"unix:{socket_path}")

    async def visit_once() -> None:
        async with upstream(replies(ok(b"ok")), socket_path=socket_path):
            assert (await Visit().to(proxy)).body == b"ok"

    for _ in range(2):
        asyncio.run(visit_once())


@on_both_loops
async def test_an_unknown_scope_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="scopes"):
        await Visit(type="carrier-pigeon").to(ReverseProxy("http://127.0.0.1:9"))
