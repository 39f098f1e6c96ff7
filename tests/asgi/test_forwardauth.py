"""ForwardAuth as an ASGI application: who may ask, what is judged, and what the asking proxy is told."""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import find_free_port
from core.strategies import raw_paths
from e2e.processes import listens, running, wait_until
from scopegate import ForwardAuth
from scopegate.commands import Commands
from scopegate.core import keys
from scopegate.core.catalogue import Catalogue
from scopegate.core.decision import Scope as KeyScope
from scopegate.core.errors import ConfigurationError, InvalidInput
from scopegate.core.forwarding import TrustedProxies
from scopegate.core.keys import KeyRecord, KeyType, Rule
from scopegate.core.original import Dialect
from scopegate.core.policies import Policies
from scopegate.core.principal import User
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.core.target import split_target
from scopegate.store import Store
from wire.corpuslab import _GRANIAN, _H11, _HTTPTOOLS, _UVICORN
from wire.wires import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, MutableMapping
    from pathlib import Path

    from scopegate.asgi import Message
    from scopegate.core.headers import Field

PROXY = "10.0.0.1"
TRUSTED = ["10.0.0.0/8"]
KEY_FIELD = b"x-api-key"


def seed(url: str) -> dict[str, str]:
    async def create() -> dict[str, str]:
        store = Store.at(url)
        try:
            commands = Commands(store)
            await commands.apply_policies(Policies())
            await commands.put_users([User(id="maria", name="Maria")])
            await commands.set_scoped_api(on=True)
            issued = {
                "desktop": await commands.create_key(key_type=KeyType.DESKTOP, description="d"),
                "bound": await commands.create_key(key_type=KeyType.EXTERNAL, description="b", user="maria"),
                "custom": await commands.create_key(
                    key_type=KeyType.CUSTOM,
                    description="c",
                    rules=(Rule("POST", "https://gw.test/api/*"), Rule("GET", "/public/*")),
                ),
            }
            return {name: key.new_secret for name, key in issued.items()}
        finally:
            await store.aclose()

    return asyncio.run(create())


def question(
    key: str | None = None,
    *more: tuple[str, str],
    method: str = "GET",
    target: str = "/public/1",
    host: str = "gw.test",
) -> list[Field]:
    told = [
        ("host", "asked.test"),
        ("x-forwarded-method", method),
        ("x-forwarded-uri", target),
        ("x-forwarded-host", host),
        *more,
    ]
    if key is not None:
        told.append(("x-api-key", key))
    return [(name.encode(), value.encode("latin-1")) for name, value in told]


def scope(headers: list[Field], **changes: Any) -> MutableMapping[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/anything",
        "raw_path": b"/anything",
        "query_string": b"x",
        "headers": headers,
        "client": (PROXY, 1),
        **changes,
    }


async def ask(app: ForwardAuth, headers: list[Field], **changes: Any) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        assert changes.get("type") == "websocket", "the body of a question is not read"
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope(headers, **changes), receive, send)
    return sent


def fields(sent: list[Message]) -> dict[bytes, bytes]:
    found = dict(sent[0]["headers"])
    assert len(found) == len(sent[0]["headers"])
    return found


def outcome(sent: list[Message]) -> tuple[int, str]:
    status: int = sent[0]["status"]
    assert fields(sent)[b"cache-control"] == b"no-store"
    assert fields(sent)[b"x-request-id"]
    if status == 200:
        assert (fields(sent)[b"content-length"], sent[1]["body"]) == (b"0", b"")
        return status, "allowed"
    return status, json.loads(sent[1]["body"])["code"]


@pytest.fixture
def issued(valkey_url: str) -> dict[str, str]:
    return seed(valkey_url)


@asynccontextmanager
async def made(**arguments: Any) -> AsyncIterator[ForwardAuth]:
    app = ForwardAuth(**{"trusted_proxies": TRUSTED, **arguments})
    try:
        yield app
    finally:
        await app.aclose()


@pytest.fixture
async def app(valkey_url: str) -> AsyncIterator[ForwardAuth]:
    async with made(redis_url=valkey_url) as app:
        yield app


async def test_an_allowed_request_is_answered_with_whose_it_is(
    app: ForwardAuth, issued: dict[str, str]
) -> None:
    sent = await ask(app, question(issued["desktop"], method="DELETE", target="/any/where?x=1"))
    assert outcome(sent) == (200, "allowed")
    told = fields(sent)
    assert issued["desktop"].startswith(f"sg_{told[b'x-scopegate-key-id'].decode()}_")
    assert told[b"x-scopegate-tenant"] == b"default"
    assert told[b"x-scopegate-user"] == b"", "or a proxy would keep what its client wrote"
    assert b"connection" not in told


async def test_a_user_who_may_not_is_refused_and_one_who_may_is_named(
    valkey_url: str, app: ForwardAuth, issued: dict[str, str]
) -> None:
    assert outcome(await ask(app, question(issued["bound"]))) == (403, "endpoint_unlisted")
    store = Store.at(valkey_url)
    await Commands(store).apply_policies(Policies(unlisted_allowed=True))
    sent = await ask(app, question(issued["bound"]))
    assert outcome(sent) == (200, "allowed")
    assert fields(sent)[b"x-scopegate-user"] == b"maria"
    await store.aclose()


@pytest.mark.parametrize(
    ("told", "status", "code"),
    [
        ({"method": "POST", "target": "/api/1", "host": "GW.test"}, 200, "allowed"),
        ({"method": "POST", "target": "/api/1", "host": "other.test"}, 403, "url_not_allowed"),
        ({"method": "POST", "target": "https://gw.test/api/1"}, 200, "allowed"),
        ({"method": "POST", "target": "https://other.test/api/1"}, 400, "host_malformed"),
        ({"method": "HEAD"}, 200, "allowed"),
        ({"method": "POST"}, 403, "method_not_allowed"),
        ({"method": "get"}, 400, "method_unsupported"),
        ({"target": "/public/../api"}, 400, "path_dot_segment"),
        ({"target": "/public/1?a#b"}, 400, "query_malformed"),
        ({"target": "/admin?/public/1"}, 403, "url_not_allowed"),
        ({"target": "/public/" + "x" * 8_192}, 414, "target_too_long"),
        ({"host": "gw.test/x"}, 400, "host_malformed"),
        ({"host": ""}, 400, "original_missing"),
    ],
)
async def test_the_request_is_judged_as_the_proxy_tells_it(
    app: ForwardAuth, issued: dict[str, str], told: dict[str, str], status: int, code: str
) -> None:
    assert outcome(await ask(app, question(issued["custom"], **told))) == (status, code)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ([("x-api-key", "sg_other")], "key_ambiguous"),
        ([("authorization", "Bearer x")], "key_ambiguous"),
        ([("content-length", "1"), ("content-length", "1")], "framing_malformed"),
        ([("content_length", "1")], "framing_malformed"),
        ([("host", "b")], "host_malformed"),
        ([("x-original-url", "/admin")], "original_ambiguous"),
        ([("x-a", "b")] * 128, "head_too_large"),
        ([("content-length", str(2**40))], "body_too_large"),
    ],
)
async def test_fields_that_every_form_refuses_are_refused_here(
    app: ForwardAuth, issued: dict[str, str], more: list[tuple[str, str]], code: str
) -> None:
    assert outcome(await ask(app, question(issued["desktop"], *more)))[1] == code


@pytest.mark.parametrize("client", [None, ("192.0.2.1", 1), ("unknown", 1), ("11.0.0.1", 1)])
async def test_nobody_else_may_ask_whatever_they_know(
    app: ForwardAuth, issued: dict[str, str], client: tuple[str, int] | None
) -> None:
    more = ("x-forwarded-for", PROXY)
    sent = await ask(app, question(issued["desktop"], more), client=client)
    assert outcome(sent) == (403, "proxy_untrusted")
    assert "SCOPEGATE_TRUSTED_PROXIES" in json.loads(sent[1]["body"])["detail"]
    assert b"www-authenticate" not in fields(sent)


async def test_without_trusted_proxies_nobody_may(valkey_url: str, issued: dict[str, str]) -> None:
    async with made(trusted_proxies=TrustedProxies(), redis_url=valkey_url) as app:
        assert outcome(await ask(app, question(issued["desktop"])))[1] == "proxy_untrusted"


async def test_failures_count_against_the_client_and_not_against_the_proxy(
    valkey_url: str, issued: dict[str, str]
) -> None:
    async with made(redis_url=valkey_url, failed_auth_limit=2) as app:
        one, other = ("x-forwarded-for", "8.8.8.8"), ("x-forwarded-for", "8.8.4.4")
        answers = [outcome(await ask(app, question("sg_nope", one))) for _ in range(3)]
        assert answers == [(401, "key_invalid"), (401, "key_invalid"), (429, "too_many_failures")]
        assert outcome(await ask(app, question("sg_nope", other))) == (401, "key_invalid")
        assert outcome(await ask(app, question("sg_nope"))) == (401, "key_invalid")


async def test_a_key_that_is_none_is_told_with_a_challenge(app: ForwardAuth) -> None:
    sent = await ask(app, question())
    assert outcome(sent) == (401, "key_missing")
    assert fields(sent)[b"www-authenticate"] == b'Bearer realm="scopegate"'


async def test_the_proxy_may_name_the_request(app: ForwardAuth, issued: dict[str, str]) -> None:
    sent = await ask(app, question(issued["desktop"], ("x-request-id", "trace-12345")))
    assert fields(sent)[b"x-request-id"] == b"trace-12345"


async def test_a_store_that_is_lost_refuses(tmp_path: Path) -> None:
    text = keys.mint("000", secrets.choice).text
    async with made(redis_url=f"unix://{tmp_path}/none.sock") as app:
        assert outcome(await ask(app, question(text))) == (503, "store_unavailable")


async def test_a_handshake_is_answered_as_far_as_the_server_lets_it(
    app: ForwardAuth, issued: dict[str, str]
) -> None:
    handshake = {"type": "websocket", "extensions": {"websocket.http.response": {}}}
    sent = await ask(app, question(issued["desktop"]), **handshake)
    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 200)
    sent = await ask(app, question("sg_nope"), **handshake)
    assert sent[0]["status"] == 401
    for key in (issued["desktop"], "sg_nope"):
        sent = await ask(app, question(key), type="websocket")
        assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_scope_of_an_unknown_type_is_refused(app: ForwardAuth) -> None:
    with pytest.raises(RuntimeError, match="over HTTP"):
        await ask(app, [], type="telepathy")


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        ({"trusted_proxies": ["everybody"]}, "trusted_proxies"),
        ({"trusted_proxies": "10.0.0.0/33"}, "trusted_proxies"),
        ({"trusted_proxies": [], "dialect": "klingon"}, "forward_auth_dialect"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], setting: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        ForwardAuth(redis_url="redis://127.0.0.1:1", **arguments)
    assert refused.value.setting == setting
    with pytest.raises(InvalidInput):
        ForwardAuth(trusted_proxies="10.0.0.1", redis_url="redis://127.0.0.1:1", key_prefix="_")


# The law


class Known:
    """An access source that knows one key, whose rules are few."""

    def __init__(self) -> None:
        self.key = keys.mint("000", secrets.choice)
        record = KeyRecord(
            id=self.key.id,
            tenant="default",
            type=KeyType.CUSTOM,
            digest=keys.digest(self.key),
            description="d",
            created_at=datetime.now(UTC),
            rules=(Rule("POST", "https://gw.test/a*"), Rule("GET", "/x*")),
        )
        self._scope = KeyScope(record)

    async def scope(self, key: keys.KeyText) -> KeyScope | None:
        return self.known_scope(key)

    async def of_user(self, _tenant_tag: str, _user_id: str) -> tuple[None, Catalogue]:
        return None, Catalogue()

    def known_scope(self, key: keys.KeyText) -> KeyScope | None:
        return self._scope if key.id == self.key.id else None

    def known_user(self, _tenant_tag: str, _user_id: str) -> tuple[None, Catalogue]:
        return None, Catalogue()


KNOWN = Known()
_APPS = {
    dialect: ForwardAuth(trusted_proxies=TRUSTED, dialect=dialect, redis_url="redis://127.0.0.1:1")
    for dialect in Dialect
}
_NAMES = (
    b"host x-forwarded-method x-forwarded-uri x-forwarded-host x-original-method x-original-uri"
    b" x-original-url x_forwarded_uri x_original_method x-http-method-override x-api-key authorization"
    b" content-length transfer-encoding x-scopegate-user x_scopegate_user connection"
).split()
_VALUES = [
    *(b"GET", b"POST", b"HEAD", b"gw.test", b"evil.test", b"/a", b"/x", b"/x?y", b"/b", b"http://gw.test/a"),
    *(b"https://evil.test/a", b"", b"chunked", b"0", KNOWN.key.text.encode(), b"Bearer x"),
]


@given(
    more=st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(_VALUES)), max_size=5),
    dialect=st.sampled_from(Dialect),
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    host=st.sampled_from(["gw.test", "evil.test", "gw.test:443"]),
    path=st.one_of(st.sampled_from([b"/a/1", b"/x/1?y", b"http://gw.test/a"]), raw_paths()),
)
def test_who_is_asked_allows_nothing_that_who_forwards_would_not(
    more: list[Field], dialect: Dialect, method: str, host: str, path: bytes
) -> None:
    prefix = f"x-{dialect}-".encode()
    headers = [
        (b"host", host.encode()),
        (prefix + b"method", method.encode()),
        (prefix + b"uri", path),
        (b"x-forwarded-host", host.encode()),
        (KEY_FIELD, KNOWN.key.text.encode()),
        *more,
    ]
    app = _APPS[dialect]
    enforcer = app._judge.enforcer
    try:
        asked = app._question(scope(headers), enforcer)
    except RequestRefused:
        return
    presented, told_method, raw_path, query = asked
    verdict = enforcer.judge_known(KNOWN, presented, told_method, raw_path, query=query)
    if verdict is None or not verdict.decision.allowed:
        return
    own = [(b"host", host.encode()), (KEY_FIELD, KNOWN.key.text.encode())]
    direct_path, direct_query = split_target(path, own)
    direct = enforcer.judge_known(
        KNOWN, enforcer.read(own, http_version="1.1"), method, direct_path, query=direct_query
    )
    assert direct is not None
    assert direct.decision.reason is Reason.ALLOWED
    assert direct.request == verdict.request


# On real servers


@pytest.fixture(params=["granian", "httptools", "h11"])
def port(request: pytest.FixtureRequest, valkey_url: str, tmp_path: Path) -> Iterator[int]:
    commands = {
        "granian": _GRANIAN,
        "httptools": (*_UVICORN, *_HTTPTOOLS),
        "h11": (*_UVICORN, *_H11),
    }
    port = find_free_port()
    environment = {"SCOPEGATE_TRUSTED_PROXIES": "127.0.0.1", "SCOPEGATE_REDIS_URL": valkey_url}
    command = (*commands[request.param], "scopegate.app:forward_auth", "--port", str(port))
    with running(*command, directory=tmp_path / "server", env=environment) as process:
        wait_until(lambda: listens(port), "it starts", process=process)
        yield port


def test_a_handshake_on_a_server_of_websockets_is_allowed_in_http_or_refused(
    port: int, issued: dict[str, str]
) -> None:
    """granian has no words for a 200 there, so it says 403."""
    handshake = (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    for key, statuses in ((issued["desktop"], {200, 403}), ("sg_nope", {401, 403})):
        told = b"".join(b"%b: %b\r\n" % field for field in question(key))
        with connect(port) as wire:
            wire.send(b"GET / HTTP/1.1\r\n" + told + handshake + b"\r\n")
            assert wire.answer().status in statuses


def test_what_follows_an_announced_body_is_never_taken_for_a_question(
    port: int, issued: dict[str, str]
) -> None:
    """An asking proxy that sends its client's Content-Length and no body is answered, once."""
    head = (
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Method: POST\r\nX-Forwarded-Uri: /x\r\n"
        b"X-Forwarded-Host: gw.test\r\nX-API-Key: %b\r\n" % issued["desktop"].encode()
    )
    for announced in (b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"):
        with connect(port) as wire:
            wire.send(head + announced + b"\r\n")
            assert wire.answer().status == 200
            assert wire.is_over()
        with connect(port) as wire:
            wire.send(head.replace(b": POST", b": PUT /") + announced + b"\r\n" + head + b"\r\n")
            assert wire.answer().status == 400
            assert wire.is_over()
    with connect(port) as wire:
        wire.send(head + b"Content-Length: 10\r\n\r\n" + b"0123456789" + head + b"\r\n")
        assert wire.answer().status == 200
        assert wire.is_over()
    with connect(port) as wire:
        for _ in range(2):
            wire.send(head + b"Content-Length: 0\r\n\r\n")
            assert wire.answer().status == 200
        wire.send(head.replace(b"GET /", b"HEAD /") + b"\r\n")
        assert wire.answer(to_head=True).status == 200
        wire.send(head.replace(b"GET /", b"POST /") + b"\r\n")
        assert wire.answer().status == 200
