"""Server-assisted coherence: Redis tells at once which names changed, whoever changed them.

``CLIENT TRACKING ON BCAST`` (Redis 6 and later) pushes the name of every key below a prefix that
is written, deleted or expires, over a connection of its own that speaks RESP3.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING, Any, Protocol

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from scopegate.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis
    from redis.asyncio.connection import AbstractConnection

log = logging.getLogger("scopegate.store")

HEARTBEAT = 0.5  # seconds from the answer to one ping to the next ping
ANSWER_WITHIN = 1.0  # seconds; a connection on which an answer takes longer is lost
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
        """The server is there, and nothing that it told before this is still on its way."""

    def disconnected(self) -> None:
        """From now on changes may go unnoticed."""


class Tracking:
    """Keeps one tracking connection open, and tells `listener` what it hears.

    It asks for the names that begin with one of `prefixes`, of which none begins with another.
    """

    def __init__(self, redis: Redis, listener: Listener, prefixes: Sequence[str]) -> None:
        self._redis = redis
        self._listener = listener
        self._prefixes = [word for prefix in prefixes for word in ("PREFIX", prefix)]
        self._trust: asyncio.Timeout | None = None
        self._task: asyncio.Task[None] | None = None
        self._throttle = Throttle()

    def start(self) -> None:
        """Begin to connect, in the running loop."""
        self._task = asyncio.create_task(self._keep_connected())

    async def stop(self) -> None:
        """Close the connection."""
        task, self._task = self._task, None
        # The client takes a cancellation while it connects for a reason to return.
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_STOP_PATIENCE)

    def distrust(self) -> None:
        """Drop the connection that there is, as if it were silent, and connect anew."""
        if self._trust is not None:
            self._trust.reschedule(asyncio.get_running_loop().time())

    async def _keep_connected(self) -> None:
        pause = _FIRST_PAUSE
        while self._task is not None:
            try:
                async with asyncio.timeout(None) as self._trust:
                    async for _ in self._listen():
                        pause = _FIRST_PAUSE
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
            # Many workers lose their connections at the same moment; they do not all come back in it.
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 -- no secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _listen(self) -> Any:  # noqa: ANN401 -- an async generator of nothing
        connection: AbstractConnection = self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        connection.socket_timeout = HEARTBEAT + ANSWER_WITHIN
        connection.retry = Retry(NoBackoff(), 0)
        pinger: asyncio.Task[None] | None = None
        answered = asyncio.Event()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            connection._parser.set_invalidation_push_handler(self._invalidated)  # type: ignore[attr-defined] # noqa: SLF001
            await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *self._prefixes)
            # A server that is still loading its data tracks already, but there is nothing to be read.
            await connection.send_command("PING")
            await connection.read_response()
            await connection.read_response()
            self._listener.connected()
            pinger = asyncio.create_task(_ping(connection, answered))
            # Other messages are no sign that nothing is late: on a line that is too slow for them, the
            # answer to a ping comes behind all that was told before.
            async with asyncio.timeout(HEARTBEAT + ANSWER_WITHIN) as patience:
                while True:
                    answer = await connection.read_response(push_request=True)
                    if answer == b"PONG":
                        answered.set()
                        self._listener.heard()
                        patience.reschedule(asyncio.get_running_loop().time() + HEARTBEAT + ANSWER_WITHIN)
                    yield
        finally:
            self._listener.disconnected()
            if pinger is not None:
                pinger.cancel()
            await connection.disconnect(nowait=True)

    async def _invalidated(self, push: list[Any]) -> None:
        names: list[bytes] | None = push[1]
        if names is None:
            self._listener.everything_changed()
            return
        for name in names:
            self._listener.changed(name)


async def _ping(connection: AbstractConnection, answered: asyncio.Event) -> None:
    """Send a ping some time after the one before was answered, so that an answer says how late it is."""
    # The last is what the client makes of a connection that was closed meanwhile.
    with contextlib.suppress(RedisError, OSError, RuntimeError, AttributeError):
        while True:
            await asyncio.sleep(HEARTBEAT)
            answered.clear()
            await connection.send_command("PING", check_health=False)
            await answered.wait()
