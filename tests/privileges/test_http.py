"""An HTTP source is asked in one way, and whatever it does not say clearly in time is doubt."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asgi.upstreams import Peer, ok, on_both_loops, replies, upstream
from conftest import require_program
from scopegate.core.catalogue import Catalogue
from scopegate.core.errors import ConfigurationError, PrivilegesUnavailable
from scopegate.metrics import PrivilegeMetrics
from scopegate.privileges.http import AT_ONCE, FAILURES, LARGEST_ANSWER, PAUSE, HttpPrivileges, HttpSource
from scopegate.privileges.source import Answer, Inquiry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asgi.upstreams import Upstream

JSON = b"Content-Type: application/json"
MAY = ok(b'{"active": true, "privileges": ["calls.view"]}', JSON)
CALLS = Answer(active=True, privileges=frozenset({"calls.view"}))
# What must come in time comes long before this; what must not come would take as long.
PATIENCE = 20.0
BRIEF = 0.2


def inquiry(user: str = "maria", tenant: str = "acme") -> Inquiry:
    return Inquiry(tenant, user, None, Catalogue())


class Counted(PrivilegeMetrics):
    """Counts by name."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def answered(self, seconds: float) -> None:
        self.names.append("answered")

    def failed(self, seconds: float) -> None:
        self.names.append("failed")

    def not_asked(self) -> None:
        self.names.append("not asked")


@asynccontextmanager
async def asking(
    handler: Callable[[Peer], Awaitable[None]],
    path: str = "/u/{user}",
    *,
    started: bool = True,
    **options: Any,
) -> AsyncIterator[tuple[HttpSource, Upstream]]:
    async with upstream(handler) as served:
        options.setdefault("timeout", PATIENCE)
        source = HttpPrivileges(served.url + path, **options).open(Counted())
        if started:
            source.start(lambda: None)
        try:
            yield source, served
        finally:
            await source.aclose()


@on_both_loops
async def test_it_is_asked_for_one_user_with_our_token_and_nothing_else() -> None:
    async with asking(replies(MAY), "/t/{tenant}/u/{user}?full={user}", token="s3cret") as (source, served):
        assert await source.ask(inquiry("maria")) == CALLS
        [request] = served.requests
        host = f"127.0.0.1:{served.port}".encode()
        assert request.split(b"\r\n")[0] == b"GET /t/acme/u/maria?full=maria HTTP/1.1"
        assert sorted(line.lower() for line in request.split(b"\r\n")[1:] if line) == [
            b"accept-encoding: identity",
            b"accept: application/json",
            b"authorization: bearer s3cret",
            b"host: " + host,
            b"user-agent: scopegate",
        ]


@pytest.mark.parametrize(
    ("user", "target"),
    [
        ("a/b", b"/u/a%2Fb"),
        ("../admin", b"/u/..%2Fadmin"),
        ("a%2Fb", b"/u/a%252Fb"),
        ("a?b#c&d=e", b"/u/a%3Fb%23c%26d%3De"),
        ("{tenant}", b"/u/%7Btenant%7D"),
        ("kim@example.org", b"/u/kim%40example.org"),
        ("S-1~5_2.1", b"/u/S-1~5_2.1"),
        ("...", b"/u/..."),
    ],
)
async def test_an_id_cannot_lead_to_another_place(user: str, target: bytes) -> None:
    async with asking(replies(MAY)) as (source, served):
        await source.ask(inquiry(user))
        assert served.targets == [target]


@pytest.mark.parametrize("user", [".", ".."])
async def test_an_id_that_is_a_dot_segment_is_nobodys_and_nobody_is_asked(user: str) -> None:
    async with asking(replies(MAY)) as (source, served):
        assert await source.ask(inquiry(user)) is None
        assert served.requests == []


async def test_whom_it_does_not_find_nobody_knows() -> None:
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"
    async with asking(replies(answer)) as (source, served):
        assert await source.ask(inquiry()) is None
        assert await source.ask(inquiry()) is None
        assert served.connections == 1


async def test_no_cookie_of_one_answer_goes_with_the_next_question() -> None:
    given = ok(b'{"active": false}', JSON, b"Set-Cookie: session=marias; Path=/")
    async with asking(replies(given)) as (source, served):
        await source.ask(inquiry("maria"))
        await source.ask(inquiry("kim"))
        assert b"cookie" not in served.requests[1].lower()


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(replies(ok())) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with asking(replies(MAY)) as (source, _):
            assert await source.ask(inquiry()) == CALLS
        assert proxy.connections == 0


# What is doubt


async def _silent(peer: Peer) -> None:
    await peer.closed()


async def _dripping(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
    while True:
        await peer.send(b" ")
        await asyncio.sleep(BRIEF / 20)


async def _dripping_head(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await peer.send(b"X-A: b\r\n")
        await asyncio.sleep(BRIEF / 20)


async def _endless(peer: Peer) -> None:
    await peer.request()
    await peer.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    while True:
        await peer.send(b"1000\r\n" + b" " * 4096 + b"\r\n")


async def _reset(peer: Peer) -> None:
    await peer.request()
    peer.reset()


def _status(line: bytes, *fields: bytes) -> bytes:
    body = b'{"active": true, "privileges": ["calls.view"]}'
    return b"\r\n".join([b"HTTP/1.1 " + line, JSON, b"Content-Length: %d" % len(body), *fields, b"", body])


DOUBTS: dict[str, Callable[[Peer], Awaitable[None]]] = {
    "no content": replies(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "created": replies(_status(b"201 Created")),
    "a part": replies(_status(b"206 Partial Content")),
    "a redirect": replies(_status(b"302 Found", b"Location: /elsewhere")),
    "not for us": replies(_status(b"401 Unauthorized")),
    "gone": replies(_status(b"410 Gone")),
    "too many requests": replies(_status(b"429 Too Many Requests")),
    "its failure": replies(_status(b"500 Internal Server Error")),
    "another type": replies(ok(b'{"active": false}', b"Content-Type: text/html")),
    "no type": replies(ok(b'{"active": false}')),
    "encoded": replies(ok(b'{"active": false}', JSON, b"Content-Encoding: gzip")),
    "no JSON": replies(ok(b"true or false", JSON)),
    "no sense": replies(ok(b'{"active": "yes"}', JSON)),
    "too large": replies(ok(b'{"active": false}'.ljust(LARGEST_ANSWER + 1), JSON)),
    "endless": _endless,
    "cut off": replies(ok(b'{"active": true}', JSON)[:-1], then_close=True),
    "no HTTP": replies(b"SSH-2.0-OpenSSH_9.9\r\n", then_close=True),
    "no answer": replies(b"", then_close=True),
    "reset": _reset,
}
TOO_SLOW: dict[str, Callable[[Peer], Awaitable[None]]] = {
    "silent": _silent,
    "dripping": _dripping,
    "dripping head": _dripping_head,
}


@pytest.mark.parametrize("name", DOUBTS)
async def test_whatever_it_does_not_say_clearly_is_doubt(name: str) -> None:
    async with asking(DOUBTS[name]) as (source, _):
        with pytest.raises(PrivilegesUnavailable):
            await source.ask(inquiry())
        assert source._metrics.names == ["failed"]  # type: ignore[attr-defined] # it is `Counted`


@pytest.mark.parametrize("name", TOO_SLOW)
async def test_what_it_does_not_say_in_time_is_doubt(name: str) -> None:
    async with asking(TOO_SLOW[name], timeout=BRIEF) as (source, _):
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(PrivilegesUnavailable, match="did not answer within"):
                await source.ask(inquiry())


async def test_a_source_that_gives_back_what_it_was_told_has_it_in_no_message() -> None:
    async def echo(peer: Peer) -> None:
        request = await peer.request()
        await peer.send(next(line for line in request.split(b"\r\n") if b"s3cret" in line) + b"\r\n\r\n")
        peer.close()

    async with asking(echo, token="s3cret") as (source, _):
        with pytest.raises(PrivilegesUnavailable) as doubt:
            await source.ask(inquiry())
        assert "s3cret" not in str(doubt.value)
        assert "s3cret" in str(doubt.value.__cause__)  # or this test would be about nothing


async def test_an_answer_of_the_largest_size_is_read() -> None:
    body = b'{"active": false}'.ljust(LARGEST_ANSWER)
    async with asking(replies(ok(body, JSON))) as (source, _):
        assert await source.ask(inquiry()) == Answer(active=False)


async def test_a_redirect_is_not_followed() -> None:
    async with upstream(replies(MAY)) as elsewhere:
        location = f"Location: {elsewhere.url}/u/maria".encode()
        async with asking(replies(_status(b"307 Temporary Redirect", location))) as (source, _):
            with pytest.raises(PrivilegesUnavailable):
                await source.ask(inquiry())
        assert elsewhere.connections == 0


async def test_where_nobody_listens_is_doubt(free_port: int) -> None:
    source = HttpPrivileges(f"http://127.0.0.1:{free_port}/{{user}}", timeout=PATIENCE).open(Counted())
    with pytest.raises(PrivilegesUnavailable):
        await source.ask(inquiry())


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "application/vnd.acme+json", "Application/JSON"]
)
async def test_json_is_called_so_in_several_ways(kind: str) -> None:
    answer = ok(b'{"active": false}', f"Content-Type: {kind}".encode())
    async with asking(replies(answer)) as (source, _):
        assert await source.ask(inquiry()) == Answer(active=False)


# Connections


@on_both_loops
async def test_a_connection_serves_for_many_questions() -> None:
    async with asking(replies(MAY)) as (source, served):
        for _ in range(5):
            assert await source.ask(inquiry()) == CALLS
        assert served.connections == 1


@on_both_loops
@pytest.mark.parametrize("how", ["at once", "at the next question", "by a reset"])
async def test_a_kept_connection_that_was_closed_costs_no_answer(how: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(MAY)
        if how != "at once":
            await peer.head()
        if how == "by a reset":
            peer.reset()

    async with asking(handler) as (source, served):
        for _ in range(5):
            assert await source.ask(inquiry()) == CALLS
        assert served.connections == 5
        assert source._metrics.names == ["answered"] * 5  # type: ignore[attr-defined] # it is `Counted`


async def test_before_it_is_started_no_connection_is_kept() -> None:
    closed = asyncio.Event()

    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.send(MAY)
        await peer.closed()
        closed.set()

    async with asking(once, started=False) as (source, _):
        assert await source.ask(inquiry()) == CALLS
        await asyncio.wait_for(closed.wait(), PATIENCE)


async def test_no_more_questions_are_under_way_than_may_be() -> None:
    under_way = most = 0
    may_answer = asyncio.Event()

    async def handler(peer: Peer) -> None:
        nonlocal under_way, most
        while True:
            await peer.request()
            under_way += 1
            most = max(most, under_way)
            if under_way == AT_ONCE:
                may_answer.set()
            await may_answer.wait()
            under_way -= 1
            await peer.send(MAY)

    async with asking(handler) as (source, _):
        found = await asyncio.gather(*(source.ask(inquiry(f"u{number}")) for number in range(5 * AT_ONCE)))
        assert found == [CALLS] * (5 * AT_ONCE)
        assert most == AT_ONCE


async def test_who_waits_too_long_for_a_turn_is_no_failure_of_the_source() -> None:
    async with asking(_silent, timeout=BRIEF) as (source, _):
        for _ in range(AT_ONCE):
            await source._slots.acquire()
        with pytest.raises(PrivilegesUnavailable, match="Too many"):
            await source.ask(inquiry())
        assert source._metrics.names == ["not asked"]  # type: ignore[attr-defined] # it is `Counted`
        assert source._breaker.is_closed


@on_both_loops
async def test_a_question_that_is_given_up_leaves_its_turn_to_others() -> None:
    heard = asyncio.Event()
    first = True

    async def handler(peer: Peer) -> None:
        nonlocal first
        await peer.request()
        if first:
            first = False
            heard.set()
            await peer.closed()
        else:
            await peer.send(MAY)
            await peer.closed()

    async with asking(handler) as (source, _):
        task = asyncio.create_task(source.ask(inquiry()))
        await heard.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert source._slots._value == AT_ONCE
        assert await source.ask(inquiry()) == CALLS


# One that fails


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


async def test_one_that_fails_again_and_again_is_left_alone_and_asked_now_and_then() -> None:
    answer = [_status(b"500 Internal Server Error")]

    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer[0])

    async with asking(handler) as (source, served):
        clock = source._ticks = Clock()

        async def fails() -> None:
            with pytest.raises(PrivilegesUnavailable):
                await source.ask(inquiry())

        for _ in range(FAILURES + 3):
            await fails()
        assert len(served.requests) == FAILURES
        clock.seconds += PAUSE
        await fails()
        await fails()
        assert len(served.requests) == FAILURES + 1
        answer[0] = MAY
        await fails()
        clock.seconds += PAUSE
        assert await source.ask(inquiry()) == CALLS
        assert await source.ask(inquiry()) == CALLS
        assert source._metrics.names == (  # type: ignore[attr-defined] # it is `Counted`
            ["failed"] * 5 + ["not asked"] * 3 + ["failed", "not asked", "not asked", "answered", "answered"]
        )


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the certificate of localhost, which vouches for itself, and its key."""
    openssl = require_program("openssl")
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = (
        f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout - -out -"
    )
    file.write_bytes(subprocess.run(command.split(), check=True, capture_output=True).stdout)
    return file


@asynccontextmanager
async def over_tls(ca: Path | None, certificate: Path) -> AsyncIterator[HttpSource]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with upstream(replies(MAY), tls=context) as served:
        source = HttpPrivileges(f"{served.url}/{{user}}", token="t", ca=ca, timeout=PATIENCE).open(Counted())
        source.start(lambda: None)
        try:
            yield source
        finally:
            await source.aclose()


async def test_it_is_verified_by_the_authorities_that_are_named(certificate: Path) -> None:
    async with over_tls(certificate, certificate) as source:
        assert await source.ask(inquiry()) == CALLS


async def test_one_that_nobody_vouches_for_is_told_nothing(certificate: Path) -> None:
    async with over_tls(None, certificate) as source:
        with pytest.raises(PrivilegesUnavailable):
            await source.ask(inquiry())


# Options


@pytest.mark.parametrize(
    ("setting", "options"),
    [
        ("privilege_url", {"url": "ftp://id.example.com/{user}"}),
        ("privilege_url", {"url": "/users/{user}"}),
        ("privilege_url", {"url": "https:///{user}"}),
        ("privilege_url", {"url": "https://id.example.com/users"}),
        ("privilege_url", {"url": "https://id.example.com/{tenant}"}),
        ("privilege_url", {"url": "https://id.example.com/{user}/{key}"}),
        ("privilege_url", {"url": "https://id.example.com/{user"}),
        ("privilege_url", {"url": "https://id.example.com/{user}/{}"}),
        ("privilege_url", {"url": "https://{user}.example.com/{user}"}),
        ("privilege_url", {"url": "https://me:secret@id.example.com/{user}"}),
        ("privilege_url", {"url": "https://id.example.com/{user}#x"}),
        ("privilege_url", {"url": "https://id.example.com/../{user}"}),
        ("privilege_url", {"url": "https://id.example.com/{user}/a b"}),
        ("privilege_url", {"url": "https://id.example.com:99999/{user}"}),
        ("privilege_token", {"token": "two words"}),
        ("privilege_token", {"token": "line\r\nX-Other: 1"}),
        ("privilege_token", {"token": ""}),
        ("privilege_token", {"url": "http://id.example.com/{user}", "token": "t"}),
        ("privilege_ca", {"url": "http://127.0.0.1/{user}", "ca": Path("ca.pem")}),
        ("privilege_ca", {"ca": Path(__file__)}),
        ("privilege_timeout", {"timeout": 0.0}),
        ("privilege_max_age", {"max_age": -1.0}),
        ("privilege_max_age", {"max_age": float("inf")}),
        ("privilege_max_age", {"max_age": float("nan")}),
        ("privilege_stale_if_error", {"stale_if_error": -1.0}),
    ],
)
def test_options_that_cannot_be_used_are_refused(setting: str, options: dict[str, Any]) -> None:
    given = {"url": "https://id.example.com/{user}", **options}
    with pytest.raises(ConfigurationError) as refused:
        HttpPrivileges(given.pop("url"), **given)
    assert refused.value.setting == setting
    assert "s3cret" not in str(refused.value)


def test_no_token_is_shown() -> None:
    options = HttpPrivileges("https://id.example.com/{user}", token="s3cret")
    assert "s3cret" not in repr(options) + repr(options.open(Counted()))
