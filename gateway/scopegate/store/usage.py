"""What keys were used for, in Redis: written behind by recorders, read by whoever looks after keys."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, cast

from scopegate.core.errors import UnreadableRecord
from scopegate.core.reasons import Reason
from scopegate.core.tenants import SYSTEM_TENANT
from scopegate.core.usage import (
    COUNTS_KEPT,
    LAST_USES_KEPT,
    Count,
    KeyLastUse,
    KeyUsage,
    days,
    key_last_use,
    known_since,
    of_secret,
)
from scopegate.store import layout
from scopegate.store.servers import Script

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Mapping, Sequence

    from redis.asyncio import Redis

    from scopegate.core.keys import KeyRecord
    from scopegate.core.tenants import Tenant
    from scopegate.core.usage import Batch
    from scopegate.store.servers import Servers

_BATCH_KEPT = timedelta(days=1)
_HOURS_A_DAY = 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UsageWriter:
    """Adds what recorders count, for all tenants."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._record = Script("record_usage", writes=True)

    async def begin(self, now: int) -> None:
        """Note that uses are counted from `now` (ms) on, unless they were before.

        Raises:
            StoreUnavailable: nobody knows whether that was noted.
        """
        name = layout.usage_since()
        await self._servers.step(SYSTEM_TENANT.tag, lambda redis: redis.set(name, now, nx=True))

    async def add(self, batch: Batch, now: int) -> None:
        """Add a batch at `now` (ms). It may be given again for a day, and is added once.

        Raises:
            StoreUnavailable: nobody knows whether it was added; give it again.
        """
        tag = batch.tag
        names = [
            layout.usage_batch(tag, batch.recorder),
            layout.last_uses(tag),
            layout.usage_missed(tag),
        ]
        arguments: list[str | int] = [
            batch.number,
            _seconds(_BATCH_KEPT),
            _seconds(COUNTS_KEPT),
            now - _seconds(LAST_USES_KEPT) * 1_000,
            batch.missed,
            batch.missed_until,
            len(batch.last),
        ]
        for used, at in batch.last.items():
            arguments += (used, at)
        places: dict[str, int] = {}
        for use, requests in batch.counts.items():
            day, hour = divmod(use.hour, _HOURS_A_DAY)
            name = layout.usage(tag, use.key_id, _day(day))
            place = places.setdefault(name, len(names) + len(places) + 1)
            arguments += (place, f"{hour:02}:{use.rule}:{use.reason}", requests)
        names += places
        await self._servers.step(tag, lambda redis: self._record.run(redis, names, arguments))


class UsageStore:
    """What the keys of one tenant were used for."""

    def __init__(self, servers: Servers, tenant: Tenant) -> None:
        self._servers = servers
        self._tag = tenant.tag

    async def last_uses(self, records: Sequence[KeyRecord], *, now: datetime) -> dict[str, KeyLastUse]:
        """The last use of each of these keys, by its id; all of them are read at once.

        Raises:
            StoreUnavailable: nobody can tell.
            UnreadableRecord: what is stored means nothing.
        """
        names = [name for record in records for name in _names(record)]

        async def read(redis: Redis) -> tuple[bytes | None, list[float | None]]:
            async with redis.pipeline(transaction=False) as pipe:
                pipe.hget(layout.usage_missed(self._tag), "until")
                if names:
                    pipe.zmscore(layout.last_uses(self._tag), names)
                missed_until, *scores = await pipe.execute()
            return missed_until, scores[0] if scores else []

        since, (missed_until, scores) = await asyncio.gather(
            self._since(), self._servers.step(self._tag, read)
        )
        with _readable():
            since = known_since(since, _moment(missed_until), now)
            uses = {
                name: _EPOCH + timedelta(milliseconds=score)
                for name, score in zip(names, scores, strict=True)
                if score is not None
            }
        return {record.id: key_last_use(record, uses, known_since=since, now=now) for record in records}

    async def of_key(self, key_id: str, first: date, last: date) -> KeyUsage:
        """What came of the requests with a key, from one day to another (UTC), which may be the same.

        Raises:
            InvalidInput: that is no period, or longer than counts are kept.
            StoreUnavailable: nobody can tell.
            UnreadableRecord: what is stored means nothing.
        """
        wanted = days(first, last)

        async def read(redis: Redis) -> list[dict[bytes, bytes]]:
            async with redis.pipeline(transaction=False) as pipe:
                for day in wanted:
                    pipe.hgetall(layout.usage(self._tag, key_id, day))
                return cast("list[dict[bytes, bytes]]", await pipe.execute())

        since, found = await asyncio.gather(self._since(), self._servers.step(self._tag, read))
        with _readable():
            counts = [
                count for day, fields in zip(wanted, found, strict=True) for count in _counts(day, fields)
            ]
        counts.sort(key=lambda count: (count.hour, count.rule, count.reason))
        return KeyUsage(first, last, tuple(counts), since)

    async def missed(self) -> int:
        """How many requests were counted for no key, for there was too much to count.

        Raises:
            StoreUnavailable: nobody can tell.
            UnreadableRecord: what is stored means nothing.
        """
        name = layout.usage_missed(self._tag)
        found = await self._servers.step(
            self._tag, lambda redis: cast("Awaitable[bytes | None]", redis.hget(name, "requests"))
        )
        with _readable():
            return int(found or 0)

    async def _since(self) -> datetime | None:
        name = layout.usage_since()
        found = await self._servers.step(SYSTEM_TENANT.tag, lambda redis: redis.get(name))
        with _readable():
            return _moment(cast("bytes | None", found))


def _names(record: KeyRecord) -> Iterator[str]:
    """Under what the last uses of a key are kept that are asked for."""
    yield record.id
    yield of_secret(record.id, record.digest)
    if record.retiring is not None:
        yield of_secret(record.id, record.retiring.digest)


def _counts(day: date, fields: Mapping[bytes, bytes]) -> Iterator[Count]:
    midnight = datetime.combine(day, time(), UTC)
    for field, requests in fields.items():
        hour, rule, reason = field.decode().split(":")
        yield Count(midnight.replace(hour=int(hour)), rule, Reason(reason), int(requests))


def _moment(milliseconds: bytes | None) -> datetime | None:
    return None if milliseconds is None else _EPOCH + timedelta(milliseconds=int(milliseconds))


def _day(number: int) -> date:
    """The day that is `number` days after the first of 1970."""
    return _EPOCH.date() + timedelta(days=number)


def _seconds(duration: timedelta) -> int:
    return duration // timedelta(seconds=1)


@contextmanager
def _readable() -> Iterator[None]:
    """Turn what means nothing into UnreadableRecord."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise UnreadableRecord(
            "What keys were used for cannot be read.",
            hint="It was written by another version or by hand; restore or delete it (docs/data-model.md).",
        ) from error
