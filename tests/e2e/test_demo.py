"""``scopegate demo``: what it prints is a script, and true."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import find_free_port, require_program
from e2e import drive_demo
from e2e.processes import SCOPEGATE, environment, processes_of, running, scopegate, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.processes import Running

DRIVER = Path(drive_demo.__file__)


@pytest.fixture
def directory() -> Iterator[Path]:
    require_program("curl")
    with tempfile.TemporaryDirectory(prefix="sg-") as path:
        yield Path(path)


@contextmanager
def demo(directory: Path, ports: list[int]) -> Iterator[Running]:
    addresses = [f"127.0.0.1:{port}" for port in ports]
    with running(
        *(*SCOPEGATE, "demo", "--data-dir", str(directory / "data")),
        *("--listen", addresses[0], "--admin-listen", addresses[1], "--upstream-listen", addresses[2]),
        directory=directory / "demo",
    ) as process:
        wait_until(lambda: "The gateway is running." in process.err, "the demo starts", process=process)
        yield process


def test_every_printed_line_does_what_it_says_also_after_a_restart(directory: Path) -> None:
    ports = [find_free_port() for _ in range(3)]
    with demo(directory, ports) as process:
        first = process.out
        _assert_true(first)
        assert process.interrupt() == 0
        assert process.group() == []
        assert processes_of(directory) == []
    with demo(directory, ports) as process:
        assert process.out == first
        _assert_true(process.out)
        scopegate("user", "remove-role", "maria", "supervisor", "--data-dir", directory / "data")
        assert process.interrupt() == 0
    with demo(directory, ports) as process:
        without_role = process.out
        assert _keys(without_role) == _keys(first)
        assert without_role.splitlines()[0] == first.splitlines()[0].replace("200", "403")
        _assert_true(without_role)
        assert process.interrupt() == 0


def test_the_script_runs_as_one_script_too_and_anywhere(directory: Path, tmp_path: Path) -> None:
    with demo(directory, [find_free_port() for _ in range(3)]) as process:
        script = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", process.out],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert script.returncode == 0, script.stderr
        got = [int(status) for status in re.findall(r"^HTTP/1.1 ([0-9]+)", script.stdout, re.MULTILINE)]
        assert got == [step.status for step in drive_demo.steps(process.out) if step.status is not None]


def test_a_redis_in_the_environment_is_not_the_demo_s(directory: Path) -> None:
    ports = [find_free_port() for _ in range(3)]
    addresses = [f"127.0.0.1:{port}" for port in ports]
    with running(
        *(*SCOPEGATE, "demo", "--data-dir", str(directory / "data")),
        *("--listen", addresses[0], "--admin-listen", addresses[1], "--upstream-listen", addresses[2]),
        directory=directory / "demo",
        env={"SCOPEGATE_REDIS_URL": f"redis://127.0.0.1:{find_free_port()}"},
    ) as process:
        wait_until(lambda: "The gateway is running." in process.err, "the demo starts", process=process)
        assert process.stop() == 0


def _assert_true(printed: str) -> None:
    steps = drive_demo.steps(printed)
    assert {step.status for step in steps} == {200, 401, 403, None}
    driven = subprocess.run(
        [sys.executable, DRIVER],
        input=printed,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert driven.returncode == 0, driven.stdout + driven.stderr
    assert driven.stdout.count("ok  ") == len(steps)


def _keys(printed: str) -> list[str]:
    return re.findall(r"X-API-Key: (\w+)", printed)


# The driver itself


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "# only a comment\n",
        "# 200: nothing to run\n",
        "curl http://127.0.0.1\n",
        "# 200: a\n# 200: b\ncurl http://127.0.0.1\n",
        "# 200: a\ntrue\n",
    ],
)
def test_the_driver_refuses_what_it_could_not_judge(printed: str) -> None:
    with pytest.raises(ValueError, match="expectation"):
        drive_demo.steps(printed)


@pytest.mark.parametrize(
    ("line", "code"),
    [("printf 'HTTP/1.1 200 OK\\r\\n'", 0), ("printf 'HTTP/1.1 403 Forbidden\\r\\n'", 1), ("true", 1)],
)
def test_the_driver_fails_where_the_status_is_another(line: str, code: int, tmp_path: Path) -> None:
    curl = tmp_path / "curl"
    curl.write_text(f"#!/bin/sh\n{line}\n")
    curl.chmod(0o755)
    driven = subprocess.run(
        [sys.executable, DRIVER],
        input="# 200: a request\ncurl it\n",
        env=environment({"PATH": f"{tmp_path}:/usr/bin:/bin"}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert driven.returncode == code
