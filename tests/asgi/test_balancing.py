"""Several origins of one upstream: who is next, who is left out, and what may be tried again."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.utils import accept_key

from asgi.upstreams import Peer, Visit, ok, on_both_loops, replies, upstream
from conftest import find_free_port
from scopegate.core.framing import Body
from scopegate.proxy import Timeouts, balancing, pool
from scopegate.proxy.app import RoutedProxy
from scopegate.proxy.balancing import GOOD, LONGEST_PAUSE, MISSES, Standing, first, order
from scopegate.proxy.exchange import Exchange
from scopegate.proxy.failures import UpstreamClosed, UpstreamTimeout
from scopegate.proxy.origin import Addresses, parse_origin
from scopegate.proxy.request import Outgoing
from scopegate.proxy.routes import Route, Routes, UpstreamConfig
from scopegate.proxy.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asgi.upstreams import Upstream as Served
    from scopegate.proxy.connection import Connection
    from scopegate.proxy.origin import AddressInfo
    from scopegate.proxy.pool import Pool
    from scopegate.proxy.response import Answer

HOST = (b"host", b"api.example")

# The rule

OUT = Standing(pause=1.0, until=11.0)
DUE = Standing(pause=1.0, until=9.0)


@pytest.mark.parametrize(
    ("places", "turn", "expected"),
    [
        ([(GOOD, 0)], 0, [0]),
        ([(OUT, 0)], 7, [0]),
        ([(GOOD, 0), (GOOD, 0), (GOOD, 0)], 0, [0, 1, 2]),
        ([(GOOD, 0), (GOOD, 0), (GOOD, 0)], 1, [1, 2, 0]),
        ([(GOOD, 0), (GOOD, 0), (GOOD, 0)], 5, [2, 0, 1]),
        ([(GOOD, 2), (GOOD, 1), (GOOD, 3)], 0, [1, 0, 2]),
        ([(GOOD, 1), (GOOD, 0), (GOOD, 1)], 2, [1, 2, 0]),
        ([(OUT, 0), (GOOD, 9)], 0, [1, 0]),
        ([(OUT, 1), (OUT, 0), (OUT, 1)], 2, [1, 2, 0]),
        ([(OUT, 0), (GOOD, 1), (OUT, 0), (GOOD, 0)], 2, [3, 1, 2, 0]),
        ([(DUE, 0), (GOOD, 1)], 1, [0, 1]),
        ([(Standing(misses=2), 0), (GOOD, 0)], 0, [0, 1]),
    ],
)
def test_the_least_busy_is_next_and_those_left_out_come_last(
    places: list[tuple[Standing, int]], turn: int, expected: list[int]
) -> None:
    assert order(places, 10.0, turn) == expected


@given(
    st.lists(st.tuples(st.sampled_from([GOOD, OUT, DUE]), st.integers(0, 3)), min_size=1, max_size=5),
    st.integers(0, 20),
)
def test_the_first_is_the_first_of_the_order(places: list[tuple[Standing, int]], turn: int) -> None:
    assert first(places, 10.0, turn) == order(places, 10.0, turn)[0]


@pytest.mark.parametrize(
    ("events", "out_until"),
    [
        ([], 0),
        ([(0, "unreachable")], 1),
        # Failures of what was under way when it was left out do not count.
        ([(0, "unreachable"), (0.5, "unreachable"), (0.9, "missed")], 1),
        ([(0, "missed")] * (MISSES - 1), 0),
        ([(0, "missed")] * MISSES, 1),
        ([(0, "missed")] * (MISSES - 1) + [(0, "answered"), (0, "missed")], 0),
        ([(0, "missed"), (0, "missed"), (1, "unreachable")], 2),
        # The trial, during which the others wait.
        ([(0, "unreachable"), (2, "chosen")], 3),
        ([(0, "unreachable"), (2, "chosen"), (2.5, "chosen")], 3),
        ([(0, "unreachable"), (2, "chosen"), (2.1, "answered")], 0),
        ([(0, "unreachable"), (2, "chosen"), (2.1, "unreachable")], 4.1),
        ([(0, "unreachable"), (2, "chosen"), (2.1, "missed")], 4.1),
        ([(0, "unreachable"), (2, "chosen"), (3, "chosen")], 4),
        ([(0, "unreachable"), (2, "chosen"), (2.1, "answered"), (9, "unreachable")], 10),
        ([(0, "unreachable"), (0.5, "chosen"), (0.6, "unreachable")], 1),
        ([(0, "missed"), (0, "chosen")], 0),
    ],
)
def test_a_place_is_left_out_for_a_while(events: list[tuple[float, str]], out_until: float) -> None:
    standing = GOOD
    for now, event in events:
        standing = GOOD if event == "answered" else getattr(standing, event)(now)
    assert standing.until == pytest.approx(out_until)
    if out_until:
        assert standing.is_out(out_until - 0.01)
    assert not standing.is_out(out_until + 0.01)


def test_the_pause_doubles_up_to_a_bound() -> None:
    standing, now, pauses = GOOD, 0.0, []
    for _ in range(7):
        standing = standing.chosen(now).unreachable(now)
        pauses.append(standing.until - now)
        now = standing.until
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE]


V4 = [(socket.AF_INET, 1, 6, "", (f"127.0.0.{number}", 80)) for number in (1, 2, 3)]
V6: AddressInfo = (socket.AF_INET6, 1, 6, "", ("::1", 80, 0, 0))


def test_addresses_of_a_name_take_turns_within_the_preferred_family() -> None:
    addresses = Addresses()
    found: list[AddressInfo] = [V6, *V4]
    assert [addresses.in_order(found, 0)[0] for _ in range(3)] == [V6, V6, V6]
    assert [addresses.in_order(V4, 0)[0] for _ in range(3)] == [V4[0], V4[1], V4[2]]


def test_an_address_that_failed_comes_last_for_a_while() -> None:
    addresses = Addresses()
    addresses.unreachable(V6[4], 0)
    for now in (0.1, 0.9):
        assert addresses.in_order([V6, V4[0]], now) == [V4[0], V6]
    assert addresses.in_order([V6, V4[0]], 1.1) == [V6, V4[0]]
    addresses.chosen(V6[4], 1.1)
    assert addresses.in_order([V6, V4[0]], 1.2) == [V4[0], V6]
    addresses.reached(V6[4])
    assert addresses.in_order([V6, V4[0]], 1.3) == [V6, V4[0]]


def test_an_address_that_the_name_has_no_more_is_forgotten() -> None:
    addresses = Addresses()
    addresses.unreachable(V6[4], 0)
    addresses.in_order([V4[0]], 0.1)
    assert addresses.in_order([V6, V4[0]], 0.2) == [V6, V4[0]]


# The shell


@asynccontextmanager
async def balanced(
    *urls: str, timeouts: Timeouts | None = None, preserve_host: bool = True, max_connections: int = 512
) -> AsyncIterator[RoutedProxy]:
    config = UpstreamConfig(
        name=", ".join(urls),
        origins=tuple(parse_origin(url) for url in urls),
        timeouts=timeouts or Timeouts(),
        preserve_host=preserve_host,
        max_connections=max_connections,
    )
    proxy = RoutedProxy(Routes([Route("upstream", Upstream(config))]))
    try:
        yield proxy
    finally:
        await proxy.aclose()


@asynccontextmanager
async def two(
    one: Callable[[Peer], Awaitable[None]], other: Callable[[Peer], Awaitable[None]], **options: Any
) -> AsyncIterator[tuple[RoutedProxy, Served, Served]]:
    """A proxy to two origins, of which the first gets the first request."""
    async with AsyncExitStack() as stack:
        first_up, second_up = [await stack.enter_async_context(upstream(it)) for it in (one, other)]
        proxy = await stack.enter_async_context(balanced(first_up.url, second_up.url, **options))
        yield proxy, first_up, second_up


async def arrival(served: Served) -> None:
    """Return when a request has come."""
    while not served.requests:  # noqa: ASYNC110 -- it is a list, and the wait is short
        await asyncio.sleep(0.001)


def pool_of(proxy: RoutedProxy) -> Pool:
    (route,) = proxy._routes.routes
    return route.target.pool()


def closed_port() -> str:
    return f"http://127.0.0.1:{find_free_port()}"


def problem_code(visit: Visit) -> str:
    assert visit.complete
    return str(json.loads(visit.body)["code"])


async def closes(peer: Peer) -> None:
    """Take a request, and close without a word."""
    await peer.request()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancing, "FIRST_PAUSE", 0.05)


@on_both_loops
async def test_origins_take_turns_on_connections_that_stay_open() -> None:
    async with two(replies(ok(b"1")), replies(ok(b"2"))) as (proxy, one, other):
        bodies = [(await Visit().to(proxy)).body for _ in range(6)]
        assert bodies == [b"1", b"2"] * 3
        assert (one.connections, other.connections) == (1, 1)


@on_both_loops
async def test_an_origin_that_is_busy_gets_fewer_requests() -> None:
    go = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(ok())

    async with two(slow, replies(ok())) as (proxy, one, other):
        held = asyncio.ensure_future(Visit().to(proxy))
        await arrival(one)
        for _ in range(5):
            assert (await Visit().to(proxy)).status == 200
        assert (len(one.requests), len(other.requests)) == (1, 5)
        go.set()
        assert (await held).status == 200


@on_both_loops
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_origin_that_is_down_costs_no_request(method: str, caplog: pytest.LogCaptureFixture) -> None:
    async with upstream(replies(ok())) as up, balanced(closed_port(), up.url) as proxy:
        with caplog.at_level(logging.WARNING):
            for _ in range(10):
                visit = await Visit(method, headers=(HOST, (b"content-length", b"2")), body=[b"hi"]).to(proxy)
                assert visit.status == 200
        assert len(up.requests) == 10
        assert [record.message.endswith("it does not answer") for record in caplog.records] == [True]


@on_both_loops
async def test_a_body_that_is_still_coming_waits_for_the_origin_that_can_be_reached() -> None:
    async with upstream(replies(ok())) as up, balanced(closed_port(), up.url) as proxy:
        pieces = [b"a", b"b", b"c"]
        visit = await Visit("POST", headers=(HOST, (b"content-length", b"3")), body=pieces).to(proxy)
        assert visit.status == 200
        assert up.requests[0].endswith(b"\r\n\r\nabc")


@on_both_loops
async def test_an_origin_that_comes_back_gets_its_share(
    short_pauses: None, caplog: pytest.LogCaptureFixture
) -> None:
    port = find_free_port()
    back: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                back.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(ok(b"back"))
        except asyncio.IncompleteReadError:
            writer.close()

    async with upstream(replies(ok())) as up, balanced(f"http://127.0.0.1:{port}", up.url) as proxy:
        for _ in range(4):
            assert (await Visit().to(proxy)).body == b"ok"
        server = await asyncio.start_server(handle, "127.0.0.1", port)
        try:
            await asyncio.sleep(0.06)
            caplog.clear()
            bodies = [(await Visit().to(proxy)).body for _ in range(10)]
        finally:
            server.close()
            await proxy.aclose()
        assert bodies.count(b"back") == 5
        assert [record.message.endswith("answers again") for record in caplog.records] == [True]


@on_both_loops
async def test_one_request_at_a_time_tries_an_origin_that_was_left_out(short_pauses: None) -> None:
    go = asyncio.Event()

    async def hangs(peer: Peer) -> None:
        await peer.request()
        await go.wait()

    async with two(hangs, replies(ok())) as (proxy, one, other):
        place, _ = pool_of(proxy)._places
        place.standing = Standing(pause=5.0, until=asyncio.get_running_loop().time())
        trial = asyncio.ensure_future(Visit("POST").to(proxy))
        await arrival(one)
        visits = await asyncio.gather(*(Visit().to(proxy) for _ in range(10)))
        assert {visit.status for visit in visits} == {200}
        assert (len(one.requests), len(other.requests)) == (1, 10)
        go.set()
        await trial
        assert place.standing.pause == 10.0


@on_both_loops
async def test_half_an_answer_is_never_taken_for_a_whole_one_nor_asked_for_again() -> None:
    async def dies(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")

    async with two(dies, replies(ok())) as (proxy, _, other):
        visit = Visit()
        with pytest.raises(UpstreamClosed):
            await visit.to(proxy)
        assert visit.started
        assert not visit.complete
        assert other.requests == []


@on_both_loops
@pytest.mark.parametrize("beginning", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
async def test_one_byte_of_an_answer_is_enough_for_nothing_to_be_repeated(beginning: bytes) -> None:
    async def dies(peer: Peer) -> None:
        await peer.request()
        await peer.send(beginning)

    async with two(dies, replies(ok())) as (proxy, _, other):
        visit = await Visit().to(proxy)
        assert (visit.status, problem_code(visit)) == (502, "upstream_protocol_error")
        assert other.requests == []


@on_both_loops
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_an_unanswered_request_is_repeated_on_another_origin_if_that_does_no_harm(method: str) -> None:
    async with two(closes, replies(ok(b""))) as (proxy, one, other):
        visit = await Visit(method, headers=(HOST, (b"content-length", b"2")), body=[b"hi"]).to(proxy)
        assert visit.status == 200
        assert one.requests == other.requests
        assert one.requests[0].endswith(b"\r\n\r\nhi")


@on_both_loops
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_an_unanswered_request_that_may_do_harm_twice_is_not_repeated(method: str) -> None:
    async with two(closes, replies(ok())) as (proxy, one, other):
        visit = await Visit(method).to(proxy)
        assert (visit.status, problem_code(visit)) == (502, "upstream_protocol_error")
        assert (len(one.requests), len(other.requests)) == (1, 0)


@on_both_loops
async def test_an_unanswered_request_whose_body_is_not_at_hand_is_not_repeated() -> None:
    async def reads_some(peer: Peer) -> None:
        await peer.head()

    async with two(reads_some, replies(ok())) as (proxy, _, other):
        visit = Visit("PUT", headers=(HOST, (b"content-length", b"4")), body=None)
        visit.upload(b"hi")
        await visit.to(proxy)
        assert visit.status == 502
        assert other.requests == []


@on_both_loops
async def test_an_unanswered_request_is_repeated_once() -> None:
    async with two(closes, closes) as (proxy, one, other):
        visit = await Visit().to(proxy)
        assert (visit.status, problem_code(visit)) == (502, "upstream_protocol_error")
        assert (len(one.requests), len(other.requests)) == (1, 1)


@on_both_loops
async def test_an_unanswered_request_does_not_come_back_to_the_same_origin() -> None:
    async with upstream(closes) as up, balanced(up.url, closed_port()) as proxy:
        assert (await Visit().to(proxy)).status == 502
        assert len(up.requests) == 1


@on_both_loops
async def test_an_answer_that_takes_too_long_is_not_asked_for_again() -> None:
    async def hangs(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    async with two(hangs, replies(ok()), timeouts=Timeouts(head=0.05)) as (proxy, _, other):
        visit = await Visit().to(proxy)
        assert (visit.status, problem_code(visit)) == (504, "upstream_timeout")
        assert other.requests == []


@on_both_loops
async def test_a_request_on_a_connection_that_its_origin_took_down_goes_to_the_other() -> None:
    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())
        await peer.request()

    async with two(once, replies(ok(b"other"))) as (proxy, one, other):
        for _ in range(2):
            await Visit().to(proxy)
        visit = await Visit().to(proxy)
        assert (visit.status, visit.body) == (200, b"other")
        assert (len(one.requests), len(other.requests)) == (2, 2)
        assert pool_of(proxy)._places[0].standing == GOOD, "a connection may be closed while it is idle"


@on_both_loops
@pytest.mark.parametrize("way", ["closes", "hangs"])
async def test_an_origin_without_answers_is_left_out(way: str) -> None:
    async def fails(peer: Peer) -> None:
        await peer.request()
        if way == "hangs":
            await peer.closed()

    async with two(fails, replies(ok()), timeouts=Timeouts(head=0.05)) as (proxy, one, other):
        statuses = [(await Visit("POST").to(proxy)).status for _ in range(20)]
        assert len(one.requests) == MISSES
        assert statuses.count(200) == len(other.requests) == 20 - MISSES


@on_both_loops
async def test_answers_between_failures_keep_an_origin_in() -> None:
    async def every_other(peer: Peer) -> None:
        while True:
            await peer.request()
            if len(peer.upstream.requests) % 2:
                return
            await peer.send(ok(b"", b"Connection: close"))
            return

    async with two(every_other, replies(ok())) as (proxy, one, _):
        for _ in range(20):
            await Visit("POST").to(proxy)
        assert len(one.requests) == 10


@on_both_loops
async def test_if_all_are_down_the_answer_comes_at_once() -> None:
    async with balanced(closed_port(), closed_port()) as proxy:
        started = time.monotonic()
        for _ in range(5):
            visit = await Visit().to(proxy)
            assert (visit.status, problem_code(visit)) == (502, "upstream_unreachable")
        assert time.monotonic() - started < 0.5
        assert not pool_of(proxy)._open
        assert [place.open for place in pool_of(proxy)._places] == [0, 0]


@on_both_loops
async def test_if_all_are_left_out_all_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancing, "FIRST_PAUSE", 60.0)
    async with two(replies(ok()), replies(ok())) as (proxy, one, other):
        now = asyncio.get_running_loop().time()
        for place in pool_of(proxy)._places:
            place.standing = Standing(pause=60.0, until=now + 60)
        visits = await asyncio.gather(*(Visit().to(proxy) for _ in range(4)))
        assert {visit.status for visit in visits} == {200}
        assert (len(one.requests), len(other.requests)) == (2, 2)


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """An origin that answers no SYN, as its backlog is full."""
    with socket.socket() as listener, socket.socket() as filling, socket.socket() as more:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for each in (filling, more):
            each.settimeout(0)
            each.connect_ex(listener.getsockname())
        await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@on_both_loops
async def test_an_origin_that_cannot_be_connected_to_leaves_time_for_the_others() -> None:
    async with black_hole() as silent, upstream(replies(ok())) as up:
        async with balanced(silent, up.url, timeouts=Timeouts(connect=0.4)) as proxy:
            started = time.monotonic()
            assert (await Visit().to(proxy)).status == 200
            assert 0.15 < time.monotonic() - started < 0.4
            assert (await Visit().to(proxy)).status == 200
            assert time.monotonic() - started < 0.4
        async with balanced(silent, timeouts=Timeouts(connect=0.1)) as proxy:
            visit = await Visit().to(proxy)
            assert (visit.status, problem_code(visit)) == (504, "upstream_timeout")


@on_both_loops
async def test_addresses_of_a_name_take_turns_and_one_that_refuses_is_passed_over() -> None:
    loop = asyncio.get_running_loop()
    tried: list[str] = []
    connect, resolve = loop.sock_connect, loop.getaddrinfo
    addresses = ["127.0.0.1", "127.0.0.2"]

    async def getaddrinfo(host: str, port: int, **options: Any) -> list[AddressInfo]:
        if host != "two.test":  # uvloop asks for addresses too
            return list(await resolve(host, port, **options))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    async def sock_connect(connecting: socket.socket, address: tuple[str, int]) -> None:
        tried.append(address[0])
        await connect(connecting, address)

    loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign,assignment]
    loop.sock_connect = sock_connect  # type: ignore[method-assign,assignment]
    answer = ok(b"", b"Connection: close")
    async with upstream(replies(answer)) as up, balanced(f"http://two.test:{up.port}") as proxy:
        for _ in range(4):
            assert (await Visit().to(proxy)).status == 200
        # 127.0.0.2 refuses, and is then left alone for a second.
        assert tried == ["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.1"]
        addresses.remove("127.0.0.1")
        assert (await Visit().to(proxy)).status == 502


@on_both_loops
async def test_connections_are_bounded_over_all_origins() -> None:
    most = 0

    async def handler(peer: Peer) -> None:
        nonlocal most
        while True:
            await peer.request()
            most = max(most, len(pool_of(proxy)._open))
            await asyncio.sleep(0.001)
            await peer.send(ok(b"", *([b"Connection: close"] if len(peer.upstream.requests) % 3 else [])))

    async with two(handler, handler, max_connections=3) as (proxy, one, other):
        visits = await asyncio.gather(*(Visit().to(proxy) for _ in range(40)))
        assert {visit.status for visit in visits} == {200}
        assert most == 3
        assert len(one.requests) + len(other.requests) == 40
        assert min(len(one.requests), len(other.requests)) >= 10


@on_both_loops
async def test_a_wait_in_line_ends_when_all_connections_stay_in_use() -> None:
    go = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(ok())

    options: dict[str, Any] = {"max_connections": 2, "timeouts": Timeouts(pool=0.05)}
    async with two(slow, slow, **options) as (proxy, _, _):
        held = [asyncio.ensure_future(Visit().to(proxy)) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert problem_code(await Visit().to(proxy)) == "upstream_busy"
        go.set()
        assert [visit.status for visit in await asyncio.gather(*held)] == [200, 200]


async def takes_a_moment(peer: Peer) -> None:
    while True:
        await peer.request()
        await asyncio.sleep(0.002)
        await peer.send(ok())


@on_both_loops
async def test_an_origin_that_comes_back_gets_connections_from_those_that_have_them_all() -> None:
    async with two(takes_a_moment, takes_a_moment, max_connections=4) as (proxy, one, other):
        _, place = pool_of(proxy)._places
        place.standing = Standing(pause=1.0, until=asyncio.get_running_loop().time() + 60)
        await asyncio.gather(*(Visit().to(proxy) for _ in range(4)))
        assert (one.connections, other.connections) == (4, 0)
        place.standing = GOOD
        for _ in range(4):
            await asyncio.gather(*(Visit().to(proxy) for _ in range(4)))
        assert [place.open for place in pool_of(proxy)._places] == [2, 2]
        assert (one.connections, other.connections) == (4, 2), "each is moved once"


@on_both_loops
async def test_an_origin_that_comes_back_gets_connections_while_requests_wait_in_line() -> None:
    async def go_on() -> None:
        for _ in range(20):
            await Visit().to(proxy)

    async with two(takes_a_moment, takes_a_moment, max_connections=4) as (proxy, _, other):
        _, place = pool_of(proxy)._places
        place.standing = Standing(pause=1.0, until=asyncio.get_running_loop().time() + 60)
        clients = asyncio.gather(*(go_on() for _ in range(12)))
        await asyncio.sleep(0.02)
        place.standing = GOOD
        await asyncio.sleep(0.03)
        assert pool_of(proxy)._waiters
        assert [place.open for place in pool_of(proxy)._places] == [2, 2]
        await clients
        assert other.connections == 2


@on_both_loops
async def test_connections_stay_open_where_there_is_room_for_more() -> None:
    async with two(takes_a_moment, takes_a_moment) as (proxy, one, other):
        _, place = pool_of(proxy)._places
        place.standing = Standing(pause=1.0, until=asyncio.get_running_loop().time() + 60)
        await asyncio.gather(*(Visit().to(proxy) for _ in range(4)))
        place.standing = GOOD
        for _ in range(4):
            await Visit().to(proxy)
        assert [place.open for place in pool_of(proxy)._places] == [4, 1]
        assert (one.connections, other.connections) == (4, 1)


@on_both_loops
async def test_a_small_bound_does_not_make_connections_come_and_go() -> None:
    async with two(replies(ok()), replies(ok()), max_connections=1) as (proxy, one, other):
        for _ in range(6):
            assert (await Visit().to(proxy)).status == 200
        assert one.connections + other.connections == 1


@on_both_loops
async def test_what_is_given_back_before_the_wait_begins_is_taken() -> None:
    async with upstream(replies(ok())) as up, balanced(up.url, max_connections=1) as proxy:
        await Visit().to(proxy)
        connections = pool_of(proxy)
        connection = connections.take()
        assert connection is not None
        obtaining = asyncio.ensure_future(connections.obtain())
        connections._pass_on(connection)
        async with asyncio.timeout(1):
            assert await obtaining is connection
        connections.give_back(connection)


@on_both_loops
@pytest.mark.parametrize("preserve", [True, False])
async def test_each_origin_hears_its_own_authority_where_the_host_is_rewritten(
    preserve: bool,  # noqa: FBT001
) -> None:
    async with two(replies(ok()), replies(ok()), preserve_host=preserve) as (proxy, *served):
        for _ in range(2):
            await Visit(target=b"/?host:%20x", headers=[HOST, (b"x-host", b"host: y")]).to(proxy)
        for up in served:
            (request,) = up.requests
            host = b"api.example" if preserve else f"127.0.0.1:{up.port}".encode()
            assert request.startswith(
                b"GET /?host:%20x HTTP/1.1\r\nhost: " + host + b"\r\nx-host: host: y\r\n"
            )


@on_both_loops
async def test_a_host_that_is_preserved_may_be_that_of_one_origin() -> None:
    async with two(replies(ok()), replies(ok())) as (proxy, one, other):
        host = f"127.0.0.1:{one.port}".encode()
        for _ in range(2):
            await Visit(headers=[(b"host", host)]).to(proxy)
        assert b"\r\nhost: " + host + b"\r\n" in other.requests[0]


@on_both_loops
async def test_one_origin_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> int:
        raise AssertionError

    monkeypatch.setattr(pool, "first", never)
    monkeypatch.setattr(pool, "order", never)
    async with upstream(replies(ok())) as up, balanced(up.url) as proxy:
        for _ in range(2):
            assert (await Visit().to(proxy)).status == 200
    async with balanced(closed_port()) as proxy:
        for _ in range(2):
            assert (await Visit().to(proxy)).status == 502
        assert pool_of(proxy)._places[0].standing is GOOD


@on_both_loops
async def test_closing_closes_the_connections_to_all_origins() -> None:
    closed: asyncio.Queue[Peer] = asyncio.Queue()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())
        await peer.closed()
        closed.put_nowait(peer)

    async with two(handler, handler) as (proxy, _, _):
        for _ in range(2):
            await Visit().to(proxy)
        await proxy.aclose()
        for _ in range(2):
            await closed.get()


# WebSockets


async def websocket_echo(peer: Peer) -> None:
    """Agree to a handshake, then send back the first frame that comes, unmasked."""
    request = await peer.head()
    peer.upstream.requests.append(request)
    key = request.lower().split(b"sec-websocket-key: ")[1]
    key = request[len(request) - len(key) :].split(b"\r\n")[0]
    accept = accept_key(key.decode()).encode()
    await peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    length = (await peer.reader.readexactly(2))[1] & 0x7F
    mask = await peer.reader.readexactly(4)
    data = await peer.reader.readexactly(length)
    plain = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
    await peer.send(bytes([0x81, length]) + plain)
    await peer.reader.read(1)  # the end


def handshake(target: bytes = b"/") -> Visit:
    visit = Visit(target=target, body=None, type="websocket", scheme="ws", subprotocols=[])
    visit._incoming.put_nowait({"type": "websocket.connect"})
    return visit


async def converse(proxy: RoutedProxy, visit: Visit, wait: float = 0) -> list[str]:
    """What the client hears when it says hello after a while, and then leaves."""
    serving = asyncio.ensure_future(visit.to(proxy))
    await visit.until(lambda it: bool(it.sent))
    await asyncio.sleep(wait)
    visit._incoming.put_nowait({"type": "websocket.receive", "text": "hello"})
    await visit.until(lambda it: len(it.sent) > 1)
    visit._incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await serving
    return [message.get("text", message["type"]) for message in visit.sent]


@on_both_loops
async def test_a_websocket_goes_to_an_origin_that_can_be_reached() -> None:
    async with upstream(websocket_echo) as up, balanced(closed_port(), up.url) as proxy:
        for _ in range(2):
            assert await converse(proxy, handshake()) == ["websocket.accept", "hello"]
        assert pool_of(proxy)._places[0].standing.pause == 1.0


@on_both_loops
async def test_a_websocket_is_refused_if_no_origin_can_be_reached() -> None:
    async with balanced(closed_port(), closed_port()) as proxy:
        visit = await handshake().to(proxy)
        assert visit.sent == [{"type": "websocket.close", "code": 1008, "reason": "upstream_unreachable"}]


@on_both_loops
async def test_a_websocket_outlives_the_bound_on_whole_exchanges() -> None:
    async with upstream(websocket_echo) as up, balanced(up.url, timeouts=Timeouts(total=0.1)) as proxy:
        assert await converse(proxy, handshake(), wait=0.4) == ["websocket.accept", "hello"]


class Switching:
    """A client that asks for another protocol."""

    def __init__(self) -> None:
        self.switched: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()

    def switch(self, answer: Answer, connection: Connection) -> None:
        self.switched.set_result(connection)

    def fail(self, failure: Exception) -> None:
        self.switched.set_exception(failure)

    def lingers(self) -> None: ...


class Collected(asyncio.Protocol):
    """What comes on a transport that was handed over."""

    def __init__(self) -> None:
        self.heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.heard.set_result(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.heard.done():
            self.heard.set_exception(UpstreamTimeout())


@on_both_loops
async def test_a_connection_that_has_switched_outlives_the_bound_and_frees_its_place() -> None:
    head = (
        b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
    )
    request = Outgoing(head, Body.NONE, -1, to_head=False, idempotent=True, upgrade=True)
    async with upstream(websocket_echo) as up, balanced(up.url, timeouts=Timeouts(total=0.1)) as proxy:
        connections = pool_of(proxy)
        client: Any = Switching()
        Exchange(request, client, connections).start()
        transport = (await client.switched).detach()
        assert not connections._open
        end = Collected()
        transport.set_protocol(end)
        await asyncio.sleep(0.4)
        transport.write(b"\x81\x82\0\0\0\0hi")
        assert await end.heard == b"\x81\x02hi"
        transport.close()
