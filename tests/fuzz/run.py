"""Run the fuzz targets for a bounded time: with atheris where it is installed, else with hypothesis.

    python tests/fuzz/run.py [--seconds 60] [--engine auto|atheris|hypothesis] [target ...]

The time is shared out evenly. What atheris finds is written to ``build/fuzz``, which also keeps what it has
learnt for the next run; an input that breaks a target belongs into ``CASES`` of `tests/fuzz/targets.py`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--engine", choices=("auto", "atheris", "hypothesis"), default="auto")
    parser.add_argument("--one", action="store_true", help="run one target, in this process")
    parser.add_argument("targets", nargs="*")
    arguments = parser.parse_args()
    engine = arguments.engine
    if engine == "auto":
        engine = "atheris" if importlib.util.find_spec("atheris") else "hypothesis"
    if arguments.one:
        run = _with_atheris if engine == "atheris" else _with_hypothesis
        run(arguments.targets[0], arguments.seconds)
        return 0

    from fuzz.targets import TARGETS  # noqa: PLC0415 - not before atheris has instrumented what it imports

    failed = []
    names = arguments.targets or list(TARGETS)
    for name in names:
        seconds = arguments.seconds / len(names)
        command = [sys.executable, __file__, "--one", "--engine", engine, "--seconds", f"{seconds:.1f}", name]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        runs = re.findall(r"Done (\d+) runs", done.stdout)
        outcome = "FAILED" if done.returncode else f"{runs[-1]} inputs" if runs else "done"
        print(f"{name}: {engine}, {seconds:.0f} s, {outcome}", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout[-3_000:])
    return 1 if failed else 0


def _with_atheris(name: str, seconds: float) -> None:
    atheris = importlib.import_module("atheris")  # an optional dependency, without types

    with atheris.instrument_imports(include=["scopegate"]):
        from fuzz.targets import CASES, TARGETS  # noqa: PLC0415 - has to happen in here
    target = TARGETS[name]
    directory = ROOT / "build" / "fuzz" / name
    directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate((*target.seeds, *CASES.get(name, ()))):
        (directory / f"seed-{number}").write_bytes(seed)
    dictionary = ROOT / "build" / "fuzz" / f"{name}.dict"
    dictionary.write_text(
        "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in target.words)
    )
    options = {
        "max_total_time": max(1, int(seconds)),
        "max_len": 2_000,
        "timeout": 10,  # seconds for one input: nothing here may take long
        "rss_limit_mb": 1_024,
        "dict": dictionary,
        "artifact_prefix": f"{directory}-",
    }
    atheris.Setup(
        [sys.argv[0], *(f"-{option}={value}" for option, value in options.items()), str(directory)],
        target.feed,
    )
    atheris.Fuzz()


def _with_hypothesis(name: str, seconds: float) -> None:
    from hypothesis import HealthCheck, given, settings  # noqa: PLC0415 - not needed beside atheris

    from fuzz.inputs import inputs_of  # noqa: PLC0415
    from fuzz.targets import TARGETS  # noqa: PLC0415

    target = TARGETS[name]
    end = time.monotonic() + seconds
    count = 0

    def feed(data: bytes) -> None:
        nonlocal count
        count += 1
        target.feed(data)

    while time.monotonic() < end:  # each round draws anew
        settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
            given(inputs_of(target))(feed)
        )()
    print(f"Done {count} runs")


if __name__ == "__main__":
    sys.exit(main())
