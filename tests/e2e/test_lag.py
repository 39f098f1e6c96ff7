"""How late changes are known, measured and acted on by a real gateway."""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e.gateways import Upstream, serving, upstream_server
from e2e.processes import wait_until
from redisproxy import RedisProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.gateways import Gateway

WIDE = 30.0  # seconds; no machine is so busy
NARROW = 0.5  # so that a canary is lost before silence alone is noticed


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with upstream_server() as server:
        yield server


@pytest.fixture
def proxy(valkey_url: str) -> Iterator[RedisProxy]:
    with RedisProxy(valkey_url.removeprefix("unix://")) as between:
        yield between


@contextmanager
def behind(proxy: RedisProxy, upstream: Upstream, *, max_lag: float) -> Iterator[Gateway]:
    """A gateway with two workers that reaches its store through the proxy."""
    env = {"SCOPEGATE_CANARY_INTERVAL": "0.05", "SCOPEGATE_MAX_LAG": str(max_lag)}
    with (
        tempfile.TemporaryDirectory(prefix="sg-") as path,
        serving(*(Path(path), upstream.url, "--workers", "2"), redis_url=proxy.url, env=env) as gateway,
    ):
        wait_until(lambda: metric(gateway, "views_live") == 2, "both workers are told of changes")
        yield gateway


@pytest.fixture
def gateway(proxy: RedisProxy, upstream: Upstream) -> Iterator[Gateway]:
    with behind(proxy, upstream, max_lag=WIDE) as gateway:
        yield gateway


def metric(gateway: Gateway, name: str, **labels: str) -> float:
    """A sample of the exposition; -1 if it is not shown."""
    for family in text_string_to_metric_families(gateway.ask("/metrics").text):
        for sample in family.samples:
            if sample.name == f"scopegate_{name}" and sample.labels == labels:
                return sample.value
    return -1.0


def statuses(gateway: Gateway, key: str) -> set[int]:
    """The answers on so many connections that each of two workers has some."""
    return {gateway.get("/x", key).status_code for _ in range(24)}


def test_the_lag_is_in_the_metrics_and_in_the_readiness(gateway: Gateway) -> None:
    wait_until(lambda: metric(gateway, "canaries_total", outcome="told") >= 20, "canaries are told")
    assert 0 < metric(gateway, "propagation_lag_seconds") < WIDE
    assert metric(gateway, "propagation_lag_max_seconds") > 0
    assert 0 <= metric(gateway, "store_silence_seconds") < 30
    assert metric(gateway, "propagation_seconds_count") >= 20

    key = gateway.create_key()["secret"]
    assert statuses(gateway, key) == {200}
    assert metric(gateway, "view_misses_total", answer="loaded") >= 2
    wait_until(lambda: metric(gateway, "view_keys") == 2, "each of the workers knows the key")

    answer = gateway.ask("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    clock = answer.json()["checks"]["clock"]
    assert clock["status"] == "ok"
    assert abs(clock["skew_seconds"] or 0) < 1
    propagation = answer.json()["checks"]["propagation"]
    assert 0 < propagation.pop("lag_seconds") < WIDE
    assert propagation == {"status": "ok", "max_lag_seconds": WIDE}


@pytest.mark.parametrize("deceit", ["drops_pushes", "is_mute"])
def test_a_tracking_connection_that_tells_nothing_is_not_trusted(
    proxy: RedisProxy, upstream: Upstream, deceit: str
) -> None:
    with behind(proxy, upstream, max_lag=NARROW) as gateway:
        key = gateway.create_key()
        assert statuses(gateway, key["secret"]) == {200}
        wait_until(lambda: gateway.ask("/readyz").status_code == 200, "the gateway is ready")
        trackings = proxy.trackings

        setattr(proxy, deceit, True)
        gateway.cli("key", "disable", key["id"])
        wait_until(lambda: gateway.ask("/readyz").status_code == 503, "the gateway is not ready")
        refused = gateway.ask("/readyz")
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["code"] == "propagation_lag"
        assert refused.json()["checks"]["propagation"]["status"] == "fail"
        assert refused.json()["checks"]["propagation"]["lag_seconds"] > NARROW
        assert refused.json()["checks"]["store"] == {"status": "ok"}
        assert gateway.ask("/livez").status_code == 200
        # What could not be told is found out all the same, and decisions go on.
        wait_until(lambda: statuses(gateway, key["secret"]) == {401}, "both workers know of the change")
        assert gateway.get("/x", gateway.create_key()["secret"]).status_code == 200
        wait_until(lambda: proxy.trackings >= trackings + 2, "both workers connect again")
        wait_until(lambda: metric(gateway, "tracking_losses_total") >= 2, "losses are counted")
        assert metric(gateway, "canaries_total", outcome="lost") >= 1

        setattr(proxy, deceit, False)
        wait_until(lambda: gateway.ask("/readyz").status_code == 200, "the gateway is ready again")
        wait_until(lambda: metric(gateway, "views_live") == 2, "both workers are told of changes again")
        assert metric(gateway, "propagation_lag_max_seconds") > NARROW
        gateway.cli("key", "enable", key["id"])
        wait_until(lambda: statuses(gateway, key["secret"]) == {200}, "changes are known again")
        assert f"a change was not told within {NARROW} s" in gateway.process.err


def test_a_clock_that_differs_from_that_of_redis_is_told_and_keeps_nobody_from_work(
    proxy: RedisProxy, upstream: Upstream
) -> None:
    proxy.time_offset = 3_600
    with behind(proxy, upstream, max_lag=WIDE) as gateway:
        wait_until(lambda: metric(gateway, "clock_skew_seconds") < -3_590, "the skew is measured")
        assert metric(gateway, "clock_skew_seconds") > -3_610
        answer = gateway.ask("/readyz")
        assert answer.status_code == 200
        assert answer.json()["checks"]["clock"]["status"] == "warn"
        assert answer.json()["checks"]["clock"]["skew_seconds"] == pytest.approx(-3_600, abs=10)
        wait_until(lambda: "s behind that of Redis" in gateway.process.err, "it is logged")
        assert gateway.get("/x", gateway.create_key()["secret"]).status_code == 200


def test_what_a_worker_that_died_measured_is_gone_with_it(gateway: Gateway) -> None:
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children")
    if not children.exists():
        pytest.skip("no list of child processes")
    first = int(children.read_text().split()[0])
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: metric(gateway, "worker_restarts_total") == 1, "its death is noticed")
    wait_until(lambda: metric(gateway, "views_live") == 2, "its successor is told of changes")
    assert gateway.ask("/readyz").status_code == 200


def test_who_answers_other_proxies_is_measured_as_a_worker_is(
    proxy: RedisProxy, upstream: Upstream, free_port: int
) -> None:
    env = {"SCOPEGATE_FORWARD_AUTH_LISTEN": f"127.0.0.1:{free_port}"}
    with (
        tempfile.TemporaryDirectory(prefix="sg-") as path,
        serving(Path(path), upstream.url, redis_url=proxy.url, env=env) as gateway,
    ):
        wait_until(lambda: metric(gateway, "views_live") == 2, "both are told of changes")
        wait_until(lambda: metric(gateway, "canaries_total", outcome="told") >= 2, "canaries are told")
