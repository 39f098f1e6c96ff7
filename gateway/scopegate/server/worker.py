"""One process of the data plane: its event loop, its clients, and how it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scopegate.server.connection import ClientConnection

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from scopegate.metrics import WorkerMetrics
    from scopegate.server.gateway import Gateway
    from scopegate.server.tunnel import Tunnel

_SWEEP = 0.5  # seconds
_BACKLOG = 2_048
# Turns of the loop that are enough to accept whoever had come before the listener was closed.
_LAST_ACCEPTS = 16


class Worker:
    """Serves the clients of one listening socket.

    Args:
        gateway: what becomes of their requests.
        metrics: where they are counted.
        max_connections: how many may be connected at a time.
        head_timeout: seconds for the head of a request.
        idle_timeout: seconds without a request after which a client is let go.
    """

    def __init__(
        self,
        gateway: Gateway,
        metrics: WorkerMetrics,
        *,
        max_connections: int,
        head_timeout: float,
        idle_timeout: float,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.metrics = metrics
        self.draining = False
        self.head_timeout = head_timeout
        self.idle_timeout = idle_timeout
        self._gateway = gateway
        self._max_connections = max_connections
        self._clients: set[ClientConnection] = set()
        self._tunnels: set[Tunnel] = set()
        self._empty = asyncio.Event()
        self._sweeper = self.loop.call_later(_SWEEP, self._sweep)

    async def serve(
        self, listener: socket.socket, *, ready: Callable[[], None], stop: asyncio.Event, grace: float
    ) -> None:
        """Serve until `stop` is set, then finish what is under way within `grace` seconds.

        `ready` is called when clients are served.
        """
        server = await self.loop.create_server(
            lambda: ClientConnection(self._gateway, self), sock=listener, backlog=_BACKLOG
        )
        ready()
        await stop.wait()
        for _ in range(_LAST_ACCEPTS):
            await asyncio.sleep(0)
        server.close()
        self.draining = True
        self._empty.clear()
        self._sweep()
        if self._clients or self._tunnels:
            try:
                async with asyncio.timeout(grace):
                    await self._empty.wait()
            except TimeoutError:
                for client in tuple(self._clients):
                    client.abort()
                for tunnel in tuple(self._tunnels):
                    tunnel.abort()
        self._sweeper.cancel()

    # What a connection tells

    def opened(self, client: ClientConnection) -> bool:
        """Count a new connection in; false if there are too many."""
        if len(self._clients) >= self._max_connections:
            return False
        self._clients.add(client)
        self.metrics.client_connections.up()
        return True

    def closed(self, client: ClientConnection) -> None:
        """Count a connection out."""
        if client in self._clients:
            self._clients.remove(client)
            self.metrics.client_connections.down()
            self._tell_if_empty()

    def tunnelled(self, tunnel: Tunnel) -> None:
        """A connection has become a WebSocket's."""
        self._tunnels.add(tunnel)
        self.metrics.websocket_relays.up()

    def tunnel_ended(self, tunnel: Tunnel) -> None:
        """A WebSocket is over."""
        if tunnel in self._tunnels:
            self._tunnels.remove(tunnel)
            self.metrics.websocket_relays.down()
            self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if not self._clients and not self._tunnels:
            self._empty.set()

    def _sweep(self) -> None:
        """Let slow and silent clients go, and note what is counted now and then only."""
        self._sweeper.cancel()
        self.metrics.upstream_connections.set(self._gateway.upstream_connections())
        self.metrics.tasks.set(len(asyncio.all_tasks(self.loop)))
        now = self.loop.time()
        for client in tuple(self._clients):
            client.check(now)
        self._sweeper = self.loop.call_later(_SWEEP, self._sweep)
