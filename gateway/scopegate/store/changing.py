"""Changing and deleting stored records in one step, so that nothing in between is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from scopegate.store.connection import call, script, translated
from scopegate.store.records import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

T = TypeVar("T")


async def change(
    redis: Redis,
    name: str,
    kind: type[T],
    edit: Callable[[T], T],
    *,
    missing: Callable[[], Exception],
    also: Callable[[Pipeline, T], None] = lambda _pipe, _edited: None,
) -> T:
    """Replace the record `name` by what `edit` makes of it, in one step; tried again on a conflict.

    Args:
        redis: the connection.
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

    with translated():
        changed: T = await redis.transaction(swap, name, value_from_callable=True)
    return changed


async def delete(
    redis: Redis, name: str, *, index: str, member: str, missing: Callable[[], Exception]
) -> None:
    """Delete the record `name` and its `member` of the `index` in one step, also where Redis is full.

    `missing` makes the error to raise if there is no record.
    """
    if not await call(script(redis, "delete_record"), [name, index], [member]):
        raise missing()
