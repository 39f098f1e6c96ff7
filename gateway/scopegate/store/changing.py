"""Changing and deleting stored records in one step, so that nothing in between is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from scopegate.store.records import decode, encode
from scopegate.store.servers import Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.store.servers import Servers

T = TypeVar("T")

_DELETE = Script("delete_record", writes=True)


async def change(
    servers: Servers,
    tag: str,
    name: str,
    kind: type[T],
    edit: Callable[[T], T],
    *,
    missing: Callable[[], Exception],
    also: Callable[[Pipeline, T], None] = lambda _pipe, _edited: None,
) -> T:
    """Replace the record `name` by what `edit` makes of it, in one step; tried again on a conflict.

    Args:
        servers: where the record is.
        tag: the hash tag of `name`.
        name: where the record lies.
        kind: what it is.
        edit: makes the new value out of the present one; it may run more than once.
        missing: the error to raise if there is no record.
        also: queues what has to change in the same step.
    """

    async def swap(pipe: Pipeline) -> T:
        raw = await pipe.get(name)
        if raw is None:
            raise missing()
        edited = edit(decode(raw, kind))
        pipe.multi()  # type: ignore[no-untyped-call]
        pipe.set(name, encode(edited))
        also(pipe, edited)
        return edited

    async def take(redis: Redis) -> T:
        changed: T = await redis.transaction(swap, name, value_from_callable=True)
        return changed

    return await servers.step(tag, take)


async def delete(
    servers: Servers, tag: str, name: str, *, index: str, member: str, missing: Callable[[], Exception]
) -> None:
    """Delete the record `name` and its `member` of the `index` in one step, also where Redis is full.

    `missing` makes the error to raise if there is no record.
    """
    if not await servers.step(tag, lambda redis: _DELETE.run(redis, [name, index], [member])):
        raise missing()
