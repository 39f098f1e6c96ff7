"""Real processes for the tests: run to their end, or kept running until their test is over."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

SCOPEGATE = (sys.executable, "-m", "scopegate")
DEADLINE = 30.0  # seconds; generous, for a busy machine is not a failure

# Many short-lived processes import the same modules; they compile them once, outside the tree.
_COMPILED = tempfile.mkdtemp(prefix="sg-pyc-")
# Where nobody has signed in to any server.
_NO_CONTEXTS = tempfile.mkdtemp(prefix="sg-xdg-")
for _made in (_COMPILED, _NO_CONTEXTS):
    atexit.register(shutil.rmtree, _made, ignore_errors=True)


@dataclass(frozen=True)
class Finished:
    """What a process left behind."""

    code: int
    out: str
    err: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, without what would steer Scopegate or a client, and with `extra`."""
    dropped = re.compile(r"SCOPEGATE_.*|.*_proxy|PYTHONDONTWRITEBYTECODE", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if not dropped.fullmatch(name)}
    own = {"PYTHONPYCACHEPREFIX": _COMPILED, "XDG_CONFIG_HOME": _NO_CONTEXTS}
    return {**kept, **own, **(extra or {})}


def run(
    *command: str | Path,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = DEADLINE,
) -> Finished:
    """Run `command` to its end, which comes within `timeout` seconds."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(env),
        cwd=cwd,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except BaseException:
            kill_group(process.pid)
            raise
    return Finished(process.returncode, out, err)


def scopegate(
    *args: str | Path, stdin: str = "", env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Finished:
    """Run one command of Scopegate to its end."""
    return run(*SCOPEGATE, *args, stdin=stdin, env=env, cwd=cwd)


class Running:
    """A process, the leader of a group of its own, whose output goes to files in `directory`."""

    def __init__(self, *command: str | Path, directory: Path, env: Mapping[str, str] | None = None) -> None:
        self._out = directory / "stdout"
        self._err = directory / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment(env),
                start_new_session=True,
            )
        self.pid = self.process.pid

    @property
    def out(self) -> str:
        """What it has written to stdout so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has written to stderr so far."""
        return self._err.read_text()

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.process.args!r} goes on running\n{self.err}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to the process alone; its exit code."""
        self.process.send_signal(how)
        return self.wait()

    def interrupt(self) -> int:
        """What Ctrl-C in a terminal does: SIGINT to the whole group; the process's exit code."""
        os.killpg(self.pid, signal.SIGINT)
        return self.wait()

    def group(self) -> list[str]:
        """The processes of its group that still run, as ``ps`` shows them."""
        return [line for line in _processes() if line.split()[1] == str(self.pid)]

    def kill(self) -> None:
        """End the whole group at once; for a fixture's last word."""
        kill_group(self.pid)
        self.process.wait()


@contextmanager
def running(*command: str | Path, directory: Path, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """A process that is gone, with its whole group, when the context ends."""
    directory.mkdir(parents=True, exist_ok=True)
    process = Running(*command, directory=directory, env=env)
    try:
        yield process
    finally:
        process.kill()


def kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM of zombies
        os.killpg(leader, signal.SIGKILL)


def processes_of(data_dir: Path) -> list[str]:
    """The running processes that name `data_dir`: its store, among others."""
    return [line for line in _processes() if str(data_dir) in line]


def _processes() -> list[str]:
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,pgid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [line for line in listed if not line.split()[2].startswith("Z")]


def wait_until(condition: Callable[[], bool], what: str, *, process: Running | None = None) -> None:
    """Poll until `condition` holds; fail if `process` ends first, or at the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if process is not None and process.has_ended():
            pytest.fail(f"{what}: the process ended\n{process.err}")
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {DEADLINE} s\n{process.err if process else ''}")
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Whether somebody accepts connections at `port` of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
