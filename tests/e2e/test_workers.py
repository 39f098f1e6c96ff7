"""The data plane's processes under load: one that dies, and all of them told to stop."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from benchmarks.memory import holder
from e2e.gateways import serving, upstream_server
from e2e.processes import DEADLINE, wait_until
from scopegate.serving import CONTROL_NICENESS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.gateways import Gateway

CALLERS = 8
SOME = 50


class Caller(Thread):
    """Calls over and over, on one connection as long as the gateway keeps it.

    ``answered`` counts the answers that were 200 and whole; ``lost`` says how requests ended that
    were sent and not answered. It ends when it may, or when nobody listens any more.
    """

    def __init__(self, port: int, key: str) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._request = f"GET /x HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {key}\r\n\r\n".encode()
        self._connection: socket.socket | None = None
        self.enough = Event()
        self.answered = 0
        self.lost: list[str] = []

    def run(self) -> None:
        while not self.enough.is_set():
            try:
                connection = self._connection or socket.create_connection(
                    ("127.0.0.1", self._port), timeout=DEADLINE
                )
            except ConnectionRefusedError:
                return
            self._connection = connection
            try:
                self._call(connection)
            except (OSError, ValueError) as error:
                self.lost.append(repr(error))
                self._close()
        self._close()

    @property
    def connection(self) -> socket.socket:
        """The connection that it calls on."""
        assert self._connection is not None
        return self._connection

    def _call(self, connection: socket.socket) -> None:
        connection.sendall(self._request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._more(connection)
        head, _, body = answer.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields[b"content-length"]):
            body += self._more(connection)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ValueError(head.split(b"\r\n")[0].decode())
        self.answered += 1
        if fields.get(b"connection") == b"close":
            self._close()

    def _more(self, connection: socket.socket) -> bytes:
        data = connection.recv(65_536)
        if not data:
            raise ValueError("the connection ended without a whole answer")
        return data

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


@contextmanager
def callers(gateway: Gateway) -> Iterator[list[Caller]]:
    """Callers that have all begun to get answers."""
    key = str(gateway.create_key()["secret"])
    calling = [Caller(gateway.port, key) for _ in range(CALLERS)]
    for caller in calling:
        caller.start()
    try:
        wait_until(lambda: all(caller.answered >= SOME for caller in calling), "the callers call")
        yield calling
    finally:
        for caller in calling:
            caller.enough.set()
        for caller in calling:
            caller.join(DEADLINE)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_stop_under_load_loses_no_request(tmp_path: Path, workers: int) -> None:
    with (
        upstream_server() as upstream,
        serving(tmp_path, upstream.url, "--workers", str(workers)) as gateway,
        callers(gateway) as calling,
    ):
        assert gateway.process.stop(signal.SIGTERM) == 0
        for caller in calling:
            caller.join(DEADLINE)
        assert not any(caller.is_alive() for caller in calling)
        assert [caller.lost for caller in calling] == [[]] * CALLERS


def test_when_a_worker_dies_its_siblings_go_on_and_it_is_started_anew(tmp_path: Path) -> None:
    with (
        upstream_server() as upstream,
        serving(tmp_path, upstream.url, "--workers", "2") as gateway,
        callers(gateway) as calling,
    ):
        served = {caller: holder(caller.connection, gateway.process.pid) for caller in calling}
        victim = served[calling[0]]
        before = {caller: caller.answered for caller in calling}
        os.kill(victim, signal.SIGKILL)
        wait_until(
            lambda: all(caller.answered >= before[caller] + SOME for caller in calling),
            "all callers are served again",
            process=gateway.process,
        )
        assert "scopegate_worker_restarts_total 1.0" in gateway.ask("/metrics").text
        assert "ended with exit code -9" in gateway.process.err
        for caller in calling:
            # What the worker was busy with is lost, and nothing else.
            assert len(caller.lost) <= (served[caller] == victim), caller.lost


def test_the_control_plane_gives_way_to_the_data_plane(tmp_path: Path) -> None:
    niceness = []
    with upstream_server() as upstream, serving(tmp_path, upstream.url) as gateway:
        for port in (gateway.port, gateway.admin_port):
            with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n")
                connection.recv(1)
                process = holder(connection, gateway.process.pid)
                niceness.append(os.getpriority(os.PRIO_PROCESS, process))
    worker, control_plane = niceness
    assert worker == os.getpriority(os.PRIO_PROCESS, 0)
    assert control_plane == min(worker + CONTROL_NICENESS, 19)
