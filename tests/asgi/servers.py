"""ReverseProxy as the application of a real server, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import find_free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_APP = """
import os
from scopegate.proxy import ReverseProxy
app = ReverseProxy(os.environ["UPSTREAM"])
"""
_GATEWAY = Path(__file__).parents[2] / "gateway"


@contextmanager
def proxy_served_by(command: str, ready: str, folder: Path) -> Iterator[tuple[int, str]]:
    """The port of a server that runs the proxy, and the path of the socket that it forwards to.

    `command` is a module with its arguments, to which port and application are added; the server
    has started when it prints `ready`.
    """
    (folder / "proxied.py").write_text(_APP)
    port = find_free_port()
    socket_path = str(folder / "up.sock")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", *command.split(), str(port), "proxied:app"],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder), str(_GATEWAY)]),
            "UPSTREAM": f"unix:{socket_path}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if ready in line:
                break
        else:
            pytest.fail(f"{command} did not start")
        _wait_until_listening(port)  # granian says that it has started a little before it has
        yield port, socket_path
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _wait_until_listening(port: int) -> None:
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
