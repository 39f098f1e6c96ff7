"""A tenant's policies and feature flags in Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from scopegate.core.catalogue import Endpoint  # noqa: TC001 -- msgspec reads the annotation
from scopegate.core.policies import Policies
from scopegate.store import layout
from scopegate.store.records import decode, decode_names, encode, encode_names, readable

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from scopegate.core.tenants import Tenant
    from scopegate.store.servers import Servers


@dataclass(frozen=True, slots=True)
class StoredCatalogue:
    """The catalogue as it lies in Redis."""

    endpoints: tuple[Endpoint, ...] = ()
    unlisted_allowed: bool = False


class PolicyStore:
    """The catalogue, the roles, the groups and the flags of one tenant."""

    def __init__(self, servers: Servers, tenant: Tenant) -> None:
        self._servers = servers
        self._tag = tenant.tag

    async def get(self) -> Policies:
        """The policies in force, read as one snapshot; empty ones where none were applied yet."""

        async def read(redis: Redis) -> list[Any]:
            async with redis.pipeline(transaction=True) as pipe:
                pipe.get(layout.catalogue(self._tag))
                pipe.hgetall(layout.roles(self._tag))
                pipe.hgetall(layout.groups(self._tag))
                found: list[Any] = await pipe.execute()
            return found

        raw = await self._servers.step(self._tag, read)
        with readable("catalogue, role or group"):
            catalogue = StoredCatalogue() if raw[0] is None else decode(raw[0], StoredCatalogue)
            return Policies(
                endpoints=catalogue.endpoints,
                unlisted_allowed=catalogue.unlisted_allowed,
                roles={name.decode(): decode_names(names) for name, names in raw[1].items()},
                groups={name.decode(): decode_names(names) for name, names in raw[2].items()},
            )

    async def put(self, policies: Policies) -> None:
        """Replace the policies in one step: no request is judged by a mixture of old and new."""
        catalogue = StoredCatalogue(policies.endpoints, policies.unlisted_allowed)

        async def write(redis: Redis) -> None:
            async with redis.pipeline(transaction=True) as pipe:
                pipe.set(layout.catalogue(self._tag), encode(catalogue))
                for name, table in (
                    (layout.roles(self._tag), policies.roles),
                    (layout.groups(self._tag), policies.groups),
                ):
                    pipe.delete(name)
                    if table:
                        pipe.hset(name, mapping={key: encode_names(names) for key, names in table.items()})
                await pipe.execute()

        await self._servers.step(self._tag, write)

    async def flag(self, name: str) -> bool:
        """Whether a feature flag is on; a flag that was never set is off."""
        value = cast(
            "bytes | None",
            await self._servers.step(self._tag, lambda redis: redis.hget(layout.flags(self._tag), name)),
        )
        return value == b"on"

    async def set_flag(self, name: str, *, on: bool) -> None:
        """Turn a feature flag on or off."""
        value = "on" if on else "off"
        await self._servers.step(self._tag, lambda redis: redis.hset(layout.flags(self._tag), name, value))
