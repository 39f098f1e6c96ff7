"""Users in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from scopegate.core.errors import Conflict, NotFound
from scopegate.core.principal import User
from scopegate.store import layout
from scopegate.store.changing import change, delete
from scopegate.store.records import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis.asyncio import Redis

    from scopegate.core.tenants import Tenant
    from scopegate.store.servers import Servers


class Directory:
    """The users of one tenant."""

    def __init__(self, servers: Servers, tenant: Tenant) -> None:
        self._servers = servers
        self._tag = tenant.tag

    async def put(self, users: Iterable[User]) -> None:
        """Store users, in one step; an id that is known is replaced."""
        records = {user.id: encode(user) for user in users}

        async def write(redis: Redis) -> None:
            async with redis.pipeline(transaction=True) as pipe:
                for user_id, record in records.items():
                    pipe.set(layout.user_record(self._tag, user_id), record)
                    pipe.zadd(layout.user_index(self._tag), {user_id: 0})
                await pipe.execute()

        await self._servers.step(self._tag, write)

    async def add(self, user: User) -> None:
        """Store a user who is not known yet.

        Raises:
            Conflict: the id is taken.
        """

        async def write(redis: Redis) -> bool:
            async with redis.pipeline(transaction=True) as pipe:
                pipe.set(layout.user_record(self._tag, user.id), encode(user), nx=True)
                pipe.zadd(layout.user_index(self._tag), {user.id: 0})  # of one who is known, no change
                set_, _ = await pipe.execute()
            return bool(set_)

        added = await self._servers.step(self._tag, write)
        if not added:
            raise Conflict(f"There is a user {user.id!r} already.", hint=f"See scopegate user show {user.id}")

    async def get(self, user_id: str) -> User:
        """One user.

        Raises:
            NotFound: there is no such user.
        """
        name = layout.user_record(self._tag, user_id)
        raw = cast("bytes | None", await self._servers.step(self._tag, lambda redis: redis.get(name)))
        if raw is None:
            raise _no_such_user(user_id)
        return decode(raw, User)

    async def delete(self, user_id: str) -> None:
        """Forget a user.

        Raises:
            NotFound: there is no such user.
        """
        await delete(
            self._servers,
            self._tag,
            layout.user_record(self._tag, user_id),
            index=layout.user_index(self._tag),
            member=user_id,
            missing=lambda: _no_such_user(user_id),
        )

    async def all(self) -> list[User]:
        """Every user, by id."""

        async def read(redis: Redis) -> list[Any]:
            ids = cast("list[bytes]", await redis.zrange(layout.user_index(self._tag), 0, -1))
            names = [layout.user_record(self._tag, user_id.decode()) for user_id in ids]
            return cast("list[Any]", await redis.mget(names)) if names else []

        found = await self._servers.step(self._tag, read)
        return [decode(raw, User) for raw in found if raw is not None]

    async def change(self, user_id: str, edit: Callable[[User], User]) -> User:
        """Replace a user by what `edit` makes of the present one; no change in between is lost.

        Raises:
            NotFound: there is no such user.
        """
        return await change(
            self._servers,
            self._tag,
            layout.user_record(self._tag, user_id),
            User,
            edit,
            missing=lambda: _no_such_user(user_id),
        )


def _no_such_user(user_id: str) -> NotFound:
    return NotFound(f"There is no user {user_id!r}.", hint="List the users with: scopegate user list")
