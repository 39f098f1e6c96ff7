"""Redis or Valkey as the system of record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.core.tenants import DEFAULT_TENANT, Tenant
from scopegate.store.access import StoredAccess
from scopegate.store.connection import connect, require_reachable
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
        self, *, max_staleness: float = MAX_STALENESS, observer: Observer | None = None
    ) -> LiveAccess:
        """A live view of this store; it listens from `LiveAccess.start` on."""
        return LiveAccess(self.access, self._redis, max_staleness=max_staleness, observer=observer)

    async def require_reachable(self) -> None:
        """Make sure that the server answers.

        Raises:
            StoreUnavailable: it does not.
        """
        await require_reachable(self._redis)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
