"""A tenant's policies and feature flags in Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from scopegate.core.catalogue import Endpoint  # noqa: TC001 -- msgspec reads the annotation
from scopegate.core.policies import Policies
from scopegate.store import layout
from scopegate.store.connection import translated
from scopegate.store.records import decode, decode_names, encode, encode_names, readable

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from scopegate.core.tenants import Tenant


@dataclass(frozen=True, slots=True)
class StoredCatalogue:
    """The catalogue as it lies in Redis."""

    endpoints: tuple[Endpoint, ...] = ()
    unlisted_allowed: bool = False


class PolicyStore:
    """The catalogue, the roles, the groups and the flags of one tenant."""

    def __init__(self, redis: Redis, tenant: Tenant) -> None:
        self._redis = redis
        self._tag = tenant.tag

    async def get(self) -> Policies:
        """The policies in force, read as one snapshot; empty ones where none were applied yet."""
        with translated():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.get(layout.catalogue(self._tag))
                pipe.hgetall(layout.roles(self._tag))
                pipe.hgetall(layout.groups(self._tag))
                raw: list[Any] = await pipe.execute()
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
        with translated():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(layout.catalogue(self._tag), encode(catalogue))
                for name, table in (
                    (layout.roles(self._tag), policies.roles),
                    (layout.groups(self._tag), policies.groups),
                ):
                    pipe.delete(name)
                    if table:
                        pipe.hset(name, mapping={key: encode_names(names) for key, names in table.items()})
                await pipe.execute()

    async def flag(self, name: str) -> bool:
        """Whether a feature flag is on; a flag that was never set is off."""
        with translated():
            value = cast("bytes | None", await self._redis.hget(layout.flags(self._tag), name))
        return value == b"on"

    async def set_flag(self, name: str, *, on: bool) -> None:
        """Turn a feature flag on or off."""
        with translated():
            await self._redis.hset(layout.flags(self._tag), name, "on" if on else "off")
