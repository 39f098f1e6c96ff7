"""The audit log in Redis: each entry is written in the same step as the change that it tells of."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from scopegate.core.audit import (
    DEFAULT_RETENTION,
    SYSTEM,
    Bounds,
    Entry,
    Verification,
    link,
    parse,
)
from scopegate.core.errors import UnreadableRecord
from scopegate.store import layout
from scopegate.store.records import decode, encode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.core.audit import Author, Link
    from scopegate.core.deeds import Deed
    from scopegate.core.tenants import Tenant
    from scopegate.store.servers import Script, Servers

PAGE = 250  # entries that are read in one step
_MOVED = b"moved"


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Addition:
    """Entries to be written if the log still ends where it did, and what then is at its ends.

    ``keep`` is how many entries stay; None where none has to go.
    """

    found: bytes
    lines: tuple[bytes, ...]
    bounds: bytes
    keep: int | None


class Journal:
    """Makes the changes of one tenant, each with its entry in the audit log.

    Args:
        servers: where it is, and all that is changed.
        tenant: whose log it is.
        author: who makes the changes that are written.
        retention: how many entries are kept.
        turn: held by each change of the tenant, so that those of one process do not disturb each other.
        clock: tells the present moment.
        dry: whether changes are only tried: all is checked and answered, and nothing is written.
    """

    def __init__(
        self,
        servers: Servers,
        tenant: Tenant,
        *,
        author: Author = SYSTEM,
        retention: int = DEFAULT_RETENTION,
        turn: asyncio.Lock | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        dry: bool = False,
    ) -> None:
        self._servers = servers
        self._tag = tenant.tag
        self._author = author
        self._retention = retention
        self._clock = clock
        self.dry = dry
        self._names = (layout.audit(tenant.tag), layout.audit_bounds(tenant.tag))
        self._turn = turn or asyncio.Lock()

    def now(self) -> datetime:
        """The moment that entries are written for."""
        return self._clock()

    async def transaction(self, swap: Callable[[Pipeline], Awaitable[T]], *names: str) -> T:
        """What `swap` returns, which runs again if one of `names` is changed by others, or the log.

        It reads what is there, and either changes nothing or calls `begin` and queues the change.
        """

        async def take(redis: Redis) -> T:
            if self.dry:
                async with redis.pipeline(transaction=True) as pipe:
                    await pipe.watch(*names, *self._names)
                    return await swap(pipe)  # what it has queued is dropped with the pipeline
            changed: T = await redis.transaction(swap, *names, *self._names, value_from_callable=True)
            return changed

        async with self._turn:
            return await self._servers.step(self._tag, take)

    async def begin(self, pipe: Pipeline, *deeds: Deed) -> None:
        """Begin the MULTI of a change with the entries of what is done.

        Raises:
            UnreadableRecord: what says where the log ends cannot be read.
        """
        addition = self._behind(*await self._end(pipe), deeds)
        log, bounds = self._names
        pipe.multi()  # type: ignore[no-untyped-call]
        pipe.rpush(log, *addition.lines)
        if addition.keep is not None:
            pipe.ltrim(log, -addition.keep, -1)
        pipe.set(bounds, addition.bounds)

    async def run(
        self,
        script: Script,
        names: Sequence[str],
        prepare: Callable[[Redis], Awaitable[tuple[Deed, Sequence[Any]]]],
    ) -> list[Any]:
        """What a script answers that makes a change and writes its entry; again, if others came first.

        `prepare` says what is done, and the script's first arguments. Its last names are the log and its
        bounds; its last arguments the bounds before and after, how many entries stay (or ''), and the entry.
        It answers ``moved`` where the bounds are no longer those. In a dry run there is no entry, and the
        script writes nothing.
        """

        async def take(redis: Redis) -> list[Any]:
            while True:
                end = await self._end(redis)
                # After the end was read: whatever is changed between the two moves the end.
                deed, arguments = await prepare(redis)
                addition = self._behind(*end, [deed])
                keep = "" if addition.keep is None else addition.keep
                lines = () if self.dry else addition.lines
                answer: list[Any] = await script.run(
                    redis,
                    [*names, *self._names],
                    [*arguments, addition.found, addition.bounds, keep, *lines],
                )
                if answer[0] != _MOVED:
                    return answer

        async with self._turn:
            return await self._servers.step(self._tag, take)

    async def _end(self, redis: Redis) -> tuple[bytes, bytes | None]:
        log, bounds = self._names
        found = cast("bytes | None", await redis.get(bounds))
        # With the next entry, this and all before it are too many. That it is no list is found here as well.
        last_to_go = await cast("Awaitable[bytes | None]", redis.lindex(log, -self._retention))
        return found or b"", last_to_go

    def _behind(self, found: bytes, last_to_go: bytes | None, deeds: Sequence[Deed]) -> Addition:
        bounds = decode_bounds(found)
        anchor = None if last_to_go is None else _anchor(last_to_go)
        head, lines, at = bounds.head, [], self._clock()
        for deed in deeds:
            entry = Entry(
                sequence=head.sequence + 1, previous=head.hash, at=at, author=self._author, deed=deed
            )
            line, head = entry.seal()
            lines.append(line)
        return Addition(
            found,
            tuple(lines),
            encode(Bounds(anchor or bounds.anchor, head)),
            None if anchor is None else self._retention - 1 + len(lines),
        )


class AuditLog:
    """Reads the audit log of one tenant."""

    def __init__(self, servers: Servers, tenant: Tenant) -> None:
        self._servers = servers
        self._tag = tenant.tag
        self._names = (layout.audit(tenant.tag), layout.audit_bounds(tenant.tag))

    async def verify(self) -> Verification:
        """Follow the chain from its anchor to its head.

        Raises:
            UnreadableRecord: what says where the log begins and ends cannot be read.
        """
        while True:
            bounds, _ = await self._page(0, 1)
            verification = Verification(bounds.anchor)
            async for bounds, lines in self._pages():  # noqa: B007 -- the last ones are of the end
                if not all(map(verification.follow, lines)):
                    break
            verification.end(bounds.head)
            kept, _ = await self._page(0, 1)
            if verification.broken is None or kept.anchor.sequence <= verification.reached.sequence:
                return verification
            # What was due next has gone by retention meanwhile.

    async def reached(self) -> int:
        """The number of the newest entry; 0 before the first.

        Raises:
            UnreadableRecord: as `verify`.
        """
        _, bounds = self._names
        found = await self._servers.step(self._tag, lambda redis: redis.get(bounds))
        return decode_bounds(cast("bytes | None", found) or b"").head.sequence

    async def behind(self, sequence: int, *, most: int) -> list[bytes] | None:
        """The lines of the next entries behind the one with this number, at most so many.

        None: they are kept no longer, or there never was such an entry.

        Raises:
            UnreadableRecord: as `verify`.
        """
        newest = await self.reached()
        while newest > sequence:
            count = newest - sequence
            bounds, lines = await self._page(-count, min(count, most))
            if bounds.head.sequence == newest:
                return lines if bounds.anchor.sequence <= sequence else None
            newest = bounds.head.sequence
        return [] if newest == sequence else None

    async def forwards(self) -> AsyncGenerator[bytes, None]:
        """The lines of all entries that are kept, oldest first."""
        async for _, lines in self._pages():
            for line in lines:
                yield line

    async def backwards(self) -> AsyncGenerator[bytes, None]:
        """The lines of all entries that are kept, newest first; none that comes meanwhile."""
        bounds, lines = await self._page(-PAGE, PAGE)
        newest, taken, came = bounds.head.sequence, 0, 0
        while lines:
            for line in reversed(lines):
                yield line
            taken += len(lines)
            while True:
                bounds, lines = await self._page(-PAGE - taken - came, PAGE)
                if bounds.head.sequence - newest == came:
                    break
                came = bounds.head.sequence - newest

    async def _pages(self) -> AsyncGenerator[tuple[Bounds, list[bytes]], None]:
        """All entries in pieces, oldest first, each with the bounds of its moment; the last is empty."""
        bounds, lines = await self._page(0, PAGE)
        gone, position = bounds.anchor.sequence, 0
        while True:
            yield bounds, lines
            if not lines:
                return
            position += len(lines)
            while True:
                bounds, lines = await self._page(position, PAGE)
                moved = bounds.anchor.sequence - gone
                if not moved:
                    break
                # What has gone at the front has moved the rest.
                gone, position = bounds.anchor.sequence, max(0, position - moved)

    async def _page(self, first: int, count: int) -> tuple[Bounds, list[bytes]]:
        log, bounds = self._names

        async def read(redis: Redis) -> tuple[bytes | None, list[bytes]]:
            while True:
                # A server that is full takes no MULTI. What others change meanwhile shows in the bounds.
                async with redis.pipeline(transaction=False) as pipe:
                    pipe.get(bounds)
                    pipe.lrange(log, first, first + count - 1)
                    pipe.get(bounds)
                    before, lines, after = await pipe.execute()
                if before == after:
                    return before, lines

        found, lines = await self._servers.step(self._tag, read)
        return decode_bounds(found or b""), lines


def decode_bounds(raw: bytes) -> Bounds:
    """Where the log begins and ends; nothing is written before the first change.

    Raises:
        UnreadableRecord: nobody can tell.
    """
    return decode(raw, Bounds) if raw else Bounds()


def _anchor(line: bytes) -> Link | None:
    try:
        return link(parse(line))
    except ValueError:
        return None  # it goes with the next one that can be read


@contextmanager
def readable_entry() -> Iterator[None]:
    """Turn an entry that means nothing into UnreadableRecord."""
    try:
        yield
    except ValueError as error:
        raise UnreadableRecord(
            "An entry of the audit log cannot be read.", hint="Find it with: scopegate audit verify"
        ) from error
