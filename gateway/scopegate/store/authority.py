"""Those who decide which server is in charge: the URL alone, Sentinels, or the nodes of a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from redis.exceptions import RedisError

from scopegate.store.location import Address
from scopegate.store.topology import Topology, Unserved, read_slots, told_most

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from redis.asyncio import Redis

    from scopegate.store.location import Server

T = TypeVar("T")


class Authority(Protocol):
    """Who is asked which servers are in charge."""

    lasts: float
    """Seconds for which an answer counts, unless a server shows before that it is out of date."""

    async def ask(self) -> Topology:
        """Who is in charge now.

        Raises:
            RedisError: nobody can tell.
        """

    async def aclose(self) -> None:
        """Close the connections to whoever is asked."""


class Named:
    """The URL names the one server."""

    lasts = math.inf

    def __init__(self, server: Server) -> None:
        self._topology = Topology.of_one(server)

    async def ask(self) -> Topology:
        """As `Authority.ask`."""
        return self._topology

    async def aclose(self) -> None:
        """As `Authority.aclose`."""


class _Inquiry:
    """Asks several at the same time, and waits for no more answers than it takes."""

    def __init__(self) -> None:
        self._late: set[asyncio.Task[Any]] = set()

    async def told(self, questions: Iterable[Coroutine[Any, Any, T]], *, enough: int) -> list[T]:
        """What is answered, until `enough` say the same. Who fails says nothing."""
        told: list[T] = []
        pending = {asyncio.create_task(question) for question in questions}
        # Who is late answers in vain; to be cut short would cost the connection.
        self._late |= pending
        for task in pending:
            task.add_done_callback(self._answered)
        while pending and max(Counter(told).values(), default=0) < enough:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with contextlib.suppress(RedisError, OSError, TimeoutError, UnicodeDecodeError):
                    told.append(task.result())
        return told

    def stop(self) -> None:
        """Wait for nobody any more."""
        for task in self._late:
            task.cancel()

    def _answered(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that it is not reported as lost


class Sentinels:
    """Most of the Sentinels that the URL names have to name the same master.

    One that is cut off from the others goes on naming a master that they have replaced, perhaps one
    that is cut off with it and does not know. So what was heard from too few, or too long ago, counts
    for nothing.
    """

    lasts = 1.5

    def __init__(
        self, addresses: Sequence[Address], service: str, connect: Callable[[Address], Redis]
    ) -> None:
        self._service = service
        self._inquiry = _Inquiry()
        self._clients = [connect(address) for address in addresses]

    async def ask(self) -> Topology:
        """As `Authority.ask`."""
        most = len(self._clients) // 2 + 1
        told = await self._inquiry.told([self._master(client) for client in self._clients], enough=most)
        master, times = Counter(told).most_common(1)[0] if told else (None, 0)
        if master is None or times < most:
            raise Unserved("too few Sentinels name the same master")
        return Topology.of_one(master)

    async def _master(self, client: Redis) -> Address:
        # In words of their own, so that the client does not interpret the answer.
        answer: Any = await client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)  # type: ignore[no-untyped-call]
        if answer is None:
            raise Unserved("a Sentinel does not know this service")
        host, port = answer
        return Address(host.decode(), int(port))

    async def aclose(self) -> None:
        """As `Authority.aclose`."""
        self._inquiry.stop()
        for client in self._clients:
            await client.aclose()


class ClusterNodes:
    """Most nodes of a cluster that answer have to tell the same map of its slots.

    A server that has lost a slot says so to whoever asks it for a name there, so an answer counts
    until that happens.
    """

    lasts = math.inf

    def __init__(self, seeds: Sequence[Address], connect: Callable[[Address], Redis]) -> None:
        self._seeds = frozenset(seeds)
        self._connect = connect
        self._clients: dict[Address, Redis] = {}
        self._masters: frozenset[Address] = frozenset()
        self._inquiry = _Inquiry()

    async def ask(self) -> Topology:
        """As `Authority.ask`."""
        told = await self._maps(self._masters) or await self._maps(self._seeds)
        found = told_most(told)
        self._masters = frozenset(server for server in found.servers if isinstance(server, Address))
        for address in self._clients.keys() - self._masters - self._seeds:
            await self._clients.pop(address).aclose()
        return found

    async def _maps(self, addresses: frozenset[Address]) -> list[Topology]:
        most = len(addresses) // 2 + 1
        return await self._inquiry.told([self._map(address) for address in addresses], enough=most)

    async def _map(self, address: Address) -> Topology:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = self._connect(address)
        return read_slots(await client.execute_command("CLUSTER", "SLOTS"), address)  # type: ignore[no-untyped-call]

    async def aclose(self) -> None:
        """As `Authority.aclose`."""
        self._inquiry.stop()
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()
