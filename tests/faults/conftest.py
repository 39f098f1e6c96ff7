"""The scenes of the tests, and the figures that they leave behind."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from faults.scene import Scene, Stage, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STALE = 2.0  # seconds; the sooner the bound is reached, the sooner the tests are over

_FIGURES: dict[str, str] = {}


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int, float], Stage]]:
    """Stages by their number of workers and their bound, each set up once."""
    built: dict[tuple[int, float], Stage] = {}
    with ExitStack() as stack:

        def find(workers: int, max_staleness: float) -> Stage:
            wanted = workers, max_staleness
            if wanted not in built:
                directory = tmp_path_factory.mktemp("stage")
                built[wanted] = stack.enter_context(
                    stage(directory, workers=workers, max_staleness=max_staleness)
                )
            return built[wanted]

        yield find


@pytest.fixture
def seen(request: pytest.FixtureRequest, stages: Callable[[int, float], Stage]) -> Iterator[Scene]:
    """A scene with two workers, or as many as the test's parameter says."""
    with stages(getattr(request, "param", 2), STALE).scene() as scene:
        yield scene


@pytest.fixture
def patient(stages: Callable[[int, float], Stage]) -> Iterator[Scene]:
    """A scene with two workers, whose last known rights count for longer than a test lasts."""
    with stages(2, 30.0).scene() as scene:
        yield scene


@pytest.fixture
def figure(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[..., None]:
    """Notes what was measured, in seconds; the run tells it in the end."""

    def note(**figures: float) -> None:
        for name, value in figures.items():
            record_property(name, round(value, 3))
        told = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items())
        _FIGURES[request.node.name] = told

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _FIGURES:
        terminalreporter.section("what faults cost, in seconds")
        for test, told in _FIGURES.items():
            terminalreporter.write_line(f"{test}: {told}")
