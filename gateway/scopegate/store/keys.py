"""Keys in Redis: every change of a record and of the tenant's quota is one atomic step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from scopegate.core.deeds import key_changed, key_created, key_deleted
from scopegate.core.errors import Conflict, FeatureDisabled, KeyLimitReached, NotFound
from scopegate.core.keys import KEYS_PER_TENANT, KeyRecord, KeyType
from scopegate.core.tenants import SCOPED_API, Tenant
from scopegate.store import layout
from scopegate.store.changing import change, delete
from scopegate.store.records import decode, encode
from scopegate.store.servers import Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.core.deeds import Deed
    from scopegate.store.audit import Journal
    from scopegate.store.servers import Servers

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class KeyStore:
    """The keys of one tenant."""

    def __init__(self, servers: Servers, tenant: Tenant, journal: Journal) -> None:
        self._servers = servers
        self._tag = tenant.tag
        self._journal = journal
        self._create = Script("create_key", writes=True)

    async def create(self, record: KeyRecord, *, now: datetime, limit: int = KEYS_PER_TENANT) -> None:
        """Store a new key, if there is room (D2) and, for a custom key, Scoped API is on (D4).

        Raises:
            KeyLimitReached: the tenant has `limit` keys.
            FeatureDisabled: the key is custom and the flag is off.
            Conflict: the id is taken by another key; mint another.
            StoreUnavailable: nobody knows whether the key was stored.
        """
        names = [
            layout.key_record(self._tag, record.id),
            layout.key_index(self._tag),
            layout.flags(self._tag),
        ]
        arguments = [
            record.id,
            encode(record),
            _milliseconds(now),
            _deletion(record),
            limit,
            SCOPED_API if record.type is KeyType.CUSTOM else "",
        ]

        async def deed(_redis: Redis) -> Deed:
            return key_created(record)

        answer = await self._journal.run(self._create, names, arguments, deed)
        match [part.decode() if isinstance(part, bytes) else part for part in answer]:
            case ["created"]:
                return
            case ["limit", int(used)]:
                raise KeyLimitReached(limit=limit, used=used)
            case ["flag_off"]:
                raise scoped_api_off()
            case _:
                raise Conflict("The id of the new key is taken.", hint="Try again.")

    async def get(self, key_id: str) -> KeyRecord:
        """The record of one key.

        Raises:
            NotFound: there is none.
        """
        name = layout.key_record(self._tag, key_id)
        raw = cast("bytes | None", await self._servers.step(self._tag, lambda redis: redis.get(name)))
        if raw is None:
            raise no_such_key(key_id)
        return decode(raw, KeyRecord)

    async def all(self, *, now: datetime) -> list[KeyRecord]:
        """Every key that counts at `now`, newest first."""

        async def read(redis: Redis) -> list[bytes | None]:
            after = f"({_milliseconds(now)}"
            ids = cast("list[bytes]", await redis.zrangebyscore(layout.key_index(self._tag), after, "+inf"))
            names = [layout.key_record(self._tag, key_id.decode()) for key_id in ids]
            return cast("list[bytes | None]", await redis.mget(names)) if names else []

        found = await self._servers.step(self._tag, read)
        records = [decode(raw, KeyRecord) for raw in found if raw is not None]
        return sorted(records, key=lambda record: (record.created_at, record.id), reverse=True)

    async def change(self, key_id: str, edit: Callable[[KeyRecord], KeyRecord]) -> KeyRecord:
        """Replace a record by what `edit` makes of the present one; no change in between is lost.

        Raises:
            NotFound: there is no such key.
        """
        name = layout.key_record(self._tag, key_id)

        def keep_its_deletion(pipe: Pipeline, edited: KeyRecord) -> None:
            if edited.delete_at is not None:
                pipe.pexpireat(name, _milliseconds(edited.delete_at))
            pipe.zadd(layout.key_index(self._tag), {key_id: _deletion(edited) or "+inf"})

        return await change(
            self._journal,
            name,
            KeyRecord,
            edit,
            missing=lambda: no_such_key(key_id),
            deed=key_changed,
            also=keep_its_deletion,
        )

    async def delete(self, key_id: str) -> None:
        """Forget a key. Its place in the quota is free at once.

        Raises:
            NotFound: there is no such key.
        """
        await delete(
            self._journal,
            layout.key_record(self._tag, key_id),
            KeyRecord,
            index=layout.key_index(self._tag),
            member=key_id,
            missing=lambda: no_such_key(key_id),
            deed=lambda record: key_deleted(key_id, record),
        )


def scoped_api_off() -> FeatureDisabled:
    """The error that says that custom keys can be neither created nor given rules (D4)."""
    return FeatureDisabled(
        "Custom keys are off for this tenant.",
        hint="A system administrator turns them on with: scopegate flag scoped-api on",
    )


def no_such_key(key_id: str) -> NotFound:
    """The error that says that there is no key with this id, or with one that begins like this."""
    return NotFound(f"There is no key {key_id!r}.", hint="List the keys with: scopegate key list")


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _deletion(record: KeyRecord) -> int | str:
    return "" if record.delete_at is None else _milliseconds(record.delete_at)
