"""A fill that races an invalidation is never installed: every interleaving of a small world."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.store.view import NOT_KNOWN, View

if TYPE_CHECKING:
    from collections.abc import Iterator


def known(view: View[Any, int], key: object) -> bool:
    return view.look_up(key) is not NOT_KNOWN


def interleavings(*sequences: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every order of all steps in which each sequence keeps its own order."""
    if not any(sequences):
        yield ()
        return
    for index, sequence in enumerate(sequences):
        if sequence:
            rest = (*sequences[:index], sequence[1:], *sequences[index + 1 :])
            for following in interleavings(*rest):
                yield (sequence[0], *following)


class World:
    """A store, a view of it, and the messages under way between them.

    A load asks, the store answers with its value of that moment, and the reply arrives later. A
    write changes the value and sends an invalidation, which arrives later, on another connection.
    """

    def __init__(self) -> None:
        self.view: View[str, int] = View(10, 10)
        self.stored: int | None = 0
        self.readings: dict[str, int | None] = {}
        self.replies: dict[str, asyncio.Future[int | None]] = {}
        self.callers: list[asyncio.Task[int | None]] = []

    async def step(self, step: str) -> None:
        verb, _, who = step.partition(" ")
        if verb == "ask" and not known(self.view, "k"):
            reply = self.replies[who] = asyncio.get_running_loop().create_future()
            self.callers.append(asyncio.create_task(self.view.load("k", lambda: reply)))
        elif verb == "read":
            self.readings[who] = self.stored
        elif verb == "reply" and who in self.replies:
            self.replies[who].set_result(self.readings[who])
        elif verb == "write":
            self.stored = None if self.stored else 1
        elif verb == "hear":
            self.view.drop("k")
        for _ in range(4):  # callbacks of callbacks
            await asyncio.sleep(0)


LOAD = ("ask {0}", "read {0}", "reply {0}")
WRITE = ("write {0}", "hear {0}")


def named(sequence: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(step.format(name) for step in sequence)


@pytest.mark.parametrize(
    "sequences",
    [
        (named(LOAD, "a"), named(WRITE, "x")),
        (named(LOAD, "a"), named(WRITE, "x"), named(WRITE, "y")),
        (named(LOAD, "a"), named(LOAD, "b"), named(WRITE, "x")),
        (named(LOAD, "a") + named(LOAD, "c"), named(LOAD, "b"), named(WRITE, "x")),
    ],
    ids=["one load, one write", "two writes", "two loads", "three loads"],
)
async def test_when_all_is_heard_the_view_knows_the_truth_or_nothing(
    sequences: tuple[tuple[str, ...], ...],
) -> None:
    count = 0
    for order in interleavings(*sequences):
        world = World()
        for step in order:
            await world.step(step)
        if known(world.view, "k"):
            assert world.view.look_up("k") == world.stored, order
        for reply in world.replies.values():
            if not reply.done():  # a shared load needed one reply only
                reply.cancel()
        await asyncio.gather(*world.callers, return_exceptions=True)
        count += 1
    assert count > 1


async def test_concurrent_loads_of_one_key_are_one() -> None:
    view: View[str, int] = View(10, 10)
    calls = 0
    ready = asyncio.Event()

    async def read() -> int:
        nonlocal calls
        calls += 1
        await ready.wait()
        return 7

    callers = [asyncio.create_task(view.load("k", read)) for _ in range(50)]
    await asyncio.sleep(0)
    ready.set()
    assert await asyncio.gather(*callers) == [7] * 50
    assert calls == 1
    assert view.look_up("k") == 7


async def test_a_caller_that_gives_up_takes_the_answer_from_nobody() -> None:
    view: View[str, int] = View(10, 10)
    reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    hasty = asyncio.create_task(view.load("k", lambda: reply))
    patient = asyncio.create_task(view.load("k", lambda: reply))
    await asyncio.sleep(0)
    hasty.cancel()
    await asyncio.sleep(0)
    reply.set_result(3)
    assert await patient == 3
    assert hasty.cancelled()


async def test_a_load_that_fails_is_told_to_all_and_tried_again() -> None:
    view: View[str, int] = View(10, 10)

    async def fail() -> int:
        raise OSError

    async def succeed() -> int:
        return 1

    outcomes = await asyncio.gather(view.load("k", fail), view.load("k", fail), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OSError, OSError]
    assert not known(view, "k")
    assert await view.load("k", succeed) == 1


def test_the_oldest_makes_room_and_absences_take_it_from_no_value() -> None:
    view: View[int, int] = View(3, 2)
    for number in range(4):
        view.put(number, number)
    for number in range(100, 200):
        view.put(number, None)
    assert [known(view, number) for number in range(4)] == [False, True, True, True]
    assert known(view, 199)
    assert not known(view, 197)
    assert len(view) == 5


def test_a_key_is_present_or_absent_and_never_both() -> None:
    view: View[str, int] = View(3, 3)
    view.put("k", 1)
    view.put("k", None)
    assert (known(view, "k"), view.look_up("k"), len(view)) == (True, None, 1)
    view.put("k", 2)
    assert (known(view, "k"), view.look_up("k"), len(view)) == (True, 2, 1)
    view.clear()
    assert not known(view, "k")
