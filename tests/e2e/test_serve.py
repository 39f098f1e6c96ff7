"""``scopegate serve`` as processes: how it starts, fails to start, serves, ends, and survives."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import signal
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from conftest import find_free_port, require_program
from e2e.gateways import Gateway, Upstream, ports_are_free, serving, upstream_server
from e2e.processes import SCOPEGATE, listens, processes_of, running, scopegate, wait_until
from scopegate.core.keys import mint

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a path short enough for the store's socket."""
    with tempfile.TemporaryDirectory(prefix="sg-") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with upstream_server() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(upstream: Upstream) -> Iterator[Gateway]:
    """A gateway with two workers, whose tests leave it as they found it."""
    with (
        tempfile.TemporaryDirectory(prefix="sg-") as path,
        serving(Path(path), upstream.url, "--workers", "2") as gateway,
    ):
        gateway.fill()
        yield gateway
        assert gateway.process.stop() == 0


# It does not start


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        ({"upstream": None}, 2, "upstream (--upstream, SCOPEGATE_UPSTREAM): There is no upstream"),
        ({"upstream": "127.0.0.1:9000"}, 2, "upstream (--upstream, SCOPEGATE_UPSTREAM): "),
        ({"upstream": "ftp://127.0.0.1"}, 2, "upstream (--upstream, SCOPEGATE_UPSTREAM): "),
        ({"upstream": "http://me:hunter2@127.0.0.1"}, 2, "upstream (--upstream, SCOPEGATE_UPSTREAM): "),
        ({"listen": "127.0.0.1"}, 2, "listen (--listen, SCOPEGATE_LISTEN): '127.0.0.1' is not HOST:PORT"),
        (
            {"listen": "192.0.2.1:80"},
            2,
            "listen (--listen, SCOPEGATE_LISTEN): Cannot listen on 192.0.2.1:80: ",
        ),
        ({"listen": "no..host:80"}, 2, "listen (--listen, SCOPEGATE_LISTEN): Cannot listen on no..host:80: "),
        ({"workers": "0"}, 2, "workers (--workers, SCOPEGATE_WORKERS): "),
        ({"redis-url": "http://127.0.0.1"}, 2, "redis_url (--redis-url, SCOPEGATE_REDIS_URL): "),
        ({"redis-url": "redis://:hunter2@127.0.0.1:1"}, 7, "Redis does not answer"),
        ({"data-dir": "/dev/null/data"}, 2, "data_dir (--data-dir, SCOPEGATE_DATA_DIR): Cannot write to "),
        (
            {"data-dir": "/tmp/" + "x" * 100},
            2,
            "data_dir (--data-dir, SCOPEGATE_DATA_DIR): The path /tmp/x",
        ),
    ],
    ids=lambda value: next(iter(value.items())) if isinstance(value, dict) else None,
)
def test_what_cannot_be_used_is_one_line_with_a_hint(
    directory: Path, flags: dict[str, str | None], code: int, said: str
) -> None:
    given = {
        "upstream": "http://127.0.0.1:9",
        "listen": f"127.0.0.1:{find_free_port()}",
        "admin-listen": f"127.0.0.1:{find_free_port()}",
        "data-dir": str(directory / "data"),
    }
    if "redis-url" in flags:
        del given["data-dir"]
    options = [(f"--{name}", value) for name, value in {**given, **flags}.items() if value is not None]
    refused = scopegate("serve", *itertools.chain.from_iterable(options))
    _assert_refused(refused.err, said)
    assert (refused.code, refused.out) == (code, "")
    assert "hunter2" not in refused.err


@pytest.mark.parametrize("setting", ["listen", "admin_listen"])
@pytest.mark.parametrize("reuse_port", [False, True], ids=["plain", "SO_REUSEPORT"])
def test_an_address_in_use_is_refused_whoever_shares_it(
    directory: Path, setting: str, *, reuse_port: bool
) -> None:
    with socket.socket() as other:
        if reuse_port:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        addresses = {
            "listen": f"127.0.0.1:{find_free_port()}",
            "admin_listen": f"127.0.0.1:{find_free_port()}",
        }
        addresses[setting] = taken
        refused = scopegate(
            *("serve", "--upstream", "http://127.0.0.1:9", "--data-dir", directory / "data"),
            *("--listen", addresses["listen"], "--admin-listen", addresses["admin_listen"]),
        )
    assert (refused.code, refused.out) == (2, "")
    flag = setting.replace("_", "-")
    _assert_refused(
        refused.err, f"{setting} (--{flag}, SCOPEGATE_{setting.upper()}): Cannot listen on {taken}: Address"
    )


def test_one_address_for_both_listeners_is_refused(directory: Path) -> None:
    address = f"127.0.0.1:{find_free_port()}"
    refused = scopegate(
        *("serve", "--upstream", "http://127.0.0.1:9", "--data-dir", directory / "data"),
        *("--listen", address, "--admin-listen", address),
    )
    assert refused.code == 2
    _assert_refused(refused.err, "admin_listen (--admin-listen, SCOPEGATE_ADMIN_LISTEN): ")


def test_a_second_gateway_on_one_data_directory_is_refused(gateway: Gateway) -> None:
    refused = scopegate(
        *("serve", "--upstream", "http://127.0.0.1:9", *gateway.store),
        *("--listen", f"127.0.0.1:{find_free_port()}", "--admin-listen", f"127.0.0.1:{find_free_port()}"),
    )
    assert refused.code == 7
    _assert_refused(refused.err, "Another Scopegate process owns the data directory")
    assert gateway.ask("/readyz").status_code == 200


def _assert_refused(err: str, said: str) -> None:
    error, hint = err.splitlines()
    assert error.startswith(f"error: {said}")
    assert hint.startswith("hint: ")


# It serves


def test_health_is_on_the_control_plane_and_nothing_else(gateway: Gateway) -> None:
    for path in ("/livez", "/healthz"):
        assert gateway.ask(path).json() == {"status": "ok"}
    assert gateway.ask("/readyz").json()["status"] == "ok"
    for path in ("/", "/metrics/x", "/api/recordings/1", "/livez/"):
        nothing = gateway.ask(path)
        assert nothing.status_code == 404
        assert nothing.headers["content-type"] == "application/problem+json"


def test_the_whole_data_plane_belongs_to_the_upstream(gateway: Gateway) -> None:
    key = gateway.create_key("--type", "desktop")["secret"]
    for path in ("/livez", "/readyz", "/metrics"):
        assert gateway.get(path).status_code == 401
        assert gateway.get(path, key).json()["path"] == path


def test_a_new_key_opens_the_next_request(gateway: Gateway) -> None:
    key = gateway.create_key()
    answer = gateway.get("/api/recordings/1?x=1", key["secret"])
    assert answer.status_code == 200
    seen = {name.lower(): value for name, value in answer.json()["headers"].items()}
    assert answer.json()["path"] == "/api/recordings/1?x=1"
    assert seen["x-scopegate-key-id"] == key["id"]
    assert "x-scopegate-user" not in seen
    assert key["secret"] not in str(seen)


def test_a_disabled_key_is_refused_at_the_next_request_by_every_worker(gateway: Gateway) -> None:
    key = gateway.create_key()
    assert _statuses(gateway, key["secret"]) == {200}
    gateway.cli("key", "disable", key["id"])
    assert _statuses(gateway, key["secret"]) == {401}
    gateway.cli("key", "enable", key["id"])
    assert _statuses(gateway, key["secret"]) == {200}
    gateway.cli("key", "delete", key["id"], "--yes")
    assert _statuses(gateway, key["secret"]) == {401}


def test_within_the_overlap_both_secrets_open_and_then_the_new_one_alone(
    directory: Path, upstream: Upstream
) -> None:
    # Each refusal here is to be that of a wrong key, however many there are.
    unlimited = {"SCOPEGATE_FAILED_AUTH_LIMIT": "0"}
    with serving(directory, upstream.url, "--workers", "2", env=unlimited) as gateway:
        key = gateway.create_key()
        old = key["secret"]
        assert _statuses(gateway, old) == {200}
        new = _rotate(gateway, key["id"], "5s")
        assert _statuses(gateway, old) == {200}
        assert _statuses(gateway, new) == {200}
        wait_until(lambda: _is_refused(gateway, old), "the overlap ends")
        assert _statuses(gateway, new) == {200}
        told, told_of_none = (
            gateway.get("/x", text).json() | {"instance": ""}
            for text in (old, mint("000", secrets.choice).text)
        )
        assert told == told_of_none
        newest = _rotate(gateway, key["id"], "0")
        assert _statuses(gateway, new) == {401}
        assert _statuses(gateway, newest) == {200}


def _rotate(gateway: Gateway, key_id: str, overlap: str) -> str:
    rotated = gateway.cli("key", "rotate", key_id, "--overlap", overlap, "--yes", "-o", "json")
    secret: str = json.loads(rotated.out)["secret"]
    return secret


def _is_refused(gateway: Gateway, key: str) -> bool:
    try:
        return _statuses(gateway, key) == {401}
    except httpx.TransportError:
        return False  # the answer was under way when its right ended


def test_a_role_that_is_taken_away_counts_at_the_next_request_to_every_worker(gateway: Gateway) -> None:
    key = gateway.create_key("--user", "maria")
    assert _statuses(gateway, key["secret"]) == {200}
    gateway.cli("user", "remove-role", "maria", "supervisor")
    assert _statuses(gateway, key["secret"]) == {403}
    assert gateway.get("/api/recordings/1", key["secret"]).json()["code"] == "privilege_missing"
    gateway.cli("user", "add-role", "maria", "supervisor")
    assert _statuses(gateway, key["secret"]) == {200}


def _statuses(gateway: Gateway, key: str) -> set[int]:
    """The answers on so many connections that each of two workers has some."""
    return {gateway.get("/api/recordings/1", key).status_code for _ in range(24)}


# It ends, and starts again


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda how: how.name)
def test_a_signal_ends_it_whole_and_the_next_start_finds_all_keys(
    directory: Path, upstream: Upstream, how: signal.Signals
) -> None:
    with serving(directory, upstream.url, "--workers", "2") as first:
        key = first.create_key()["secret"]
        assert first.get("/x", key).status_code == 200
        if how is signal.SIGINT:
            assert first.process.interrupt() == 0
        else:
            assert first.process.stop(how) == 0
        assert first.process.group() == []
        assert processes_of(directory) == []
        assert ports_are_free(first)
        assert first.process.out == ""
        assert len(first.process.err.splitlines()) == 5  # with the three of the bootstrap token
    with serving(directory, upstream.url, ports=(first.port, first.admin_port)) as second:
        assert second.get("/x", key).status_code == 200


def test_a_request_under_way_is_answered_before_the_end(directory: Path) -> None:
    with (
        upstream_server() as upstream,
        serving(directory, upstream.url) as gateway,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(gateway.get, "/slow", gateway.create_key()["secret"])
        assert upstream.slow_arrived.wait(30)
        gateway.process.process.send_signal(signal.SIGTERM)
        upstream.go_on.set()
        assert answer.result(30).status_code == 200
        assert gateway.process.wait() == 0


def test_a_signal_during_the_start_leaves_nothing_behind(directory: Path, upstream: Upstream) -> None:
    with running(
        *SCOPEGATE,
        *("serve", "--upstream", upstream.url, "--data-dir", str(directory / "data")),
        *("--listen", f"127.0.0.1:{find_free_port()}", "--admin-listen", f"127.0.0.1:{find_free_port()}"),
        directory=directory / "serve",
    ) as process:
        wait_until((directory / "data" / "scopegate.lock").exists, "the store starts", process=process)
        assert process.stop() == 0
        assert process.group() == []


def test_after_kill_9_nothing_holds_the_ports_and_the_store_is_taken_over(
    directory: Path, upstream: Upstream
) -> None:
    with serving(directory, upstream.url, "--workers", "2") as first:
        key = first.create_key()["secret"]
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
        wait_until(lambda: ports_are_free(first), "the workers of a killed gateway end")
        (store,) = first.process.group()
        assert "valkey" in store
        with serving(directory, upstream.url, ports=(first.port, first.admin_port)) as second:
            assert second.get("/x", key).status_code == 200
            second.create_key()
            assert second.process.stop() == 0
        assert processes_of(directory / "data") == []


# Its store is away for a while


def test_an_embedded_store_that_dies_is_started_anew_and_has_lost_nothing(
    directory: Path, upstream: Upstream
) -> None:
    with serving(directory, upstream.url) as gateway:
        keys = [gateway.create_key()["secret"] for _ in range(3)]
        (store,) = (line for line in gateway.process.group() if "valkey" in line)
        os.kill(int(store.split()[0]), signal.SIGKILL)
        wait_until(lambda: gateway.ask("/readyz").status_code == 200, "the store is back")
        for key in keys:
            wait_until(lambda key=key: gateway.get("/x", key).status_code == 200, "the key is known")  # type: ignore[misc]
        assert len([line for line in gateway.process.group() if "valkey" in line]) == 1
        gateway.create_key()
        assert gateway.process.stop() == 0
    assert processes_of(directory / "data") == []


def test_a_redis_that_restarts_loses_nothing_and_is_waited_for(directory: Path, upstream: Upstream) -> None:
    port = find_free_port()
    command = (
        *(require_program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""),
        *("--appendonly", "yes", "--appendfsync", "always", "--dir", str(directory)),
    )
    redis_url = f"redis://127.0.0.1:{port}/0"
    with running(*command, directory=directory / "redis-1") as redis:
        wait_until(lambda: listens(port), "Redis starts", process=redis)
        with serving(
            *(directory, upstream.url, "--workers", "2"),
            redis_url=redis_url,
            env={"SCOPEGATE_MAX_STALENESS": "0.5"},
        ) as gateway:
            gateway.fill()
            key = gateway.create_key("--user", "maria")
            assert _statuses(gateway, key["secret"]) == {200}

            redis.kill()
            wait_until(lambda: gateway.ask("/readyz").status_code == 503, "the gateway is not ready")
            # What is known may be used for a moment more, then nothing is allowed.
            wait_until(lambda: _statuses(gateway, key["secret"]) == {503}, "no worker decides any more")
            refused = gateway.get("/api/recordings/1", key["secret"])
            assert refused.status_code == 503
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["code"] == "store_unavailable"
            assert gateway.ask("/livez").status_code == 200
            assert gateway.get("/api/recordings/1").status_code == 401

            with running(*command, directory=directory / "redis-2") as again:
                wait_until(lambda: listens(port), "Redis starts again", process=again)
                wait_until(lambda: gateway.ask("/readyz").status_code == 200, "the gateway is ready again")
                wait_until(lambda: _statuses(gateway, key["secret"]) == {200}, "every worker decides again")
                assert key["id"] in gateway.cli("key", "list").out
                assert gateway.process.stop() == 0
    assert processes_of(directory) == []
