"""A fleet of sidecars, as far as Redis sees it: tracking connections, all read by one process."""

from __future__ import annotations

import heapq
import re
import select
import socket
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TIMEOUT = 60.0  # seconds
_TOGETHER = 10  # of 10,000 connections about so many send their heartbeat within a millisecond
_READY = b"+PONG\r\n"
_NAME = re.compile(rb"\}:key:...([0-9]{9})")  # the number of the write stands in the name that is pushed


def command(*words: str | bytes) -> bytes:
    """A command as Redis reads it."""
    raw = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in raw)


class Fleet:
    """Tracking connections to the server at a port of loopback, one for each of `prefixes`."""

    def __init__(self, port: int, prefixes: Sequence[str]) -> None:
        self._address = ("127.0.0.1", port)
        self._prefixes = prefixes
        self._poll: Any = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._setup: dict[int, bytes] = {}
        self.bytes = 0
        self.messages = 0

    def connect(self, pause: Callable[[], float], *reads: bytes) -> float:
        """Connect all anew, each after its pause, and send `reads` behind; seconds until all have answers."""
        self._forget()
        started = time.perf_counter()
        due = [(started + pause(), prefix) for prefix in self._prefixes]
        heapq.heapify(due)
        ready = 0
        while ready < len(self._prefixes):
            now = time.perf_counter()
            assert now < started + _TIMEOUT, f"{ready} of {len(self._prefixes)} are connected"
            while due and due[0][0] <= now:
                self._open(heapq.heappop(due)[1], reads)
            wait = max(0.0, due[0][0] - now) if due else 1.0
            for number, event in self._poll.poll(wait):
                if number in self._setup and event & select.EPOLLOUT:
                    self._sockets[number].sendall(self._setup.pop(number))
                    self._poll.modify(number, select.EPOLLIN)
                elif self._sockets[number].recv(1 << 20).endswith(_READY):
                    ready += 1
        return time.perf_counter() - started

    def hear(self, write: Callable[[int], None], *, count: int, rate: float, receivers: int) -> list[float]:
        """Write `count` times, `rate` times a second; seconds from each until its last receiver knows."""
        self.bytes = self.messages = 0
        missing = [receivers] * count
        written, known = [0.0] * count, [0.0] * count
        started = time.perf_counter()
        sent = done = 0
        while done < count:
            now = time.perf_counter()
            assert now < started + _TIMEOUT, f"{done} of {count} writes are known"
            if sent < count and now >= started + sent / rate:
                written[sent] = now
                write(sent)
                sent += 1
            wait = max(0.0, started + sent / rate - time.perf_counter()) if sent < count else 1.0
            for number, _ in self._poll.poll(wait):
                data = self._sockets[number].recv(1 << 16)
                self.bytes += len(data)
                self.messages += data.count(b"invalidate")
                for name in _NAME.findall(data):
                    one = int(name)
                    missing[one] -= 1
                    if not missing[one]:
                        known[one] = time.perf_counter()
                        done += 1
        return [at - since for since, at in zip(written, known, strict=True)]

    def ping(self) -> None:
        """Send the heartbeat of each connection once, some at a time, and await the answers."""
        numbers = list(self._sockets)
        for first in range(0, len(numbers), _TOGETHER):
            asked = numbers[first : first + _TOGETHER]
            for number in asked:
                self._sockets[number].sendall(command("PING"))
            missing = len(asked)
            while missing:
                for number, _ in self._poll.poll(1.0):
                    missing -= self._sockets[number].recv(1 << 16).count(_READY)

    def close(self) -> None:
        """Close all connections."""
        self._forget()
        self._poll.close()

    def _open(self, prefix: str, reads: Sequence[bytes]) -> None:
        opened = socket.socket()
        opened.settimeout(0)
        opened.connect_ex(self._address)
        number = opened.fileno()
        self._sockets[number] = opened
        self._setup[number] = b"".join(
            (
                command("HELLO", "3"),
                command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", prefix),
                *reads,
                command("PING"),
            )
        )
        self._poll.register(number, select.EPOLLOUT | select.EPOLLIN)

    def _forget(self) -> None:
        for opened in self._sockets.values():
            opened.close()  # which takes it out of the poll, too
        self._sockets.clear()
        self._setup.clear()
