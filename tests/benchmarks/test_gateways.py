"""Scopegate beside its peers: one core for the gateway, the other for load generator and upstream."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.peers import LOAD_CORE, Gateway, all_gateways, program

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

ROUNDS = 5
SECONDS = 3
MANY = 32
START_TIMEOUT = 20.0  # seconds
RESULTS = Path(__file__).parents[2] / "dist" / "bench"
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Measured:
    """One run of the load generator; times in milliseconds."""

    requests_per_second: float
    p50: float
    p99: float


def load(gateway: Gateway, connections: int) -> Measured:
    """Call the gateway as fast as it answers; every answer has to be 2xx."""
    done = subprocess.run(
        [
            *(program("taskset"), "-c", LOAD_CORE, program("wrk"), "-t1", f"-c{connections}"),
            *(f"-d{SECONDS}s", "--latency", "-H", f"X-API-Key: {gateway.key}", gateway.url),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Non-2xx" not in done, f"{gateway.name}: {done}"
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", done)
    assert rate is not None, done
    return Measured(float(rate[1]), _milliseconds(done, "50%"), _milliseconds(done, "99%"))


def _milliseconds(report: str, quantile: str) -> float:
    found = re.search(rf"{quantile}\s+([0-9.]+)(us|ms|s)\b", report)
    assert found is not None, report
    return float(found[1]) * _UNITS[found[2]]


def wait_until_it_answers(gateway: Gateway) -> None:
    """A peer may listen before it has read its routes."""
    request = urllib.request.Request(gateway.url, headers={"X-API-Key": gateway.key})
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            urllib.request.urlopen(request).close()
        except OSError:
            assert time.monotonic() < deadline, f"{gateway.name} does not answer with 200"
            time.sleep(0.05)
        else:
            return


def median(measured: list[Measured]) -> Measured:
    return Measured(
        statistics.median(one.requests_per_second for one in measured),
        statistics.median(one.p50 for one in measured),
        statistics.median(one.p99 for one in measured),
    )


def test_side_by_side() -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("two cores are needed")
    many: dict[str, list[Measured]] = {}
    single: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory(prefix="sg-") as path, all_gateways(Path(path)) as gateways:
        for gateway in gateways:
            wait_until_it_answers(gateway)
        for _ in range(ROUNDS):  # interleaved, so that a slow moment of the machine meets all of them
            for gateway in gateways:
                many.setdefault(gateway.name, []).append(load(gateway, MANY))
                single.setdefault(gateway.name, []).append(load(gateway, 1))
    table = _table(
        {name: median(runs) for name, runs in many.items()},
        {name: median(runs) for name, runs in single.items()},
    )
    picture = _picture({name: median(runs).requests_per_second for name, runs in many.items()})
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "gateways.md").write_text(table)
    (RESULTS / "gateways.svg").write_text(picture)
    print(f"\n{table}\n{RESULTS}/gateways.md, .svg")


def _table(many: dict[str, Measured], single: dict[str, Measured]) -> str:
    ours = next(iter(many.values()))
    lines = [
        f"| Gateway | requests/s, {MANY} connections | Scopegate is | p50 ms | p99 ms | p50 ms, one alone |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, measured in many.items():
        ratio = ours.requests_per_second / measured.requests_per_second
        lines.append(
            f"| {name} | {measured.requests_per_second:,.0f} | {ratio:.2f} x | {measured.p50:.2f}"
            f" | {measured.p99:.2f} | {single[name].p50:.3f} |"
        )
    return "\n".join(lines) + "\n"


def _picture(rates: dict[str, float]) -> str:
    """Horizontal bars, as SVG without styles or scripts."""
    widest = max(rates.values())
    rows = []
    for number, (name, rate) in enumerate(rates.items()):
        top = 10 + 34 * number
        fill = "#2563eb" if number == 0 else "#94a3b8"
        rows.append(
            f'<text x="0" y="{top + 15}">{name}</text>'
            f'<rect x="230" y="{top}" width="{360 * rate / widest:.0f}" height="22" fill="{fill}"/>'
            f'<text x="{236 + 360 * rate / widest:.0f}" y="{top + 15}">{rate:,.0f}</text>'
        )
    height = 20 + 34 * len(rates)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {height}" width="680" height="{height}"'
        ' font-family="system-ui, sans-serif" font-size="13" role="img">'
        "<title>Requests per second on one core, 32 connections</title>" + "".join(rows) + "</svg>\n"
    )
