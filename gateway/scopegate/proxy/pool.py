"""The connections to one upstream: a bounded number, balanced over all of its origins."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, cast

from scopegate.proxy.balancing import GOOD, first, order
from scopegate.proxy.connection import Connection
from scopegate.proxy.failures import UpstreamBusy, UpstreamTimeout, UpstreamUnreachable
from scopegate.proxy.origin import Addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scopegate.proxy.balancing import Load, Standing
    from scopegate.proxy.origin import Origin
    from scopegate.proxy.timeouts import Timeouts

logger = logging.getLogger("scopegate.proxy")

# One timer looks after all connections, instead of one or two for each request. So a timeout may
# be late by this much, which is also about how long an exchange runs before its client is watched.
SWEEP_INTERVAL = 0.1
# A connection is moved to another origin only if the two do not merely change places by it.
_LOPSIDED = 2


class Place:
    """One origin in a pool: its connections, of which the idle ones lie on a stack.

    The newest is used first, and the oldest expire at the bottom. ``host_line`` is what an exchange
    has to say in place of the first origin's, if anything.
    """

    __slots__ = ("addresses", "host_line", "idle", "open", "origin", "standing")

    def __init__(self, origin: Origin, host_line: bytes = b"") -> None:
        self.origin = origin
        self.host_line = host_line
        self.addresses = Addresses()
        self.standing = GOOD
        self.open = 0
        self.idle: deque[Pooled] = deque()

    def take(self) -> Pooled | None:
        """An idle connection, if there is one."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.failure is None:
                return connection
        return None


class Pooled(Connection):
    """A connection that knows where it leads."""

    __slots__ = ("place",)

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeouts: Timeouts,
        on_lost: Callable[[Connection], None],
        place: Place,
    ) -> None:
        super().__init__(loop, timeouts, on_lost)
        self.place = place


class Pool:
    """Keep-alive connections to `origin`, and to `others` that serve alike, of the running event loop.

    A connection is in ``_open`` from before it connects until it is lost; with the ``_promised``
    places these are what `max_connections` bounds, whatever their origins. For an exchange the
    origin is chosen first and then a connection to it, an idle one if there is one: so an origin
    that has come back gets its share, though there are idle connections to the others. With
    `own_host`, each origin is to be addressed by its own authority.
    """

    def __init__(
        self,
        origin: Origin,
        timeouts: Timeouts,
        *,
        others: Sequence[Origin] = (),
        own_host: bool = False,
        max_connections: int,
        idle_expiry: float,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.host_line = _host_line(origin)
        self.several = bool(others)
        self._places = [
            Place(origin),
            *(Place(other, _host_line(other) if own_host else b"") for other in others),
        ]
        self._idle = None if others else self._places[0].idle
        self._turn = 0
        self._timeouts = timeouts
        self._max_connections = max_connections
        self._idle_expiry = idle_expiry
        self._open: set[Pooled] = set()
        self._promised = 0
        self._waiters: deque[asyncio.Future[Pooled | None]] = deque()
        self._sweep_interval = min(SWEEP_INTERVAL, timeouts.head, timeouts.idle, idle_expiry)
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        """How many connections are open, idle ones included."""
        return len(self._open)

    # For an exchange

    def take(self) -> Pooled | None:
        """An idle connection to the origin whose turn it is, if there is one."""
        idle = self._idle
        if idle is None:
            return self._take_in_turn()
        while idle:
            connection = idle.pop()
            if connection.failure is None:
                return connection
        return None

    async def obtain(self) -> Pooled:
        """A new connection as soon as there is room for one, or one that is given back meanwhile."""
        connection = self.take()
        if connection is None and not self._has_room():
            connection = self._take_another()
            if connection is None and not self._has_room():
                connection = await self._wait_in_line()
        return connection or await self._connect(self.in_order())

    async def replace(self, failed: Pooled) -> Pooled:
        """A connection that nobody has used before, at the cost of an idle one if need be.

        It is to another origin than that of `failed`. The same one is good enough where it may merely
        have closed an idle connection, and where there is no other.
        """
        if not self._has_room():
            spare = next((place.idle[0] for place in self._places if place.idle), None)
            if spare is None:
                spare = await self._wait_in_line()
            if spare is not None:
                spare.close()
                self._forget(spare)
        places = self.in_order()
        if self.several:
            places.remove(failed.place)
            if failed.reused:
                places.append(failed.place)
        return await self._connect(places)

    def give_back(self, connection: Pooled) -> None:
        """End the exchange on `connection`, and keep it for the next if it is fit for one."""
        if not connection.finish():
            return
        if self._closed or (self.several and self._waiters and self._is_lopsided(connection.place)):
            connection.close()
            return
        self._pass_on(connection)

    def in_order(self) -> list[Place]:
        """The origins in the order in which to try them."""
        places = self._places
        if not self.several:
            return places.copy()
        return [places[number] for number in order(self._loads(), self.loop.time(), self._turn)]

    # What becomes of exchanges; a WebSocket that has a connection of its own is judged here too

    def chosen(self, place: Place) -> None:
        """Note that `place` gets the next exchange."""
        if self.several:
            self._turn += 1
            if place.standing.pause:
                place.standing = place.standing.chosen(self.loop.time())

    def answered(self, place: Place) -> None:
        """Note that an exchange got an answer."""
        if place.standing is not GOOD:
            self._judge(place, GOOD)

    def missed(self, place: Place) -> None:
        """Note that an exchange got not one byte of an answer."""
        if self.several:
            self._judge(place, place.standing.missed(self.loop.time()))

    def unreachable(self, place: Place) -> None:
        """Note that no connection to `place` could be made."""
        if self.several:
            self._judge(place, place.standing.unreachable(self.loop.time()))

    async def aclose(self) -> None:
        """Close the idle connections now, and the others when their exchanges end."""
        self._closed = True
        if self._has_idle():
            for place in self._places:
                for connection in place.idle:
                    connection.close()
            self._emptied = self.loop.create_future()
            await self._emptied
        if self._sweeper is not None and not self._open:
            self._sweeper.cancel()

    # Which origin

    def _loads(self) -> list[Load]:
        return [(place.standing, place.open - len(place.idle)) for place in self._places]

    def _take_in_turn(self) -> Pooled | None:
        place = self._places[first(self._loads(), self.loop.time(), self._turn)]
        connection = place.take()
        if connection is not None:
            self.chosen(place)
        return connection

    def _take_another(self) -> Pooled | None:
        """Where there is no room: an idle connection to another origin than the one whose turn it is.

        If that one has too few connections, room is made for one instead.
        """
        now = self.loop.time()
        wanted, *others = self.in_order()
        for place in others:
            if place.idle and _may_move(place, wanted, now):
                oldest = place.idle[0]
                oldest.close()
                self._forget(oldest)
                return None
            connection = place.take()
            if connection is not None:
                self.chosen(place)
                return connection
        return None

    def _is_lopsided(self, donor: Place) -> bool:
        now = self.loop.time()
        return any(_may_move(donor, place, now) for place in self._places)

    def _judge(self, place: Place, standing: Standing) -> None:
        before, place.standing = place.standing, standing
        if standing.pause and not before.pause:
            logger.warning("upstream %s is left out for a while: it does not answer", place.origin.name)
        elif before.pause and not standing.pause:
            logger.warning("upstream %s answers again", place.origin.name)

    # Room

    def _has_room(self) -> bool:
        return len(self._open) + self._promised < self._max_connections

    def _has_idle(self) -> bool:
        return any(place.idle for place in self._places)

    async def _wait_in_line(self) -> Pooled | None:
        """A connection that another exchange is done with, or none: then there is room for one."""
        waiter: asyncio.Future[Pooled | None] = self.loop.create_future()
        self._waiters.append(waiter)
        timer = self.loop.call_later(self._timeouts.pool, _give_up, waiter)
        try:
            given = await waiter
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
        if given is None:
            self._promised -= 1
        return given

    def _pass_on(self, connection: Pooled | None) -> None:
        """Give an idle `connection`, or a free place, to the first in line."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._promised += connection is None
                waiter.set_result(connection)
                return
        if connection is not None and connection.failure is None:
            connection.idle_since = self.loop.time()
            connection.place.idle.append(connection)

    async def _connect(self, places: list[Place]) -> Pooled:
        """A connection to the first of `places` that can be reached; there is room for one.

        They share the time that there is to connect.
        """
        ends_at = self.loop.time() + self._timeouts.connect
        while True:
            place = places.pop(0)
            try:
                return await self._connect_to(place, ends_at, others=len(places))
            except TimeoutError:
                self.unreachable(place)
                if not places:
                    raise UpstreamTimeout from None
            except OSError:
                self.unreachable(place)
                if not places:
                    raise UpstreamUnreachable from None

    async def _connect_to(self, place: Place, ends_at: float, *, others: int) -> Pooled:
        connection = Pooled(self.loop, self._timeouts, self._lost, place)
        self._open.add(connection)
        place.open += 1
        self.chosen(place)
        try:
            async with asyncio.timeout((ends_at - self.loop.time()) / (others + 1)):
                await place.origin.connect(connection, place.addresses)
        except BaseException as error:
            connection.close()
            if others and isinstance(error, OSError):
                self._forget(connection)  # its place is for the next attempt, which follows at once
            else:
                self._lost(connection)
            raise
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(self._sweep_interval, self._sweep)
        return connection

    def _lost(self, connection: Connection) -> None:
        pooled = cast("Pooled", connection)
        if pooled not in self._open:
            return
        self._forget(pooled)
        if self._emptied is not None and not self._emptied.done() and not self._has_idle():
            self._emptied.set_result(None)
        self._pass_on(None)

    def _forget(self, connection: Pooled) -> None:
        """Count a connection out, without offering its place to anybody."""
        if connection not in self._open:
            return
        self._open.remove(connection)
        place = connection.place
        place.open -= 1
        if connection in place.idle:
            place.idle.remove(connection)

    def _sweep(self) -> None:
        """Enforce timeouts, have the clients of long exchanges watched, and let idle connections go."""
        now = self.loop.time()
        for connection in tuple(self._open):
            connection.check(now)
        for place in self._places:
            for connection in place.idle:
                if now - connection.idle_since < self._idle_expiry:
                    break
                connection.close()
        self._sweeper = self.loop.call_later(self._sweep_interval, self._sweep) if self._open else None


def _host_line(origin: Origin) -> bytes:
    return b"\r\nhost: %b\r\n" % origin.authority


def _may_move(donor: Place, place: Place, now: float) -> bool:
    """Whether `place` had better have one of the donor's connections."""
    return donor.open - place.open >= _LOPSIDED and not place.standing.is_out(now)


def _give_up(waiter: asyncio.Future[Pooled | None]) -> None:
    if not waiter.done():
        waiter.set_exception(UpstreamBusy())
