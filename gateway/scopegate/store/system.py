"""What is kept of the system as a whole: its tenants, its administrators and their tokens."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from scopegate.core.audit import DEFAULT_RETENTION, SYSTEM
from scopegate.core.tenants import SYSTEM_TENANT
from scopegate.store import Store
from scopegate.store.administrators import AdministratorStore
from scopegate.store.admintokens import TokenStore
from scopegate.store.audit import AuditLog, Journal
from scopegate.store.location import Location, locate
from scopegate.store.servers import Servers
from scopegate.store.tenants import TenantRegistry

if TYPE_CHECKING:
    from scopegate.core.audit import Author
    from scopegate.core.tenants import Tenant


class SystemStore:
    """Everything that is no tenant's, over one set of connections, and the way to each tenant's store.

    Each change is entered in the audit log of the system, as one of `author`'s.
    """

    def __init__(
        self,
        redis: Servers,
        *,
        author: Author = SYSTEM,
        audit_retention: int = DEFAULT_RETENTION,
        turns: defaultdict[str, asyncio.Lock] | None = None,
    ) -> None:
        self._redis = redis
        self._author = author
        self._audit_retention = audit_retention
        # By tag: the changes of one tenant that this process makes do not disturb each other.
        self._turns = defaultdict(asyncio.Lock) if turns is None else turns
        journal = Journal(
            redis,
            SYSTEM_TENANT,
            author=author,
            retention=audit_retention,
            turn=self._turns[SYSTEM_TENANT.tag],
        )
        self.tenants = TenantRegistry(redis, journal)
        self.administrators = AdministratorStore(redis, journal)
        self.tokens = TokenStore(redis, journal)
        self.audit = AuditLog(redis, SYSTEM_TENANT)

    @classmethod
    def at(
        cls, where: Location | str, *, author: Author = SYSTEM, audit_retention: int = DEFAULT_RETENTION
    ) -> SystemStore:
        """As `Store.at`.

        Raises:
            ConfigurationError: the URL, or a file for TLS, cannot be used.
        """
        servers = Servers.at(locate(where) if isinstance(where, str) else where)
        return cls(servers, author=author, audit_retention=audit_retention)

    def by(self, author: Author) -> SystemStore:
        """The same store, over the same connections, for the changes of another author."""
        return SystemStore(
            self._redis, author=author, audit_retention=self._audit_retention, turns=self._turns
        )

    def of(self, tenant: Tenant) -> Store:
        """The store of one tenant, over the same connections, for changes of the same author."""
        return Store(
            self._redis,
            tenant,
            author=self._author,
            audit_retention=self._audit_retention,
            turn=self._turns[tenant.tag],
        )

    async def aclose(self) -> None:
        """Close all connections, those of every store that was made from this one as well."""
        await self._redis.aclose()
