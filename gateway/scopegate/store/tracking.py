"""Server-assisted coherence: Redis tells at once which names changed, whoever changed them.

``CLIENT TRACKING ON BCAST`` (Redis 6 and later) pushes the name of every key below a prefix that
is written, deleted or expires, over a connection of its own that speaks RESP3. Each server tells of
its own names only, so there is a connection to every server in charge.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING, Any, Protocol

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError

from scopegate.store.connection import ROLE_QUESTION, IsOutdated
from scopegate.store.topology import Unserved
from scopegate.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from redis.asyncio.connection import AbstractConnection

    from scopegate.store.servers import Servers
    from scopegate.store.topology import Topology

log = logging.getLogger("scopegate.store")

HEARTBEAT = 0.5  # seconds from an answer to the next question
ANSWER_WITHIN = 1.0  # seconds; a connection on which an answer takes longer is lost
LOOK = 1.0  # seconds between looks at who is in charge
_FIRST_PAUSE = 0.02  # seconds before a first attempt to connect again
_LONGEST_PAUSE = 0.5
_STOP_PATIENCE = 0.1


class Listener(Protocol):
    """Who is told what happens."""

    def connected(self) -> None:
        """From now on every change is told; what is known from before may be out of date."""

    def changed(self, name: bytes) -> None:
        """The value of this name was written, deleted, or has expired."""

    def everything_changed(self) -> None:
        """The whole database was emptied."""

    def heard(self) -> None:
        """The servers are there, and nothing that they told before this is still on its way."""

    def disconnected(self) -> None:
        """From now on changes may go unnoticed."""


class Tracking:
    """Keeps a tracking connection open to every server in charge, and tells `listener` what it hears.

    Without one of them, or while it cannot be told which they are, the listener is disconnected. They
    are asked for the names that begin with one of `prefixes`, of which none begins with another.
    """

    def __init__(self, servers: Servers, listener: Listener, prefixes: Sequence[str]) -> None:
        self._servers = servers
        self._listener = listener
        self._prefixes = [word for prefix in prefixes for word in ("PREFIX", prefix)]
        self._trust: asyncio.Timeout | None = None
        self._task: asyncio.Task[None] | None = None
        self._throttle = Throttle()
        self._connected = False

    def start(self) -> None:
        """Begin to connect, in the running loop."""
        self._task = asyncio.create_task(self._keep_connected())

    async def stop(self) -> None:
        """Close the connections."""
        task, self._task = self._task, None
        # The client takes a cancellation while it connects for a reason to return.
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_STOP_PATIENCE)

    def distrust(self) -> None:
        """Drop the connections that there are, as if they were silent, and connect anew."""
        if self._trust is not None:
            self._trust.reschedule(asyncio.get_running_loop().time())

    async def _keep_connected(self) -> None:
        pause = _FIRST_PAUSE
        while self._task is not None:
            self._connected = False
            try:
                async with asyncio.timeout(None) as self._trust:
                    await self._listen()
            except (RedisError, OSError, RuntimeError, TimeoutError) as error:
                kind = type(error).__name__
                if self._throttle.due(kind) is not None:
                    log.warning("the tracking connection is lost: %s", kind)
            except Exception as error:
                # Whatever it is: whoever gives up here has every request read Redis from now on.
                if self._throttle.due(type(error).__name__) is not None:
                    log.exception("the tracking connection failed")
            finally:
                self._trust = None
            if self._connected:
                pause = _FIRST_PAUSE
            # Many workers lose their connections at the same moment; they do not all come back in it.
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 -- no secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _listen(self) -> None:
        topology = await self._servers.look()
        lines = [
            _Line(connection, self._listener, self._prefixes, self._servers.tells_current)
            for connection in self._servers.connections(topology)
        ]
        replaced = asyncio.Event()

        def replace() -> None:
            self._listener.disconnected()
            replaced.set()

        try:
            await _all_at_once((line.open() for line in lines), ended=_nothing)
            if not self._servers.is_in_force(topology):
                return
            # From here on nothing is read from a server that does not tell, or the listener knows it first.
            self._servers.on_change = replace
            self._listener.connected()
            self._connected = True
            await _all_at_once(
                [*(line.listen() for line in lines), self._ask(lines), self._look(topology, replaced)],
                ended=self._listener.disconnected,
            )
        finally:
            self._servers.on_change = _nothing
            self._listener.disconnected()
            for line in lines:
                await line.close()

    async def _ask(self, lines: list[_Line]) -> None:
        """Let all servers show now and then that they are there and up to date.

        Other messages are no sign that nothing is late: on a line that is too slow for them, the answer
        comes behind all that was told before.
        """
        while True:
            async with asyncio.timeout(ANSWER_WITHIN):
                for line in lines:
                    await line.ask()
                for line in lines:
                    await line.answered.wait()
            self._listener.heard()
            await asyncio.sleep(HEARTBEAT)

    async def _look(self, topology: Topology, replaced: asyncio.Event) -> None:
        """Find out whether other servers have come to be in charge."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(replaced.wait(), LOOK)
            async with asyncio.timeout(LOOK):
                now = await self._servers.look()
            if replaced.is_set() or now != topology:
                raise Unserved("other servers are in charge now")


class _Line:
    """A connection to one server, on which it tells what changes."""

    def __init__(
        self,
        connection: AbstractConnection,
        listener: Listener,
        prefixes: Sequence[str],
        tells_current: Callable[[object], bool],
    ) -> None:
        self._connection = connection
        self._listener = listener
        self._prefixes = prefixes
        self._tells_current = tells_current
        self.answered = asyncio.Event()

    async def open(self) -> None:
        """Connect, and let the server tell every change from now on."""
        connection = self._connection
        connection.socket_timeout = HEARTBEAT + ANSWER_WITHIN
        connection.retry = Retry(NoBackoff(), 0)
        await connection.connect()  # type: ignore[no-untyped-call]
        connection._parser.set_invalidation_push_handler(self._invalidated)  # type: ignore[attr-defined] # noqa: SLF001
        await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *self._prefixes)
        await connection.read_response()
        # A server that is still loading its data tracks already, but there is nothing to be read. PING
        # would tell, but a user may not be allowed to.
        await connection.send_command("INFO", "persistence")
        if b"loading:1" in (await connection.read_response()).split():
            raise BusyLoadingError("the server is still loading its data")

    async def ask(self) -> None:
        """Let the server say what it is; the answer comes behind all that it told before."""
        self.answered.clear()
        await self._connection.send_command(*ROLE_QUESTION, check_health=False)

    async def listen(self) -> None:
        """Take in what the server tells, until it is lost or may be out of date."""
        while True:
            answer = await self._connection.read_response(push_request=True)
            if answer is None:
                continue
            if not self._tells_current(answer):
                raise IsOutdated("this server has become a replica, or lost its primary")
            self.answered.set()

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.disconnect(nowait=True)

    async def _invalidated(self, push: list[Any]) -> None:
        names: list[bytes] | None = push[1]
        if names is None:
            self._listener.everything_changed()
            return
        for name in names:
            self._listener.changed(name)


async def _all_at_once(coroutines: Iterable[Coroutine[Any, Any, None]], *, ended: Callable[[], None]) -> None:
    """Run all of them until all have ended or one has failed, whose error it raises.

    `ended` is called at that moment, before the others are stopped.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        ended()
        # The client takes a cancellation while it connects for a reason to return.
        while pending := [task for task in tasks if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=_STOP_PATIENCE)


def _nothing() -> None:
    pass
