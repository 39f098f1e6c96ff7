"""One upstream as the running event loop sees it: how it is called, and its connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scopegate.proxy.pool import Pool

if TYPE_CHECKING:
    from scopegate.proxy.routes import UpstreamConfig

IDLE_EXPIRY = 30.0  # seconds


class Upstream:
    """Touches neither the network nor an event loop before `pool` is asked for.

    A connection that nobody needs is closed after `idle_expiry` seconds.
    """

    def __init__(self, config: UpstreamConfig, *, idle_expiry: float = IDLE_EXPIRY) -> None:
        self.name = config.name
        self.authority = config.origins[0].authority
        self.preserve_host = config.preserve_host
        self.timeouts = config.timeouts
        self._config = config
        self._idle_expiry = idle_expiry
        self._pool: Pool | None = None

    def pool(self) -> Pool:
        """The connections of the running loop."""
        pool = self._pool
        if pool is None or pool.loop is not asyncio.get_running_loop():
            pool = self._pool = Pool(
                self._config.origins[0],
                self._config.timeouts,
                max_connections=self._config.max_connections,
                idle_expiry=self._idle_expiry,
            )
        return pool

    async def aclose(self) -> None:
        """Close the connections; those in use follow when their exchanges end.

        A later request opens new ones.
        """
        pool, self._pool = self._pool, None
        if pool is not None and pool.loop is asyncio.get_running_loop():
            await pool.aclose()
