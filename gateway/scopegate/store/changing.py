"""Changing and deleting stored records in one step, so that nothing in between is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import ResponseError

from scopegate.core.errors import StaleVersion, UnreadableRecord
from scopegate.store.records import decode, encode, etag
from scopegate.store.servers import Script

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.core.deeds import Deed
    from scopegate.store.audit import Journal

T = TypeVar("T")

_DELETE = Script("delete_record", writes=True)


async def _nothing(*_: object) -> None:
    pass


async def change(
    journal: Journal,
    name: str,
    kind: type[T],
    edit: Callable[[T], T],
    *,
    missing: Callable[[], Exception],
    deed: Callable[[T, T], Deed | None],
    also: Callable[[Pipeline, T, T], None] = lambda _pipe, _present, _edited: None,
    expected: str | None = None,
    watched: Sequence[str] = (),
    first: Callable[[Pipeline], Awaitable[None]] = _nothing,
    admit: Callable[[Pipeline, T, T], Awaitable[None]] = _nothing,
) -> T:
    """Replace the record `name` by what `edit` makes of it, in one step; tried again on a conflict.

    Args:
        journal: makes the change, and enters it in the audit log.
        name: where the record lies.
        kind: what it is.
        edit: makes the new value out of the present one; it may run more than once.
        missing: the error to raise if there is no record.
        deed: what was done, from the value before and after; if None, nothing is written.
        also: queues what has to change in the same step, from the value before and after.
        expected: the version that the change is meant for; None: any.
        watched: other names that stay as they are in this step.
        first: looks at these, and raises what forbids the change.
        admit: looks at the value before and after, and raises what forbids that change.

    Raises:
        StaleVersion: there is another version.
    """
    written: bytes | None = None

    async def swap(pipe: Pipeline) -> T:
        nonlocal written
        raw = await pipe.get(name)
        if raw is None:
            raise missing()
        present = decode(raw, kind)
        if raw == written:
            return present  # it was stored, and only the answer was lost
        await first(pipe)
        require_version(present, expected)
        edited = edit(present)
        done = deed(present, edited)
        if done is not None:
            await admit(pipe, present, edited)
            await journal.begin(pipe, done)
            written = encode(edited)
            pipe.set(name, written)
            also(pipe, present, edited)
        return edited

    return await journal.transaction(swap, name, *watched)


async def delete(
    journal: Journal,
    name: str,
    kind: type[T],
    *,
    indexes: Sequence[str],
    member: str,
    missing: Callable[[], Exception],
    deed: Callable[[T | None], Deed],
    now: int | None = None,
    expected: str | None = None,
    names: str | None = None,
    named: Callable[[T], str] = lambda _record: "",
) -> None:
    """Delete the record `name` and its `member` of `indexes` in one step, also where Redis is full.

    `missing` makes the error to raise if there is no record. `deed` is what was done, given the record,
    or None if nobody can read it. `now` is the present millisecond where the indexes have times.
    `expected` is the version that is meant; None: any. `names` is a hash where the record may have a name,
    which is `named`.

    Raises:
        StaleVersion: there is another version.
    """

    async def prepare(redis: Redis) -> tuple[Deed, Sequence[Any]]:
        record = None
        try:
            raw = await redis.get(name)
            record = None if raw is None else decode(raw, kind)
        except (UnreadableRecord, ResponseError):  # what nobody can read can be deleted as well
            raw = b""
        # Whoever changes the record from here on moves the end of the log, and this runs again.
        if raw is not None:  # otherwise the script says that it is missing
            require_version(record, expected)
        return deed(record), [
            member,
            "" if record is None else named(record),
            "" if now is None else now,
        ]

    [answer] = await journal.run(_DELETE, [name, names or name, *indexes], prepare)
    if answer != b"deleted":
        raise missing()


def require_version(present: object, expected: str | None) -> None:
    """Make sure that a record is of the version that is meant; None: of any.

    Raises:
        StaleVersion: it is of another one.
    """
    if expected is not None:
        require_same(etag(present), expected)


def require_same(version: str, expected: str | None) -> None:
    """Make sure that a version is the one that is meant; None: any.

    Raises:
        StaleVersion: it is another one.
    """
    if expected is not None and version != expected:
        raise StaleVersion(
            "It was changed since you have read it.", hint="Read it again, then repeat what is still wanted."
        )
