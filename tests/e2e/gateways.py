"""A gateway as its own processes, and small real upstreams for it."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import httpx

from conftest import find_free_port
from e2e.processes import SCOPEGATE, Finished, Running, listens, running, scopegate, wait_until
from scopegate import policyfiles
from scopegate.commands import Commands
from scopegate.demo.scenario import USERS
from scopegate.store import Store
from scopegate.store.embedded import socket_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

POLICIES = Path(__file__).parents[2] / "policies"
ANNOUNCED = "Ctrl-C stops it."
# No proxy, and no certificates to be loaded for each call.
_PLAIN: dict[str, Any] = {"timeout": 30, "trust_env": False, "verify": False}


@dataclass(frozen=True)
class Gateway:
    """A running ``scopegate serve``."""

    process: Running
    port: int
    admin_port: int
    store: tuple[str, ...]
    store_url: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def cli(self, *args: str) -> Finished:
        """Run a command on the gateway's store."""
        finished = scopegate(*args, *self.store)
        assert finished.code == 0, finished
        return finished

    def create_key(self, *args: str) -> dict[str, Any]:
        """Create a key by the command line: external, unless `args` say otherwise."""
        kind = () if "--type" in args else ("--type", "external")
        created = self.cli("key", "create", *kind, "--description", "A key of the tests", *args, "-o", "json")
        key: dict[str, Any] = json.loads(created.out)
        return key

    def get(self, path: str, key: str | None = None) -> httpx.Response:
        """One GET on a connection of its own."""
        headers = {} if key is None else {"X-API-Key": key}
        return httpx.get(f"{self.url}{path}", headers=headers, **_PLAIN)

    def ask(self, path: str) -> httpx.Response:
        """One GET from the control plane."""
        return httpx.get(f"{self.admin_url}{path}", **_PLAIN)

    def fill(self) -> None:
        """Put the repository's policies into force, and let the demo's users be known."""
        asyncio.run(_fill(self.store_url))


@contextmanager
def serving(
    directory: Path,
    upstream: str,
    *args: str,
    ports: tuple[int, int] | None = None,
    data_dir: Path | None = None,
    redis_url: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Gateway]:
    """A gateway in front of `upstream` that has said that it listens."""
    port, admin_port = ports or (find_free_port(), find_free_port())
    if redis_url is not None:
        store, url = ("--redis-url", redis_url), redis_url
    else:
        data_dir = data_dir or directory / "data"
        store, url = ("--data-dir", str(data_dir)), socket_url(data_dir)
    with running(
        *SCOPEGATE,
        *("serve", "--upstream", upstream),
        *("--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{admin_port}"),
        *(*store, *args),
        directory=directory / "serve",
        env=env,
    ) as process:
        wait_until(lambda: ANNOUNCED in process.err, "the gateway starts", process=process)
        yield Gateway(process, port, admin_port, store, url)


_PULSE = 0.02  # seconds


class Upstream(ThreadingHTTPServer):
    """Answers every GET with the path and the headers that it got; ``/slow`` not before `go_on`.

    What ``/stream`` answers has no end but `go_on`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.slow_arrived = Event()
        self.go_on = Event()


class _Echo(BaseHTTPRequestHandler):
    server: Upstream
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.server.slow_arrived.set()
            self.server.go_on.wait(30)
        if self.path == "/stream":
            self._stream()
            return
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with suppress(OSError):
            while not self.server.go_on.wait(_PULSE):
                self.wfile.write(b"1\r\n.\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- as the base class has it
        pass


@contextmanager
def upstream_server() -> Iterator[Upstream]:
    """An upstream, in a thread of this process."""
    with Upstream() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()
            thread.join()


def ports_are_free(gateway: Gateway) -> bool:
    return not listens(gateway.port) and not listens(gateway.admin_port)


async def _fill(url: str) -> None:
    store = Store.at(url)
    try:
        commands = Commands(store)
        await commands.apply_policies(policyfiles.load(POLICIES).policies)
        await commands.put_users(list(USERS))
    finally:
        await store.aclose()
