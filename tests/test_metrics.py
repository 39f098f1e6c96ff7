"""Metrics add up over processes, survive the death of one, and are documented."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from scopegate.admin.health import Health
from scopegate.core.keys import KeyType
from scopegate.core.reasons import Reason, refused_by
from scopegate.metrics import MetricsArea, WorkerMetrics
from scopegate.metrics.exposition import AreaCollector, exposition
from scopegate.metrics.families import FAILURES, FAMILIES, KEY_TYPES, SLOT_SIZE
from scopegate.problems import Problem
from scopegate.proxy import failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess

PAGE = (Path(__file__).parent.parent / "docs" / "metrics.md").read_text()
FORK = multiprocessing.get_context("fork")
ALLOWED = 'decisions_total{key_type="custom",reason="allowed",result="allow"}'

Values = dict[str, float]


def read(area: MetricsArea) -> Values:
    """All samples, as a scraper reads them: without the prefix, labels sorted."""
    body, _ = exposition(AreaCollector(area, version="1.2.3"), "")
    values = {}
    for family in parse_text(body.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            series = sample.name.removeprefix("scopegate_") + (f"{{{labels}}}" if labels else "")
            assert series not in values
            values[series] = sample.value
    return values


def changed(area: MetricsArea) -> Values:
    return {series: value for series, value in read(area).items() if value and "build_info" not in series}


def buckets(values: Values, family: str) -> dict[str, float]:
    pattern = re.compile(rf'{family}_bucket{{le="(.*)"}}')
    return {found[1]: value for series, value in values.items() if (found := pattern.fullmatch(series))}


@pytest.fixture
def area() -> MetricsArea:
    return MetricsArea(workers=2)


@pytest.fixture
def start() -> Iterator[Callable[..., BaseProcess]]:
    """Fork a process; those that still run at the end are killed."""
    processes: list[BaseProcess] = []

    def run(target: Callable[..., None], *args: object) -> BaseProcess:
        process = FORK.Process(target=target, args=args)
        process.start()
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.join()


# What is counted


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_decision_counts_in_the_series_of_its_reason_and_type_of_key(
    area: MetricsArea, reason: Reason, key_type: KeyType | None
) -> None:
    area.worker(0).decided(reason, key_type)
    ours = reason is not Reason.ALLOWED and refused_by(reason) is None
    result = "allow" if reason is Reason.ALLOWED else "error" if ours else "deny"
    labels = f'key_type="{key_type or "none"}",reason="{reason}",result="{result}"'
    assert changed(area) == {f"decisions_total{{{labels}}}": 1}


@pytest.mark.parametrize(
    ("method", "status", "labels"),
    [
        ("GET", 200, 'code="2xx",method="GET"'),
        ("POST", 599, 'code="5xx",method="POST"'),
        ("OPTIONS", 304, 'code="3xx",method="OPTIONS"'),
        ("GET", 101, 'code="1xx",method="GET"'),
        ("PROPFIND", 404, 'code="4xx",method="other"'),
        ("get", 404, 'code="4xx",method="other"'),
        ("", 99, 'code="other",method="other"'),
        ("DELETE", 600, 'code="other",method="DELETE"'),
        ("GET", 2**70, 'code="other",method="GET"'),
        ("GET", -1, 'code="other",method="GET"'),
    ],
)
def test_an_answer_counts_by_method_and_status_class(
    area: MetricsArea, method: str, status: int, labels: str
) -> None:
    area.worker(0).answered(method, status)
    assert changed(area) == {f"http_requests_total{{{labels}}}": 1}


def test_a_failure_counts_if_it_is_the_upstreams(area: MetricsArea) -> None:
    worker = area.worker(0)
    for code in (*FAILURES, "request_timeout", "malformed_request", "no such code"):
        worker.failed(code)
    assert changed(area) == {f'upstream_failures_total{{code="{code}"}}': 1 for code in FAILURES}


def test_every_failure_of_the_upstream_that_the_proxy_knows_is_counted() -> None:
    codes = {value.code for value in vars(failures).values() if isinstance(value, Problem)}
    assert {code for code in codes if code.startswith("upstream_")} == set(FAILURES)


def test_a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed(area: MetricsArea) -> None:
    worker = area.worker(0)
    for seconds in (0.0, 0.0005, 0.00051, 30.0, 31.5):
        worker.exchange_began()
        worker.exchange_ended(seconds)
    values = read(area)
    counts = buckets(values, "upstream_request_duration_seconds")
    assert (counts["0.0005"], counts["0.001"], counts["10.0"], counts["30.0"], counts["+Inf"]) == (
        *(2, 3, 3),
        *(4, 5),
    )
    assert values["upstream_request_duration_seconds_count"] == 5
    assert values["upstream_request_duration_seconds_sum"] == pytest.approx(61.50101)


def test_an_exchange_without_a_whole_answer_has_no_duration(area: MetricsArea) -> None:
    worker = area.worker(0)
    worker.exchange_began()
    worker.exchange_began()
    assert changed(area) == {"exchanges_in_flight": 2}
    worker.exchange_ended()
    assert changed(area) == {"exchanges_in_flight": 1}


def test_gauges_go_up_and_down_and_add_up(area: MetricsArea) -> None:
    first, second = area.worker(0), area.worker(1)
    for worker in (first, second):
        worker.client_connections.up()
        worker.client_connections.up()
        worker.upstream_connections.set(7)
        worker.websocket_relays.up()
    first.client_connections.down()
    second.websocket_relays.down()
    assert changed(area) == {"client_connections": 3, "upstream_connections": 14, "websocket_relays": 1}


def test_of_what_the_workers_measure_the_worst_is_shown(area: MetricsArea) -> None:
    first, second = area.worker(0).store, area.worker(1).store
    names = ("propagation_lag_seconds", "propagation_lag_max_seconds", "clock_skew_seconds")
    assert not any(name in read(area) for name in (*names, "store_silence_seconds"))
    first.canary_told(0.25)
    first.canary_told(0.01)
    second.canary_told(0.02)
    first.clock_skewed(2.0)
    second.clock_skewed(-3.0)
    first.heard(time.monotonic() - 1_000)
    second.heard(time.monotonic())
    values = read(area)
    assert [values[name] for name in names] == [0.02, 0.25, -3.0]
    assert 1_000 <= values["store_silence_seconds"] < 1_100
    assert values["propagation_seconds_count"] == values['canaries_total{outcome="told"}'] == 3
    assert values["propagation_seconds_sum"] == pytest.approx(0.28)


def test_a_canary_that_waits_is_a_lag_while_it_does(area: MetricsArea) -> None:
    worker = area.worker(0).store
    worker.canary_told(0.01)
    worker.canary_waits(time.monotonic() - 50)
    assert 50 <= read(area)["propagation_lag_seconds"] < 100
    worker.canary_lost(60.0)
    assert read(area)["propagation_lag_seconds"] == 60.0
    worker.canary_refused()
    values = read(area)
    assert "propagation_lag_seconds" not in values
    assert values["propagation_lag_max_seconds"] == 60.0


def test_of_a_view_is_shown_whether_it_lives_and_what_it_holds(area: MetricsArea) -> None:
    for worker in (area.worker(0).store, area.worker(1).store):
        worker.view_is_not_live()  # it never was
        worker.view_is_live()
        worker.view_holds(keys=3, users=2)
    assert changed(area) == {"views_live": 2, "view_keys": 6, "view_users": 4}
    worker.view_is_not_live()
    worker.view_is_not_live()
    assert changed(area) == {"views_live": 1, "tracking_losses_total": 1, "view_keys": 6, "view_users": 4}


def test_misses_count_by_what_answered(area: MetricsArea) -> None:
    worker = area.worker(0).store
    for count, miss in enumerate((worker.loaded, worker.read_through, worker.last_known), 1):
        for _ in range(count):
            miss()
    assert changed(area) == {
        'view_misses_total{answer="loaded"}': 1,
        'view_misses_total{answer="read_through"}': 2,
        'view_misses_total{answer="last_known"}': 3,
    }


def test_the_first_decision_is_timed_and_then_one_in_61(area: MetricsArea) -> None:
    worker = area.worker(0)
    timed = []
    for number in range(200):
        if worker.timing:
            timed.append(number)
            worker.decision_took(0.00004)
        worker.decided(Reason.ALLOWED, KeyType.CUSTOM)
    assert timed == [0, 61, 122, 183]
    counts = buckets(read(area), "decision_duration_seconds")
    assert (counts["3e-05"], counts["5e-05"], counts["+Inf"]) == (0, 4, 4)


def test_without_a_slot_a_worker_counts_for_itself(area: MetricsArea) -> None:
    worker = WorkerMetrics()
    worker.decided(Reason.ALLOWED, None)
    worker.answered("GET", 200)
    assert changed(area) == {}


def test_a_worker_has_a_slot_or_is_refused(area: MetricsArea) -> None:
    for index in (-1, 2):  # -1 would be the parent's
        with pytest.raises(IndexError, match="they are 2, counted from 0"):
            area.worker(index)


def test_no_two_metrics_share_a_cell() -> None:
    assert FAMILIES[0].first == 0
    for before, after in pairwise(FAMILIES):
        assert before.end == after.first
    assert FAMILIES[-1].end * 8 <= SLOT_SIZE
    assert SLOT_SIZE % 64 == 0


# Several processes


def count_allowed(area: MetricsArea, index: int, times: int) -> None:
    worker = area.worker(index)
    for _ in range(times):
        worker.decided(Reason.ALLOWED, KeyType.CUSTOM)
        worker.exchange_began()
        worker.exchange_ended(0.25)


def count_and_hang(area: MetricsArea, index: int, times: int, done: int) -> None:
    count_allowed(area, index, times)
    worker = area.worker(index)
    worker.store.view_is_live()
    worker.store.canary_told(index + 1.0)
    worker.client_connections.set(3)
    worker.exchange_began()
    os.write(done, b".")
    signal.pause()


def count_forever(area: MetricsArea, index: int) -> None:
    while True:
        count_allowed(area, index, 100)


def test_what_a_killed_worker_counted_goes_on_in_the_one_that_follows(
    area: MetricsArea, start: Callable[..., BaseProcess]
) -> None:
    done, write_done = os.pipe()
    first = start(count_and_hang, area, 0, 1000, write_done)
    second = start(count_and_hang, area, 1, 500, write_done)
    assert os.read(done, 1) + os.read(done, 1) == b".."
    values = read(area)
    assert values[ALLOWED] == 1500
    assert values["upstream_request_duration_seconds_count"] == 1500
    assert values["upstream_request_duration_seconds_sum"] == pytest.approx(375.0)
    assert (values["client_connections"], values["exchanges_in_flight"]) == (6, 2)
    assert (values["views_live"], values["propagation_lag_seconds"]) == (2, 2.0)

    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    area.worker_restarted(0)
    values = read(area)
    assert (values["client_connections"], values["exchanges_in_flight"]) == (3, 1)
    assert (values["views_live"], values["propagation_lag_seconds"]) == (1, 2.0)

    again = start(count_allowed, area, 0, 250)
    again.join()
    assert again.exitcode == 0
    values = read(area)
    assert values[ALLOWED] == 1750
    assert values["upstream_request_duration_seconds_count"] == 1750
    assert values["worker_restarts_total"] == 1
    assert second.is_alive()
    os.close(done)
    os.close(write_done)


def test_a_worker_that_takes_a_slot_has_nothing_open(
    area: MetricsArea, start: Callable[..., BaseProcess]
) -> None:
    done, write_done = os.pipe()
    first = start(count_and_hang, area, 0, 10, write_done)
    os.read(done, 1)
    first.kill()
    first.join()
    area.worker(0)
    values = read(area)
    assert (values[ALLOWED], values["client_connections"], values["exchanges_in_flight"]) == (10, 0, 0)
    os.close(done)
    os.close(write_done)


def test_no_counter_ever_goes_back_while_workers_are_killed(
    area: MetricsArea, start: Callable[..., BaseProcess]
) -> None:
    workers = [start(count_forever, area, index) for index in range(2)]
    last = read(area)
    for round_ in range(6):
        seen = last[ALLOWED]
        while last[ALLOWED] < seen + 2000:
            values = read(area)
            for series, value in last.items():
                if not series.endswith(("in_flight", "connections", "relays")):
                    assert values.get(series, 0) >= value, series
            last = values
        victim = round_ % 2
        workers[victim].kill()
        workers[victim].join()
        area.worker_restarted(victim)
        workers[victim] = start(count_forever, area, victim)
    assert read(area)["worker_restarts_total"] == 6


# Exposition


def ask(app: Health) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://control")


async def test_the_control_plane_shows_the_metrics_of_the_workers(area: MetricsArea) -> None:
    area.worker(1).decided(Reason.KEY_EXPIRED, KeyType.DESKTOP)
    async with ask(Health("redis://127.0.0.1:1", metrics=area)) as client:
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert answer.headers["cache-control"] == "no-store"
        line = 'scopegate_decisions_total{key_type="desktop",reason="key_expired",result="deny"} 1.0'
        assert sorted(line) == sorted(
            next(text for text in answer.text.splitlines() if "key_expired" in text and "desktop" in text)
        )
        assert (await client.post("/metrics")).status_code == 405
        assert (await client.get("/metrics/")).status_code == 404
        assert (await client.get("/livez")).json() == {"status": "ok"}


async def test_without_workers_there_are_no_metrics() -> None:
    async with ask(Health("redis://127.0.0.1:1")) as client:
        assert (await client.get("/metrics")).status_code == 404


async def test_a_scraper_that_asks_for_openmetrics_gets_it(area: MetricsArea) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    async with ask(Health("redis://127.0.0.1:1", metrics=area)) as client:
        answer = await client.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in parse_openmetrics(answer.text)}  # type: ignore[no-untyped-call]
    assert {"scopegate_decisions", "scopegate_build_info"} <= names


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "text/html", "application/openmetrics-text;version=x", "text/plain;version=1.x", ";=,;"],
)
def test_an_accept_header_that_makes_no_sense_gets_the_plain_format(area: MetricsArea, accept: str) -> None:
    body, media_type = exposition(AreaCollector(area, version="1"), accept)
    assert media_type == "text/plain; version=0.0.4; charset=utf-8"
    assert list(parse_text(body.decode()))


def test_usual_series_are_there_before_they_count_and_rare_ones_are_not(area: MetricsArea) -> None:
    values = read(area)
    assert values[ALLOWED] == 0
    assert values['decisions_total{key_type="none",reason="key_missing",result="deny"}'] == 0
    assert 'decisions_total{key_type="none",reason="allowed",result="allow"}' not in values
    assert 'decisions_total{key_type="desktop",reason="url_not_allowed",result="deny"}' not in values
    assert 'http_requests_total{code="other",method="GET"}' not in values
    assert values['build_info{version="1.2.3"}'] == 1
    assert len(values) < 220


def test_a_worker_does_not_load_the_library_of_the_exposition() -> None:
    code = "import sys, scopegate.metrics; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# The page


def everything(area: MetricsArea) -> str:
    """The exposition once each series has counted something."""
    worker = area.worker(0)
    for reason in Reason:
        for key_type in KEY_TYPES:
            worker.decided(reason, key_type)
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        for status in (0, 100, 200, 300, 400, 500):
            worker.answered(method, status)
    store = worker.store
    store.canary_told(0.001)
    store.heard(0.0)
    store.clock_skewed(0.0)
    return exposition(AreaCollector(area, version="1"), "")[0].decode()


def test_the_page_lists_the_metrics_with_their_labels_and_no_others(area: MetricsArea) -> None:
    rows = []
    for family in parse_text(everything(area)):
        labels = [name for name in family.samples[0].labels if name != "le"]
        named = ", ".join(f"`{label}`" for label in sorted(labels)) or "-"
        name = family.name + ("_total" if family.type == "counter" else "")
        rows.append(f"| `{name}` | {family.type} | {named} | {family.documentation} |")
    listed = []
    for name, kind, labels, meaning in re.findall(r"\| (`scopegate_\w+`) \| (\w+) \| (.*) \| (.*) \|", PAGE):
        listed.append(f"| {name} | {kind} | {', '.join(sorted(labels.split(', ')))} | {meaning} |")
    assert listed == rows


def test_the_page_lists_the_values_of_labels_and_no_others(area: MetricsArea) -> None:
    seen: dict[str, set[str]] = {}
    for family in parse_text(everything(area)):
        for sample in family.samples:
            for label, value in sample.labels.items():
                key = label
                if label in {"code", "outcome"}:  # of more than one family
                    key = f"{label} of {family.name.removeprefix('scopegate_')}_total"
                seen.setdefault(key, set()).add(value)
    rows = dict(re.findall(r"^\| (`\w+`(?: of `\w+`)?) \| ([^|]*) \|$", PAGE, re.MULTILINE))
    listed = {name.replace("`", ""): set(re.findall(r"`(\w+)`", values)) for name, values in rows.items()}
    assert listed.pop("reason") == {"allowed"}
    assert seen.pop("reason") == {reason.value for reason in Reason}
    for label, values in listed.items():
        assert values == seen[label], label
    assert set(seen) - set(listed) == {"le", "version"}


def test_the_alerts_of_the_page_name_metrics_that_exist(area: MetricsArea) -> None:
    names = {line.split("{")[0].split(" ")[0] for line in everything(area).splitlines() if line[0] != "#"}
    used = set(re.findall(r"scopegate_\w+", PAGE.split("## Worth an alert")[1]))
    assert used
    assert used <= names
