"""Users in Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from scopegate.core.deeds import user_added, user_changed, user_deleted, user_put, users_imported
from scopegate.core.directory import Put, folded_login, login_of, no_such_user
from scopegate.core.errors import Conflict, ScopegateError, UnreadableRecord
from scopegate.core.principal import User
from scopegate.store import layout
from scopegate.store.changing import change, delete
from scopegate.store.logins import Logins
from scopegate.store.records import decode, encode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.core.tenants import Tenant
    from scopegate.store.audit import Journal
    from scopegate.store.servers import Servers

PAGE = 200  # users that are read in one step
_AT_A_TIME = 50  # users between two turns of the event loop


class Directory:
    """The users of one tenant."""

    def __init__(self, servers: Servers, tenant: Tenant, journal: Journal) -> None:
        self._servers = servers
        self._tag = tenant.tag
        self._journal = journal

    async def put(self, users: Iterable[User]) -> None:
        """Store users, in one step; an id that is known is replaced.

        Raises:
            Conflict: somebody else has a user name.
        """
        wanted = {user.id: user for user in users}

        async def write(pipe: Pipeline) -> None:
            before = await self._present(pipe, wanted)
            logins = await Logins.read(pipe, self._tag, [*before.values(), *wanted.values()])
            deeds = []
            for user in wanted.values():
                deed = user_put(before.get(user.id), user)
                if deed is not None:
                    logins.take(before.get(user.id), user)
                    deeds.append(deed)
            if deeds:
                await self._journal.begin(pipe, *deeds)
                for deed in deeds:
                    self._queue(pipe, wanted[deed.id])
                logins.queue(pipe)

        await self._journal.transaction(write, *self._records(wanted))

    async def put_each(
        self, people: Mapping[str, Callable[[User | None], User]]
    ) -> dict[str, Put | ScopegateError]:
        """Store users in one step, each of whom stands or falls alone, and say by id what became of each.

        One entry of the audit log tells of all of them.

        Args:
            people: by id, what makes the user out of the present one, or None, and raises what is wrong;
                it may run more than once.
        """

        async def write(pipe: Pipeline) -> dict[str, Put | ScopegateError]:
            before = await self._present(pipe, people)
            made = {user_id: _made(make, before.get(user_id)) for user_id, make in people.items()}
            users = [user for user in made.values() if isinstance(user, User)]
            logins = await Logins.read(pipe, self._tag, [*before.values(), *users])
            outcomes: dict[str, Put | ScopegateError] = {}
            stored: list[tuple[User | None, User]] = []
            for user_id, user in made.items():
                present = before.get(user_id)
                if isinstance(user, ScopegateError):
                    outcomes[user_id] = user
                elif present == user:
                    outcomes[user_id] = Put.UNCHANGED
                else:
                    try:
                        logins.take(present, user)
                    except Conflict as error:
                        outcomes[user_id] = error
                        continue
                    stored.append((present, user))
                    outcomes[user_id] = Put.ADDED if present is None else Put.CHANGED
            deed = users_imported(stored)
            if deed is not None:
                await self._journal.begin(pipe, deed)
                for number, (_, user) in enumerate(stored, start=1):
                    self._queue(pipe, user)
                    if number % _AT_A_TIME == 0:
                        await asyncio.sleep(0)
                logins.queue(pipe)
            return outcomes

        return await self._journal.transaction(write, *self._records(people))

    async def add(self, user: User) -> None:
        """Store a user who is not known yet.

        Raises:
            Conflict: the id is taken, or somebody else has the user name.
        """
        name = layout.user_record(self._tag, user.id)

        async def write(pipe: Pipeline) -> None:
            if await pipe.get(name) is not None:
                raise Conflict(
                    f"There is a user {user.id!r} already.", hint=f"See scopegate user show {user.id}"
                )
            logins = await Logins.read(pipe, self._tag, [user])
            logins.take(None, user)
            await self._journal.begin(pipe, user_added(user))
            self._queue(pipe, user)
            logins.queue(pipe)

        await self._journal.transaction(write, name)

    async def get(self, user_id: str) -> User:
        """One user.

        Raises:
            NotFound: there is no such user.
        """
        [user] = await self.some([user_id])
        if user is None:
            raise no_such_user(user_id)
        return user

    async def some(self, ids: Sequence[str]) -> list[User | None]:
        """The users with these ids, in their order; None where there is none."""
        names = self._records(ids)

        async def read(redis: Redis) -> list[bytes | None]:
            return cast("list[bytes | None]", await redis.mget(names)) if names else []

        users: list[User | None] = []
        for number, raw in enumerate(await self._servers.step(self._tag, read), start=1):
            users.append(None if raw is None else decode(raw, User))
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)
        return users

    async def slice(self, first: int, most: int) -> tuple[int, list[User]]:
        """How many users there are, and `most` of them by id, from the one with the number `first` on."""

        async def read(redis: Redis) -> tuple[int, list[bytes]]:
            index = layout.user_index(self._tag)
            total = await redis.zcount(index, "-inf", "+inf")
            found = await redis.zrange(index, first, first + most - 1) if most else []
            return total, cast("list[bytes]", found)

        total, ids = await self._servers.step(self._tag, read)
        users = await self.some([user_id.decode() for user_id in ids])
        return total, [user for user in users if user is not None]

    async def by_user_name(self, user_name: str) -> User | None:
        """Who signs in with this elsewhere, whatever its letter case; None: nobody."""
        login = folded_login(user_name)

        async def read(redis: Redis) -> bytes | None:
            named = redis.hget(layout.user_names(self._tag), login)
            return await cast("Awaitable[bytes | None]", named)

        named = await self._servers.step(self._tag, read)
        found = await self.some([user_name, *([named.decode()] if named is not None else [])])
        # Of ids that differ by letter case alone, the one that is meant is the one that was written.
        exactly, *by_name = found
        if exactly is not None and exactly.user_name is None:
            return exactly
        return next(
            (one for one in by_name if one is not None and folded_login(login_of(one)) == login), None
        )

    async def delete(self, user_id: str, *, expected: str | None = None) -> None:
        """Forget a user; with `expected` only if that is the version of the record.

        Raises:
            NotFound: there is no such user.
            StaleVersion: there is another version.
        """
        await delete(
            self._journal,
            layout.user_record(self._tag, user_id),
            User,
            indexes=[layout.user_index(self._tag)],
            member=user_id,
            missing=lambda: no_such_user(user_id),
            deed=lambda user: user_deleted(user_id, user),
            expected=expected,
            names=layout.user_names(self._tag),
            named=lambda user: folded_login(login_of(user)),
        )

    async def all(self) -> list[User]:
        """Every user, by id."""
        return [user async for users in self.pages() for user in users]

    async def pages(self) -> AsyncGenerator[list[User], None]:
        """Every user, by id, some at a time: neither Redis nor the event loop is held up for long.

        Who is added or deleted meanwhile may be among them or not.
        """
        async for found in self.records(PAGE):
            yield [decode(raw, User) for raw in found]

    async def records(self, page: int) -> AsyncGenerator[list[bytes], None]:
        """The records of all users as they lie in Redis, by id, at most `page` at a time; as `pages`."""
        last: bytes | None = None

        async def read(redis: Redis) -> tuple[list[bytes], list[bytes | None]]:
            after = b"-" if last is None else b"(" + last
            index = layout.user_index(self._tag)
            found = await redis.zrange(index, after, b"+", bylex=True, offset=0, num=page)
            ids = cast("list[bytes]", found)
            names = self._records(user_id.decode() for user_id in ids)
            return ids, cast("list[bytes | None]", await redis.mget(names)) if names else []

        while True:
            ids, found = await self._servers.step(self._tag, read)
            yield [raw for raw in found if raw is not None]
            if len(ids) < page:
                return
            last = ids[-1]

    async def change(
        self, user_id: str, edit: Callable[[User], User], *, expected: str | None = None
    ) -> User:
        """Replace a user by what `edit` makes of the present one; no change in between is lost.

        With `expected` only if that is the version of the record.

        Raises:
            NotFound: there is no such user.
            Conflict: somebody else has the user name.
            StaleVersion: there is another version.
        """
        logins = Logins.none()

        async def admit(pipe: Pipeline, before: User, after: User) -> None:
            nonlocal logins
            logins = await Logins.read(pipe, self._tag, [before, after])
            logins.take(before, after)

        return await change(
            self._journal,
            layout.user_record(self._tag, user_id),
            User,
            edit,
            missing=lambda: no_such_user(user_id),
            deed=user_changed,
            also=lambda pipe, _before, _after: logins.queue(pipe),
            expected=expected,
            admit=admit,
        )

    def _records(self, ids: Iterable[str]) -> list[str]:
        return [layout.user_record(self._tag, user_id) for user_id in ids]

    async def _present(self, pipe: Pipeline, ids: Iterable[str]) -> dict[str, User]:
        """Those of the users with these ids who are there and can be read, by id, in a step."""
        names = self._records(ids)
        found = cast("list[bytes | None]", await pipe.mget(names)) if names else []
        present: dict[str, User] = {}
        for number, raw in enumerate(found, start=1):
            user = _readable(raw)
            if user is not None:
                present[user.id] = user
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)
        return present

    def _queue(self, pipe: Pipeline, user: User) -> None:
        pipe.set(layout.user_record(self._tag, user.id), encode(user))
        pipe.zadd(layout.user_index(self._tag), {user.id: 0})


def _made(make: Callable[[User | None], User], before: User | None) -> User | ScopegateError:
    try:
        return make(before)
    except ScopegateError as error:
        return error


def _readable(raw: bytes | None) -> User | None:
    try:
        return None if raw is None else decode(raw, User)
    except UnreadableRecord:
        return None
