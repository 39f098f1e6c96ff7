"""When an instance is ready, by what was found."""

from __future__ import annotations

import httpx
import pytest

from scopegate.admin.health import Health
from scopegate.admin.readiness import assess
from scopegate.metrics import MetricsArea


@pytest.mark.parametrize(
    ("lags", "skews", "code", "lag", "skew"),
    [
        ([], [], None, ("ok", None), ("ok", None)),
        ([0.001], [0.0], None, ("ok", 0.001), ("ok", 0.0)),
        ([1.0, 0.001], [0.0], None, ("ok", 1.0), ("ok", 0.0)),
        ([0.001, 1.1, 0.002], [], "propagation_lag", ("fail", 1.1), ("ok", None)),
        ([0.001], [1.0, -0.5], None, ("ok", 0.001), ("ok", 1.0)),
        ([0.001], [0.5, -1.5], None, ("ok", 0.001), ("warn", -1.5)),
        ([2.0], [86_400.0], "propagation_lag", ("fail", 2.0), ("warn", 86_400.0)),
    ],
)
def test_a_lag_beyond_the_bound_fails_and_a_skew_warns(
    lags: list[float],
    skews: list[float],
    code: str | None,
    lag: tuple[str, float | None],
    skew: tuple[str, float | None],
) -> None:
    found = assess(store_answers=True, lags=lags, skews=skews, max_lag=1.0)
    assert (found.problem.code if found.problem else None) == code
    assert found.checks == {
        "store": {"status": "ok"},
        "propagation": {"status": lag[0], "lag_seconds": lag[1], "max_lag_seconds": 1.0},
        "clock": {"status": skew[0], "skew_seconds": skew[1]},
    }


def test_a_store_that_does_not_answer_is_what_is_said_first() -> None:
    found = assess(store_answers=False, lags=[5.0], skews=[], max_lag=1.0)
    assert found.problem is not None
    assert found.problem.code == "store_unavailable"
    assert [check["status"] for check in found.checks.values()] == ["fail", "fail", "ok"]


@pytest.fixture
def area() -> MetricsArea:
    return MetricsArea(2)


async def readiness(url: str, area: MetricsArea | None) -> httpx.Response:
    plane = Health(url, area, max_lag=0.5)
    try:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(plane), base_url="http://control"
        ) as client:
            return await client.get("/readyz")
    finally:
        await plane._store.aclose()


async def test_an_instance_whose_workers_have_measured_nothing_is_ready(
    valkey_url: str, area: MetricsArea
) -> None:
    for known in (area, None):
        answer = await readiness(valkey_url, known)
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")


async def test_the_slowest_worker_counts(valkey_url: str, area: MetricsArea) -> None:
    first, second = area.worker(0).store, area.worker(1).store
    first.canary_told(0.01)
    second.canary_told(0.75)
    answer = await readiness(valkey_url, area)
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["code"] == "propagation_lag"
    assert answer.json()["checks"]["propagation"]["lag_seconds"] == 0.75
    second.canary_told(0.02)
    assert (await readiness(valkey_url, area)).status_code == 200


async def test_a_canary_that_is_waited_for_counts_with_its_age(valkey_url: str, area: MetricsArea) -> None:
    worker = area.worker(0).store
    worker.canary_told(0.01)
    worker.canary_waits(since=-1e6)  # the monotonic clock is past 0
    answer = await readiness(valkey_url, area)
    assert answer.json()["code"] == "propagation_lag"
    worker.canary_told(0.01)
    assert (await readiness(valkey_url, area)).status_code == 200


@pytest.mark.parametrize("told", [True, False], ids=["told", "not written"])
async def test_a_lost_canary_counts_until_another_is_told_or_cannot_be_written(
    valkey_url: str, area: MetricsArea, *, told: bool
) -> None:
    worker = area.worker(0).store
    worker.canary_lost(0.6)
    worker.view_is_not_live()
    worker.canary_cut_off()
    assert (await readiness(valkey_url, area)).status_code == 503
    if told:
        worker.canary_told(0.01)
    else:
        worker.canary_refused()
    assert (await readiness(valkey_url, area)).status_code == 200


async def test_a_worker_that_died_speaks_no_longer(valkey_url: str, area: MetricsArea) -> None:
    area.worker(0).store.canary_lost(0.6)
    area.worker_restarted(0)
    assert (await readiness(valkey_url, area)).status_code == 200


async def test_without_a_store_nothing_is_ready(free_port: int, area: MetricsArea) -> None:
    answer = await readiness(f"redis://127.0.0.1:{free_port}", area)
    assert answer.status_code == 503
    assert answer.json()["code"] == "store_unavailable"
    assert answer.json()["checks"]["store"] == {"status": "fail"}
