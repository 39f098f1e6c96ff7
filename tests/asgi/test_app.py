"""The composition root: settings become a gateway, or one clear error."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from asgi.upstreams import Visit, ok, replies, upstream
from conftest import find_free_port, require_program
from scopegate.app import create_gateway, create_proxy
from scopegate.commands import Commands
from scopegate.core.errors import ConfigurationError
from scopegate.core.keys import KeyType, Rule
from scopegate.settings import load
from scopegate.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scopegate.proxy.app import RoutedProxy


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file with a certificate for localhost and its key."""
    openssl = require_program("openssl")
    folder = tmp_path_factory.mktemp("tls")
    command = (
        f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        " -subj /CN=localhost -addext subjectAltName=DNS:localhost"
        f" -keyout {folder}/key -out {folder}/certificate"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "certificate").read_text() + (folder / "key").read_text())
    return both


def requiring_a_certificate(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def status(certificate: Path, **settings: Any) -> int:
    async with upstream(replies(ok()), tls=requiring_a_certificate(certificate)) as served:
        proxy = create_proxy(load(upstream=served.url, **settings))
        answer = await Visit().to(proxy)
        await proxy.aclose()
    return answer.status


async def test_an_upstream_of_an_own_authority_that_wants_a_certificate_is_reached(certificate: Path) -> None:
    assert await status(certificate, upstream_ca=certificate, upstream_certificate=certificate) == 200


@pytest.mark.parametrize("missing", ["upstream_ca", "upstream_certificate"])
async def test_without_either_nothing_is_reached(certificate: Path, missing: str) -> None:
    settings = {"upstream_ca": certificate, "upstream_certificate": certificate}
    del settings[missing]
    assert await status(certificate, **settings) == 502


@pytest.mark.parametrize("setting", ["upstream_ca", "upstream_certificate"])
def test_a_file_without_a_certificate_is_refused_by_its_setting(setting: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    with pytest.raises(ConfigurationError, match="holds no PEM certificate") as refused:
        create_proxy(load(upstream="https://localhost", **{setting: empty}))
    assert refused.value.setting == setting


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"upstream_ca": "/nowhere.pem"}, "upstream_ca"),
        ({"upstream_connections": 0}, "upstream_connections"),
        ({"head_timeout": 0}, "head_timeout"),
        ({"idle_timeout": "soon"}, "idle_timeout"),
        ({"upstream_host": "mine"}, "upstream_host"),
        ({"max_staleness": -1}, "max_staleness"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_its_setting(
    settings: dict[str, Any], setting: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(upstream="http://localhost", **settings)
    assert refused.value.setting == setting


def test_tls_settings_for_an_upstream_without_tls_are_refused(certificate: Path) -> None:
    with pytest.raises(ConfigurationError, match="no upstream is https") as refused:
        create_proxy(load(upstream="http://localhost", upstream_ca=certificate))
    assert refused.value.setting == "upstream_ca"


@pytest.mark.parametrize("setting", ["ca", "certificate"])
def test_tls_settings_of_an_upstream_need_tls_in_each_of_its_urls(certificate: Path, setting: str) -> None:
    row = {"urls": ["http://localhost", "https://localhost"], setting: certificate}
    with pytest.raises(ConfigurationError, match="not all URLs here are https") as refused:
        create_proxy(load(upstreams=[row]))
    assert refused.value.setting == f"upstreams[0].{setting}"


async def test_an_upstream_has_files_for_tls_of_its_own(certificate: Path, tmp_path: Path) -> None:
    async with upstream(replies(ok()), tls=requiring_a_certificate(certificate)) as served:
        row = {"url": served.url, "ca": certificate, "certificate": certificate}
        proxy = create_proxy(load(upstreams=[row]))
        answer = await Visit().to(proxy)
        await proxy.aclose()
    assert answer.status == 200


def test_a_gateway_without_an_upstream_is_none() -> None:
    with pytest.raises(ConfigurationError, match="There is no upstream"):
        create_gateway(load())


@pytest.mark.parametrize(("policy", "expected"), [("preserve", b"gw.test"), ("rewrite", None)])
async def test_the_upstream_sees_the_host_that_the_settings_say(policy: str, expected: bytes | None) -> None:
    async with upstream(replies(ok())) as served:
        proxy = create_proxy(load(upstream=served.url, upstream_host=policy))
        await Visit(headers=[(b"host", b"gw.test")]).to(proxy)
        await proxy.aclose()
        host = expected or f"127.0.0.1:{served.port}".encode()
        assert b"\r\nhost: " + host + b"\r\n" in served.requests[0]


# Routes


@pytest.fixture
def routed() -> Callable[[str, str], RoutedProxy]:
    def make(one: str, other: str) -> RoutedProxy:
        return create_proxy(
            load(
                upstreams=[
                    {"url": one, "prefix": "/one", "strip_prefix": True},
                    {"url": other, "host": "other.test"},
                ]
            )
        )

    return make


@pytest.mark.parametrize(
    ("host", "target", "expected"),
    [
        (b"gw.test", b"/one/a%20b?q=%zz", b"/a%20b?q=%zz"),
        (b"gw.test", b"/one", b"/"),
        (b"OTHER.test", b"/one/a", b"/one/a"),
        (b"other.test:8080", b"/x", b"/x"),
        (b"gw.test", b"/ones", None),
        (b"gw.test", b"/", None),
    ],
)
async def test_a_request_goes_where_its_host_and_path_say(
    routed: Callable[[str, str], RoutedProxy], host: bytes, target: bytes, expected: bytes | None
) -> None:
    async with upstream(replies(ok())) as one, upstream(replies(ok())) as other:
        proxy = routed(one.url, other.url)
        answer = await Visit(target=target, headers=[(b"host", host)]).to(proxy)
        await proxy.aclose()
        its = other if host.lower().startswith(b"other") else one
        assert its.targets == ([] if expected is None else [expected])
        assert len(one.requests + other.requests) == len(its.requests)
    assert answer.status == (404 if expected is None else 200)
    if expected is None:
        assert json.loads(answer.body)["code"] == "no_upstream"


@pytest.mark.parametrize(("target", "expected"), [(b"/one/ws", b"/ws"), (b"/ws", None)])
async def test_a_websocket_goes_where_its_host_and_path_say(
    routed: Callable[[str, str], RoutedProxy], target: bytes, expected: bytes | None
) -> None:
    async with upstream(replies(ok())) as one, upstream(replies(ok())) as other:
        proxy = routed(one.url, other.url)
        visit = Visit(target=target, body=None, type="websocket", scheme="ws", subprotocols=[])
        visit._incoming.put_nowait({"type": "websocket.connect"})
        await visit.to(proxy)
        await proxy.aclose()
        assert one.targets == ([] if expected is None else [expected])
        assert other.requests == []
    assert visit.sent[0]["type"] == "websocket.close"
    if expected is None:
        assert visit.sent[0]["reason"] == "no_upstream"


@pytest.mark.parametrize("hosts", [[b"a", b"b"], [b"a b"], [b""]])
async def test_a_request_for_more_than_one_host_goes_nowhere(
    routed: Callable[[str, str], RoutedProxy], hosts: list[bytes]
) -> None:
    async with upstream(replies(ok())) as one:
        proxy = routed(one.url, one.url)
        answer = await Visit(target=b"/one", headers=[(b"host", host) for host in hosts]).to(proxy)
        assert answer.status == 400
        assert one.requests == []


# Under another server


@pytest.mark.parametrize(
    ("server", "ready"),
    [
        ("uvicorn --factory scopegate.app:gateway --port", "Uvicorn running"),
        (
            "granian --interface asgi --http 1 --loop uvloop --factory scopegate.app:gateway --port",
            "Started worker",
        ),
    ],
    ids=["uvicorn", "granian"],
)
async def test_the_gateway_runs_under_another_server(server: str, ready: str, valkey_url: str) -> None:
    store = Store.at(valkey_url)
    commands = Commands(store)
    await commands.set_scoped_api(on=True)
    issued = await commands.create_key(key_type=KeyType.CUSTOM, description="c", rules=(Rule("GET", "/a"),))
    await store.aclose()
    port = find_free_port()
    async with upstream(replies(ok(b"through"))) as up:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", "-m", *server.split(), str(port)),
            env={**os.environ, "SCOPEGATE_UPSTREAM": up.url, "SCOPEGATE_REDIS_URL": valkey_url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            while ready not in (line := (await process.stdout.readline()).decode()):
                assert line, "the server ended"
            # granian says that it has started a little before it has
            transport = httpx.AsyncHTTPTransport(retries=5)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{port}") as client:
                assert (await client.get("/a")).status_code == 401
                answer = await client.get("/a", headers={"x-api-key": issued.new_secret})
                assert (answer.status_code, answer.text) == (200, "through")
                assert (await client.get("/b", headers={"x-api-key": issued.new_secret})).status_code == 403
            assert up.targets == [b"/a"]
        finally:
            process.terminate()
            await process.communicate()
