"""The line before the administration API, and what does not wait in it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from scopegate.admin.entrance import Entrance
from scopegate.admin.health import Health
from scopegate.admin.line import Busy, Line
from scopegate.admin.outermost import Outermost
from scopegate.admin.plane import ControlPlane
from scopegate.admin.sessioncookie import SessionCookie
from scopegate.admin.visit import Office
from scopegate.administration import Authentication
from scopegate.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scopegate.asgi import Receive, Scope, Send

DEADLINE = 30.0  # seconds
AGES = 1_000.0  # seconds, which no test waits
API = "/admin/v1/keys"


class Desk:
    """An application that answers nobody until it may `go_on`; ``present`` are those whose turn it is."""

    def __init__(self) -> None:
        self.present = 0
        self.most = 0
        self.go_on = asyncio.Event()
        self.changed = asyncio.Condition()

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        self.present += 1
        self.most = max(self.most, self.present)
        async with self.changed:
            self.changed.notify_all()
        await self.go_on.wait()
        self.present -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})

    async def wait_for(self, count: int) -> None:
        """Wait until the turn of `count` requests has come."""
        async with asyncio.timeout(DEADLINE), self.changed:
            await self.changed.wait_for(lambda: self.present == count)


@asynccontextmanager
async def plane(desk: Desk, line: Line, url: str) -> AsyncIterator[httpx.AsyncClient]:
    store = Store.at(url)
    health = Health(url)
    office = Office(store, key_prefix="sg", pepper=None)
    entrance = Entrance(Authentication(store), SessionCookie("http://admin.test"))
    transport = httpx.ASGITransport(ControlPlane(Outermost(desk, line), desk, health, office, entrance))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin.test") as client:
        yield client
    await health.aclose()
    await store.aclose()


async def until_waiting(line: Line, count: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while line.length != count:  # noqa: ASYNC110 -- a line tells nobody
            await asyncio.sleep(0)


async def test_who_finds_the_line_full_is_told_when_to_come_again(valkey_url: str) -> None:
    desk, line = Desk(), Line(at_a_time=1, longest=1, patience=AGES)
    async with plane(desk, line, valkey_url) as client:
        served = asyncio.create_task(client.get(API))
        await desk.wait_for(1)
        waits = asyncio.create_task(client.get(API))
        await until_waiting(line, 1)
        refused = await client.get(API)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == "api_busy"
        assert refused.json()["instance"].endswith(refused.headers["x-request-id"])
        desk.go_on.set()
        assert [(await one).text for one in (served, waits)] == ["served", "served"]
        assert (await client.get(API)).status_code == 200


async def test_who_has_waited_for_too_long_is_told_when_to_come_again(valkey_url: str) -> None:
    desk, line = Desk(), Line(at_a_time=1, longest=5, patience=0.01)
    async with plane(desk, line, valkey_url) as client:
        served = asyncio.create_task(client.get(API))
        await desk.wait_for(1)
        refused = await client.get(API)
        assert (refused.status_code, refused.json()["code"]) == (503, "api_busy")
        assert line.length == 0
        desk.go_on.set()
        assert (await served).status_code == 200


async def test_health_does_not_wait_in_line(valkey_url: str) -> None:
    desk, line = Desk(), Line(at_a_time=1, longest=0, patience=AGES)
    async with plane(desk, line, valkey_url) as client:
        served = asyncio.create_task(client.get(API))
        await desk.wait_for(1)
        assert (await client.get(API)).status_code == 503
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        desk.go_on.set()
        assert (await served).status_code == 200


async def test_three_hundred_are_all_served_a_few_at_a_time(valkey_url: str) -> None:
    desk, line = Desk(), Line()
    async with plane(desk, line, valkey_url) as client:
        asked = [asyncio.create_task(client.get(API)) for _ in range(300)]
        await until_waiting(line, 300 - 16)
        desk.go_on.set()
        assert {(await one).status_code for one in asked} == {200}
    assert desk.most == 16


async def test_a_client_that_sends_slowly_keeps_nobody_waiting(valkey_url: str) -> None:
    desk, line = Desk(), Line(at_a_time=1, longest=5, patience=AGES)
    desk.go_on.set()
    rest = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        await rest.wait()
        yield b"b"

    incoming = body()

    async def receive() -> dict[str, object]:
        piece = await anext(incoming, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    answers: list[object] = []

    async def send(message: object) -> None:
        answers.append(message)

    scope = {"type": "http", "path": API, "method": "POST", "headers": []}
    slow = asyncio.create_task(Outermost(desk, line)(scope, receive, send))
    async with plane(desk, line, valkey_url) as client, asyncio.timeout(DEADLINE):
        assert (await client.get(API)).status_code == 200
        assert not answers
        rest.set()
        await slow
        assert answers
        assert (await client.get(API)).status_code == 200


async def test_who_worked_before_goes_on_before_others_begin() -> None:
    line = Line(at_a_time=1, longest=5, patience=AGES)
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    order = []

    async def first() -> None:
        async with line.turn() as turn:
            order.append(await turn.without(told))

    async def other(name: str) -> None:
        async with line.turn():
            order.append(name)
            if not told.done():
                told.set_result("first")
                await until_waiting(line, 2)

    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        for one in (first(), other("second"), other("third")):
            group.create_task(one)
    assert order == ["second", "first", "third"]


async def test_who_gives_up_leaves_the_line_and_a_turn_that_just_came_to_the_next() -> None:
    line = Line(at_a_time=1, longest=5, patience=AGES)
    turns = []

    async def work(name: str) -> None:
        async with line.turn():
            turns.append(name)

    async with line.turn():
        waits, called, last = (asyncio.create_task(work(name)) for name in ("waits", "called", "last"))
        await until_waiting(line, 3)
        waits.cancel()
        await until_waiting(line, 2)
    called.cancel()  # in the moment in which its turn has come
    await last
    assert turns == ["last"]
    async with line.turn():  # nothing was lost on the way
        assert line.length == 0


async def test_who_gives_up_at_the_moment_in_which_a_turn_is_free_has_only_given_up() -> None:
    line = Line(at_a_time=1, longest=5, patience=AGES)

    async def work() -> None:
        async with line.turn():
            raise AssertionError("nobody works who has given up")

    async with line.turn():
        waits = asyncio.create_task(work())
        await until_waiting(line, 1)
        waits.cancel()  # what waits is not told before the turn has ended
    with pytest.raises(asyncio.CancelledError):
        await waits
    async with line.turn():
        assert line.length == 0


async def test_a_turn_ends_however_the_work_does() -> None:
    line = Line(at_a_time=1, longest=0, patience=AGES)
    for _ in range(2):
        with pytest.raises(LookupError):
            async with line.turn():
                raise LookupError
    async with line.turn():
        with pytest.raises(Busy):
            async with line.turn():
                pass
