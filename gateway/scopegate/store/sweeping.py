"""What the passing of time does to keys: it is entered in the audit log, and what is over goes (D5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from scopegate.core.deeds import key_expired, key_lapsed
from scopegate.core.errors import UnreadableRecord
from scopegate.core.keys import KeyRecord, KeyState, state
from scopegate.store import layout
from scopegate.store.moments import milliseconds, moment
from scopegate.store.records import decode

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.core.deeds import Deed
    from scopegate.core.tenants import Tenant
    from scopegate.store.audit import Journal
    from scopegate.store.servers import Servers

_BATCH = 50  # keys that are dealt with in one step


class Swept(NamedTuple):
    """How many expiries and how many deletions were entered."""

    expired: int
    deleted: int


class _Duty(NamedTuple):
    """What there is to do about keys whose time has come.

    ``due`` has the ids, scored by ``time``. It has come in one of ``states``. ``deed`` is what is entered,
    given a key's id, its record or None if there is none that can be read, and the time that the index says.
    ``settle`` queues what has to change for some ids.
    """

    due: str
    time: Callable[[KeyRecord], datetime | None]
    states: frozenset[KeyState]
    deed: Callable[[str, KeyRecord | None, datetime], Deed]
    settle: Callable[[Pipeline, list[str]], object]


class Sweep:
    """Deals with the keys of one tenant whose time has come.

    Gateways refuse such keys by themselves, whether anybody sweeps or not. Many may sweep at the same
    time: each expiry and each deletion has one entry.
    """

    def __init__(self, servers: Servers, tenant: Tenant, journal: Journal) -> None:
        self._servers = servers
        self._journal = journal
        self._tag = tenant.tag
        index, expiries = layout.key_index(tenant.tag), layout.expiries(tenant.tag)

        def forget(pipe: Pipeline, ids: list[str]) -> None:
            pipe.delete(*(layout.key_record(tenant.tag, key_id) for key_id in ids))
            pipe.zrem(index, *ids)
            pipe.zrem(expiries, *ids)

        self._expire = _Duty(
            expiries,
            lambda record: record.expires_at,
            frozenset({KeyState.EXPIRED, KeyState.DELETED}),
            key_expired,
            lambda pipe, ids: pipe.zrem(expiries, *ids),
        )
        self._delete = _Duty(
            index, lambda record: record.delete_at, frozenset({KeyState.DELETED}), key_lapsed, forget
        )

    async def run(self, now: datetime) -> Swept:
        """Enter what is due at `now`: first the expiries, then the deletions.

        Raises:
            StoreUnavailable: it does not answer, or is full; what was not entered is due next time.
        """
        if not await self._is_anything_due(now):
            return Swept(0, 0)
        return Swept(await self._do(self._expire, now), await self._do(self._delete, now))

    async def _is_anything_due(self, now: datetime) -> bool:
        """Whether there is something to do; nearly always there is not, and this is all that it costs."""

        async def count(redis: Redis) -> list[int]:
            async with redis.pipeline(transaction=False) as pipe:
                for duty in (self._expire, self._delete):
                    pipe.zcount(duty.due, "-inf", milliseconds(now))
                return cast("list[int]", await pipe.execute())

        return any(await self._servers.step(self._tag, count))

    async def _do(self, duty: _Duty, now: datetime) -> int:
        """Do all that is due, batch after batch, and say how many entries that made."""

        async def swap(pipe: Pipeline) -> tuple[int, int]:
            deeds: list[Deed] = []
            settled: list[str] = []
            moved: dict[str, float] = {}
            for key_id, at, record in await self._due(pipe, duty.due, now):
                if record is None or state(record, now) in duty.states:
                    deeds.append(duty.deed(key_id, record, at))
                    settled.append(key_id)
                elif (score := _score(duty.time(record))) != milliseconds(at):
                    moved[key_id] = score  # somebody has written one without the other
            if deeds:
                await self._journal.begin(pipe, *deeds)
                duty.settle(pipe, settled)
            elif moved:
                pipe.multi()  # type: ignore[no-untyped-call]
            if moved:
                pipe.zadd(duty.due, moved)
            return len(deeds), len(deeds) + len(moved)

        entered = 0
        while True:
            made, looked_after = await self._journal.transaction(swap, duty.due)
            entered += made
            if looked_after < _BATCH:
                return entered

    async def _due(
        self, pipe: Pipeline, index: str, now: datetime
    ) -> list[tuple[str, datetime, KeyRecord | None]]:
        found = cast(
            "list[tuple[bytes, float]]",
            await pipe.zrangebyscore(index, "-inf", milliseconds(now), start=0, num=_BATCH, withscores=True),
        )
        if not found:
            return []
        names = [layout.key_record(self._tag, key_id.decode()) for key_id, _ in found]
        await pipe.watch(*names)  # a key that is extended meanwhile is looked at anew
        records = cast("list[bytes | None]", await pipe.mget(names))
        return [
            (key_id.decode(), moment(at), _readable(raw))
            for (key_id, at), raw in zip(found, records, strict=True)
        ]


def _score(at: datetime | None) -> float:
    return float("inf") if at is None else milliseconds(at)


def _readable(raw: bytes | None) -> KeyRecord | None:
    try:
        return None if raw is None else decode(raw, KeyRecord)
    except UnreadableRecord:
        return None
