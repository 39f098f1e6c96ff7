"""Runs the requests that ``scopegate demo`` prints, and compares each answer with what is said of it.

    python tests/e2e/drive_demo.py < printed

A line ``# NNN: text`` says which status the ``curl`` line after it gets. Every other line that is
neither empty nor a comment is a command that has to succeed. The lines run in order, by bash.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXPECTATION = re.compile(r"# ([1-5][0-9][0-9]): (.+)")
_STATUS = re.compile(r"^HTTP/[0-9.]+ ([1-5][0-9][0-9])", re.MULTILINE)
_PATIENCE = 60  # seconds for one line


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


def main() -> int:
    """Drive what stdin holds; 0 if every line did as it says."""
    failed = 0
    for result in drive(sys.stdin.read()):
        print(result, flush=True)  # noqa: T201 -- a command's answer
        if not result.as_said:
            failed += 1
            print(result.output, file=sys.stderr)  # noqa: T201 -- likewise
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
