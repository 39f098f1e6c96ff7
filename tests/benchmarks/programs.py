"""Programs that take part in a benchmark: where they are, on which core they run, and their end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_START_TIMEOUT = 30.0  # seconds
_STOP_TIMEOUT = 20.0  # seconds
_POLL = 0.02  # seconds


class Missing(Exception):
    """This machine cannot run a program that is wanted."""


def find(name: str) -> str:
    """The path of a program, of the environment's own first.

    Raises:
        Missing: there is none.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def require(name: str) -> str:
    """The path of a program without which the benchmark is skipped."""
    try:
        return find(name)
    except Missing as missing:
        pytest.skip(str(missing))


@cache  # a benchmark may bind itself to one of them
def cores() -> tuple[str, str]:
    """The core of the gateway, and the one of load generator and upstream."""
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("processes cannot be bound to a core here")
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("two cores are needed")
    return str(allowed[0]), str(allowed[1])


def on_core(core: str, *command: str) -> tuple[str, ...]:
    """`command`, bound to one core."""
    return (require("taskset"), "-c", core, *command)


@contextmanager
def running(port: int, *command: str, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """The id of a process that listens on a port of loopback for as long as the context lasts."""
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        ) as process,
    ):
        try:
            problem = _wait_for(port, process)
            if problem is not None:
                said.seek(0)
                pytest.fail(f"{' '.join(command)} {problem}\n{said.read()[-2000:].decode(errors='replace')}")
            yield process.pid
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, and wait until it has ended."""
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> str | None:
    """Wait until a process listens; what is wrong if it does not."""
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return "ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return None
        time.sleep(_POLL)
    return "does not listen"
