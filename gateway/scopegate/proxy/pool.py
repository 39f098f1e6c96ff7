"""The connections to one upstream: a bounded number, the most recently used first."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from scopegate.proxy.connection import Connection
from scopegate.proxy.failures import UpstreamBusy, UpstreamTimeout, UpstreamUnreachable

if TYPE_CHECKING:
    from scopegate.proxy.origin import Origin
    from scopegate.proxy.timeouts import Timeouts

# One timer looks after all connections, instead of one or two for each request. So a timeout may
# be late by this much, which is also about how long an exchange runs before its client is watched.
SWEEP_INTERVAL = 0.1


class Pool:
    """Keep-alive connections to `origin`, belonging to the running event loop.

    A connection is in ``_open`` from before it connects until it is lost; with the ``_promised``
    places these are what `max_connections` bounds. Idle ones lie on a stack: the newest is used
    first, and the oldest expire at the bottom.
    """

    def __init__(
        self, origin: Origin, timeouts: Timeouts, *, max_connections: int, idle_expiry: float
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._origin = origin
        self._timeouts = timeouts
        self._max_connections = max_connections
        self._idle_expiry = idle_expiry
        self._open: set[Connection] = set()
        self._promised = 0
        self._idle: deque[Connection] = deque()
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._sweep_interval = min(SWEEP_INTERVAL, timeouts.head, timeouts.idle, idle_expiry)
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    def take(self) -> Connection | None:
        """An idle connection, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.failure is None:
                return connection
        return None

    async def obtain(self) -> Connection:
        """A new connection as soon as there is room for one, or one that is given back meanwhile."""
        if not self._has_room():
            given = await self._wait_in_line()
            if given is not None:
                return given
            self._promised -= 1
        return await self._connect()

    async def replace(self) -> Connection:
        """A connection that nobody has used before, at the cost of an idle one if need be."""
        if not self._has_room() and self._idle:
            self._idle[0].close()
            self._lost(self._idle[0])
        while True:
            connection = await self.obtain()
            if not connection.reused:
                return connection
            connection.close()

    def give_back(self, connection: Connection) -> None:
        """End the exchange on `connection`, and keep it for the next if it is fit for one."""
        if not connection.finish():
            return
        if self._closed:
            connection.close()
            return
        self._pass_on(connection)

    async def aclose(self) -> None:
        """Close the idle connections now, and the others when their exchanges end."""
        self._closed = True
        closing = len(self._idle)
        for connection in self._idle:
            connection.close()
        if closing:
            self._emptied = self.loop.create_future()
            await self._emptied
        if self._sweeper is not None and not self._open:
            self._sweeper.cancel()

    def _has_room(self) -> bool:
        return len(self._open) + self._promised < self._max_connections

    async def _wait_in_line(self) -> Connection | None:
        """A connection that another exchange is done with, or none: then a place is promised."""
        waiter: asyncio.Future[Connection | None] = self.loop.create_future()
        self._waiters.append(waiter)
        timer = self.loop.call_later(self._timeouts.pool, _give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # What was given in the same instant goes to the next in line.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                given = waiter.result()
                if given is None:
                    self._promised -= 1
                self._pass_on(given)
            raise
        finally:
            timer.cancel()

    def _pass_on(self, connection: Connection | None) -> None:
        """Give an idle `connection`, or a free place, to the first in line."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._promised += connection is None
                waiter.set_result(connection)
                return
        if connection is not None and connection.failure is None:
            connection.idle_since = self.loop.time()
            self._idle.append(connection)

    async def _connect(self) -> Connection:
        connection = Connection(self.loop, self._timeouts, self._lost)
        self._open.add(connection)
        try:
            async with asyncio.timeout(self._timeouts.connect):
                await self._origin.connect(connection)
        except BaseException as error:
            connection.close()
            self._lost(connection)
            if isinstance(error, TimeoutError):
                raise UpstreamTimeout from None
            if isinstance(error, OSError):
                raise UpstreamUnreachable from None
            raise
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(self._sweep_interval, self._sweep)
        return connection

    def _lost(self, connection: Connection) -> None:
        if connection not in self._open:
            return
        self._open.remove(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._emptied is not None and not self._idle and not self._emptied.done():
            self._emptied.set_result(None)
        self._pass_on(None)

    def _sweep(self) -> None:
        """Enforce timeouts, have the clients of long exchanges watched, and let idle connections go."""
        now = self.loop.time()
        for connection in tuple(self._open):
            connection.check(now)
        for connection in self._idle:
            if now - connection.idle_since < self._idle_expiry:
                break
            connection.close()
        self._sweeper = self.loop.call_later(self._sweep_interval, self._sweep) if self._open else None


def _give_up(waiter: asyncio.Future[Connection | None]) -> None:
    if not waiter.done():
        waiter.set_exception(UpstreamBusy())
