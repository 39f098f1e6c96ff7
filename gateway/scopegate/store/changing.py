"""Changing and deleting stored records in one step, so that nothing in between is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import ResponseError

from scopegate.core.errors import UnreadableRecord
from scopegate.store.records import decode, encode
from scopegate.store.servers import Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.core.deeds import Deed
    from scopegate.store.audit import Journal

T = TypeVar("T")

_DELETE = Script("delete_record", writes=True)


async def change(
    journal: Journal,
    name: str,
    kind: type[T],
    edit: Callable[[T], T],
    *,
    missing: Callable[[], Exception],
    deed: Callable[[T, T], Deed | None],
    also: Callable[[Pipeline, T], None] = lambda _pipe, _edited: None,
) -> T:
    """Replace the record `name` by what `edit` makes of it, in one step; tried again on a conflict.

    Args:
        journal: makes the change, and enters it in the audit log.
        name: where the record lies.
        kind: what it is.
        edit: makes the new value out of the present one; it may run more than once.
        missing: the error to raise if there is no record.
        deed: what was done, from the value before and after; if None, nothing is written.
        also: queues what has to change in the same step.
    """

    async def swap(pipe: Pipeline) -> T:
        raw = await pipe.get(name)
        if raw is None:
            raise missing()
        present = decode(raw, kind)
        edited = edit(present)
        done = deed(present, edited)
        if done is not None:
            await journal.begin(pipe, done)
            pipe.set(name, encode(edited))
            also(pipe, edited)
        return edited

    return await journal.transaction(swap, name)


async def delete(
    journal: Journal,
    name: str,
    kind: type[T],
    *,
    index: str,
    member: str,
    missing: Callable[[], Exception],
    deed: Callable[[T | None], Deed],
) -> None:
    """Delete the record `name` and its `member` of the `index` in one step, also where Redis is full.

    `missing` makes the error to raise if there is no record. `deed` is what was done, given the record,
    or None if nobody can read it.
    """

    async def done(redis: Redis) -> Deed:
        try:
            raw = await redis.get(name)
            return deed(None if raw is None else decode(raw, kind))
        except (UnreadableRecord, ResponseError):  # what nobody can read can be deleted as well
            return deed(None)

    [answer] = await journal.run(_DELETE, [name, index], [member], done)
    if answer != b"deleted":
        raise missing()
