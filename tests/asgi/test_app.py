"""The composition root: settings become a gateway, or one clear error."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from asgi.upstreams import Visit, ok, replies, upstream
from conftest import require_program
from scopegate.app import create_gateway, create_proxy
from scopegate.core.errors import ConfigurationError
from scopegate.settings import load

if TYPE_CHECKING:
    from pathlib import Path


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
