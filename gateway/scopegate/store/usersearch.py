"""Finding people (D8) in an index of this process, which every change is known to before it is asked.

The audit log has an entry for each change, so it tells who was changed since the index was made. That is
asked at each search, and these people are read; when they are many, the index is made anew.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from scopegate.core.deeds import users_in
from scopegate.core.userindex import IndexBuilder, People, UserIndex
from scopegate.store import layout
from scopegate.store.records import readable
from scopegate.store.servers import Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Sequence

    from redis.asyncio import Redis

    from scopegate.core.principal import User
    from scopegate.core.tenants import Tenant
    from scopegate.core.usersearch import Listed, Place, UserSearch
    from scopegate.store.audit import AuditLog
    from scopegate.store.directory import Directory
    from scopegate.store.servers import Servers

T = TypeVar("T")

PAGE = 1_000  # users that are read in one step
_AT_A_TIME = 500  # users who are taken in between two turns of the event loop; they take some 4 ms
MOST_RECENT = 2_000  # changed people whom an index has beside the others
MOST_KEPT = 500_000  # people in all indexes together, of some 500 bytes each
_ENTRIES = 50  # of the audit log, that are read in one step


class _Person(msgspec.Struct, gc=False):
    """What is looked at of a record; the rest is read of those who are found."""

    id: str
    name: str
    email: str
    organization: str
    active: bool
    groups: list[str]
    roles: list[str]
    user_name: str | None = None
    external_id: str | None = None


class _Target(msgspec.Struct):
    id: str


class _Entry(msgspec.Struct):
    action: str
    target: _Target
    changed: dict[str, msgspec.Raw]


_people = msgspec.json.Decoder(list[_Person])
_entries = msgspec.json.Decoder(_Entry)


@dataclass(frozen=True, slots=True)
class Found:
    """A page of people, and the place of the last of them if there are more."""

    users: tuple[User, ...]
    last: Place | None


@dataclass(slots=True)
class _Kept:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    people: People | None = None
    sequence: int = 0  # of the last entry that the people are told of
    recent: dict[str, User] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return 0 if self.people is None else len(self.people.settled)


class Indexes:
    """The indexes that one process has, of the tenants that were searched last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def of(self, tag: str) -> _Kept:
        """The one of a tenant; whoever was not asked for the longest time makes room."""
        kept = self._kept.setdefault(tag, _Kept())
        self._kept.move_to_end(tag)
        while len(self._kept) > 1 and sum(one.size for one in self._kept.values()) > MOST_KEPT:
            self._kept.popitem(last=False)
        return kept


class UserLookup:
    """Finds the people of one tenant."""

    _read = Script("read_users", writes=False)

    def __init__(
        self, servers: Servers, tenant: Tenant, users: Directory, audit: AuditLog, indexes: Indexes
    ) -> None:
        self._servers = servers
        self._tag = tenant.tag
        self._users = users
        self._audit = audit
        self._indexes = indexes

    async def find(self, search: UserSearch, *, after: Place | None = None, most: int) -> Found:
        """At most so many of those whom `search` admits, by name, behind the place `after`.

        Every change is seen that was made before, by whichever process.
        """
        people = await self.people()
        places = await _slowly(people.find(search, after=after, most=most + 1))
        shown = places[:most]
        users = await self._users.some([user_id for _, user_id in shown])
        return Found(
            # Who was changed in this moment may no longer be meant.
            tuple(user for user in users if user is not None and search.admits(user)),
            shown[-1] if len(places) > most else None,
        )

    async def ids(self, search: UserSearch) -> list[str]:
        """The ids of all whom `search` admits, in their order."""
        people = await self.people()
        places = await _slowly(people.find(search, after=None, most=MOST_KEPT))
        return sorted(user_id for _, user_id in places)

    async def people(self) -> People:
        """Everybody, as of now."""
        kept = self._indexes.of(self._tag)
        async with kept.turn:
            if kept.people is None or not await self._follow(kept):
                await self._begin(kept)
                while not await self._follow(kept):
                    await self._begin(kept)
            assert kept.people is not None  # noqa: S101 -- `_begin` made it
            return kept.people

    async def _begin(self, kept: _Kept) -> None:
        # Before anybody is read: who is changed meanwhile is read again.
        kept.sequence = await self._audit.reached()
        builder = IndexBuilder()
        async for people in self._pages():
            await _add(builder, people)
        settled = await _slowly(builder.build())
        kept.recent = {}
        kept.people = People(settled, await _index([]), frozenset())

    async def _follow(self, kept: _Kept) -> bool:
        """Let the index know of all changes so far; False if it had better be made anew."""
        assert kept.people is not None  # noqa: S101 -- `people` sees to that
        told = await self._changed_since(kept.sequence)
        if told is None:
            return False
        sequence, ids = told
        if ids:
            changed = kept.people.changed | ids
            if len(changed) > MOST_RECENT:
                return False
            asked = sorted(ids)
            recent = dict(kept.recent)
            for user_id, user in zip(asked, await self._users.some(asked), strict=True):
                recent.pop(user_id, None)
                if user is not None:
                    recent[user_id] = user
            kept.people = People(kept.people.settled, await _index(list(recent.values())), changed)
            kept.recent = recent
        kept.sequence = sequence
        return True

    async def _changed_since(self, sequence: int) -> tuple[int, frozenset[str]] | None:
        """The last entry there is, and who was changed behind `sequence`; None if that is not to be told."""
        ids: set[str] = set()
        while True:
            lines = await self._audit.behind(sequence, most=_ENTRIES)
            if lines is None:
                return None
            for line in lines:
                try:
                    entry = _entries.decode(line)
                except msgspec.MsgspecError:
                    return None
                ids.update(users_in(entry.action, entry.target.id, entry.changed))
            sequence += len(lines)
            if len(ids) > MOST_RECENT:
                return None
            if len(lines) < _ENTRIES:
                return sequence, frozenset(ids)

    async def _pages(self) -> AsyncIterator[list[_Person]]:
        names = [layout.user_index(self._tag)]
        after = b"-"

        async def read(redis: Redis) -> list[Any]:
            found: list[Any] = await self._read.run(
                redis, names, [after, PAGE, layout.user_record(self._tag, "")]
            )
            return found

        while True:
            last, looked_at, records = await self._servers.step(self._tag, read)
            with readable("User"):
                people = _people.decode(records)
            yield people
            if looked_at < PAGE:
                return
            after = b"(" + last


async def _index(users: Sequence[User]) -> UserIndex:
    builder = IndexBuilder()
    await _add(builder, users)
    return await _slowly(builder.build())


async def _add(builder: IndexBuilder, people: Sequence[Listed]) -> None:
    for start in range(0, len(people), _AT_A_TIME):
        builder.add(people[start : start + _AT_A_TIME])
        await asyncio.sleep(0)


async def _slowly(steps: Generator[None, None, T]) -> T:
    """What `steps` come to; others are served in between."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
        await asyncio.sleep(0)
