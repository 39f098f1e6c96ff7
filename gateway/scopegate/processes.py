"""Processes that run as long as their parent does: how they start, stop, and are started anew."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

log = logging.getLogger("scopegate")

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PARENT_CHECK = 1.0  # seconds
_LOOK_AFTER = 0.5  # seconds
_SHORT_LIFE = 1.0  # seconds; what dies sooner is not started anew at once
_LAST_RESORT = 5.0  # seconds that a process has to stop, beyond what it was given
_FORK = multiprocessing.get_context("fork")


class Signals:
    """Notes that the gateway is told to stop.

    Nothing is raised: an exception in the wrong place is lost, and the processes that run by then
    would be left behind. ``woken`` becomes readable at once. A SIGHUP that is ignored (nohup) stays so.
    """

    def __init__(self) -> None:
        self.stopping = False
        self.woken, self._waker = socket.socketpair()
        self.woken.settimeout(0)
        self._waker.settimeout(0)

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in _STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        return self

    def __exit__(self, *_exception: object) -> None:
        signal.set_wakeup_fd(-1)
        self.woken.close()
        self._waker.close()

    def forget(self) -> None:
        """Be woken by the next signal only."""
        with suppress(BlockingIOError):
            self.woken.recv(4_096)

    def _stop(self, _number: int, _frame: object) -> None:
        self.stopping = True


class Task(NamedTuple):
    """What a process does until SIGTERM.

    ``run`` calls what it is given once it is of use. ``died`` is called in the parent before the
    process is started anew. ``grace`` are the seconds that it has to stop.
    """

    name: str
    run: Callable[[Callable[[], None]], None]
    died: Callable[[], None] = lambda: None
    grace: float = 0.0


class _Child:
    """The process of a task, and its next one."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.ready = False
        self.due = 0.0
        self._told: Connection | None = None
        self._started = 0.0
        self.process: BaseProcess | None = None

    def start(self) -> None:
        self._told, tells = _FORK.Pipe(duplex=False)
        self._started = time.monotonic()
        self.process = _FORK.Process(target=_run_task, args=(self.task, tells), name=self.task.name)
        self.process.start()
        tells.close()

    def signs(self) -> list[int | Connection]:
        """What becomes readable when something has happened to it."""
        signs: list[int | Connection] = [] if self.process is None else [self.process.sentinel]
        return signs if self._told is None else [*signs, self._told]

    def hear(self) -> None:
        """Note what has happened."""
        if self._told is not None and self._told.poll():
            try:
                self._told.recv_bytes()
                self.ready = True
            except EOFError:
                pass
            self._told.close()
            self._told = None
        if self.process is not None and not self.process.is_alive():
            log.error("%s ended with exit code %s", self.task.name, self.process.exitcode)
            self.process.close()
            self.process = None
            now = time.monotonic()
            self.due = now + _LOOK_AFTER if now - self._started < _SHORT_LIFE else now
            self.task.died()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()

    def join(self, until: float) -> None:
        if self.process is None:
            return
        self.process.join(max(0.0, until - time.monotonic()))
        if self.process.is_alive():
            log.error("%s did not stop in time, and was killed", self.task.name)
            self.process.kill()
            self.process.join()


def supervise(
    tasks: Sequence[Task],
    signals: Signals,
    *,
    ready: Callable[[], None],
    look_after: Callable[[], None],
    stopping: Callable[[], None],
) -> None:
    """Run `tasks`, each in a process of its own, until a signal; start anew whichever dies.

    Args:
        tasks: in the order in which they stop.
        signals: by which the gateway is told to stop.
        ready: called once all of them are of use.
        look_after: called now and then.
        stopping: called before the first of them is told to stop.
    """
    children = [_Child(task) for task in tasks]
    announced = False
    try:
        while not signals.stopping:
            now = time.monotonic()
            for child in children:
                if child.process is None and child.due <= now:
                    child.start()
            signs = [sign for child in children for sign in child.signs()]
            wait([signals.woken, *signs], _LOOK_AFTER)
            signals.forget()
            for child in children:
                child.hear()
            if not announced and all(child.ready for child in children):
                announced = True
                ready()
            look_after()
    finally:
        stopping()
        for grace in sorted({task.grace for task in tasks}, reverse=True):
            group = [child for child in children if child.task.grace == grace]
            for child in group:
                child.stop()
            until = time.monotonic() + grace + _LAST_RESORT
            for child in group:
                child.join(until)


@contextmanager
def background(target: Callable[..., None], *args: object) -> Iterator[None]:
    """Run `target` in a process of its own for as long as the context lasts."""
    process = _FORK.Process(target=_run_alone, args=(target, *args))
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join(_LAST_RESORT)
        if process.is_alive():
            process.kill()
            process.join()


def _run_task(task: Task, tells: Connection) -> None:
    def ready() -> None:
        tells.send_bytes(b"ready")
        tells.close()

    _run_alone(task.run, ready)


def _run_alone(target: Callable[..., None], *args: object) -> None:
    """Run `target` until SIGTERM or the end of the parent, which alone hears SIGINT."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _stop_with_parent()
    target(*args)


def _stop_with_parent() -> None:
    """Stop this process when its parent is gone, also by SIGKILL: it would keep the port."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    started_by = os.getppid()

    def watch() -> None:
        while os.getppid() == started_by:
            # Wakes up at once where no sibling has inherited the other end of the pipe.
            parent.join(_PARENT_CHECK)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
