"""A Redis server of a test's own, which can be killed, started again, paused and emptied."""

from __future__ import annotations

import shutil
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import redis

from conftest import find_free_port, require_program
from e2e.processes import Running, listens, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class RedisServer:
    """Keeps what was acknowledged through ``kill -9``.

    Args:
        directory: where it keeps its data and its output.
        args: further options of redis-server.
    """

    def __init__(self, directory: Path, *args: str) -> None:
        self.port = find_free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._data = directory / "data"
        self._directory = directory
        self._args = args
        self._process: Running | None = None
        self._changed: dict[str, str] = {}
        self._data.mkdir(parents=True)

    def start(self, *more: str) -> None:
        """Start it; it listens when this returns."""
        self._process = Running(
            *(require_program("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir", str(self._data)),
            *(*self._args, *more),
            directory=self._directory,
        )
        wait_until(lambda: listens(self.port), "Redis starts", process=self._process)

    def kill(self) -> None:
        """What ``kill -9`` and a power cut do."""
        if self._process is not None:
            self._process.kill()

    def forget(self) -> None:
        """Remove what it had stored; it has to be down."""
        shutil.rmtree(self._data)
        self._data.mkdir()

    def pause(self) -> None:
        """Let it do nothing; the system goes on to accept connections for it."""
        assert self._process is not None
        self._process.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.process.send_signal(signal.SIGCONT)

    def client(self, **options: Any) -> redis.Redis:
        """A client that goes straight to it."""
        return redis.Redis.from_url(self.url, **options)

    def restore(self) -> None:
        """Let it run as in the beginning: with no data, and as it was set up."""
        assert self._process is not None
        self.resume()
        if self._process.has_ended():
            self.start()
        wait_until(lambda: not self.is_loading(), "Redis has loaded its data")
        with self.client() as client:
            for name, value in self._changed.items():
                client.config_set(name, value)
            self._changed.clear()
            client.flushall()

    def set_up(self, name: str, value: str) -> None:
        """Change a setting until `restore`."""
        with self.client() as client:
            self._changed.setdefault(name, client.config_get(name)[name])
            client.config_set(name, value)

    def compact(self) -> None:
        """Write what is stored anew, as a snapshot."""
        with self.client() as client:
            client.bgrewriteaof()
            wait_until(
                lambda: not client.info("persistence")["aof_rewrite_in_progress"], "the log is rewritten"
            )

    def is_loading(self) -> bool:
        with self.client() as client:
            return bool(client.info("persistence")["loading"])


@contextmanager
def redis_server(directory: Path, *args: str) -> Iterator[RedisServer]:
    """A server that is up, and gone when the context ends."""
    server = RedisServer(directory, *args)
    server.start()
    try:
        yield server
    finally:
        server.kill()
