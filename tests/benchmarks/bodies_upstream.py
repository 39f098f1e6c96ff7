"""An upstream for large bodies: sends a file for GET, takes in a body for any other method.

Run as a program with a port and a file. The kernel sends the file and drops what comes in, so that
what is measured is the gateway. The answer to a body is its size; a body whose path ends with SLOW
is taken in slowly.
"""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from pathlib import Path

SLOW = "slow"
PAUSE = 0.02  # seconds between two pieces of a body that is taken in slowly
_CHUNK = 1024 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


def serve(port: int, file: Path) -> None:
    """Serve on loopback, a thread for each connection, until killed."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer_all, args=(connection, file), daemon=True).start()


def _answer_all(connection: socket.socket, file: Path) -> None:
    with connection:
        received = b""
        while True:
            while b"\r\n\r\n" not in received:
                more = connection.recv(_CHUNK)
                if not more:
                    return
                received += more
            head, _, received = received.partition(b"\r\n\r\n")
            if head.startswith(b"GET "):
                _send(connection, file)
            else:
                received = _take_in(connection, head, received)


def _send(connection: socket.socket, file: Path) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % file.stat().st_size)
    with file.open("rb") as body:
        connection.sendfile(body)


def _take_in(connection: socket.socket, head: bytes, received: bytes) -> bytes:
    size = _LENGTH.search(head)
    if size is None or _CHUNKED.search(head):
        connection.sendall(b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        raise SystemExit  # ends the thread
    pause = PAUSE if head.split(b" ", 2)[1].endswith(SLOW.encode()) else 0.0
    missing = int(size[1]) - len(received)
    buffer = memoryview(bytearray(_CHUNK))
    while missing > 0:
        taken = connection.recv_into(buffer, min(missing, _CHUNK), socket.MSG_TRUNC)  # drops it, uncopied
        if not taken:
            raise SystemExit
        missing -= taken
        if pause:
            time.sleep(pause)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(size[1]), size[1]))
    return received[int(size[1]) :]


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
