"""A bounded local copy of what was loaded, which no load that was overtaken can spoil."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class _NotKnown(Enum):
    NOT_KNOWN = "not known"


NotKnown = Literal[_NotKnown.NOT_KNOWN]
NOT_KNOWN: Final = _NotKnown.NOT_KNOWN


class View(Generic[K, V]):
    """Values by key, at most `size` of those that exist and at most `size_absent` known absences.

    A load that an invalidation overtakes is not installed: it may have read what was there before.
    Callers that wait for it get its answer, for they asked before the change was made known; whoever
    asks later starts another load. Concurrent loads of one key are one load.
    """

    __slots__ = ("_absent", "_entries", "_loads", "_size", "_size_absent")

    def __init__(self, size: int, size_absent: int) -> None:
        self._size = size
        self._size_absent = size_absent
        self._entries: dict[K, V] = {}
        self._absent: dict[K, None] = {}
        self._loads: dict[K, asyncio.Task[V | None]] = {}

    def look_up(self, key: K) -> V | NotKnown | None:
        """The value of `key`, None if it is known to be absent, or `NOT_KNOWN`."""
        value = self._entries.get(key)
        if value is not None:
            return value
        return None if key in self._absent else NOT_KNOWN

    async def load(self, key: K, read: Callable[[], Awaitable[V | None]]) -> V | None:
        """What `read` returns, shared with whoever asks meanwhile; installed unless overtaken."""
        # One caller that gives up must not take the answer from the others.
        return await asyncio.shield(self.loading(key, read))

    def loading(self, key: K, read: Callable[[], Awaitable[V | None]]) -> asyncio.Task[V | None]:
        """As `load`, as the task that all who ask wait for; nobody may cancel it."""
        task = self._loads.get(key)
        if task is None:
            task = self._loads[key] = asyncio.ensure_future(_run(read))
            task.add_done_callback(lambda done: self._loaded(key, done))
        return task

    def put(self, key: K, value: V | None) -> None:
        """Install a value, or an absence; the oldest entry makes room."""
        self.drop(key)
        if value is None:
            _make_room(self._absent, self._size_absent)
            self._absent[key] = None
        else:
            _make_room(self._entries, self._size)
            self._entries[key] = value

    def drop(self, key: K) -> None:
        """Forget `key`, and let no load of it that is under way be installed."""
        self._entries.pop(key, None)
        self._absent.pop(key, None)
        self._loads.pop(key, None)

    def clear(self) -> None:
        """Forget everything, loads under way included."""
        self._entries.clear()
        self._absent.clear()
        self._loads.clear()

    def __len__(self) -> int:
        return len(self._entries) + len(self._absent)

    def _loaded(self, key: K, task: asyncio.Task[V | None]) -> None:
        if self._loads.get(key) is not task:
            _retrieve(task)
            return
        del self._loads[key]
        if not task.cancelled() and task.exception() is None:
            self.put(key, task.result())


async def _run(read: Callable[[], Awaitable[V | None]]) -> V | None:
    return await read()


def _retrieve(task: asyncio.Task[V | None]) -> None:
    # Nobody may be waiting any more; an exception that nobody looks at would be reported as lost.
    if not task.cancelled():
        task.exception()


def _make_room(entries: dict[K, V], size: int) -> None:
    if len(entries) >= size:
        del entries[next(iter(entries))]
