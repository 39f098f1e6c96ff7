"""Keys in Redis: every change of a record and of the tenant's quota is one atomic step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec

from scopegate.core.deeds import key_changed, key_created, key_deleted
from scopegate.core.errors import Conflict, FeatureDisabled, KeyLimitReached, NotFound
from scopegate.core.idempotency import IDEMPOTENCY_LIFETIME, Idempotency, Issuance
from scopegate.core.keys import ID_LENGTH, KEYS_PER_TENANT, KeyRecord, KeyType
from scopegate.core.tenants import SCOPED_API, Tenant
from scopegate.store import layout
from scopegate.store.changing import change, delete
from scopegate.store.moments import milliseconds
from scopegate.store.records import decode, decode_many, encode, readable
from scopegate.store.servers import Script
from scopegate.store.settings import settings_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.core.deeds import Deed
    from scopegate.store.audit import Journal
    from scopegate.store.servers import Servers

_LIFETIME = IDEMPOTENCY_LIFETIME.days * 24 * 60 * 60 * 1_000  # milliseconds


class Repeated(Exception):
    """A change is another one's repetition, so nothing is changed."""

    def __init__(self, issuance: Issuance) -> None:
        super().__init__(issuance)
        self.issuance = issuance


@dataclass(frozen=True, slots=True)
class CountedKeys:
    """How many keys count, how many may, and the records of those that are there."""

    used: int
    limit: int
    records: tuple[KeyRecord, ...]


class _Bound(msgspec.Struct):
    """What of a record says for whom the key acts."""

    user: str | None = None


_bound = msgspec.json.Decoder(_Bound)


class KeyStore:
    """The keys of one tenant."""

    def __init__(self, servers: Servers, tenant: Tenant, journal: Journal) -> None:
        self._servers = servers
        self._tag = tenant.tag
        self._journal = journal
        self._create = Script("create_key", writes=True)

    async def create(
        self,
        record: KeyRecord,
        *,
        now: datetime,
        limit: int = KEYS_PER_TENANT,
        idempotency: Idempotency | None = None,
    ) -> None:
        """Store a new key, if there is room (D2) and, for a custom key, Scoped API is on (D4).

        Args:
            record: the key.
            now: the present moment.
            limit: how many keys the tenant may have if nothing else is settled for it.
            idempotency: under what the creation is kept, so that it can be told from its repetition.

        Raises:
            KeyLimitReached: the tenant has as many keys as it may have.
            FeatureDisabled: the key is custom and the flag is off.
            Conflict: the id is taken by another key; mint another.
            Repeated: the tenant has a key from the same request.
            StoreUnavailable: nobody knows whether the key was stored.
        """
        name = layout.key_record(self._tag, record.id)
        names = [
            name,
            layout.key_index(self._tag),
            layout.flags(self._tag),
            layout.settings(self._tag),
            layout.expiries(self._tag),
            name if idempotency is None else layout.idempotency(self._tag, idempotency.digest),
        ]
        arguments = [
            record.id,
            encode(record),
            milliseconds(now),
            _milliseconds(record.delete_at),
            _milliseconds(record.expires_at),
            limit,
            SCOPED_API if record.type is KeyType.CUSTOM else "",
            "" if idempotency is None else encode(Issuance(record.id, idempotency.fingerprint)),
            _LIFETIME,
        ]

        async def prepare(_redis: Redis) -> tuple[Deed, Sequence[Any]]:
            return key_created(record), arguments

        match await self._journal.run(self._create, names, prepare):
            case [b"created"]:
                return
            case [b"repeated", bytes(before)]:
                raise Repeated(decode(before, Issuance))
            case [b"limit", int(used), int(settled)]:
                raise KeyLimitReached(limit=settled, used=used)
            case [b"flag_off"]:
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

    async def issuance(self, idempotency: Idempotency) -> Issuance | None:
        """What is kept of the first request with this idempotency key, if there was one."""
        name = layout.idempotency(self._tag, idempotency.digest)
        raw = cast("bytes | None", await self._servers.step(self._tag, lambda redis: redis.get(name)))
        return None if raw is None else decode(raw, Issuance)

    async def all(self, *, now: datetime) -> list[KeyRecord]:
        """Every key that counts at `now`, newest first."""
        return list((await self.counted(now=now)).records)

    async def counted(self, *, now: datetime) -> CountedKeys:
        """Every key that counts at `now`, newest first, and how many there may be."""
        used, settings, found = await self._read(now)
        records = await decode_many(found, KeyRecord)
        records.sort(key=lambda record: (record.created_at, record.id), reverse=True)
        return CountedKeys(used, settings_in(settings).key_limit, tuple(records))

    async def users(self, *, now: datetime) -> frozenset[str]:
        """The ids of the users for whom the keys act that count at `now`."""
        _, _, found = await self._read(now)
        with readable("KeyRecord"):
            bound = [_bound.decode(raw).user for raw in found if raw is not None]
        return frozenset(user for user in bound if user is not None)

    async def _read(self, now: datetime) -> tuple[int, bytes | None, list[bytes | None]]:
        async def read(redis: Redis) -> tuple[int, bytes | None, list[bytes | None]]:
            after = f"({milliseconds(now)}"
            ids = cast("list[bytes]", await redis.zrangebyscore(layout.key_index(self._tag), after, "+inf"))
            names = [layout.key_record(self._tag, key_id.decode()) for key_id in ids]
            settings, *found = cast(
                "list[bytes | None]", await redis.mget([layout.settings(self._tag), *names])
            )
            return len(ids), settings, found

        return await self._servers.step(self._tag, read)

    async def change(
        self,
        key_id: str,
        edit: Callable[[KeyRecord], KeyRecord],
        *,
        expected: str | None = None,
        idempotency: Idempotency | None = None,
    ) -> KeyRecord:
        """Replace a record by what `edit` makes of the present one; no change in between is lost.

        Args:
            key_id: the key.
            edit: makes the new record out of the present one; it may run more than once.
            expected: the version (`etag`) that the change is meant for; None: any.
            idempotency: under what the change is kept, so that it can be told from its repetition.

        Raises:
            NotFound: there is no such key.
            StaleVersion: there is another version of it.
            Repeated: the change was made before, by the same request.
        """
        name = layout.key_record(self._tag, key_id)
        kept = None if idempotency is None else layout.idempotency(self._tag, idempotency.digest)

        async def refuse_repetition(pipe: Pipeline) -> None:
            before = None if kept is None else cast("bytes | None", await pipe.get(kept))
            if before is not None:
                raise Repeated(decode(before, Issuance))

        def keep_its_times(pipe: Pipeline, present: KeyRecord, edited: KeyRecord) -> None:
            if edited.delete_at is not None:
                pipe.pexpireat(name, milliseconds(edited.delete_at))
            pipe.zadd(layout.key_index(self._tag), {key_id: _milliseconds(edited.delete_at) or "+inf"})
            if present.expires_at != edited.expires_at:
                if edited.expires_at is None:
                    pipe.zrem(layout.expiries(self._tag), key_id)
                else:
                    pipe.zadd(layout.expiries(self._tag), {key_id: milliseconds(edited.expires_at)})
            if kept is not None and idempotency is not None:
                pipe.set(kept, encode(Issuance(key_id, idempotency.fingerprint)), px=_LIFETIME)

        return await change(
            self._journal,
            name,
            KeyRecord,
            edit,
            missing=lambda: no_such_key(key_id),
            deed=key_changed,
            also=keep_its_times,
            expected=expected,
            watched=[] if kept is None else [kept],
            first=refuse_repetition,
        )

    async def delete(self, key_id: str, *, expected: str | None = None) -> None:
        """Forget a key. Its place in the quota is free at once.

        Raises:
            NotFound: there is no such key.
            StaleVersion: there is another version of it than the one that is `expected`.
        """
        await delete(
            self._journal,
            layout.key_record(self._tag, key_id),
            KeyRecord,
            indexes=[layout.key_index(self._tag), layout.expiries(self._tag)],
            member=key_id,
            missing=lambda: no_such_key(key_id),
            deed=lambda record: key_deleted(key_id, record),
            now=milliseconds(self._journal.now()),
            expected=expected,
        )


def scoped_api_off() -> FeatureDisabled:
    """The error that says that custom keys can be neither created nor given rules (D4)."""
    return FeatureDisabled(
        "Custom keys are off for this tenant.",
        hint="A system administrator turns them on with: scopegate flag scoped-api on",
    )


def no_such_key(key_id: str) -> NotFound:
    """The error that says that there is no key with this id, or with one that begins like this.

    What is too long for an id may be a secret, so it is not repeated.
    """
    named = repr(key_id) if len(key_id) <= ID_LENGTH else "with this id"
    return NotFound(f"There is no key {named}.", hint="List the keys with: scopegate key list")


def _milliseconds(moment: datetime | None) -> int | str:
    return "" if moment is None else milliseconds(moment)
