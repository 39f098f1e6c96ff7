"""A proxy between a client and a real Redis that can be made to deceive the client."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from typing import Self

_PONG = b"+PONG\r\n"
_TIME = re.compile(rb"\*2\r\n\$10\r\n(\d{10})\r\n")


class RedisProxy:
    """Listens on a port of this machine, and passes everything on to the server at a socket's path.

    ``drops_pushes``: tracking connections go on answering, but tell of no change.
    ``is_mute``: nothing comes through tracking connections any more.
    ``time_offset``: seconds by which the server's clock seems to be ahead.
    ``trackings``: how many tracking connections there were.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.drops_pushes = False
        self.is_mute = False
        self.time_offset = 0
        self.trackings = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._path)
                self._sockets += [client, server]
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _Connection(self, client, server)


class _Connection:
    def __init__(self, proxy: RedisProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._tracks = False
        self._asked_time = False
        for target in (self._forth, self._back):
            threading.Thread(target=target, args=(client, server), daemon=True).start()

    def _forth(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                if b"\r\nTRACKING\r\n" in data:
                    self._tracks = True
                    self._proxy.trackings += 1
                self._asked_time = b"\r\nTIME\r\n" in data
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _back(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                client.sendall(self._tampered(data))
            client.shutdown(socket.SHUT_WR)

    def _tampered(self, data: bytes) -> bytes:
        if self._tracks and self._proxy.is_mute:
            return b""
        if self._tracks and self._proxy.drops_pushes and b"invalidate" in data:
            return _PONG * data.count(_PONG)
        if self._asked_time:
            return _TIME.sub(lambda found: b"*2\r\n$10\r\n%d\r\n" % self._shifted(found[1]), data)
        return data

    def _shifted(self, seconds: bytes) -> int:
        return int(seconds) + self._proxy.time_offset
