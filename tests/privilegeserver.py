"""A real endpoint that says what users may do, in a thread of the tests' process."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "what-only-scopegate-has"


class PrivilegeServer(ThreadingHTTPServer):
    """Answers ``/TENANT/USER`` with what `says` holds, 404 for others; with 500 while it is `broken`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.says: dict[str, dict[str, Any]] = {}
        self.broken = False
        self.asked: list[str] = []
        self.heads: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{{tenant}}/{{user}}"

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a gateway that asks here."""
        return {
            "SCOPEGATE_PRIVILEGE_SOURCE": "http",
            "SCOPEGATE_PRIVILEGE_URL": self.url,
            "SCOPEGATE_PRIVILEGE_TOKEN": TOKEN,
            "SCOPEGATE_PRIVILEGE_TIMEOUT": "20",
        }

    def let(self, user: str, *privileges: str, tenant: str = "default") -> None:
        """From now on, the user may do this."""
        self.says[f"/{tenant}/{user}"] = {"active": True, "privileges": list(privileges)}

    def deactivate(self, user: str) -> None:
        self.says[f"/default/{user}"] = {"active": False}


class _Handler(BaseHTTPRequestHandler):
    server: PrivilegeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.heads.append(str(self.headers))
        said = self.server.says.get(self.path)
        status = 404 if said is None else 200
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            status = 401
        if self.server.broken:
            status = 500
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- as the base class has it
        pass


@contextmanager
def privilege_server() -> Iterator[PrivilegeServer]:
    """One that listens."""
    with PrivilegeServer() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
