"""A TCP proxy in front of Redis that makes a network go wrong, as a network does: no byte is changed.

What is held back stays in order and arrives when it is let go, as TCP sends again what was lost;
or the connection is reset, and nothing of it arrives.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any

T = TypeVar("T")

_PIECE = 65_536
_NO_LINGER = struct.pack("ii", 1, 0)  # closing sends a reset


@dataclass(frozen=True, slots=True)
class Treatment:
    """What becomes of a connection's bytes: seconds of delay each way, bytes a second, held or not."""

    delay: float = 0.0
    rate: float = math.inf
    hold_up: bool = False  # what goes to Redis
    hold_down: bool = False  # what comes from it


PASS = Treatment()
BLACKHOLE = Treatment(hold_up=True, hold_down=True)


class Link:
    """One connection through the proxy; it is a tracking connection once it asked for that."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.tracking = False

    @property
    def socket(self) -> socket.socket:
        """The proxy's end of the connection to the client."""
        found: socket.socket = self.client.get_extra_info("socket")
        return found

    def reset(self) -> None:
        for writer in (self.client, self.server):
            if writer is not None and not writer.transport.is_closing():
                end = writer.get_extra_info("socket")
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                writer.transport.abort()


class FaultProxy:
    """Forwards `port` of this machine to `target`, another one; its loop runs in a thread of its own."""

    def __init__(self, port: int, target: int) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self._port = port
        self._target = target
        self._rule: Callable[[Link], Treatment] = lambda _link: PASS
        self._links: set[Link] = set()
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None

    # What the tests call, from their thread

    def treat(self, rule: Callable[[Link], Treatment]) -> None:
        """From now on each connection, old or new, is treated as `rule` says."""

        async def change() -> None:
            self._rule = rule
            self._changed.set()
            self._changed = asyncio.Event()

        self._do(change())

    def treat_all(self, treatment: Treatment) -> None:
        self.treat(lambda _link: treatment)

    def heal(self) -> None:
        """Let everything through, what was held back first."""
        self.treat_all(PASS)

    def cut(self, which: Callable[[Link], bool] = lambda _link: True) -> int:
        """Reset connections; how many there were."""

        async def change() -> int:
            chosen = [link for link in self._links if which(link)]
            for link in chosen:
                link.reset()
            return len(chosen)

        return self._do(change())

    def refuse(self) -> None:
        """Let no new connection in."""

        async def change() -> None:
            if self._server is not None:
                self._server.close()
            self._server = None

        self._do(change())

    def accept(self) -> None:
        """Let new connections in."""

        async def change() -> None:
            if self._server is not None:
                return
            self._server = await asyncio.start_server(
                self._connected, "127.0.0.1", self._port, reuse_address=True, backlog=1024
            )

        self._do(change())

    def links(self, which: Callable[[Link], bool] = lambda _link: True) -> list[Link]:
        async def look() -> list[Link]:
            return [link for link in self._links if which(link)]

        return self._do(look())

    # What the loop does

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(writer)
        self._links.add(link)
        try:
            try:
                from_server, link.server = await asyncio.open_connection("127.0.0.1", self._target)
            except OSError:
                await self._wait_while(lambda: self._rule(link).hold_down)
                return
            await asyncio.gather(
                self._carry(reader, link.server, link, up=True),
                self._carry(from_server, writer, link, up=False),
            )
        except asyncio.CancelledError:
            pass  # the end of the proxy
        finally:
            self._links.discard(link)
            link.reset()

    async def _carry(
        self, source: asyncio.StreamReader, to: asyncio.StreamWriter, link: Link, *, up: bool
    ) -> None:
        """Carry one direction of a connection; its end, either way, is the end of all of it."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        writing = asyncio.create_task(self._deliver(pieces, to, link, up=up))
        with suppress(OSError):
            while piece := await source.read(_PIECE):
                if up and b"TRACKING" in piece:
                    link.tracking = True
                await pieces.put((self._loop.time() + self._rule(link).delay, piece))
        await pieces.put((self._loop.time(), b""))
        await writing

    async def _deliver(
        self, pieces: asyncio.Queue[tuple[float, bytes]], to: asyncio.StreamWriter, link: Link, *, up: bool
    ) -> None:
        with suppress(OSError):
            while True:
                due, piece = await pieces.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await self._wait_while(lambda: self._rule(link).hold_up if up else self._rule(link).hold_down)
                if not piece:
                    break
                to.write(piece)
                await to.drain()
                rate = self._rule(link).rate
                if rate < math.inf:
                    await asyncio.sleep(len(piece) / rate)
        link.reset()

    async def _wait_while(self, holds: Callable[[], bool]) -> None:
        while holds():
            await self._changed.wait()

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    def run(self) -> None:
        self._loop.run_forever()

    def stop(self) -> None:
        async def end() -> None:
            if self._server is not None:
                self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(end(), self._loop)


@contextmanager
def proxying(port: int, target: int) -> Iterator[FaultProxy]:
    """A proxy that lets everything through, until it is told otherwise."""
    proxy = FaultProxy(port, target)
    thread = Thread(target=proxy.run)
    thread.start()
    try:
        proxy.accept()
        yield proxy
    finally:
        proxy.stop()
        thread.join()
        proxy._loop.close()
