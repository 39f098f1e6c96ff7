"""The middleware and forward auth count what keys are used for, as the gateway does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient

from scopegate import AuthorizationMiddleware, ForwardAuth
from scopegate.commands import Commands
from scopegate.core.keys import KeyType, Rule
from scopegate.core.reasons import Reason
from scopegate.store import Store

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from scopegate.asgi import ASGIApp, Message
    from scopegate.commands import IssuedKey
    from scopegate.core.usage import KeyUsage

RULE = Rule("GET", "/api/*")


@pytest.fixture
def key(valkey_url: str) -> IssuedKey:
    async def create(store: Store) -> IssuedKey:
        commands = Commands(store)
        await commands.set_scoped_api(on=True)
        return await commands.create_key(key_type=KeyType.CUSTOM, description="c", rules=(RULE,))

    issued: IssuedKey = on_store(valkey_url, create)
    return issued


def on_store(url: str, action: Any) -> Any:
    async def run() -> Any:
        store = Store.at(url)
        try:
            return await action(store)
        finally:
            await store.aclose()

    return asyncio.run(run())


def usage_of(url: str, key: IssuedKey) -> KeyUsage:
    today = datetime.now(UTC).date()

    async def read(store: Store) -> KeyUsage:
        return await store.usage.of_key(key.record.id, today - timedelta(days=1), today)

    usage: KeyUsage = on_store(url, read)
    return usage


def guarded(**arguments: Any) -> ASGIApp:
    async def answer(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("yes")

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    app = Starlette(routes=[Route("/{rest:path}", answer), WebSocketRoute("/api/ws", talk)])
    return AuthorizationMiddleware(app, **arguments)


def call(client: TestClient, key: IssuedKey) -> list[int]:
    headers = {"X-API-Key": key.new_secret}
    with client.websocket_connect("/api/ws", headers=headers) as socket:
        assert socket.receive()["type"] == "websocket.close"
    wrong = {"X-API-Key": key.new_secret[:-1]}
    return [client.get(path, headers=sent).status_code for path, sent in
            [("/api/a", headers), ("/api/b", headers), ("/other", headers), ("/api/a", wrong)]]  # fmt: skip


def test_the_middleware_counts_requests_and_handshakes(valkey_url: str, key: IssuedKey) -> None:
    with TestClient(guarded(redis_url=valkey_url)) as client:
        assert call(client, key) == [200, 200, 403, 401]
    usage = usage_of(valkey_url, key)
    assert usage.of_rule(RULE).in_all().reasons == {Reason.ALLOWED: 3}
    assert usage.of_rule(None).in_all().reasons == {Reason.URL_NOT_ALLOWED: 1}


def test_an_interval_of_0_counts_nothing(valkey_url: str, key: IssuedKey) -> None:
    with TestClient(guarded(redis_url=valkey_url, usage_interval=0)) as client:
        assert call(client, key) == [200, 200, 403, 401]
    usage = usage_of(valkey_url, key)
    assert not usage.counts
    assert usage.counted_since is None


async def test_forward_auth_counts_what_it_is_asked_about(valkey_url: str) -> None:
    store = Store.at(valkey_url)
    commands = Commands(store)
    await commands.set_scoped_api(on=True)
    key = await commands.create_key(key_type=KeyType.CUSTOM, description="c", rules=(RULE,))
    app = ForwardAuth(trusted_proxies="127.0.0.1", redis_url=valkey_url)
    events: asyncio.Queue[Message] = asyncio.Queue()
    started = asyncio.Event()

    async def send(_message: Message) -> None:
        started.set()

    events.put_nowait({"type": "lifespan.startup"})
    life = asyncio.create_task(app({"type": "lifespan"}, events.get, send))
    await started.wait()
    asked = {"X-API-Key": key.new_secret, "X-Forwarded-Method": "GET", "X-Forwarded-Host": "x"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://auth") as client:
        for target in ("/api/a", "/api/b", "/other"):
            await client.get("/", headers={**asked, "X-Forwarded-Uri": target})
    events.put_nowait({"type": "lifespan.shutdown"})
    await life
    today = datetime.now(UTC).date()
    usage = await store.usage.of_key(key.record.id, today - timedelta(days=1), today)
    assert usage.in_all().reasons == {Reason.ALLOWED: 2, Reason.URL_NOT_ALLOWED: 1}
    await store.aclose()
