"""The gateway as processes of the three servers that it runs on, one of each for a whole session."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conftest import find_free_port
from e2e.processes import SCOPEGATE, listens, running, wait_until
from scopegate.core import keys
from wire.wires import connect

if TYPE_CHECKING:
    from contextlib import ExitStack

    from wire.wires import Wire

MAX_TARGET = 1_024
MAX_HEAD = 4_096
MAX_FIELDS = 32
MAX_BODY = 32 << 20
HEAD_TIMEOUT = 0.4
IDLE_TIMEOUT = 0.9

# The key is the same in each run, so it can stand in tables of exact bytes.
KEY = keys.mint("000", lambda _alphabet: "w").text.encode()
WRONG_KEY = keys.mint("000", lambda _alphabet: "x").text.encode()

_APPLICATION = """
from scopegate.app import create_gateway
from scopegate.settings import load
gateway = create_gateway(load())
"""
_OWN = (*SCOPEGATE, "serve")
_MODULE = (sys.executable, "-m")
# Left alone, uvicorn believes what clients of this machine say of whom they forward for.
_UVICORN = (*_MODULE, "uvicorn", "--no-proxy-headers")
_COMMANDS = {
    "own": _OWN,
    "own-impatient": _OWN,
    "granian": (*_MODULE, "granian", "--interface", "asgi", "--http", "1", "wired:gateway", "--port"),
    "uvicorn": (*_UVICORN, "--http", "httptools", "wired:gateway", "--port"),
    "uvicorn-h11": (*_UVICORN, "--http", "h11", "--loop", "asyncio", "wired:gateway", "--port"),
}
_LIMITS = {
    "SCOPEGATE_MAX_TARGET": str(MAX_TARGET),
    "SCOPEGATE_MAX_HEAD": str(MAX_HEAD),
    "SCOPEGATE_MAX_FIELDS": str(MAX_FIELDS),
    "SCOPEGATE_MAX_BODY": str(MAX_BODY),
}
_IMPATIENT = {
    "SCOPEGATE_CLIENT_HEAD_TIMEOUT": str(HEAD_TIMEOUT),
    "SCOPEGATE_CLIENT_IDLE_TIMEOUT": str(IDLE_TIMEOUT),
    "SCOPEGATE_IDLE_TIMEOUT": str(IDLE_TIMEOUT),
    "SCOPEGATE_HEAD_TIMEOUT": str(IDLE_TIMEOUT),
    "SCOPEGATE_TRUSTED_PROXIES": "127.0.0.1",
}


@dataclass(frozen=True)
class Server:
    """A running gateway."""

    name: str
    port: int

    def connect(self, *, receive_buffer: int = 0) -> Wire:
        return connect(self.port, receive_buffer=receive_buffer)


class Servers:
    """Starts each server when it is first asked for; they all end with the stack."""

    def __init__(self, stack: ExitStack, *, upstream: str, echo: str, redis_url: str) -> None:
        self._stack = stack
        self.redis_url = redis_url
        self._environment = {
            "SCOPEGATE_UPSTREAM": upstream,
            "SCOPEGATE_UPSTREAMS": json.dumps([{"url": echo, "prefix": "/echo"}]),
            "SCOPEGATE_REDIS_URL": redis_url,
            **_LIMITS,
        }
        self._started: dict[str, Server] = {}

    def find(self, name: str) -> Server:
        if name not in self._started:
            self._started[name] = self._start(name)
        return self._started[name]

    def _start(self, name: str) -> Server:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sg-")))
        (folder / "wired.py").write_text(_APPLICATION)
        port = find_free_port()
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        environment = {**self._environment, "PYTHONPATH": path}
        command = _COMMANDS[name]
        if command is _OWN:
            command += ("--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{find_free_port()}")
            environment |= _IMPATIENT if name == "own-impatient" else {}
        else:
            command += (str(port),)
        process = self._stack.enter_context(running(*command, directory=folder, env=environment))
        wait_until(lambda: listens(port), f"{name} starts", process=process)
        return Server(name, port)


def request(
    method: bytes = b"GET",
    target: bytes = b"/",
    *fields: bytes,
    body: bytes | None = None,
    version: bytes = b"1.1",
    key: bytes = KEY,
) -> bytes:
    """A request with a key that opens everything, and `body` behind its length if there is one."""
    lines = [b"%b %b HTTP/%b" % (method, target, version), b"Host: api.example", *fields]
    if key:
        lines.append(b"X-API-Key: " + key)
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def ok(body: bytes = b"ok", *fields: bytes) -> bytes:
    """A plain answer with `body`."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """`pieces` as a whole chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"
