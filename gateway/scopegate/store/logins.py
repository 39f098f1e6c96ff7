"""What people sign in with elsewhere, in Redis: no two have the same user name, whatever its letter case.

The hash of logins has everybody, those too who sign in with their id. Ids that differ by letter case alone
are different people, so the first of them is there, and an id can be taken where another id is there. The
hash says where to look; who has a login is what the records say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from scopegate.core.directory import folded_login, login_of, login_taken
from scopegate.core.errors import UnreadableRecord
from scopegate.core.principal import User
from scopegate.store import layout
from scopegate.store.records import decode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from redis.asyncio.client import Pipeline


class _Holder(NamedTuple):
    id: str
    by_name: bool  # whether the login is a user name, and not the id


class Logins:
    """The logins that one step is about, as it finds them and as it will leave them."""

    def __init__(self, name: str, found: dict[str, str], holders: dict[str, _Holder]) -> None:
        self._name = name
        self._found = found
        self._holders = holders
        self._touched: dict[str, None] = {}

    @classmethod
    def none(cls) -> Logins:
        """Of a step that is about no login."""
        return cls("", {}, {})

    @classmethod
    async def read(cls, pipe: Pipeline, tag: str, users: Iterable[User]) -> Logins:
        """Who has the logins of `users` now, in a step that has not begun its MULTI."""
        name = layout.user_names(tag)
        wanted = list(dict.fromkeys(folded_login(login_of(user)) for user in users))
        ids = await cast("Awaitable[list[bytes | None]]", pipe.hmget(name, wanted)) if wanted else []
        found = {
            login: user_id.decode() for login, user_id in zip(wanted, ids, strict=True) if user_id is not None
        }
        records = [layout.user_record(tag, user_id) for user_id in found.values()]
        raw = cast("list[bytes | None]", await pipe.mget(records)) if records else []
        holders = {
            login: holder
            for (login, user_id), record in zip(found.items(), raw, strict=True)
            if (holder := _holder(login, user_id, record)) is not None
        }
        return cls(name, found, holders)

    def take(self, before: User | None, after: User) -> None:
        """Let `after` have the login that it says, in place of the one of `before`.

        Raises:
            Conflict: somebody else has it.
        """
        login = folded_login(login_of(after))
        holder = self._holders.get(login)
        is_free = holder is None or holder.id == after.id
        by_name = after.user_name is not None
        if holder is not None and not is_free and (by_name or holder.by_name):
            raise login_taken(after)
        if before is not None:
            self._release(before, login)
        if is_free:
            self._holders[login] = _Holder(after.id, by_name)
            self._touched[login] = None

    def queue(self, pipe: Pipeline) -> None:
        """Have the step store what is different."""
        for login in self._touched:
            holder = self._holders.get(login)
            if holder is None:
                pipe.hdel(self._name, login)
            elif self._found.get(login) != holder.id:
                pipe.hset(self._name, login, holder.id)

    def _release(self, before: User, kept: str) -> None:
        login = folded_login(login_of(before))
        holder = self._holders.get(login)
        if login != kept and holder is not None and holder.id == before.id:
            del self._holders[login]
            self._touched[login] = None


def _holder(login: str, user_id: str, record: bytes | None) -> _Holder | None:
    if record is None:
        return None
    try:
        user = decode(record, User)
    except UnreadableRecord:
        return _Holder(user_id, by_name=True)  # nobody can tell, so nobody else gets it
    return _Holder(user_id, user.user_name is not None) if folded_login(login_of(user)) == login else None
