"""The tenants, in Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from scopegate.core.deeds import tenant_changed, tenant_created
from scopegate.core.tenants import DEFAULT_TENANT, SYSTEM_TENANT, Tenant, no_such_tenant
from scopegate.store import layout
from scopegate.store.moments import milliseconds
from scopegate.store.records import decode, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from datetime import datetime

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.store.audit import Journal
    from scopegate.store.location import Server
    from scopegate.store.servers import Servers


@dataclass(frozen=True, slots=True)
class CountedTenant:
    """A tenant, and how many keys it has."""

    tenant: Tenant
    keys: int


class TenantRegistry:
    """All tenants. The default tenant is always there, and none ever goes."""

    def __init__(self, servers: Servers, journal: Journal) -> None:
        self._servers = servers
        self._journal = journal
        self._name = layout.tenants()

    async def all(self) -> list[Tenant]:
        """Every tenant, by id."""
        found = await self._servers.step(
            SYSTEM_TENANT.tag,
            lambda redis: cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(self._name)),
        )
        return _sorted(found)

    async def get(self, tenant_id: str) -> Tenant:
        """One tenant.

        Raises:
            NotFound: there is no such tenant.
        """
        raw = await self._servers.step(
            SYSTEM_TENANT.tag,
            lambda redis: cast("Awaitable[bytes | None]", redis.hget(self._name, tenant_id)),
        )
        if raw is not None:
            return decode(raw, Tenant)
        if tenant_id == DEFAULT_TENANT.id:
            return DEFAULT_TENANT
        raise no_such_tenant(tenant_id)

    async def count(self, tenants: Iterable[Tenant], *, now: datetime) -> list[CountedTenant]:
        """Each of `tenants` with how many of its keys count at `now`; each server is asked in one go."""
        by_server: dict[Server | None, list[Tenant]] = {}
        for tenant in tenants:
            by_server.setdefault(self._servers.in_charge_of(tenant.tag), []).append(tenant)
        after = f"({milliseconds(now)}"
        counted: list[CountedTenant] = []
        for together in by_server.values():
            # Plain commands, for MULTI takes names of one slot only.
            async def read(redis: Redis, together: list[Tenant] = together) -> list[int]:
                async with redis.pipeline(transaction=False) as pipe:
                    for tenant in together:
                        pipe.zcount(layout.key_index(tenant.tag), after, "+inf")
                    return cast("list[int]", await pipe.execute())

            counts = await self._servers.step(together[0].tag, read)
            counted += [CountedTenant(*one) for one in zip(together, counts, strict=True)]
        return sorted(counted, key=lambda one: one.tenant.id)

    async def create(self, make: Callable[[list[Tenant]], Tenant]) -> Tenant:
        """Store the tenant that `make` makes, given all others; it may run more than once."""

        async def swap(pipe: Pipeline) -> Tenant:
            made = make(await self._present(pipe))
            await self._journal.begin(pipe, tenant_created(made))
            pipe.hset(self._name, made.id, encode(made))
            return made

        return await self._journal.transaction(swap, self._name)

    async def change(self, tenant_id: str, edit: Callable[[Tenant], Tenant]) -> Tenant:
        """Replace a tenant by what `edit` makes of it; no change in between is lost.

        Raises:
            NotFound: there is no such tenant.
        """

        async def swap(pipe: Pipeline) -> Tenant:
            present = {tenant.id: tenant for tenant in await self._present(pipe)}.get(tenant_id)
            if present is None:
                raise no_such_tenant(tenant_id)
            edited = edit(present)
            deed = tenant_changed(present, edited)
            if deed is not None:
                await self._journal.begin(pipe, deed)
                pipe.hset(self._name, tenant_id, encode(edited))
            return edited

        return await self._journal.transaction(swap, self._name)

    async def _present(self, pipe: Pipeline) -> list[Tenant]:
        return _sorted(await cast("Awaitable[dict[bytes, bytes]]", pipe.hgetall(self._name)))


def _sorted(found: dict[bytes, bytes]) -> list[Tenant]:
    stored = [decode(raw, Tenant) for raw in found.values()]
    tenants = {DEFAULT_TENANT.id: DEFAULT_TENANT, **{tenant.id: tenant for tenant in stored}}
    return [tenants[tenant_id] for tenant_id in sorted(tenants)]
