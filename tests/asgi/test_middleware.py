"""The middleware in front of applications of others: Starlette, FastAPI and bare ASGI."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from scopegate import AuthorizationMiddleware, Decision
from scopegate.commands import Commands, IssuedKey
from scopegate.core.catalogue import Endpoint
from scopegate.core.errors import ConfigurationError, InvalidInput
from scopegate.core.keys import KeyType, Rule
from scopegate.core.limits import Limits
from scopegate.core.policies import Policies
from scopegate.core.principal import User
from scopegate.core.reasons import Reason
from scopegate.enforcer import Enforcer
from scopegate.store import Store
from scopegate.store.location import RedisOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import httpx2
    from starlette.requests import Request as StarletteRequest
    from starlette.websockets import WebSocket

    from scopegate.asgi import ASGIApp, Message, Receive, Scope, Send

    Bounded = Callable[[ASGIApp, list[bytes], str], Awaitable[list[Message]]]

POLICIES = Policies(
    endpoints=(
        Endpoint(frozenset({"GET"}), "/api/recordings/*", frozenset({"recordings.view"})),
        Endpoint(frozenset({"GET"}), "/api/reports/*", frozenset({"reports.view"})),
        Endpoint(frozenset({"GET"}), "/ws", frozenset({"recordings.view"})),
    ),
    roles={"agent": frozenset({"recordings.view"})},
)
MARIA = User(id="maria", name="Maria", roles=frozenset({"agent"}))


def on_store(url: str, action: Callable[[Commands], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        store = Store.at(url)
        try:
            return await action(Commands(store))
        finally:
            await store.aclose()

    return asyncio.run(run())


@pytest.fixture
def keys(valkey_url: str) -> Mapping[str, IssuedKey]:
    async def seed(commands: Commands) -> Mapping[str, IssuedKey]:
        await commands.apply_policies(POLICIES)
        await commands.put_users([MARIA])
        await commands.set_scoped_api(on=True)
        return {
            "desktop": await commands.create_key(key_type=KeyType.DESKTOP, description="d"),
            "external": await commands.create_key(key_type=KeyType.EXTERNAL, description="e", user="maria"),
            "custom": await commands.create_key(
                key_type=KeyType.CUSTOM, description="c", rules=(Rule("GET", "/api/recordings/*"),)
            ),
        }

    issued: Mapping[str, IssuedKey] = on_store(valkey_url, seed)
    return issued


def starlette_app(url: str) -> ASGIApp:
    async def echo(request: StarletteRequest) -> JSONResponse:
        decision: Decision = request.state.scopegate
        return JSONResponse(
            {"path": request.url.path, "reason": decision.reason, "headers": dict(request.headers)}
        )

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(websocket.headers["x-scopegate-user"])
        await websocket.close()

    return Starlette(
        routes=[
            Route("/api/{rest:path}", echo, methods=["GET", "POST"]),
            WebSocketRoute("/ws", socket),
        ],
        middleware=[Middleware(AuthorizationMiddleware, redis_url=url)],
    )


def fastapi_app(url: str) -> ASGIApp:
    app = FastAPI()
    app.add_middleware(AuthorizationMiddleware, redis_url=url)

    @app.get("/api/{rest:path}")
    def echo(request: Request, rest: str) -> dict[str, Any]:
        assert request.url.path.endswith(rest)
        decision: Decision = request.state.scopegate
        return {"path": request.url.path, "reason": decision.reason, "headers": dict(request.headers)}

    return app


def bare_app(url: str) -> ASGIApp:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = json.dumps(
            {
                "path": scope["path"],
                "reason": scope["state"]["scopegate"].reason,
                "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
            }
        ).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return AuthorizationMiddleware(echo, redis_url=url)


@pytest.fixture(params=[starlette_app, fastapi_app, bare_app], ids=["starlette", "fastapi", "bare"])
def client(
    request: pytest.FixtureRequest, valkey_url: str, keys: Mapping[str, IssuedKey]
) -> Iterator[TestClient]:
    with TestClient(request.param(valkey_url)) as client:
        yield client


def test_one_line_of_middleware_protects_an_application(
    client: TestClient, keys: Mapping[str, IssuedKey]
) -> None:
    assert client.get("/api/recordings/1").status_code == 401
    answer = client.get("/api/recordings/1", headers={"X-API-Key": keys["external"].new_secret})
    assert answer.status_code == 200
    assert answer.json()["reason"] == "allowed"
    assert answer.json()["headers"]["x-scopegate-user"] == "maria"
    assert answer.json()["headers"]["x-scopegate-tenant"] == "default"
    assert answer.json()["headers"]["x-scopegate-key-id"] == keys["external"].record.id


def test_the_application_never_sees_a_key(client: TestClient, keys: Mapping[str, IssuedKey]) -> None:
    secret = keys["desktop"].new_secret
    for headers in (
        {"X-API-Key": secret},
        {"Authorization": f"Bearer {secret}"},
        {"authorization": f"bearer  {secret} "},
    ):
        answer = client.get("/api/x", headers=headers)
        assert answer.status_code == 200
        assert secret not in answer.text
        assert "authorization" not in answer.json()["headers"]


def test_an_authorization_of_the_applications_own_passes(
    client: TestClient, keys: Mapping[str, IssuedKey]
) -> None:
    headers = {"X-API-Key": keys["desktop"].new_secret, "Authorization": "Basic dTpw"}
    assert client.get("/api/x", headers=headers).json()["headers"]["authorization"] == "Basic dTpw"


def test_identity_claims_of_the_client_are_replaced(
    client: TestClient, keys: Mapping[str, IssuedKey]
) -> None:
    headers = {
        "X-API-Key": keys["external"].new_secret,
        "X-Scopegate-User": "ana",
        "X_Scopegate_User": "ana",
        "Connection": "x-scopegate-user, x-scopegate-tenant",
        "X-Request-ID": "mine",
    }
    seen = client.get("/api/recordings/1", headers=headers).json()["headers"]
    assert seen["x-scopegate-user"] == "maria"
    assert seen["x-scopegate-tenant"] == "default"
    assert "x_scopegate_user" not in seen
    assert seen["x-request-id"] != "mine"


@pytest.mark.parametrize(
    ("key", "method", "path", "status", "code"),
    [
        (None, "GET", "/api/recordings/1", 401, "key_missing"),
        ("custom", "GET", "/api/reports/1", 403, "url_not_allowed"),
        ("custom", "POST", "/api/recordings/1", 403, "method_not_allowed"),
        ("external", "GET", "/api/reports/1", 403, "privilege_missing"),
        ("external", "GET", "/api/other", 403, "endpoint_unlisted"),
        ("desktop", "TRACE", "/api/x", 400, "method_unsupported"),
        ("desktop", "GET", "/api//x", 400, "path_empty_segment"),
        ("desktop", "GET", "/api/%2e%2e%2fx", 400, "path_encoded_slash"),
    ],
)
def test_a_refusal_is_a_problem_document(
    client: TestClient,
    keys: Mapping[str, IssuedKey],
    key: str | None,
    method: str,
    path: str,
    status: int,
    code: str,
) -> None:
    headers = {"X-API-Key": keys[key].new_secret} if key else {}
    answer = client.request(method, path, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
    assert ("www-authenticate" in answer.headers) == (status in {401, 403})


def test_unknown_malformed_and_deleted_keys_get_the_same_answer(
    client: TestClient, keys: Mapping[str, IssuedKey], valkey_url: str
) -> None:
    gone = keys["desktop"]
    on_store(valkey_url, lambda commands: commands.delete_key(gone.record.id))
    other = keys["custom"].new_secret
    texts = [
        gone.new_secret,
        "nonsense",
        "",
        gone.new_secret[:-1] + "!",
        other.upper(),
        "sg_*",
        gone.record.id,
    ]
    answers = [client.get("/api/x", headers={"X-API-Key": text}) for text in texts]

    def comparable(answer: httpx2.Response) -> tuple[Any, ...]:
        body = answer.json()
        body.pop("instance")
        return answer.status_code, body, answer.headers["www-authenticate"]

    assert {json.dumps(comparable(answer)) for answer in answers} == {json.dumps(comparable(answers[0]))}
    assert answers[0].status_code == 401


def test_a_client_whose_keys_are_wrong_too_often_is_told_so(
    keys: Mapping[str, IssuedKey], valkey_url: str
) -> None:
    app = AuthorizationMiddleware(bare_app(valkey_url), redis_url=valkey_url, failed_auth_limit=2)
    right = {"X-API-Key": keys["desktop"].new_secret}
    wrong = {"X-API-Key": "nonsense"}
    with TestClient(app, client=("8.8.4.4", 1)) as client:
        answers = [client.get("/api/x", headers=wrong) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [401, 401, 429, 429]
        assert answers[-1].json()["code"] == "too_many_failures"
        assert answers[-1].headers["retry-after"] == "30"
        assert client.get("/api/x", headers=right).status_code == 429  # nobody has met it yet
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws", headers=wrong):
            pass
    with TestClient(app, client=("127.0.0.1", 1)) as client:
        assert {client.get("/api/x", headers=wrong).status_code for _ in range(4)} == {401}
        assert client.get("/api/x").json()["code"] == "key_missing"


def test_a_limit_of_failures_that_is_none_is_refused(valkey_url: str) -> None:
    with pytest.raises(InvalidInput):
        AuthorizationMiddleware(bare_app(valkey_url), redis_url=valkey_url, failed_auth_limit=-1)


def test_the_state_of_a_key_is_told_to_its_holder_only(
    client: TestClient, keys: Mapping[str, IssuedKey], valkey_url: str
) -> None:
    key = keys["desktop"]
    on_store(valkey_url, lambda commands: commands.set_enabled(key.record.id, enabled=False))
    assert client.get("/api/x", headers={"X-API-Key": key.new_secret}).json()["code"] == "key_disabled"
    forged = keys["external"].new_secret  # another key's secret under this id, with a right checksum
    text = forge(key.record.id, forged)
    assert client.get("/api/x", headers={"X-API-Key": text}).json()["code"] == "key_invalid"


def forge(key_id: str, text: str) -> str:
    from scopegate.core import keys as grammar  # noqa: PLC0415

    body = f"sg_{key_id}_{text.split('_')[2][: grammar.SECRET_LENGTH]}"
    return body + grammar._checksum(body)


def test_two_keys_are_refused_even_if_both_are_right(
    client: TestClient, keys: Mapping[str, IssuedKey]
) -> None:
    headers = {
        "X-API-Key": keys["desktop"].new_secret,
        "Authorization": f"Bearer {keys['external'].new_secret}",
    }
    assert client.get("/api/x", headers=headers).json()["code"] == "key_ambiguous"


def test_a_change_counts_at_once(client: TestClient, keys: Mapping[str, IssuedKey], valkey_url: str) -> None:
    headers = {"X-API-Key": keys["external"].new_secret}

    def wait_for(wanted: tuple[int, str | None]) -> None:
        # The change is told by a message, which may be a moment behind the commit.
        def seen() -> tuple[int, str | None]:
            answer = client.get("/api/recordings/1", headers=headers)
            return answer.status_code, answer.json().get("code")

        while seen() != wanted:
            pass
        assert {seen() for _ in range(20)} == {wanted}

    wait_for((200, None))
    on_store(valkey_url, lambda commands: commands.remove_roles("maria", ["agent"]))
    wait_for((403, "privilege_missing"))
    on_store(valkey_url, lambda commands: commands.add_roles("maria", ["agent"]))
    wait_for((200, None))
    on_store(valkey_url, lambda commands: commands.set_active("maria", active=False))
    wait_for((403, "user_inactive"))


def test_an_expired_key_stops_at_its_instant(keys: Mapping[str, IssuedKey], valkey_url: str) -> None:
    past = datetime.now(UTC) - timedelta(days=2)

    async def expired(_commands: Commands) -> IssuedKey:
        store = Store.at(valkey_url)
        try:
            return await Commands(store, clock=lambda: past).create_key(
                key_type=KeyType.EXTERNAL, description="old", expires_at=past + timedelta(days=1)
            )
        finally:
            await store.aclose()

    key: IssuedKey = on_store(valkey_url, expired)
    with TestClient(starlette_app(valkey_url)) as client:
        answer = client.get("/api/x", headers={"X-API-Key": key.new_secret})
    assert answer.json()["code"] == "key_expired"


# Nobody can close the connections of a loop that is gone.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_it_works_without_lifespan(keys: Mapping[str, IssuedKey], valkey_url: str) -> None:
    def statuses() -> list[int]:
        client = TestClient(starlette_app(valkey_url))  # each request has an event loop of its own
        headers = {"X-API-Key": keys["desktop"].new_secret}
        return [client.get("/api/x", headers=headers).status_code for _ in range(2)]

    assert statuses() == [200, 200]
    gc.collect()


def test_a_mounted_application_is_matched_by_its_full_path(
    keys: Mapping[str, IssuedKey], valkey_url: str
) -> None:
    async def echo(request: StarletteRequest) -> JSONResponse:
        return JSONResponse({"path": request.scope["path"]})

    inner = Starlette(routes=[Route("/recordings/{id}", echo)])
    guarded = AuthorizationMiddleware(inner, redis_url=valkey_url)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await guarded.aclose()

    app = Starlette(routes=[Mount("/api", app=guarded)], lifespan=lifespan)
    with TestClient(app) as client:
        headers = {"X-API-Key": keys["custom"].new_secret}
        assert client.get("/api/recordings/1", headers=headers).status_code == 200
        assert client.get("/api/reports/1", headers=headers).status_code == 403


def test_a_websocket_handshake_is_judged(keys: Mapping[str, IssuedKey], valkey_url: str) -> None:
    with TestClient(starlette_app(valkey_url)) as client:
        with client.websocket_connect("/ws", headers={"X-API-Key": keys["external"].new_secret}) as socket:
            assert socket.receive_text() == "maria"
        for headers in ({}, {"X-API-Key": keys["custom"].new_secret}):
            with pytest.raises((WebSocketDisconnect, RuntimeError)) as refused:  # noqa: SIM117
                with client.websocket_connect("/ws", headers=headers):
                    pass
            assert getattr(refused.value, "status_code", 403) in {401, 403}


HOST = [(b"host", b"gw.test")]
CHUNKED = (b"transfer-encoding", b"chunked")


async def call(app: ASGIApp, body: Sequence[bytes] = (b"",), **scope: Any) -> list[Message]:
    pieces = list(body)
    sent: list[Message] = []
    full = {
        "type": "http",
        "method": "GET",
        "path": "/api/x",
        "raw_path": b"/api/x",
        "query_string": b"",
        "headers": HOST,
        "http_version": "1.1",
        **scope,
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(full, receive, send)
    return sent


async def never(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("the application must not be called")


def problem_code(sent: list[Message]) -> str:
    code: str = json.loads(sent[1]["body"])["code"]
    return code


async def test_an_unreachable_store_refuses_with_503(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = AuthorizationMiddleware(never, redis_url=f"unix://{tmp_path}/none.sock")
    key = "sg_000000000000_" + "0" * 32
    from scopegate.core import keys as grammar  # noqa: PLC0415

    text = (key + grammar._checksum(key)).encode()
    headers = [(b"host", b"gw.test"), (b"x-api-key", text)]
    await call(app, headers=headers)
    sent = await call(app, headers=headers)
    assert sum("nobody can tell" in record.message for record in caplog.records) == 1
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"1") in sent[0]["headers"]
    assert problem_code(sent) == "store_unavailable"
    await app.aclose()


async def test_a_fault_of_ours_refuses_with_500(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = AuthorizationMiddleware(never, redis_url=f"unix://{tmp_path}/none.sock")
    monkeypatch.setattr("scopegate.enforcer.canonicalize", lambda *_, **__: 1 / 0)
    with caplog.at_level(logging.CRITICAL):
        sent = await call(app)
    assert problem_code(sent) == "internal_error"
    await app.aclose()


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        ({"path": "/api/admin"}, Reason.PATH_MALFORMED),
        ({"raw_path": None, "path": "/api/a b%"}, Reason.PATH_MALFORMED),
        ({"raw_path": None, "path": "/api/é"}, Reason.PATH_MALFORMED),
        ({"headers": []}, Reason.HOST_MALFORMED),
        ({"headers": [(b"host", b"a"), (b"host", b"b")]}, Reason.HOST_MALFORMED),
        ({"headers": [(b"host", b"")]}, Reason.HOST_MALFORMED),
        ({"query_string": b"a#b"}, Reason.QUERY_MALFORMED),
        ({"method": "get"}, Reason.METHOD_UNSUPPORTED),
        ({"headers": [*HOST, (b"content-length", b"1"), CHUNKED]}, Reason.FRAMING_MALFORMED),
        ({"headers": [*HOST, CHUNKED], "http_version": "1.0"}, Reason.FRAMING_MALFORMED),
        ({"headers": [*HOST, (b"content_length", b"0")]}, Reason.FRAMING_MALFORMED),
        ({"http_version": "2.0"}, Reason.HTTP_VERSION_UNSUPPORTED),
        ({"http_version": "1.2"}, Reason.HTTP_VERSION_UNSUPPORTED),
        ({"raw_path": None}, Reason.KEY_MISSING),
        ({"headers": [], "http_version": "1.0"}, Reason.KEY_MISSING),
        ({"path": "/x", "root_path": "/api"}, Reason.KEY_MISSING),
        ({"path": "/x", "root_path": "/ap"}, Reason.PATH_MALFORMED),
    ],
)
async def test_what_can_be_read_in_two_ways_is_refused(
    tmp_path: Path, scope: dict[str, Any], code: Reason
) -> None:
    app = AuthorizationMiddleware(never, redis_url=f"unix://{tmp_path}/none.sock")
    assert problem_code(await call(app, **scope)) == code
    await app.aclose()


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        ({"query_string": b"q" * 4}, Reason.KEY_MISSING),  # with /api/x? the 11 bytes that may be
        ({"query_string": b"q" * 5}, Reason.TARGET_TOO_LONG),
        ({"raw_path": b"/api/x/2345", "path": "/api/x/2345"}, Reason.KEY_MISSING),
        ({"raw_path": b"/api/x/23456", "path": "/api/x/23456"}, Reason.TARGET_TOO_LONG),
        ({"headers": [*HOST, (b"a", b"b" * 100)]}, Reason.HEAD_TOO_LARGE),
        ({"headers": [*HOST, *[(b"a", b"")] * 4]}, Reason.HEAD_TOO_LARGE),
        ({"headers": [*HOST, (b"content-length", b"10")]}, Reason.KEY_MISSING),
        ({"headers": [*HOST, (b"content-length", b"11")]}, Reason.BODY_TOO_LARGE),
        ({"type": "websocket", "query_string": b"q" * 5}, Reason.TARGET_TOO_LONG),
    ],
)
async def test_what_is_too_large_is_refused_before_anybody_asks_for_a_key(
    tmp_path: Path, scope: dict[str, Any], code: Reason
) -> None:
    limits = Limits(target=11, head=100, fields=4, body=10)
    app = AuthorizationMiddleware(never, redis_url=f"unix://{tmp_path}/none.sock", limits=limits)
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    assert problem_code(await call(app, extensions=extensions, **scope)) == code
    await app.aclose()


async def read_all(receive: Receive) -> bytes | None:
    """The body, or None if the client went away."""
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        more = message["more_body"]
    return body


@pytest.fixture
def call_bounded(keys: Mapping[str, IssuedKey], valkey_url: str) -> Bounded:
    async def call_it(inner: ASGIApp, body: list[bytes], http_version: str) -> list[Message]:
        app = AuthorizationMiddleware(inner, redis_url=valkey_url, limits=Limits(body=10))
        headers = [*HOST, (b"x-api-key", keys["desktop"].new_secret.encode())]
        if http_version == "1.1":
            headers.append(CHUNKED)
        try:
            return await call(app, body, method="POST", headers=headers, http_version=http_version)
        finally:
            await app.aclose()

    return call_it


def test_what_the_live_view_knows_is_judged_at_once(
    keys: Mapping[str, IssuedKey], valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    judge = Enforcer.judge

    def counted(*args: Any, **facts: Any) -> Any:
        asked.append(args)
        return judge(*args, **facts)

    monkeypatch.setattr(Enforcer, "judge", counted)
    with TestClient(starlette_app(valkey_url)) as client:
        headers = {"X-API-Key": keys["external"].new_secret}
        before = -1
        while len(asked) > before:  # until the view listens and has read the key and its user
            before = len(asked)
            assert client.get("/api/recordings/1", headers=headers).status_code == 200
    assert asked


@pytest.mark.parametrize("http_version", ["1.1", "2"])
async def test_a_body_of_unstated_length_that_outgrows_its_limit_is_refused(
    call_bounded: Bounded, http_version: str
) -> None:
    seen = []

    async def inner(_scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await read_all(receive))
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"stored"})

    sent = await call_bounded(inner, [b"12345", b"67890", b"1", b"2"], http_version)
    assert seen == [None]
    assert [message.get("status") for message in sent] == [413, None]
    assert problem_code(sent) == "body_too_large"


@pytest.mark.parametrize("http_version", ["1.1", "2"])
async def test_a_body_of_unstated_length_within_its_limit_passes(
    call_bounded: Bounded, http_version: str
) -> None:
    async def inner(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": await read_all(receive)})

    sent = await call_bounded(inner, [b"12345", b"67890", b""], http_version)
    assert sent[0]["status"] == 200
    assert sent[1]["body"] == b"1234567890"


async def test_an_answer_that_has_begun_when_the_body_outgrows_its_limit_is_the_applications(
    call_bounded: Bounded,
) -> None:
    async def inner(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 202, "headers": []})
        assert await read_all(receive) is None
        await send({"type": "http.response.body", "body": b"cut off"})

    sent = await call_bounded(inner, [b"12345", b"678901"], "1.1")
    assert [message.get("status") for message in sent] == [202, None]
    assert sent[1]["body"] == b"cut off"


async def test_an_application_that_fails_on_a_body_cut_off_has_been_answered_for(
    call_bounded: Bounded,
) -> None:
    async def inner(_scope: Scope, receive: Receive, _send: Send) -> None:
        assert await read_all(receive) is None
        raise RuntimeError("the client is gone")

    assert problem_code(await call_bounded(inner, [b"12345678901"], "1.1")) == "body_too_large"


async def test_the_failures_of_an_application_are_its_own(call_bounded: Bounded) -> None:
    async def inner(_scope: Scope, receive: Receive, _send: Send) -> None:
        await read_all(receive)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await call_bounded(inner, [b"1"], "1.1")


async def test_a_scope_of_an_unknown_type_is_refused(tmp_path: Path) -> None:
    app = AuthorizationMiddleware(never, redis_url=f"unix://{tmp_path}/none.sock")
    with pytest.raises(RuntimeError, match="webtransport"):
        await app({"type": "webtransport"}, None, None)  # type: ignore[arg-type]


def test_wrong_options_fail_at_construction(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has to be said where the keys are"):
        AuthorizationMiddleware(never)
    with pytest.raises(ConfigurationError, match="has to be said where the keys are"):
        AuthorizationMiddleware(never, redis_url="redis://x", data_dir=tmp_path)
    with pytest.raises(ConfigurationError, match="unknown scheme"):
        AuthorizationMiddleware(never, redis_url="http://x")
    with pytest.raises(ConfigurationError, match="It is for TLS"):
        AuthorizationMiddleware(never, redis_url="redis://x", redis_options=RedisOptions(ca=tmp_path))
    with pytest.raises(ConfigurationError, match="no redis_url that it belongs to"):
        AuthorizationMiddleware(never, data_dir=tmp_path, redis_options=RedisOptions(password="x"))
    with pytest.raises(InvalidInput, match="cannot be a key prefix"):
        AuthorizationMiddleware(never, redis_url="redis://x", key_prefix="a-b")


def test_it_can_bring_an_embedded_store(short_dir: Path) -> None:
    async def ok(_request: StarletteRequest) -> JSONResponse:
        return JSONResponse({})

    directory = short_dir / "embedded-in-app"
    app = Starlette(
        routes=[Route("/api/x", ok)],
        middleware=[Middleware(AuthorizationMiddleware, data_dir=directory)],
    )
    with TestClient(app) as client:
        key: IssuedKey = on_store(
            f"unix://{directory}/valkey.sock",
            lambda commands: commands.create_key(key_type=KeyType.DESKTOP, description="d"),
        )
        assert client.get("/api/x", headers={"X-API-Key": key.new_secret}).status_code == 200
        assert client.get("/api/x").status_code == 401
