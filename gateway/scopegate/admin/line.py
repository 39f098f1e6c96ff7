"""The line before the administration API: a few requests work at a time, and others wait their turn."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from scopegate.core.errors import ScopegateError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

T = TypeVar("T")

AT_A_TIME = 16  # one process is busy with fewer; more would only want more connections to the store
LONGEST = 1_000  # requests that wait
PATIENCE = 10.0  # seconds that one of them waits


class Busy(ScopegateError):
    """So many requests wait that this one is not taken, or it has waited for too long."""

    code = "api_busy"

    def __init__(self) -> None:
        super().__init__(
            "Too many requests of administrators are under way.",
            hint="Try again in a second, with fewer requests at a time.",
        )


class Line:
    """Lets requests work by turns, in the order in which they came.

    Args:
        at_a_time: how many work.
        longest: how many wait.
        patience: the seconds that one of them waits.
    """

    def __init__(
        self, *, at_a_time: int = AT_A_TIME, longest: int = LONGEST, patience: float = PATIENCE
    ) -> None:
        self._free = at_a_time
        self._longest = longest
        self._patience = patience
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def length(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """The turn of one request, once it comes.

        Raises:
            Busy: it does not come.
        """
        await self._enter()
        turn = Turn(self)
        try:
            yield turn
        finally:
            turn.end()

    async def _enter(self) -> None:
        if self._free:
            self._free -= 1
            return
        if self.length >= self._longest:
            raise Busy
        try:
            async with asyncio.timeout(self._patience):
                await self._wait(first=False)
        except TimeoutError:
            raise Busy from None

    async def enter_again(self) -> None:
        """Wait before all who have not had their turn, for as long as it takes."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(first=True)

    def leave(self) -> None:
        """Let the next one work."""
        while self._waiting:
            following = self._waiting.popleft()
            if not following.done():
                following.set_result(None)
                return
        self._free += 1

    async def _wait(self, *, first: bool) -> None:
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if first:
            self._waiting.appendleft(called)
        else:
            self._waiting.append(called)
        try:
            await called
        except asyncio.CancelledError:
            if called.cancelled():
                with suppress(ValueError):  # `leave` may have passed over it already
                    self._waiting.remove(called)
            else:
                self.leave()  # it was called at the same moment
            raise


class Turn:
    """The turn of one request, which does not work while it waits for its client."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._works = True

    async def without(self, client: Awaitable[T]) -> T:
        """What the client does meanwhile; others work until then."""
        if not self._works:
            return await client
        self.end()
        told = await client
        await self._line.enter_again()
        self._works = True
        return told

    def end(self) -> None:
        """Let the next request work, if this one still does."""
        if self._works:
            self._works = False
            self._line.leave()
