"""The groups of the directory in Redis, and who is in them.

That somebody is in a group stands in the record of the user, and nowhere else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from scopegate.core.deeds import group_added, group_changed, group_deleted, members_changed
from scopegate.core.directory import no_such_group, no_such_user, require_person
from scopegate.core.errors import Conflict
from scopegate.core.principal import Group, User
from scopegate.core.usersearch import UserSearch
from scopegate.store import layout
from scopegate.store.changing import require_version
from scopegate.store.records import decode, encode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.core.tenants import Tenant
    from scopegate.store.audit import Journal
    from scopegate.store.directory import Directory
    from scopegate.store.servers import Servers
    from scopegate.store.usersearch import UserLookup

PIECE = 500  # users who are changed in one step


class DirectoryGroups:
    """The groups of one tenant's directory."""

    def __init__(
        self, servers: Servers, tenant: Tenant, journal: Journal, users: Directory, people: UserLookup
    ) -> None:
        self._servers = servers
        self._people = people
        self._tag = tenant.tag
        self._journal = journal
        self._users = users
        self._name = layout.group_records(tenant.tag)

    async def all(self) -> list[Group]:
        """Every group, by id."""

        async def read(redis: Redis) -> dict[bytes, bytes]:
            return await cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(self._name))

        found = await self._servers.step(self._tag, read)
        return [decode(found[name], Group) for name in sorted(found)]

    async def get(self, group_id: str) -> Group:
        """One group.

        Raises:
            NotFound: there is no such group in the directory.
        """

        async def read(redis: Redis) -> bytes | None:
            return await cast("Awaitable[bytes | None]", redis.hget(self._name, group_id))

        return _found(group_id, await self._servers.step(self._tag, read))

    async def some(self, ids: Sequence[str]) -> list[Group | None]:
        """The groups with these ids, in their order; None where there is none in the directory."""
        if not ids:
            return []

        async def read(redis: Redis) -> list[bytes | None]:
            return await cast("Awaitable[list[bytes | None]]", redis.hmget(self._name, list(ids)))

        found = await self._servers.step(self._tag, read)
        return [None if raw is None else decode(raw, Group) for raw in found]

    async def add(self, group: Group) -> None:
        """Store a group that is not known yet.

        Raises:
            Conflict: the id is taken.
        """

        async def swap(pipe: Pipeline) -> None:
            if await self._raw(pipe, group.id) is not None:
                raise Conflict(
                    f"There is a group {group.id!r} already.", hint=f"See scopegate group show {group.id}"
                )
            await self._journal.begin(pipe, group_added(group))
            pipe.hset(self._name, group.id, encode(group))

        await self._journal.transaction(swap, self._name)

    async def change(
        self, group_id: str, edit: Callable[[Group], Group], *, expected: str | None = None
    ) -> Group:
        """Replace a group by what `edit` makes of the present one; no change in between is lost.

        With `expected` only if that is the version of the record.

        Raises:
            NotFound: there is no such group in the directory.
            StaleVersion: there is another version.
        """

        async def swap(pipe: Pipeline) -> Group:
            present = _found(group_id, await self._raw(pipe, group_id))
            require_version(present, expected)
            edited = edit(present)
            deed = group_changed(present, edited)
            if deed is not None:
                await self._journal.begin(pipe, deed)
                pipe.hset(self._name, group_id, encode(edited))
            return edited

        return await self._journal.transaction(swap, self._name)

    async def delete(self, group_id: str, *, expected: str | None = None) -> None:
        """Let all members leave a group, then forget it: nobody keeps what an id gives that is gone.

        If it breaks off, the group is still there, with fewer members.

        Raises:
            NotFound: there is no such group in the directory.
            StaleVersion: there is another version.
        """
        require_version(await self.get(group_id), expected)
        await self._empty(group_id)

        async def swap(pipe: Pipeline) -> None:
            present = _found(group_id, await self._raw(pipe, group_id))
            require_version(present, expected)
            await self._journal.begin(pipe, group_deleted(present))
            pipe.hdel(self._name, group_id)

        await self._journal.transaction(swap, self._name)
        await self._empty(group_id)  # of those who came meanwhile

    async def members(self, group_id: str) -> AsyncGenerator[list[User], None]:
        """Everybody in a group, by name, some at a time."""
        search, after = UserSearch(group=group_id), None
        while True:
            found = await self._people.find(search, after=after, most=PIECE)
            if found.users:
                yield list(found.users)
            if found.last is None:
                return
            after = found.last

    async def set_members(
        self, group_id: str, *, add: Collection[str] = (), remove: Collection[str] = ()
    ) -> None:
        """Let users be in a group, and others be in it no longer; a piece of them in each step.

        Who is removed and is not there, or not in the group, is none the less not in it.

        Raises:
            NotFound: there is no such group, neither here nor in the policies, or one of `add` is no user;
                then nothing is changed, unless that user was deleted a moment ago.
            InvalidInput: one of `add` is in as many groups as one can be in.
        """
        await self._require_known(group_id, add)
        # Rights go before rights come.
        for removed in _pieces([one for one in remove if one not in set(add)]):
            await self._set(group_id, removed, member=False)
        for added in _pieces(list(add)):
            await self._set(group_id, added, member=True)

    async def _require_known(self, group_id: str, users: Collection[str]) -> None:
        async def read(redis: Redis) -> bool:
            return await self._is_known(redis, group_id)

        if not await self._servers.step(self._tag, read):
            raise no_such_group(group_id)
        for piece in _pieces(list(users)):
            found = await self._users.some(piece)
            for user_id, user in zip(piece, found, strict=True):
                if user is None:
                    raise no_such_user(user_id)

    async def _set(self, group_id: str, ids: Sequence[str], *, member: bool) -> None:
        names = [layout.user_record(self._tag, user_id) for user_id in ids]
        watched = [self._name, layout.groups(self._tag)] if member else []

        async def swap(pipe: Pipeline) -> None:
            if member and not await self._is_known(pipe, group_id):
                raise no_such_group(group_id)
            found = cast("list[bytes | None]", await pipe.mget(names))
            changed: list[User] = []
            for user_id, raw in zip(ids, found, strict=True):
                if raw is None and member:
                    raise no_such_user(user_id)
                user = None if raw is None else decode(raw, User)
                if user is not None and (group_id in user.groups) is not member:
                    groups = user.groups | {group_id} if member else user.groups - {group_id}
                    edited = replace(user, groups=groups)
                    changed.append(require_person(edited) if member else edited)
            of_changed = [user.id for user in changed]
            deed = members_changed(
                group_id, added=of_changed if member else (), removed=() if member else of_changed
            )
            if deed is not None:
                await self._journal.begin(pipe, deed)
                for user in changed:
                    pipe.set(layout.user_record(self._tag, user.id), encode(user))

        await self._journal.transaction(swap, *names, *watched)

    async def _empty(self, group_id: str) -> None:
        async for members in self.members(group_id):
            await self._set(group_id, [user.id for user in members], member=False)

    async def _is_known(self, redis: Redis, group_id: str) -> bool:
        for name in (self._name, layout.groups(self._tag)):
            if await cast("Awaitable[bytes | None]", redis.hget(name, group_id)) is not None:
                return True
        return False

    async def _raw(self, pipe: Pipeline, group_id: str) -> bytes | None:
        return await cast("Awaitable[bytes | None]", pipe.hget(self._name, group_id))


def _found(group_id: str, raw: bytes | None) -> Group:
    if raw is None:
        raise no_such_group(group_id)
    return decode(raw, Group)


def _pieces(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + PIECE] for start in range(0, len(ids), PIECE)]
