"""The servers that are in charge, and steps that are taken on the right one of them."""

from __future__ import annotations

import asyncio
import time
from hashlib import sha1
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import (
    ClusterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
)
from redis.exceptions import (
    ConnectionError as LostConnection,
)
from redis.exceptions import (
    TimeoutError as NoAnswer,
)

from scopegate.store.authority import Authority, ClusterNodes, Named, Sentinels
from scopegate.store.connection import Connector, require_version, translated
from scopegate.store.location import Address, Kind, Location
from scopegate.store.topology import Unserved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis
    from redis.asyncio.connection import AbstractConnection

    from scopegate.store.location import Server
    from scopegate.store.topology import Topology

T = TypeVar("T")

# What a server shows that is in charge no longer, or is no longer there.
_MAYBE_REPLACED = (LostConnection, NoAnswer, OSError, MovedError, ReadOnlyError, ClusterDownError)


class Servers:
    """Takes steps on the server that has a tenant's names, whoever that is at the moment.

    All names of a tenant share a hash tag, so one server has all of them, and a step is whatever one
    server can do. Whoever is in charge no longer is not asked again, and its connections are closed.
    """

    def __init__(self, authority: Authority, connector: Connector) -> None:
        self._authority = authority
        self._connect = connector.client
        self.tells_current = connector.tells_current
        self._clients: dict[Server, Redis] = {}
        self._asking: asyncio.Task[Topology] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._told_at = 0.0
        self._topology: Topology | None = None
        self.on_change: Callable[[], None] = lambda: None
        """Called when another topology is in force, before anything is read by it."""

    @classmethod
    def at(cls, location: Location) -> Servers:
        """The servers at `location`; they are connected to when first used.

        Raises:
            ConfigurationError: a file for TLS cannot be used.
        """
        connector = Connector(location)
        addresses = [server for server in location.servers if isinstance(server, Address)]
        authority: Authority
        match location.kind:
            case Kind.SERVER:
                authority = Named(location.servers[0])
            case Kind.SENTINEL:
                authority = Sentinels(addresses, location.service, connector.asking_sentinel)
            case Kind.CLUSTER:
                authority = ClusterNodes(addresses, connector.asking)
        return cls(authority, connector)

    async def step(self, tag: str, take: Callable[[Redis], Awaitable[T]]) -> T:
        """What `take` returns, given the server that has the names with the hash tag `tag`.

        It is tried on another server, once, if that has come to be in charge.

        Raises:
            StoreUnavailable: nobody is in charge, or the server does not answer.
        """
        with translated():
            topology = self._topology
            if topology is None or time.monotonic() - self._told_at > self._authority.lasts:
                topology = await self.look()
            server = topology.server_of(tag)
            try:
                return await take(self._client(server))
            except _MAYBE_REPLACED:
                # The same server would say the same; the client has tried it twice.
                replaced_by = (await self.look()).server_of(tag)
                if replaced_by == server:
                    raise
            return await take(self._client(replaced_by))

    async def require_reachable(self, tag: str) -> None:
        """Make sure that the server that has the names with the hash tag `tag` has a version that we know.

        Raises:
            StoreUnavailable: it does not answer, refuses us, or is older than Redis 7.
        """
        require_version(await self.step(tag, lambda redis: redis.info("server")))

    async def writes_no_log(self, tag: str) -> bool:
        """Whether the server that has the names with the hash tag `tag` writes no append-only file.

        Raises:
            StoreUnavailable: it does not answer.
        """
        info = await self.step(tag, lambda redis: redis.info("persistence"))
        return bool(info.get("aof_enabled") == 0)

    def in_charge_of(self, tag: str) -> Server | None:
        """The server that has the names with the hash tag `tag`, as far as that is known."""
        try:
            return None if self._topology is None else self._topology.server_of(tag)
        except Unserved:
            return None

    async def look(self) -> Topology:
        """The topology as it is now, asked of whoever decides it; it is in force from now on.

        Raises:
            RedisError: nobody can tell.
        """
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    def is_in_force(self, topology: Topology) -> bool:
        """Whether this is the newest that is known."""
        return self._topology == topology

    def connections(self, topology: Topology) -> list[AbstractConnection]:
        """A new connection to each server, not yet open, for whoever asks for it alone."""
        return [
            self._client(server).connection_pool.make_connection()  # type: ignore[no-untyped-call]
            for server in topology.servers
        ]

    async def aclose(self) -> None:
        """Close all connections."""
        if self._asking is not None:
            self._asking.cancel()
        await self._authority.aclose()
        for client in self._clients.values():
            await client.aclose()
        while self._closing:
            await asyncio.wait(self._closing)

    async def _ask(self) -> Topology:
        asked_at = time.monotonic()
        topology = await self._authority.ask()
        self._told_at = asked_at
        if topology != self._topology:
            self._topology = topology
            self.on_change()
            for server in self._clients.keys() - topology.servers:
                closing = asyncio.create_task(self._clients.pop(server).aclose())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
        return topology

    def _asked(self, asking: asyncio.Task[Topology]) -> None:
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # whoever waits gets it; if nobody does, nobody needs it

    def _client(self, server: Server) -> Redis:
        client = self._clients.get(server)
        if client is None:
            client = self._clients[server] = self._connect(server)
        return client


class Script:
    """A Lua script of this package, loaded into a server when it is first run there."""

    def __init__(self, name: str, *, writes: bool) -> None:
        # A user who may only read is refused the one command for whatever the script does.
        self._command = "EVALSHA" if writes else "EVALSHA_RO"
        self._source = resources.files("scopegate.store").joinpath("lua", f"{name}.lua").read_bytes()
        self._digest = sha1(self._source, usedforsecurity=False).hexdigest()

    async def run(self, redis: Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:  # noqa: ANN401 -- Lua's
        """What it returns."""
        try:
            return await self._call(redis, keys, args)
        except NoScriptError:
            await redis.script_load(self._source)
            return await self._call(redis, keys, args)

    async def _call(self, redis: Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:  # noqa: ANN401 -- likewise
        return await redis.execute_command(self._command, self._digest, len(keys), *keys, *args)  # type: ignore[no-untyped-call]
