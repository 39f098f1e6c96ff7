"""A gateway whose Redis fails over, and one that is told about Redis by settings."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.gateways import Gateway, serving, upstream_server
from e2e.processes import processes_of, scopegate, wait_until
from redisservers import certificates, server, watched

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a path short enough for the store's socket."""
    with tempfile.TemporaryDirectory(prefix="sg-") as path:
        yield Path(path)


def statuses(gateway: Gateway, key: str) -> set[int]:
    """The answers on so many connections that each of two workers has some."""
    return {gateway.get("/x", key).status_code for _ in range(16)}


def test_a_key_that_is_disabled_after_a_failover_opens_nothing(directory: Path) -> None:
    with (
        watched(directory / "redis") as servers,
        upstream_server() as upstream,
        serving(
            *(directory / "gateway", upstream.url, "--workers", "2"),
            redis_url=servers.url,
            env={"SCOPEGATE_MAX_STALENESS": "1"},
        ) as gateway,
    ):
        disabled, enabled = gateway.create_key(), gateway.create_key()
        wait_until(lambda: servers.replica.client().zcard("sg:{000}:keys") == 2, "the replica has followed")
        assert statuses(gateway, disabled["secret"]) == {200}

        servers.master.kill()
        servers.wait_for_failover()
        wait_until(lambda: statuses(gateway, disabled["secret"]) == {200}, "every worker decides again")
        assert gateway.ask("/readyz").status_code == 200
        gateway.cli("key", "disable", disabled["id"])
        wait_until(lambda: statuses(gateway, disabled["secret"]) == {401}, "every worker has heard of it")
        assert statuses(gateway, enabled["secret"]) == {200}

        servers.master.start()
        gateway.cli("key", "enable", disabled["id"])
        wait_until(lambda: statuses(gateway, disabled["secret"]) == {200}, "the old master decides nothing")
        assert gateway.process.stop() == 0
    assert processes_of(directory) == []


def test_tls_and_a_password_can_be_given_by_settings(directory: Path) -> None:
    made = certificates(directory / "certificates")
    with (
        server(directory / "redis", tls=made, password="s3cret") as redis,
        upstream_server() as upstream,
    ):
        url = f"rediss://127.0.0.1:{redis.port}"
        env = {
            "SCOPEGATE_REDIS_PASSWORD": "s3cret",
            "SCOPEGATE_REDIS_CA": str(made.authority),
            "SCOPEGATE_REDIS_CERTIFICATE": str(made.client),
        }
        with serving(directory / "gateway", upstream.url, redis_url=url, env=env) as gateway:
            assert gateway.ask("/readyz").status_code == 200
            created = scopegate(
                *("key", "create", "--type", "external", "--description", "d", "--redis-url", url),
                env=env,
            )
            assert created.code == 0, created
            assert gateway.process.stop() == 0
        without = scopegate("key", "list", "--redis-url", url, env={**env, "SCOPEGATE_REDIS_PASSWORD": "x"})
        assert without.code == 7
        assert "Redis refuses us" in without.err
        in_vain = scopegate("key", "list", "--data-dir", str(directory / "data"), env=env)
        assert in_vain.code == 0, in_vain
        alone = scopegate("key", "list", env={**env, "SCOPEGATE_DATA_DIR": str(directory / "data")})
        assert alone.code == 2
        assert "redis_password (SCOPEGATE_REDIS_PASSWORD): There is no redis_url" in alone.err
