"""Failed authentication is bounded, by the address that a trusted proxy tells."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import redis

from e2e.gateways import serving, upstream_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.gateways import Gateway

LIMIT = 2
NO_KEY = "sg_000000000000_00000000000000000000000000000000"


@contextmanager
def limited(**settings: str) -> Iterator[Gateway]:
    env = {"SCOPEGATE_FAILED_AUTH_LIMIT": str(LIMIT), **settings}
    with (
        tempfile.TemporaryDirectory(prefix="sg-") as path,
        upstream_server() as upstream,
        serving(Path(path), upstream.url, env=env) as gateway,
    ):
        yield gateway


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with limited(SCOPEGATE_TRUSTED_PROXIES="127.0.0.1") as gateway:
        yield gateway


def asked(gateway: Gateway, key: str, **claims: str) -> httpx.Response:
    headers = {"X-API-Key": key, **{name.replace("_", "-"): value for name, value in claims.items()}}
    plain: dict[str, Any] = {"timeout": 30, "trust_env": False}
    return httpx.get(f"{gateway.url}/x", headers=headers, **plain)


def statuses(gateway: Gateway, number: int, key: str = NO_KEY, **claims: str) -> list[int]:
    return [asked(gateway, key, **claims).status_code for _ in range(number)]


def look_ups(gateway: Gateway) -> int:
    with redis.Redis(unix_socket_path=gateway.store_url.removeprefix("unix://")) as store:
        commands: dict[str, Any] = store.info("commandstats")
    return int(commands.get("cmdstat_get", {"calls": 0})["calls"])


def counted(gateway: Gateway, reason: str) -> float:
    series = f'scopegate_decisions_total{{key_type="none",reason="{reason}",result="deny"}} '
    lines = gateway.ask("/metrics").text.splitlines()
    return sum(float(line.removeprefix(series)) for line in lines if line.startswith(series))


def test_an_address_may_fail_so_often_and_the_others_as_often(gateway: Gateway) -> None:
    refused, over = counted(gateway, "key_malformed"), counted(gateway, "too_many_failures")
    assert statuses(gateway, LIMIT + 3, X_Forwarded_For="1.1.1.1, 8.8.4.4") == [401] * LIMIT + [429] * 3
    assert statuses(gateway, 1, Forwarded="for=8.8.4.4") == [429]
    assert statuses(gateway, 1, X_Forwarded_For="1.1.1.1") == [401]
    assert counted(gateway, "key_malformed") - refused == LIMIT + 1
    assert counted(gateway, "too_many_failures") - over == 4


def test_what_is_too_many_says_when_to_come_back(gateway: Gateway) -> None:
    statuses(gateway, LIMIT, X_Forwarded_For="8.8.4.5")
    answer = asked(gateway, NO_KEY, X_Forwarded_For="8.8.4.5")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60 // LIMIT
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "too_many_failures"
    assert "www-authenticate" not in answer.headers


def test_an_ipv6_network_is_one_address(gateway: Gateway) -> None:
    fails = [
        status
        for host in range(LIMIT + 2)
        for status in statuses(gateway, 1, X_Forwarded_For=f"2a00:1450::{host}")
    ]
    assert fails == [401] * LIMIT + [429] * 2
    assert statuses(gateway, 1, X_Forwarded_For="2a00:1450:0:1::1") == [401]


def test_a_right_key_passes_and_wrong_ones_are_not_looked_up(gateway: Gateway) -> None:
    key = gateway.create_key()
    right = key["secret"]
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    address = {"X_Forwarded_For": "8.8.4.6"}
    assert statuses(gateway, 1, right, **address) == [200]
    assert statuses(gateway, LIMIT + 1, wrong, **address)[-1] == 429
    before = look_ups(gateway)
    for number in range(20):
        assert statuses(gateway, 1, f"{number}{wrong}", **address) == [429]
        assert statuses(gateway, 1, right, **address) == [200]
    assert look_ups(gateway) == before
    # A change of the key makes the worker forget it, but not that it was right.
    gateway.cli("key", "disable", key["id"])
    gateway.cli("key", "enable", key["id"])
    assert statuses(gateway, 1, right, **address) == [200]
    # A key that it has not met waits, as long as others at its address fail.
    stranger = gateway.create_key()["secret"]
    statuses(gateway, LIMIT + 1, wrong, **address)
    assert statuses(gateway, 1, stranger, **address) == [429]
    assert statuses(gateway, 1, stranger, X_Forwarded_For="8.8.4.7") == [200]
    assert statuses(gateway, 1, stranger, **address) == [200]


@pytest.mark.parametrize("claim", ["192.168.1.1", "8.8.4.8, unknown", "8.8.4.8, 127.0.0.1, nonsense"])
def test_where_nobody_says_who_called_nothing_is_too_many(gateway: Gateway, claim: str) -> None:
    assert set(statuses(gateway, 3 * LIMIT, X_Forwarded_For=claim)) == {401}


def test_a_proxy_that_is_not_named_has_no_limit_for_everybody_behind_it() -> None:
    with limited() as gateway:
        assert set(statuses(gateway, 3 * LIMIT, X_Forwarded_For="8.8.4.4")) == {401}


def test_no_limit_is_none() -> None:
    with limited(SCOPEGATE_FAILED_AUTH_LIMIT="0", SCOPEGATE_TRUSTED_PROXIES="127.0.0.1") as gateway:
        assert set(statuses(gateway, 100, X_Forwarded_For="8.8.4.4")) == {401}
