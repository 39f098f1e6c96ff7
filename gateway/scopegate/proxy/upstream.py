"""One upstream as the running event loop sees it: how it is called, and its connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scopegate.proxy.pool import Pool
from scopegate.proxy.routes import Route, Routes

if TYPE_CHECKING:
    from scopegate.proxy.routes import UpstreamConfig

IDLE_EXPIRY = 30.0  # seconds


class Upstream:
    """Touches neither the network nor an event loop before `pool` is asked for.

    A connection that nobody needs is closed after `idle_expiry` seconds. ``opened`` is what `pool`
    has given last.
    """

    def __init__(self, config: UpstreamConfig, *, idle_expiry: float = IDLE_EXPIRY) -> None:
        self.name = config.name
        self.authority = config.origins[0].authority
        self.preserve_host = config.preserve_host
        self.timeouts = config.timeouts
        self._config = config
        self._idle_expiry = idle_expiry
        self.opened: Pool | None = None

    def pool(self) -> Pool:
        """The connections of the running loop."""
        pool = self.opened
        if pool is None or pool.loop is not asyncio.get_running_loop():
            first, *others = self._config.origins
            pool = self.opened = Pool(
                first,
                self._config.timeouts,
                others=others,
                own_host=not self._config.preserve_host,
                max_connections=self._config.max_connections,
                idle_expiry=self._idle_expiry,
            )
        return pool

    def connections(self) -> int:
        """How many connections are open now."""
        return 0 if self.opened is None else self.opened.size

    async def aclose(self) -> None:
        """Close the connections; those in use follow when their exchanges end.

        A later request opens new ones.
        """
        pool, self.opened = self.opened, None
        if pool is not None and pool.loop is asyncio.get_running_loop():
            await pool.aclose()


def upstreams(routes: Routes[UpstreamConfig]) -> Routes[Upstream]:
    """The same routes, to upstreams that can be called."""
    return Routes(
        Route(route.name, Upstream(route.target), route.host, route.prefix, route.strip)
        for route in routes.routes
    )
