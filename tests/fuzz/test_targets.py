"""The fuzz targets on what they start from, on what broke them once, and on what hypothesis builds of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from fuzz.inputs import inputs_of
from fuzz.targets import CASES, TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent


def _known() -> Iterator[tuple[str, bytes]]:
    for name, target in TARGETS.items():
        for data in (*target.seeds, *target.words, *CASES.get(name, ()), b""):
            yield name, data


@pytest.mark.parametrize(("name", "data"), list(_known()))
def test_a_target_survives_its_seeds_and_what_broke_it_once(name: str, data: bytes) -> None:
    TARGETS[name].feed(data)


@pytest.mark.parametrize("name", list(TARGETS))
def test_a_target_survives_what_hypothesis_builds(name: str) -> None:
    target = TARGETS[name]
    settings(max_examples=300)(given(inputs_of(target))(target.feed))()


def test_the_fuzzers_run_and_tell_what_they_ran() -> None:
    told = subprocess.run(
        [sys.executable, str(HERE / "run.py"), "--seconds", "1", "--engine", "hypothesis", "keys"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": ""},
    )
    assert "keys: hypothesis" in told.stdout
