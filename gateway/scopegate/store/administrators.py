"""The administrators, in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from scopegate.core.administrators import (
    Administrator,
    no_such_administrator,
    require_administrator,
    require_somebody_left,
)
from scopegate.core.deeds import administrator_changed, administrator_created, administrator_deleted
from scopegate.core.tenants import SYSTEM_TENANT
from scopegate.store import layout
from scopegate.store.records import decode, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio.client import Pipeline

    from scopegate.store.audit import Journal
    from scopegate.store.servers import Servers


class AdministratorStore:
    """All administrators. What must hold among them is held in the step of each change."""

    def __init__(self, servers: Servers, journal: Journal) -> None:
        self._servers = servers
        self._journal = journal
        self._name = layout.administrators()

    async def all(self) -> list[Administrator]:
        """Every administrator, the oldest first."""
        found = await self._servers.step(
            SYSTEM_TENANT.tag,
            lambda redis: cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(self._name)),
        )
        return sorted(_by_id(found).values(), key=lambda one: (one.created_at, one.id))

    async def get(self, administrator_id: str) -> Administrator:
        """One administrator.

        Raises:
            NotFound: there is none with this id.
        """
        raw = await self._servers.step(
            SYSTEM_TENANT.tag,
            lambda redis: cast("Awaitable[bytes | None]", redis.hget(self._name, administrator_id)),
        )
        if raw is None:
            raise no_such_administrator(administrator_id)
        return decode(raw, Administrator)

    async def create(self, administrator: Administrator) -> None:
        """Store a new administrator.

        Raises:
            InvalidInput, Conflict: as `require_administrator`.
        """

        async def swap(pipe: Pipeline) -> None:
            require_administrator(administrator, (await present(pipe)).values())
            await self._journal.begin(pipe, administrator_created(administrator))
            queue(pipe, administrator)

        await self._journal.transaction(swap, self._name)

    async def change(
        self, administrator_id: str, edit: Callable[[Administrator], Administrator]
    ) -> Administrator:
        """Replace an administrator by what `edit` makes of the present one; no change in between is lost.

        Raises:
            NotFound: there is none with this id.
            InvalidInput, Conflict: as `require_administrator` and `require_somebody_left`.
        """

        async def swap(pipe: Pipeline) -> Administrator:
            before = await present(pipe)
            if administrator_id not in before:
                raise no_such_administrator(administrator_id)
            edited = edit(before[administrator_id])
            deed = administrator_changed(before[administrator_id], edited)
            if deed is not None:
                after = {**before, administrator_id: edited}
                require_administrator(edited, after.values())
                require_somebody_left(before.values(), after.values())
                await self._journal.begin(pipe, deed)
                queue(pipe, edited)
            return edited

        return await self._journal.transaction(swap, self._name)

    async def delete(self, administrator_id: str) -> None:
        """Forget an administrator, whose tokens are good no longer.

        Raises:
            NotFound: there is none with this id.
            Conflict: as `require_somebody_left`.
        """

        async def swap(pipe: Pipeline) -> None:
            before = await present(pipe)
            if administrator_id not in before:
                raise no_such_administrator(administrator_id)
            after = [one for one in before.values() if one.id != administrator_id]
            require_somebody_left(before.values(), after)
            await self._journal.begin(pipe, administrator_deleted(before[administrator_id]))
            pipe.hdel(self._name, administrator_id)

        await self._journal.transaction(swap, self._name)


async def present(pipe: Pipeline) -> dict[str, Administrator]:
    """All administrators by id, read in a step that watches them."""
    return _by_id(await cast("Awaitable[dict[bytes, bytes]]", pipe.hgetall(layout.administrators())))


def queue(pipe: Pipeline, administrator: Administrator) -> None:
    """Have the step store the administrator."""
    pipe.hset(layout.administrators(), administrator.id, encode(administrator))


def _by_id(found: dict[bytes, bytes]) -> dict[str, Administrator]:
    return {name.decode(): decode(raw, Administrator) for name, raw in found.items()}
