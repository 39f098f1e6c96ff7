"""No reading that a change overtakes stays in the view, in every order of a small world.

The world: a key's record in the store, readings of it that take their time, changes that are told over
a connection of its own, and that connection, which can be lost and come back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from scopegate.core import keys
from scopegate.core.decision import Scope
from scopegate.core.keys import KeyRecord, KeyType
from scopegate.store import layout
from scopegate.store.liveaccess import LiveAccess
from scopegate.store.location import locate
from scopegate.store.servers import Servers
from scopegate.store.view import NOT_KNOWN
from store.facts import NOW
from store.test_view import interleavings

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = keys.mint("000", lambda _alphabet: "k")
NAME = layout.key_record("000", KEY.id).encode()


def version(number: int) -> Scope:
    return Scope(
        KeyRecord(
            id=KEY.id,
            tenant="default",
            type=KeyType.EXTERNAL,
            digest="d",
            description=str(number),
            created_at=NOW,
        )
    )


class World:
    """The store, the view, and what is on its way between them."""

    def __init__(self) -> None:
        self.stored = 0
        self.asked: list[asyncio.Future[Scope]] = []
        self.read: list[Scope] = []
        self.told: list[bytes] = []  # on the connection that is there
        self.connected = True
        self.heard = 0  # the version that the view must not be behind
        self.access = LiveAccess(cast("Any", self), Servers.at(locate("redis://")))
        self.access.connected()
        self.callers: list[asyncio.Task[Scope | None]] = []

    async def scope(self, _key: object) -> Scope:
        """The store's part: what was asked is read and replied to in steps of their own."""
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    async def step(self, step: str) -> None:
        steps: dict[str, Callable[[], None]] = {
            "ask": self.ask,
            "read": self.read_all,
            "reply": self.reply,
            "write": self.write,
            "hear": self.hear,
            "lose": self.lose,
            "return": self.come_back,
        }
        steps[step]()
        for _ in range(6):  # callbacks of callbacks
            await asyncio.sleep(0)

    def ask(self) -> None:
        if self.access.known_scope(KEY) is NOT_KNOWN:
            self.callers.append(asyncio.create_task(self.access.scope(KEY)))

    def read_all(self) -> None:
        """Every question that waits reads what is there now."""
        self.read += [version(self.stored)] * (len(self.asked) - len(self.read))

    def reply(self) -> None:
        for answer, value in zip(self.asked, self.read, strict=False):
            if not answer.done():
                answer.set_result(value)

    def write(self) -> None:
        self.stored += 1
        if self.connected:
            self.told.append(NAME)

    def hear(self) -> None:
        for name in self.told:
            self.access.changed(name)
        if self.connected:
            self.heard = self.stored
        self.told.clear()

    def lose(self) -> None:
        """What was told and not heard is lost as well."""
        self.connected = False
        self.told.clear()
        self.access.disconnected()

    def come_back(self) -> None:
        if not self.connected:
            self.connected = True
            self.heard = self.stored
            self.access.connected()

    async def settle(self) -> None:
        for step in ("hear", "return", "read", "reply", "read", "reply"):
            await self.step(step)

    def is_truthful(self) -> bool:
        """Whether what is kept, also for the worst case, is not behind what was heard."""
        known = self.access._scopes.look_up(KEY.id)
        if known is NOT_KNOWN:
            return True
        return known is not None and int(known.record.description) >= self.heard


LOAD = ("ask", "read", "reply")


@pytest.mark.parametrize(
    "sequences",
    [
        (LOAD, ("write", "hear"), ("write",)),
        (LOAD, LOAD, ("write", "hear")),
        (LOAD, ("write", "hear"), ("lose", "return")),
        (LOAD, ("write",), ("lose", "return", "lose", "return")),
        (LOAD + LOAD, ("write", "hear"), ("lose", "return")),
    ],
    ids=["two writes", "two loads", "a lost connection", "one lost twice", "loads before and behind"],
)
async def test_when_all_is_heard_the_view_knows_the_truth_or_nothing(
    sequences: tuple[tuple[str, ...], ...],
) -> None:
    orders = 0
    for order in interleavings(*sequences):
        world = World()
        for step in order:
            await world.step(step)
            assert world.is_truthful(), order
        await world.settle()
        assert world.access.live
        assert world.heard == world.stored
        assert world.is_truthful(), order
        await asyncio.gather(*world.callers)
        orders += 1
    assert orders >= 60


async def test_nobody_is_answered_with_what_was_gone_when_they_asked() -> None:
    """Whoever asks after a change was told gets no answer that was read before it."""
    for order in interleavings(LOAD, ("write", "hear", "ask"), ("read", "reply")):
        world = World()
        asked_behind: asyncio.Task[Scope | None] | None = None
        heard = False
        for step in order:
            before = len(world.callers)
            await world.step(step)
            heard = heard or step == "hear"
            if step == "ask" and heard and len(world.callers) > before and asked_behind is None:
                asked_behind = world.callers[-1]
        await world.settle()
        await asyncio.gather(*world.callers)
        if asked_behind is not None:
            found = asked_behind.result()
            assert found is not None
            assert found.record.description == "1", order
