"""TLS to the upstream: verified, or nothing is sent."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from asgi.upstreams import Visit, ok, on_both_loops, replies, upstream
from conftest import require_program
from scopegate.proxy import ReverseProxy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = require_program("openssl")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = (
        f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return certificate, key


def server_side(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@on_both_loops
async def test_an_upstream_with_a_trusted_certificate_is_used(certificate: tuple[Path, Path]) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    async with upstream(replies(ok(b"x" * 300_000)), tls=server_side(certificate)) as served:
        proxy = ReverseProxy(served.url, ssl_context=trusting)
        for _ in range(2):
            assert len((await Visit().to(proxy)).body) == 300_000
        assert served.connections == 1
        await proxy.aclose()


@on_both_loops
@pytest.mark.parametrize("fault", ["unknown issuer", "other name"])
async def test_nothing_is_sent_to_an_upstream_that_cannot_be_verified(
    certificate: tuple[Path, Path], fault: str
) -> None:
    async with upstream(replies(ok()), tls=server_side(certificate)) as served:
        if fault == "unknown issuer":
            proxy = ReverseProxy(served.url)
        else:
            trusting = ssl.create_default_context(cafile=str(certificate[0]))
            proxy = ReverseProxy(f"https://127.0.0.1:{served.port}", ssl_context=trusting)
        visit = await Visit().to(proxy)
        assert visit.status == 502
        assert b"upstream_unreachable" in visit.body
        assert served.requests == []
