"""Scopegate beside its peers: one core for the gateway, the other for load generator and upstream."""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.peers import ENVOY, EXPRESS, OURS, TRAEFIK, Gateway, all_gateways
from benchmarks.programs import cores, on_core, require
from benchmarks.report import Part, Row, Unit, at_least, at_most, draw, table

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

ROUNDS = 5
SECONDS = 3
MANY = 32
CHANCES = 3
LEAST = {ENVOY: 0.9, TRAEFIK: 1.2, EXPRESS: 5.0}  # times the peer's requests a second
TAIL = 3.0  # times the median
_TIMES = Unit("x")
_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Measured:
    """One run of the load generator, or the medians of several; times in milliseconds."""

    requests_per_second: float
    p50: float
    p99: float
    gateway_busy: float
    load_busy: float


def load(
    gateway: Gateway, connections: int, seconds: int, directory: Path, chances: int = CHANCES
) -> Measured:
    """Call the gateway as fast as it answers; every answer has to be 2xx, every connection has to last.

    A peer that breaks connections, as Envoy was seen to do once, is asked again.
    """
    before = _ticks()
    report = _wrk(gateway, connections, seconds, directory)
    busy = _busy(before, _ticks())
    assert "Non-2xx" not in report, f"{gateway.name}: {report}"
    if "Socket errors" in report:
        assert gateway.name != OURS, report
        assert chances > 1, f"{gateway.name}: {report}"
        print(f"\n{gateway.name} broke connections, and is asked again")
        return load(gateway, connections, seconds, directory, chances - 1)
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", report)
    assert rate is not None, report
    return Measured(float(rate[1]), _quantile(report, "50%"), _quantile(report, "99%"), *busy)


def _wrk(gateway: Gateway, connections: int, seconds: int, directory: Path) -> str:
    # The key goes by a file: a command line is everybody's to see, and is printed when it fails.
    script = directory / "load.lua"
    script.touch(mode=0o600)
    script.write_text(f'wrk.headers["X-API-Key"] = "{gateway.key}"\n')
    command = (require("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script))
    return subprocess.run(
        on_core(cores()[1], *command, gateway.url()), capture_output=True, text=True, check=True
    ).stdout


def _quantile(report: str, quantile: str) -> float:
    found = re.search(rf"{quantile}\s+([0-9.]+)(us|ms|s)\b", report)
    assert found is not None, report
    return float(found[1]) * _MILLISECONDS[found[2]]


def _ticks() -> dict[str, list[int]]:
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    return {name: [int(number) for number in numbers] for name, *numbers in lines if name.startswith("cpu")}


def _busy(before: dict[str, list[int]], after: dict[str, list[int]]) -> tuple[float, float]:
    def share(core: str) -> float:
        passed = [end - start for start, end in zip(before[f"cpu{core}"], after[f"cpu{core}"], strict=True)]
        return 1 - (passed[3] + passed[4]) / sum(passed[:8])  # idle and waiting for a disk

    gateway, load_ = cores()
    return share(gateway), share(load_)


def median(measured: list[Measured]) -> Measured:
    """The median of each number."""
    return Measured(
        *(statistics.median(getattr(one, name) for one in measured) for name in vars(measured[0]))
    )


def test_scopegate_beside_its_peers() -> None:
    many: dict[str, list[Measured]] = {}
    alone: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory(prefix="sg-") as path:
        directory = Path(path)
        with all_gateways(directory) as (gateways, missing):
            for name, reason in missing.items():
                print(f"\n{name} is not measured: {reason}")
            for gateway in gateways:
                load(gateway, MANY, 1, directory)  # warm up
            for _ in range(ROUNDS):  # interleaved, so that a slow moment of the machine meets all of them
                for gateway in gateways:
                    many.setdefault(gateway.name, []).append(load(gateway, MANY, SECONDS, directory))
                    alone.setdefault(gateway.name, []).append(load(gateway, 1, SECONDS, directory))
    medians = {name: median(runs) for name, runs in many.items()}
    medians_alone = {name: median(runs) for name, runs in alone.items()}
    rows = _rows(medians, medians_alone, missing)
    Part(1, "gateways", "Beside other gateways", rows, _table(medians, medians_alone)).publish()
    draw(
        "gateways",
        {
            f"Requests per second, {MANY} connections: more is better": {
                name: measured.requests_per_second for name, measured in medians.items()
            },
            "Median milliseconds of one connection: less is better": {
                name: measured.p50 for name, measured in medians_alone.items()
            },
        },
    )


def _rows(
    many: Mapping[str, Measured], alone: Mapping[str, Measured], missing: Mapping[str, str]
) -> list[Row]:
    ours, ours_alone = many[OURS], alone[OURS]
    rows = []
    for name, least in LEAST.items():
        what = f"Requests/s, {MANY} connections, beside {name}"
        if name in many:
            ratio = ours.requests_per_second / many[name].requests_per_second
            rows.append(at_least(what, ratio, least, _TIMES))
        else:
            rows.append(Row(what, "-", f">= {_TIMES.write(least)}", f"not measured: {missing[name]}"))
    if ENVOY in alone:
        rows.append(
            at_most(f"p50 of one connection, beside {ENVOY}", ours_alone.p50 / alone[ENVOY].p50, 1.0, _TIMES)
        )
    rows.append(at_most(f"p99 beside p50, {MANY} connections", ours.p99 / ours.p50, TAIL, _TIMES))
    return rows


def _table(many: Mapping[str, Measured], alone: Mapping[str, Measured]) -> str:
    ours = many[OURS]
    head = (
        *("Gateway", f"requests/s, {MANY} connections", "Scopegate is", "p50 ms", "p99 ms"),
        *("p50 ms, one alone", "gateway's core busy", "load's core busy"),
    )
    rows = [
        (
            name,
            f"{measured.requests_per_second:,.0f}",
            f"{ours.requests_per_second / measured.requests_per_second:.2f} x",
            f"{measured.p50:.2f}",
            f"{measured.p99:.2f}",
            f"{alone[name].p50:.3f}",
            f"{measured.gateway_busy:.0%}",
            f"{measured.load_busy:.0%}",
        )
        for name, measured in many.items()
    ]
    return table(head, rows)
