"""A client that asks over many connections, again and again, and notes when it did and was answered.

    python prober.py PORT PATH KEY CONNECTIONS GAP_SECONDS

It goes on until its standard input ends, and then writes triples of doubles: sent, answered (seconds of the
system's monotonic clock), status.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
from array import array
from typing import TYPE_CHECKING

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, gap: float, notes: array[float], lost: Callable[[], object]) -> None:
        self._lost = lost
        self._request = request
        self._gap = gap
        self._notes = notes
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._loop.call_later(random.random() * self._gap, self._ask)

    def data_received(self, data: bytes) -> None:
        answered = time.monotonic()
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if not found or length is None or len(body) < int(length[1]):
            return
        self._notes.extend((self._sent, answered, float(head[9:12])))
        self._received = b""
        self._loop.call_later(self._gap, self._ask)

    def connection_lost(self, exc: Exception | None) -> None:
        self._notes.extend((self._sent, time.monotonic(), 0.0))
        self._lost()

    def _ask(self) -> None:
        if not self._transport.is_closing():
            self._sent = time.monotonic()
            self._transport.write(self._request)  # type: ignore[attr-defined]


async def _probe(port: int, request: bytes, connections: int, gap: float) -> array[float]:
    loop = asyncio.get_running_loop()
    notes: array[float] = array("d")
    tasks: set[asyncio.Task[object]] = set()

    async def connect() -> None:
        await loop.create_connection(lambda: _Connection(request, gap, notes, again), "127.0.0.1", port)

    def again() -> None:
        task = loop.create_task(connect())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    for _ in range(connections):
        await connect()
    print("ready", file=sys.stderr, flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    return array("d", notes)


def main() -> None:
    port, path, key, connections, gap = sys.argv[1:]
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\n\r\n".encode()
    notes = uvloop.run(_probe(int(port), request, int(connections), float(gap)))
    sys.stdout.buffer.write(notes.tobytes())


if __name__ == "__main__":
    main()
