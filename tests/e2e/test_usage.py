"""What keys are used for shows in Redis, late and whole: of several workers, and through what ends them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from benchmarks.memory import holder
from e2e.gateways import serving, upstream_server
from e2e.processes import listens, wait_until
from e2e.test_lag import metric
from scopegate.core.keys import Rule
from scopegate.core.reasons import Reason
from scopegate.core.usage import Known
from scopegate.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.gateways import Gateway, Upstream
    from scopegate.core.usage import KeyLastUse, KeyUsage

SOON = {"SCOPEGATE_USAGE_INTERVAL": "0.05"}
NOT_YET = {"SCOPEGATE_USAGE_INTERVAL": "60"}
REQUESTS = 24
RULE = Rule("GET", "/api/recordings/*")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_server() as server:
        yield server


def read(url: str, key_id: str) -> tuple[KeyUsage, KeyLastUse]:
    """What lies there now; of today, yesterday and tomorrow, for a test may run at midnight."""

    async def ask() -> tuple[KeyUsage, KeyLastUse]:
        store = Store.at(url)
        try:
            now = datetime.now(UTC)
            today = now.date()
            usage = await store.usage.of_key(key_id, today - timedelta(days=1), today + timedelta(days=1))
            record = await store.keys.get(key_id)
            return usage, (await store.usage.last_uses([record], now=now))[key_id]
        finally:
            await store.aclose()

    return asyncio.run(ask())


def counted(url: str, key_id: str) -> int:
    return sum(read(url, key_id)[0].in_all().reasons.values())


def known(url: str, key_id: str) -> tuple[Known | None, ...]:
    last = read(url, key_id)[1]
    return last.key.known, last.current.known, None if last.retiring is None else last.retiring.known


def test_requests_of_all_workers_show_by_rule_and_outcome(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path, upstream.url, "--workers", "2", env=SOON) as gateway:
        gateway.cli("flag", "scoped-api", "on")
        # So that it is said truthfully of the keys that they were never used.
        wait_until(lambda: read_since(gateway) is not None, "somebody counts")
        made = ("--type", "custom", "--url", RULE.url, "--method", RULE.method)
        key, unused = gateway.create_key(*made), gateway.create_key()
        began = datetime.now(UTC)
        for number in range(REQUESTS):
            assert gateway.get(f"/api/recordings/{number}", key["secret"]).status_code == 200
            assert gateway.get("/api/users", key["secret"]).status_code == 403
            assert gateway.get("/api/recordings/1", key["secret"][:-1]).status_code == 401
        ended = datetime.now(UTC)
        wait_until(lambda: counted(gateway.store_url, key["id"]) >= 2 * REQUESTS, "all are counted")
        usage, last = read(gateway.store_url, key["id"])
        assert usage.of_rule(RULE).in_all().reasons == {Reason.ALLOWED: REQUESTS}
        assert usage.of_rule(None).in_all().reasons == {Reason.URL_NOT_ALLOWED: REQUESTS}
        assert last.key == last.current
        assert last.key.at is not None
        assert began <= last.key.at <= ended
        assert known(gateway.store_url, unused["id"]) == (Known.NEVER, Known.NEVER, None)
        assert metric(gateway, "usage_batches_total", outcome="written") > 0


def read_since(gateway: Gateway) -> datetime | None:
    async def ask() -> datetime | None:
        store = Store.at(gateway.store_url)
        try:
            today = datetime.now(UTC).date()
            return (await store.usage.of_key("000000000000", today, today)).counted_since
        finally:
            await store.aclose()

    return asyncio.run(ask())


def test_after_a_rotation_both_secrets_have_a_last_use_of_their_own(
    tmp_path: Path, upstream: Upstream
) -> None:
    with serving(tmp_path, upstream.url, "--workers", "2", env=SOON) as gateway:
        wait_until(lambda: read_since(gateway) is not None, "somebody counts")
        key = gateway.create_key()
        rotated = json.loads(gateway.cli("key", "rotate", key["id"], "--overlap", "1h", "-o", "json").out)
        shows = partial(known, gateway.store_url, key["id"])
        assert shows() == (Known.NEVER, Known.NEVER, Known.NEVER)
        wait_until(lambda: gateway.get("/x", key["secret"]).status_code == 200, "the old secret is good")
        wait_until(lambda: shows() == (Known.USED, Known.NEVER, Known.USED), "the use of the old one shows")
        wait_until(lambda: gateway.get("/x", rotated["secret"]).status_code == 200, "so is the new one")
        wait_until(lambda: shows() == (Known.USED, Known.USED, Known.USED), "the use of the new one shows")
        _, last = read(gateway.store_url, key["id"])
        assert last.retiring is not None
        assert last.key == last.current
        assert last.current.at is not None
        assert last.retiring.at is not None
        assert last.retiring.at < last.current.at


def test_a_stop_writes_what_was_counted(tmp_path: Path, upstream: Upstream, valkey_url: str) -> None:
    with serving(
        tmp_path, upstream.url, "--workers", "2", redis_url=valkey_url, env=NOT_YET
    ) as gateway:  # fmt: skip
        key = gateway.create_key()
        for _ in range(REQUESTS):
            assert gateway.get("/x", key["secret"]).status_code == 200
        assert counted(valkey_url, key["id"]) == 0
        assert gateway.process.stop(signal.SIGTERM) == 0
        assert counted(valkey_url, key["id"]) == REQUESTS


def test_what_is_open_counts_once_however_often_it_is_judged(
    tmp_path: Path, upstream: Upstream, valkey_url: str
) -> None:
    with serving(tmp_path, upstream.url, redis_url=valkey_url, env=NOT_YET) as gateway:
        key = gateway.create_key()
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as stream:
            stream.sendall(f"GET /stream HTTP/1.1\r\nHost: x\r\nX-API-Key: {key['secret']}\r\n\r\n".encode())
            assert stream.recv(1_024).startswith(b"HTTP/1.1 200 ")
            gateway.cli("key", "edit", key["id"], "--description", "It is judged again")
            assert stream.recv(1_024)
            gateway.cli("key", "disable", key["id"])
            with suppress(ConnectionResetError):
                while stream.recv(1_024):  # until it was judged again, and cut off
                    pass
        assert gateway.process.stop(signal.SIGTERM) == 0
        assert read(valkey_url, key["id"])[0].in_all().reasons == {Reason.ALLOWED: 1}


def test_a_worker_that_is_killed_takes_along_what_it_had_not_written(
    tmp_path: Path, upstream: Upstream
) -> None:
    with serving(tmp_path, upstream.url, "--workers", "2", env=SOON) as gateway:
        key = gateway.create_key()

        def call() -> None:
            for _ in range(REQUESTS):
                assert gateway.get("/x", key["secret"]).status_code == 200

        call()
        wait_until(lambda: counted(gateway.store_url, key["id"]) == REQUESTS, "all are counted")
        call()
        with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
            victim = holder(connection, gateway.process.pid)
            os.kill(victim, signal.SIGKILL)
        wait_until(lambda: metric(gateway, "worker_restarts_total") == 1, "it is started anew")
        wait_until(lambda: metric(gateway, "views_live") == 2, "it is of use")
        before = counted(gateway.store_url, key["id"])
        assert REQUESTS <= before <= 2 * REQUESTS
        call()
        wait_until(
            lambda: REQUESTS <= counted(gateway.store_url, key["id"]) - before <= 2 * REQUESTS,
            "the others are counted",
        )


def test_a_store_that_is_killed_loses_nothing_of_it(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path, upstream.url, "--workers", "2", env=SOON) as gateway:
        key = gateway.create_key()
        for _ in range(REQUESTS):
            assert gateway.get("/x", key["secret"]).status_code == 200
        wait_until(lambda: counted(gateway.store_url, key["id"]) == REQUESTS, "all are counted")
        (store,) = (line for line in gateway.process.group() if "valkey" in line)
        os.kill(int(store.split()[0]), signal.SIGKILL)
        answered = 0
        while (
            answered < REQUESTS
        ):  # known keys are allowed meanwhile; the others are refused, and not counted
            answered += gateway.get("/x", key["secret"]).status_code == 200
        wait_until(lambda: metric(gateway, "views_live") == 2 and listens(gateway.port), "the store is back")
        wait_until(lambda: counted(gateway.store_url, key["id"]) == REQUESTS + answered, "all are counted")
