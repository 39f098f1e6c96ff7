"""Real servers for the tests. A server that is missing skips its tests, or fails them in CI."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import redis

from scopegate.store.embedded import EmbeddedStore

if TYPE_CHECKING:
    from collections.abc import Iterator

# The machine may be busy; in CI the same examples are drawn each time, so that a failure is the change's.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

REQUIRE_SERVERS = "SCOPEGATE_TEST_REQUIRE_SERVERS"


def require_program(name: str) -> str:
    """The path of a program that the machine has; the test is skipped where it has not."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get(REQUIRE_SERVERS):
            pytest.fail(f"{name} is not installed, and {REQUIRE_SERVERS} is set")
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture(scope="session")
def short_dir() -> Iterator[Path]:
    """A directory with a path short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="sg-") as path:
        yield Path(path)


@pytest.fixture(scope="session")
def _valkey(short_dir: Path) -> Iterator[str]:
    with EmbeddedStore(short_dir / "valkey") as embedded:
        yield embedded.url


@pytest.fixture(scope="session")
def _redis(short_dir: Path) -> Iterator[str]:
    program = require_program("redis-server")
    directory = short_dir / "redis"
    directory.mkdir()
    path = directory / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(path), "--dir", str(directory), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _wait_for_socket(path, process)
        yield f"unix://{path}"
        process.terminate()


@pytest.fixture
def valkey_url(_valkey: str) -> Iterator[str]:
    """An empty embedded Valkey."""
    yield _valkey
    _flush(_valkey)


@pytest.fixture(params=["_valkey", "_redis"], ids=["valkey", "redis"])
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty store, once the embedded Valkey and once a Redis."""
    url: str = request.getfixturevalue(request.param)
    yield url
    _flush(url)


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    return find_free_port()


_given_out: set[int] = set()


def find_free_port() -> int:
    """A port on which nobody listens, and another one at each call."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in _given_out:
            _given_out.add(port)
            return port


def _flush(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushall()


def _wait_for_socket(path: Path, process: subprocess.Popen[bytes]) -> None:
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                assert process.poll() is None, "the server ended"
            else:
                return
