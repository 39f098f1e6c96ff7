"""The first administrator of an instance that was just started, and a tenant of a running one."""

from __future__ import annotations

import asyncio
import re
import secrets
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.gateways import Gateway, Upstream, serving, upstream_server
from e2e.processes import scopegate
from redisservers import server
from scopegate.administration import Administration, Authentication
from scopegate.commands import Commands
from scopegate.core.administrators import operator
from scopegate.core.errors import Unauthenticated
from scopegate.core.keys import KeyType, mint
from scopegate.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

TOKEN = re.compile(r"adm_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a path short enough for the store's socket."""
    with tempfile.TemporaryDirectory(prefix="sg-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with upstream_server() as running:
        yield running


@asynccontextmanager
async def opened(gateway: Gateway) -> AsyncIterator[Store]:
    store = Store.at(gateway.store_url)
    try:
        yield store
    finally:
        await store.aclose()


async def bootstrap(gateway: Gateway, token: str) -> str:
    """The first administrator's own token, for the bootstrap token."""
    async with opened(gateway) as store:
        issued = await Authentication(store).bootstrap(
            token, name="Maria", email="maria@example.com", origin="test"
        )
        caller = await Authentication(store).authenticate(issued.secret, "test")
        assert caller.actor == "maria@example.com"
        return issued.secret


def test_each_start_prints_another_bootstrap_token_until_there_is_an_administrator(
    directory: Path, upstream: Upstream
) -> None:
    with serving(directory, upstream.url) as gateway:
        [first] = TOKEN.findall(gateway.process.err)
        assert (
            f"  scopegate login --server {gateway.admin_url} --bootstrap\n  {first}\n" in gateway.process.err
        )
        assert gateway.process.stop() == 0
        assert TOKEN.findall(gateway.process.err) == [first]
        assert gateway.process.out == ""
    with serving(directory, upstream.url) as gateway:
        [second] = TOKEN.findall(gateway.process.err)
        for wrong in (first, second[:-1] + "0", "adm_"):
            with pytest.raises(Unauthenticated):
                asyncio.run(bootstrap(gateway, wrong))
        own = asyncio.run(bootstrap(gateway, second))
        with pytest.raises(Unauthenticated):
            asyncio.run(bootstrap(gateway, second))
        assert gateway.process.stop() == 0
        assert own not in gateway.process.err
    with serving(directory, upstream.url) as gateway:
        assert TOKEN.findall(gateway.process.err) == []
        assert "administrator" not in gateway.process.err
    kept = b"".join(path.read_bytes() for path in (directory / "data").rglob("*") if path.is_file())
    for secret in (first, second, own):
        assert secret.encode() not in kept


def test_a_gateway_that_may_only_read_starts_without_a_bootstrap_token(
    directory: Path, upstream: Upstream
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "redis.md").read_text("utf-8")
    [rules] = re.findall(r"^ACL SETUSER scopegate (on .*script\|load.*)$", page, re.MULTILINE)
    with server(directory / "redis") as redis:
        with redis.client() as client:
            client.execute_command("ACL", "SETUSER", "scopegate", *rules.split())
        url = f"redis://scopegate:PASSWORD@127.0.0.1:{redis.port}"
        with serving(directory, upstream.url, redis_url=url) as gateway:
            assert "No token for a first administrator was made: " in gateway.process.err
            assert TOKEN.findall(gateway.process.err) == []
            assert gateway.get("/x", mint("000", secrets.choice).text).status_code == 401


def identity(answer: httpx.Response) -> dict[str, str]:
    """What the upstream was told of the caller."""
    headers: dict[str, str] = answer.json()["headers"]
    fields = {name.lower(): value for name, value in headers.items()}
    return {name: value for name, value in fields.items() if name.startswith("x-scopegate-")}


async def key_of_acme(gateway: Gateway) -> tuple[str, str]:
    async with opened(gateway) as store:
        acme = await Administration(store, operator("test")).create_tenant("acme")
        issued = await Commands(store.of(acme)).create_key(key_type=KeyType.EXTERNAL, description="d")
        return issued.record.id, issued.new_secret


def test_a_key_of_a_new_tenant_opens_the_next_request_in_its_tenants_name(
    directory: Path, upstream: Upstream
) -> None:
    with serving(directory, upstream.url, "--workers", "2") as gateway:
        default = gateway.create_key()["secret"]
        assert identity(gateway.get("/x", default))["x-scopegate-tenant"] == "default"
        key_id, secret = asyncio.run(key_of_acme(gateway))
        for _ in range(4):  # by each worker
            told = identity(gateway.get("/x", secret))
            assert told == {"x-scopegate-key-id": key_id, "x-scopegate-tenant": "acme"}
        assert key_id not in gateway.cli("key", "list", "-o", "json").out
        assert scopegate("audit", "verify", *gateway.store).code == 0
