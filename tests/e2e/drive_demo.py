"""Runs the requests that ``scopegate demo`` prints, and compares each answer with what is said of it.

    python tests/e2e/drive_demo.py < printed
    python tests/e2e/drive_demo.py --start make demo

The second form starts the demo, drives it, stops it with Ctrl-C, and does all of it once more: the
second start has to find the data of the first.

A line ``# NNN: text`` says which status the ``curl`` line after it gets. Every other line that is
neither empty nor a comment is a command that has to succeed. The lines run in order, by bash.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXPECTATION = re.compile(r"# ([1-5][0-9][0-9]): (.+)")
_STATUS = re.compile(r"^HTTP/[0-9.]+ ([1-5][0-9][0-9])", re.MULTILINE)
_PATIENCE = 60  # seconds for one line
_POLL = 0.1
_READY = "The gateway is running."


@dataclass(frozen=True)
class Step:
    """One line to run. ``status`` is what it must get, or None for a command that must succeed."""

    line: str
    text: str
    status: int | None


@dataclass(frozen=True)
class Result:
    """What became of a step: the status that was got, or the exit code of a command."""

    step: Step
    got: int | None
    output: str

    @property
    def as_said(self) -> bool:
        """Whether it is what the step says."""
        return self.got == (0 if self.step.status is None else self.step.status)

    def __str__(self) -> str:
        said = "" if self.as_said else f", not {self.step.status or 0}"
        return f"{'ok  ' if self.as_said else 'FAIL'} {self.got}{said}: {self.step.text}"


def steps(printed: str) -> list[Step]:
    """The lines to run in what the demo printed; ValueError if they are not as it promises."""
    found: list[Step] = []
    expected: re.Match[str] | None = None
    for line in filter(None, map(str.strip, printed.splitlines())):
        expectation = _EXPECTATION.fullmatch(line)
        is_request = line.startswith("curl ")
        if line.startswith("#") and expectation is None:
            continue
        if is_request is (expected is None):
            raise ValueError(f"an expectation belongs to each curl line, and only to those: {line}")
        if expectation is not None:
            expected = expectation
        elif expected is not None:
            found.append(Step(line, expected[2], int(expected[1])))
            expected = None
        else:
            found.append(Step(line, line, None))
    if expected is not None or not found:
        raise ValueError("there is no request, or the last expectation has none")
    return found


def run(step: Step) -> Result:
    """Run one line as a reader would who pastes it."""
    done = subprocess.run(
        ["bash", "-c", step.line], capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    output = done.stdout + done.stderr
    if step.status is None:
        return Result(step, done.returncode, output)
    # The last status line is the answer; those before it are interim ones.
    statuses = _STATUS.findall(done.stdout)
    return Result(step, int(statuses[-1]) if statuses else None, output)


def drive(printed: str) -> Iterator[Result]:
    """Run all lines in order; ValueError, before anything runs, if they are not as promised."""
    return map(run, steps(printed))


def drive_command(command: list[str]) -> int:
    """Start the demo twice and drive it each time; the number of lines that did not as they say."""
    first, failed = _start_and_drive(command)
    if failed:
        return failed
    second, failed = _start_and_drive(command)
    if second != first:
        print("FAIL the second start prints other requests than the first", flush=True)  # noqa: T201
        failed += 1
    return failed


def _start_and_drive(command: list[str]) -> tuple[str, int]:
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        ) as demo,
    ):
        try:
            while _READY not in _read(err):
                if demo.poll() is not None:
                    raise RuntimeError(f"the demo ended:\n{_read(err)}")
                time.sleep(_POLL)
            printed = _read(out)
            failed = report(printed)
        finally:
            os.killpg(demo.pid, signal.SIGINT)
        demo.wait(_PATIENCE)
    return printed, failed


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def report(printed: str) -> int:
    """Drive what was printed and say what became of it; the number of lines that did not as they say."""
    failed = 0
    for result in drive(printed):
        print(result, flush=True)  # noqa: T201 -- a command's answer
        if not result.as_said:
            failed += 1
            print(result.output, file=sys.stderr)  # noqa: T201 -- likewise
    return failed


def main() -> int:
    """Drive what stdin holds, or a demo that is started for it; 0 if every line did as it says."""
    if sys.argv[1:2] == ["--start"]:
        return 1 if drive_command(sys.argv[2:]) else 0
    return 1 if report(sys.stdin.read()) else 0


if __name__ == "__main__":
    sys.exit(main())
