"""Every ASGI form of Scopegate asks the privilege source that it is given."""

from __future__ import annotations

import asyncio
import gc
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from asgi.upstreams import Visit
from privilegeserver import TOKEN, PrivilegeServer, privilege_server
from scopegate import AuthorizationMiddleware, ForwardAuth, HttpPrivileges
from scopegate.asgiadmission import AnswerCutOff
from scopegate.commands import Commands
from scopegate.core.catalogue import Endpoint
from scopegate.core.keys import KeyType
from scopegate.core.policies import Policies
from scopegate.core.principal import User
from scopegate.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from scopegate.asgi import ASGIApp, Receive, Scope, Send

VIEW = "recordings.view"
POLICIES = Policies(endpoints=(Endpoint(frozenset({"GET"}), "/api/*", frozenset({VIEW})),))


@pytest.fixture
def source() -> Iterator[PrivilegeServer]:
    with privilege_server() as server:
        server.let("maria", VIEW)
        yield server


async def create_key(url: str) -> str:
    """A key of maria, to whom the directory gives nothing."""
    store = Store.at(url)
    try:
        commands = Commands(store)
        await commands.apply_policies(POLICIES)
        await commands.put_users([User(id="maria", name="Maria")])
        issued = await commands.create_key(key_type=KeyType.EXTERNAL, description="e", user="maria")
        return issued.new_secret
    finally:
        await store.aclose()


@pytest.fixture
def key(valkey_url: str) -> str:
    return asyncio.run(create_key(valkey_url))


def options(source: PrivilegeServer, **changes: Any) -> HttpPrivileges:
    return HttpPrivileges(source.url, **{"token": TOKEN, "timeout": 20.0, "max_age": 0.0, **changes})


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers "ok"."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def through_middleware(client: TestClient, key: str) -> tuple[int, str]:
    answer = client.get("/api/1", headers={"X-API-Key": key})
    return answer.status_code, "" if answer.status_code == 200 else answer.json()["code"]


def through_forward_auth(client: TestClient, key: str) -> tuple[int, str]:
    told = {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/api/1", "X-Forwarded-Host": "api.example"}
    answer = client.get("/", headers={"X-API-Key": key, **told})
    return answer.status_code, "" if answer.status_code == 200 else answer.json()["code"]


def middleware(url: str, privileges: HttpPrivileges) -> ASGIApp:
    return AuthorizationMiddleware(plain, redis_url=url, privileges=privileges)


def forward_auth(url: str, privileges: HttpPrivileges) -> ASGIApp:
    return ForwardAuth(trusted_proxies=["192.0.2.1"], redis_url=url, privileges=privileges)


FORMS: dict[
    str, tuple[Callable[[str, HttpPrivileges], ASGIApp], Callable[[TestClient, str], tuple[int, str]]]
]
FORMS = {
    "middleware": (middleware, through_middleware),
    "forward auth": (forward_auth, through_forward_auth),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_next_request_sees_what_the_source_says_now(
    valkey_url: str, source: PrivilegeServer, key: str, form: str
) -> None:
    make, ask = FORMS[form]
    with TestClient(make(valkey_url, options(source)), client=("192.0.2.1", 4711)) as client:
        assert ask(client, key) == (200, "")
        source.let("maria")
        assert ask(client, key) == (403, "privilege_missing")
        source.broken = True
        assert ask(client, key) == (503, "privileges_unavailable")


# Where nobody says that it is over, nobody closes the connections to Redis.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_it_does_so_without_a_lifespan_and_keeps_nothing_in_between(
    valkey_url: str, source: PrivilegeServer, key: str
) -> None:
    def outcomes() -> list[tuple[int, str]]:
        app = middleware(valkey_url, options(source, max_age=60.0))
        client = TestClient(app)  # each request has a loop of its own
        before = through_middleware(client, key)
        source.let("maria")
        return [before, through_middleware(client, key)]

    assert outcomes() == [(200, ""), (403, "privilege_missing")]
    gc.collect()


@asynccontextmanager
async def lasting(app: ASGIApp) -> AsyncIterator[None]:
    """`app` between its startup and its shutdown."""
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: asyncio.Queue[Any] = asyncio.Queue()
    running = asyncio.ensure_future(app({"type": "lifespan"}, incoming.get, sent.put))
    await incoming.put({"type": "lifespan.startup"})
    await sent.get()
    yield
    await incoming.put({"type": "lifespan.shutdown"})
    await running


async def test_an_answer_that_goes_on_is_cut_off_when_the_source_takes_the_privilege(
    valkey_url: str, source: PrivilegeServer
) -> None:
    key = (await create_key(valkey_url)).encode()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await plain(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b".", "more_body": True})
            await asyncio.sleep(0.01)

    app = AuthorizationMiddleware(endless, redis_url=valkey_url, privileges=options(source, max_age=0.3))
    async with lasting(app):
        visit = Visit(target=b"/api/1", headers=[(b"host", b"api.example"), (b"x-api-key", key)])
        serving = asyncio.create_task(visit.to(app))
        async with asyncio.timeout(20):
            await visit.until(lambda visit: len(visit.sent) > 100)  # some ages
            assert not serving.done()
            source.let("maria")
            with pytest.raises(AnswerCutOff, match="privilege_missing"):
                await serving


def test_a_source_is_asked_by_the_loop_that_judges(
    valkey_url: str, source: PrivilegeServer, key: str
) -> None:
    """Each loop has connections of its own; those of a loop that is gone are of no use."""
    app = middleware(valkey_url, options(source))
    for _ in range(3):
        with TestClient(app) as client:
            assert through_middleware(client, key) == (200, "")
            assert through_middleware(client, key) == (200, "")


def test_no_token_of_the_source_is_in_what_a_caller_is_told(
    valkey_url: str, source: PrivilegeServer, key: str
) -> None:
    source.broken = True
    with TestClient(middleware(valkey_url, options(source))) as client:
        answer = client.get("/api/1", headers={"X-API-Key": key})
        assert TOKEN not in json.dumps([answer.text, *answer.headers.items()])
        assert str(source.server_port) not in answer.text
