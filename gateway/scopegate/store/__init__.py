"""Redis or Valkey as the system of record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scopegate.core.audit import DEFAULT_RETENTION, SYSTEM
from scopegate.core.principal import resolve_member
from scopegate.core.tenants import DEFAULT_TENANT, SYSTEM_TENANT, Tenant
from scopegate.metrics import StoreMetrics
from scopegate.store.access import StoredAccess
from scopegate.store.audit import AuditLog, Journal
from scopegate.store.canary import CANARY_INTERVAL, MAX_LAG, Canary
from scopegate.store.clock import ClockWatch
from scopegate.store.directory import Directory
from scopegate.store.groups import DirectoryGroups
from scopegate.store.keys import KeyStore
from scopegate.store.liveaccess import MAX_STALENESS, LiveAccess
from scopegate.store.location import Location, locate
from scopegate.store.policies import PolicyStore
from scopegate.store.servers import Servers
from scopegate.store.settings import SettingsStore
from scopegate.store.sweeping import Sweep, Swept
from scopegate.store.system import SystemStore
from scopegate.store.usage import UsageStore, UsageWriter
from scopegate.store.usersearch import Indexes, UserLookup

if TYPE_CHECKING:
    from datetime import datetime

    from scopegate.core.audit import Author
    from scopegate.store.liveaccess import Observer

__all__ = ["Store"]


class Store:
    """Everything that is kept, over one set of connections.

    ``access`` and ``usage_writer`` serve all tenants, ``system`` none.

    Each change is entered in the audit log, as one of `author`'s; the log keeps `audit_retention` entries. In
    a `dry` run every change is checked and answered like any other, and nothing is written.
    """

    def __init__(
        self,
        redis: Servers,
        tenant: Tenant = DEFAULT_TENANT,
        *,
        author: Author = SYSTEM,
        audit_retention: int = DEFAULT_RETENTION,
        turns: dict[str, asyncio.Lock] | None = None,
        indexes: Indexes | None = None,
        dry: bool = False,
    ) -> None:
        self._redis = redis
        self._author = author
        self._audit_retention = audit_retention
        self._turns = {} if turns is None else turns
        self._indexes = Indexes() if indexes is None else indexes
        self.dry = dry
        journal = self._journal(tenant, author)
        self._sweep = Sweep(redis, tenant, self._journal(tenant, SYSTEM))
        self.system = SystemStore(redis, self._journal(SYSTEM_TENANT, author))
        self.tenant = tenant
        self.keys = KeyStore(redis, tenant, journal)
        self.users = Directory(redis, tenant, journal)
        self.policies = PolicyStore(redis, tenant, journal)
        self.settings = SettingsStore(redis, tenant, journal)
        self.access = StoredAccess(redis)
        self.audit = AuditLog(redis, tenant)
        self.people = UserLookup(redis, tenant, self.users, self.audit, self._indexes)
        self.groups = DirectoryGroups(redis, tenant, journal, self.users, self.people)
        self.usage = UsageStore(redis, tenant)
        self.usage_writer = UsageWriter(redis)

    @classmethod
    def at(
        cls,
        where: Location | str,
        tenant: Tenant = DEFAULT_TENANT,
        *,
        author: Author = SYSTEM,
        audit_retention: int = DEFAULT_RETENTION,
        dry: bool = False,
    ) -> Store:
        """The store at a location, or at a URL that says all about it; it connects when first used.

        Raises:
            ConfigurationError: the URL, or a file for TLS, cannot be used.
        """
        servers = Servers.at(locate(where) if isinstance(where, str) else where)
        return cls(servers, tenant, author=author, audit_retention=audit_retention, dry=dry)

    def of(self, tenant: Tenant) -> Store:
        """The store of another tenant over the same connections, for changes of the same author."""
        return self.by(self._author, tenant)

    def by(self, author: Author, tenant: Tenant | None = None, *, dry: bool | None = None) -> Store:
        """The store over the same connections, for changes of another author, or of another tenant."""
        return Store(
            self._redis,
            tenant or self.tenant,
            author=author,
            audit_retention=self._audit_retention,
            turns=self._turns,
            indexes=self._indexes,
            dry=self.dry if dry is None else dry,
        )

    def member_access(self) -> StoredAccess:
        """As ``access``, with users as `Member`: for a privilege source."""
        return StoredAccess(self._redis, resolve_member)

    def live_access(
        self,
        *,
        of: StoredAccess | None = None,
        max_staleness: float = MAX_STALENESS,
        canary_interval: float = CANARY_INTERVAL,
        max_lag: float = MAX_LAG,
        metrics: StoreMetrics | None = None,
        observer: Observer | None = None,
    ) -> LiveAccess:
        """A live view of ``access``, or `of` another one; it listens from `LiveAccess.start` on.

        With a `canary_interval` of 0 nobody measures how late changes are known.
        """
        counted = metrics or StoreMetrics.apart()
        canary = (
            Canary(self._redis, counted, interval=canary_interval, max_lag=max_lag)
            if canary_interval
            else None
        )
        return LiveAccess(
            of or self.access,
            self._redis,
            max_staleness=max_staleness,
            observer=observer,
            canary=canary,
            metrics=counted,
        )

    async def sweep(self, now: datetime) -> Swept:
        """Enter the expiries and the deletions of keys that are due at `now`, as the system's.

        Raises:
            StoreUnavailable: it does not answer, or is full; what was not entered is due next time.
        """
        return await self._sweep.run(now)

    def clock_watch(self, metrics: StoreMetrics) -> ClockWatch:
        """What compares our clock with that of the server; it measures from `ClockWatch.start` on."""
        return ClockWatch(self._redis, metrics)

    async def require_reachable(self) -> None:
        """Make sure that the server that has the tenant's names answers.

        Raises:
            StoreUnavailable: it does not, refuses us, or is older than Redis 7.
        """
        await self._redis.require_reachable(self.tenant.tag)

    async def writes_no_log(self) -> bool:
        """Whether the server says that it writes no append-only file.

        Raises:
            StoreUnavailable: it does not answer.
        """
        return await self._redis.writes_no_log(self.tenant.tag)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    def _journal(self, tenant: Tenant, author: Author) -> Journal:
        return Journal(
            self._redis,
            tenant,
            author=author,
            retention=self._audit_retention,
            turn=self._turns.setdefault(tenant.tag, asyncio.Lock()),
            dry=self.dry,
        )
