"""A tenant's policies and feature flags in Redis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from scopegate.core.catalogue import Endpoint  # noqa: TC001 -- msgspec reads the annotation
from scopegate.core.changes import plan
from scopegate.core.deeds import flag_set, policies_applied
from scopegate.core.policies import Policies
from scopegate.store import layout
from scopegate.store.changing import require_same
from scopegate.store.records import decode, decode_names, encode, encode_names, etag, readable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.core.changes import Change
    from scopegate.core.tenants import Tenant
    from scopegate.store.audit import Journal
    from scopegate.store.servers import Servers


@dataclass(frozen=True, slots=True)
class StoredCatalogue:
    """The catalogue as it lies in Redis."""

    endpoints: tuple[Endpoint, ...] = ()
    unlisted_allowed: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """The policies that are in force after a change, and what it changed."""

    policies: Policies
    changes: tuple[Change, ...]


def version(policies: Policies) -> str:
    """The version of policies in force, as `records.etag`."""
    catalogue = StoredCatalogue(policies.endpoints, bool(policies.unlisted_allowed))
    return etag((catalogue, dict(policies.roles), dict(policies.groups)))


class PolicyStore:
    """The catalogue, the roles, the groups and the flags of one tenant."""

    def __init__(self, servers: Servers, tenant: Tenant, journal: Journal) -> None:
        self._servers = servers
        self._tag = tenant.tag
        self._journal = journal

    async def get(self) -> Policies:
        """The policies in force, read as one snapshot; empty ones where none were applied yet."""

        async def read(redis: Redis) -> list[Any]:
            async with redis.pipeline(transaction=True) as pipe:
                pipe.get(layout.catalogue(self._tag))
                pipe.hgetall(layout.roles(self._tag))
                pipe.hgetall(layout.groups(self._tag))
                found: list[Any] = await pipe.execute()
            return found

        return _policies(await self._servers.step(self._tag, read))

    async def put(self, policies: Policies, *, expected: str | None = None) -> Applied:
        """Replace the policies in one step, and say what that changed.

        No request is judged by a mixture of old and new. Where they do not say whether unlisted endpoints
        are open, that stays as it is. `expected` is the version that is to be replaced; None: any.

        Raises:
            StaleVersion: there is another version.
        """
        stored: Applied | None = None
        names = [layout.catalogue(self._tag), layout.roles(self._tag), layout.groups(self._tag)]

        async def swap(pipe: Pipeline) -> Applied:
            nonlocal stored
            found = [await pipe.get(names[0])]
            found += [await cast("Awaitable[Any]", pipe.hgetall(name)) for name in names[1:]]
            present = _policies(found)
            if stored is not None and stored.policies == present:
                return stored  # only the answer was lost
            require_same(version(present), expected)
            desired = policies
            if desired.unlisted_allowed is None:
                desired = replace(policies, unlisted_allowed=present.unlisted_allowed)
            applied = Applied(desired, plan(present, desired))
            deed = policies_applied(applied.changes)
            if deed is None:
                return applied
            await self._journal.begin(pipe, deed)
            stored = applied
            unlisted = bool(desired.unlisted_allowed)
            pipe.set(names[0], encode(StoredCatalogue(policies.endpoints, unlisted)))
            for name, table in zip(names[1:], (policies.roles, policies.groups), strict=True):
                pipe.delete(name)
                if table:
                    pipe.hset(name, mapping={key: encode_names(held) for key, held in table.items()})
            return applied

        return await self._journal.transaction(swap, *names)

    async def flag(self, name: str) -> bool:
        """Whether a feature flag is on; a flag that was never set is off."""
        value = cast(
            "bytes | None",
            await self._servers.step(self._tag, lambda redis: redis.hget(layout.flags(self._tag), name)),
        )
        return value == b"on"

    async def set_flag(self, name: str, *, on: bool) -> None:
        """Turn a feature flag on or off."""
        flags = layout.flags(self._tag)

        async def swap(pipe: Pipeline) -> None:
            before = await cast("Awaitable[bytes | None]", pipe.hget(flags, name))
            deed = flag_set(name, before=before == b"on", after=on)
            if deed is not None:
                await self._journal.begin(pipe, deed)
                pipe.hset(flags, name, "on" if on else "off")

        await self._journal.transaction(swap, flags)


def _policies(raw: Sequence[Any]) -> Policies:
    with readable("catalogue, role or group"):
        catalogue = StoredCatalogue() if raw[0] is None else decode(raw[0], StoredCatalogue)
        return Policies(
            endpoints=catalogue.endpoints,
            unlisted_allowed=catalogue.unlisted_allowed,
            roles={name.decode(): decode_names(names) for name, names in raw[1].items()},
            groups={name.decode(): decode_names(names) for name, names in raw[2].items()},
        )
