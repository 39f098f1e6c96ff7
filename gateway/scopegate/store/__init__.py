"""Redis or Valkey as the system of record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.core.tenants import DEFAULT_TENANT, Tenant
from scopegate.metrics import StoreMetrics
from scopegate.store.access import StoredAccess
from scopegate.store.canary import CANARY_INTERVAL, MAX_LAG, Canary
from scopegate.store.clock import ClockWatch
from scopegate.store.connection import connect, require_reachable, writes_no_log
from scopegate.store.directory import Directory
from scopegate.store.keys import KeyStore
from scopegate.store.liveaccess import MAX_STALENESS, LiveAccess
from scopegate.store.policies import PolicyStore

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from scopegate.store.liveaccess import Observer

__all__ = ["Store"]


class Store:
    """Everything that is kept, over one connection pool. ``access`` serves all tenants."""

    def __init__(self, redis: Redis, tenant: Tenant = DEFAULT_TENANT) -> None:
        self._redis = redis
        self.tenant = tenant
        self.keys = KeyStore(redis, tenant)
        self.users = Directory(redis, tenant)
        self.policies = PolicyStore(redis, tenant)
        self.access = StoredAccess(redis)

    @classmethod
    def at(cls, url: str, tenant: Tenant = DEFAULT_TENANT) -> Store:
        """The store at a ``redis://``, ``rediss://`` or ``unix://`` URL; it connects when first used.

        Raises:
            ConfigurationError: the URL cannot be used.
        """
        return cls(connect(url), tenant)

    def live_access(
        self,
        *,
        max_staleness: float = MAX_STALENESS,
        canary_interval: float = CANARY_INTERVAL,
        max_lag: float = MAX_LAG,
        metrics: StoreMetrics | None = None,
        observer: Observer | None = None,
    ) -> LiveAccess:
        """A live view of this store; it listens from `LiveAccess.start` on.

        With a `canary_interval` of 0 nobody measures how late changes are known.
        """
        counted = metrics or StoreMetrics.apart()
        canary = (
            Canary(self._redis, counted, interval=canary_interval, max_lag=max_lag)
            if canary_interval
            else None
        )
        return LiveAccess(
            self.access,
            self._redis,
            max_staleness=max_staleness,
            observer=observer,
            canary=canary,
            metrics=counted,
        )

    def clock_watch(self, metrics: StoreMetrics) -> ClockWatch:
        """What compares our clock with that of the server; it measures from `ClockWatch.start` on."""
        return ClockWatch(self._redis, metrics)

    async def require_reachable(self) -> None:
        """Make sure that the server answers.

        Raises:
            StoreUnavailable: it does not.
        """
        await require_reachable(self._redis)

    async def writes_no_log(self) -> bool:
        """Whether the server says that it writes no append-only file.

        Raises:
            StoreUnavailable: it does not answer.
        """
        return await writes_no_log(self._redis)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
