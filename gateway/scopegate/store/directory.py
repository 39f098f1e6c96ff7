"""Users in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from scopegate.core.deeds import user_added, user_changed, user_deleted, user_put
from scopegate.core.errors import Conflict, NotFound, UnreadableRecord
from scopegate.core.principal import User
from scopegate.store import layout
from scopegate.store.changing import change, delete
from scopegate.store.records import decode, encode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.core.tenants import Tenant
    from scopegate.store.audit import Journal
    from scopegate.store.servers import Servers

PAGE = 200  # users that are read in one step


class Directory:
    """The users of one tenant."""

    def __init__(self, servers: Servers, tenant: Tenant, journal: Journal) -> None:
        self._servers = servers
        self._tag = tenant.tag
        self._journal = journal

    async def put(self, users: Iterable[User]) -> None:
        """Store users, in one step; an id that is known is replaced."""
        wanted = {user.id: user for user in users}
        names = [layout.user_record(self._tag, user_id) for user_id in wanted]

        async def write(pipe: Pipeline) -> None:
            found = cast("list[bytes | None]", await pipe.mget(names)) if names else []
            deeds = [
                deed
                for raw, user in zip(found, wanted.values(), strict=True)
                if (deed := user_put(_readable(raw), user)) is not None
            ]
            if deeds:
                await self._journal.begin(pipe, *deeds)
                for deed in deeds:
                    self._queue(pipe, wanted[deed.id])

        await self._journal.transaction(write, *names)

    async def add(self, user: User) -> None:
        """Store a user who is not known yet.

        Raises:
            Conflict: the id is taken.
        """
        name = layout.user_record(self._tag, user.id)

        async def write(pipe: Pipeline) -> None:
            if await pipe.get(name) is not None:
                raise Conflict(
                    f"There is a user {user.id!r} already.", hint=f"See scopegate user show {user.id}"
                )
            await self._journal.begin(pipe, user_added(user))
            self._queue(pipe, user)

        await self._journal.transaction(write, name)

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
            self._journal,
            layout.user_record(self._tag, user_id),
            User,
            indexes=[layout.user_index(self._tag)],
            member=user_id,
            missing=lambda: _no_such_user(user_id),
            deed=lambda user: user_deleted(user_id, user),
        )

    async def all(self) -> list[User]:
        """Every user, by id."""
        return [user async for users in self.pages() for user in users]

    async def pages(self) -> AsyncGenerator[list[User], None]:
        """Every user, by id, some at a time: neither Redis nor the event loop is held up for long.

        Who is added or deleted meanwhile may be among them or not.
        """
        last: bytes | None = None

        async def read(redis: Redis) -> tuple[list[bytes], list[bytes | None]]:
            after = b"-" if last is None else b"(" + last
            index = layout.user_index(self._tag)
            found = await redis.zrange(index, after, b"+", bylex=True, offset=0, num=PAGE)
            ids = cast("list[bytes]", found)
            names = [layout.user_record(self._tag, user_id.decode()) for user_id in ids]
            return ids, cast("list[bytes | None]", await redis.mget(names)) if names else []

        while True:
            ids, found = await self._servers.step(self._tag, read)
            yield [decode(raw, User) for raw in found if raw is not None]
            if len(ids) < PAGE:
                return
            last = ids[-1]

    async def change(self, user_id: str, edit: Callable[[User], User]) -> User:
        """Replace a user by what `edit` makes of the present one; no change in between is lost.

        Raises:
            NotFound: there is no such user.
        """
        return await change(
            self._journal,
            layout.user_record(self._tag, user_id),
            User,
            edit,
            missing=lambda: _no_such_user(user_id),
            deed=user_changed,
        )

    def _queue(self, pipe: Pipeline, user: User) -> None:
        pipe.set(layout.user_record(self._tag, user.id), encode(user))
        pipe.zadd(layout.user_index(self._tag), {user.id: 0})


def _readable(raw: bytes | None) -> User | None:
    try:
        return None if raw is None else decode(raw, User)
    except UnreadableRecord:
        return None


def _no_such_user(user_id: str) -> NotFound:
    return NotFound(f"There is no user {user_id!r}.", hint="List the users with: scopegate user list")
