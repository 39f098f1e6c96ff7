"""What is settled for a tenant, in Redis."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from scopegate.core.deeds import settings_changed
from scopegate.core.settling import Settled
from scopegate.core.tenants import DEFAULT_SETTINGS, TenantSettings
from scopegate.store import layout
from scopegate.store.policies import StoredCatalogue
from scopegate.store.records import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.core.tenants import Tenant
    from scopegate.store.audit import Journal
    from scopegate.store.servers import Servers


class SettingsStore:
    """The settings of one tenant."""

    def __init__(self, servers: Servers, tenant: Tenant, journal: Journal) -> None:
        self._servers = servers
        self._tag = tenant.tag
        self._journal = journal
        self._names = (layout.settings(tenant.tag), layout.catalogue(tenant.tag))

    async def get(self) -> TenantSettings:
        """The settings in force."""
        name, _ = self._names
        raw = cast("bytes | None", await self._servers.step(self._tag, lambda redis: redis.get(name)))
        return settings_in(raw)

    async def settled(self) -> Settled:
        """All that is settled, the part that lies with the catalogue included, of one moment."""

        async def read(redis: Redis) -> list[bytes | None]:
            return cast("list[bytes | None]", await redis.mget(self._names))

        settings, catalogue = await self._servers.step(self._tag, read)
        return Settled(settings_in(settings), _catalogue(catalogue).unlisted_allowed)

    async def change(self, edit: Callable[[Settled], Settled]) -> Settled:
        """Settle what `edit` makes of the present, in one step; it may run more than once."""
        settings_name, catalogue_name = self._names

        async def swap(pipe: Pipeline) -> Settled:
            settings = settings_in(await pipe.get(settings_name))
            catalogue = _catalogue(await pipe.get(catalogue_name))
            present = Settled(settings, catalogue.unlisted_allowed)
            edited = edit(present)
            deed = settings_changed(present, edited)
            if deed is None:
                return edited
            await self._journal.begin(pipe, deed)
            if edited.settings != settings:
                pipe.set(settings_name, encode(edited.settings))
            if edited.unlisted_allowed != catalogue.unlisted_allowed:
                changed = replace(catalogue, unlisted_allowed=edited.unlisted_allowed)
                pipe.set(catalogue_name, encode(changed))
            return edited

        return await self._journal.transaction(swap, *self._names)


def settings_in(raw: bytes | str | None) -> TenantSettings:
    """The settings that a record says, or the default ones where there is none."""
    return DEFAULT_SETTINGS if raw is None else decode(raw, TenantSettings)


def _catalogue(raw: bytes | str | None) -> StoredCatalogue:
    return StoredCatalogue() if raw is None else decode(raw, StoredCatalogue)
