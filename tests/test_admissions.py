"""What was let in is reviewed whenever it has to be, whatever the order in which things are heard."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from scopegate.admissions import Admissions
from scopegate.core.keys import KeyRecord, KeyType, RetiringSecret
from store.test_view import interleavings

if TYPE_CHECKING:
    from collections.abc import Callable

TAG = "000"


def record(
    name: str = "one",
    *,
    user: str | None = None,
    expires_at: datetime | None = None,
    retiring_until: datetime | None = None,
) -> KeyRecord:
    return KeyRecord(
        id=f"{TAG}{name}",
        tenant="default",
        type=KeyType.EXTERNAL,
        digest="d",
        description="d",
        created_at=datetime(2027, 1, 1, tzinfo=UTC),
        user=user,
        expires_at=expires_at,
        retiring=None if retiring_until is None else RetiringSecret("old", retiring_until),
    )


class Stream:
    """Something that was let in. ``allowed`` is what a review finds; None: nobody can tell."""

    def __init__(self) -> None:
        self.running = True
        self.allowed: bool | None = True
        self.reviews = 0

    async def review(self, *, last: bool) -> bool:
        self.reviews += 1
        await asyncio.sleep(0)
        if self.allowed is None and not last:
            return False
        self.running = bool(self.allowed)
        return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- there is nobody who would tell
            await asyncio.sleep(0)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def admissions() -> Admissions:
    told = Admissions(patience=5.0)
    told.told(from_now_on=True)
    return told


CHANGES: dict[str, Callable[[Admissions], None]] = {
    "its key": lambda admissions: admissions.key_changed(f"{TAG}one"),
    "its user": lambda admissions: admissions.user_changed(TAG, "maria"),
    "its tenant's policies": lambda admissions: admissions.policies_changed(TAG),
    "everything": lambda admissions: admissions.everything_changed(),
    "telling begins anew": lambda admissions: admissions.told(from_now_on=True),
    "telling ends": lambda admissions: admissions.told(from_now_on=False),
}
OTHERS: dict[str, Callable[[Admissions], None]] = {
    "another key": lambda admissions: admissions.key_changed(f"{TAG}two"),
    "another user": lambda admissions: admissions.user_changed(TAG, "kim"),
    "another tenant's user": lambda admissions: admissions.user_changed("111", "maria"),
    "another tenant's policies": lambda admissions: admissions.policies_changed("111"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_of_what_it_was_let_in_for_has_it_reviewed(
    admissions: Admissions, change: str
) -> None:
    stream = Stream()
    admissions.follow(stream, record(user="maria"))
    stream.allowed = False
    CHANGES[change](admissions)
    await until(lambda: not stream.running)
    assert stream.reviews == 1


@pytest.mark.parametrize("change", OTHERS)
async def test_another_change_does_not(admissions: Admissions, change: str) -> None:
    stream = Stream()
    admissions.follow(stream, record(user="maria"))
    OTHERS[change](admissions)
    await settled()
    assert not stream.reviews


async def test_what_is_over_is_not_reviewed(admissions: Admissions) -> None:
    over, idle = Stream(), Stream()
    admissions.follow(over, record())
    admissions.follow(idle, record())
    idle.running = False
    admissions.forget(over)
    admissions.key_changed(f"{TAG}one")
    await settled()
    assert not over.reviews
    assert not idle.reviews


async def test_what_is_over_leaves_nothing_behind(admissions: Admissions) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    streams = [Stream() for _ in range(10)]
    for number, stream in enumerate(streams):
        admissions.follow(stream, record(f"{number % 3}", user="maria", expires_at=expires_at))
        admissions.follow(stream, record(f"{number % 4}", user="kim", expires_at=expires_at))
    admissions.everything_changed()
    for stream in streams:
        admissions.forget(stream)
        admissions.forget(stream)
    await settled()
    assert not admissions._keys
    assert not admissions._key_of
    assert not admissions._keys_of_users
    assert not admissions._due
    assert not admissions._reviewers


async def test_it_is_followed_to_another_user(admissions: Admissions) -> None:
    stream = Stream()
    admissions.follow(stream, record(user="maria"))
    admissions.follow(stream, record(user="kim"))
    admissions.user_changed(TAG, "maria")
    await settled()
    assert not stream.reviews
    admissions.user_changed(TAG, "kim")
    await until(lambda: stream.reviews == 1)


async def test_many_are_reviewed_a_few_at_a_time(admissions: Admissions) -> None:
    under_way = most = 0

    class Slow(Stream):
        async def review(self, *, last: bool) -> bool:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await settled()
            under_way -= 1
            return await super().review(last=last)

    streams = [Slow() for _ in range(200)]
    for number, stream in enumerate(streams):
        admissions.follow(stream, record(str(number)))
        stream.allowed = False
    admissions.everything_changed()
    await until(lambda: not any(stream.running for stream in streams))
    assert 1 < most <= 16


async def test_a_change_during_a_review_has_it_reviewed_once_more(admissions: Admissions) -> None:
    found: list[asyncio.Future[bool]] = []

    class Asked(Stream):
        async def review(self, *, last: bool) -> bool:
            found.append(asyncio.get_running_loop().create_future())
            self.running = await found[-1]
            return await super().review(last=last) if last else True

    stream = Asked()
    admissions.follow(stream, record())
    admissions.key_changed(f"{TAG}one")
    await until(lambda: len(found) == 1)
    for _ in range(3):  # once more is enough for all of them
        admissions.key_changed(f"{TAG}one")
    found[0].set_result(True)  # by what was there before
    await until(lambda: len(found) == 2)
    found[1].set_result(False)
    await until(lambda: not stream.running)
    await settled()
    assert len(found) == 2


async def test_a_review_that_fails_is_made_again(admissions: Admissions) -> None:
    class Failing(Stream):
        async def review(self, *, last: bool) -> bool:
            if not self.reviews:
                self.reviews += 1
                raise OSError
            return await super().review(last=last)

    stream = Failing()
    admissions.follow(stream, record())
    stream.allowed = False
    admissions.key_changed(f"{TAG}one")
    await until(lambda: not stream.running)


@pytest.mark.parametrize("telling", ["goes on", "has ended"])
async def test_nobody_can_tell_for_a_while_only(telling: str) -> None:
    admissions = Admissions(patience=0.3)
    admissions.told(from_now_on=telling == "goes on")
    stream = Stream()
    admissions.follow(stream, record())
    stream.allowed = None
    admissions.key_changed(f"{TAG}one")
    await until(lambda: not stream.running)
    assert stream.reviews > 1
    admissions.close()


async def test_without_patience_doubt_is_the_end_when_it_stays() -> None:
    admissions = Admissions(patience=0.0)
    admissions.told(from_now_on=True)
    stream = Stream()
    admissions.follow(stream, record())
    stream.allowed = None
    admissions.key_changed(f"{TAG}one")
    await until(lambda: not stream.running)
    assert stream.reviews == 2


@pytest.mark.parametrize("before", ["told", "nothing"])
async def test_while_nothing_is_told_everything_is_reviewed_now_and_then(before: str) -> None:
    admissions = Admissions(patience=5.0)
    if before == "told":
        admissions.told(from_now_on=True)
        admissions.told(from_now_on=False)
    stream = Stream()
    admissions.follow(stream, record())
    await until(lambda: stream.reviews == 2)
    admissions.close()


async def test_it_is_reviewed_when_its_key_expires() -> None:
    now = datetime.now(UTC)
    began = asyncio.get_running_loop().time()

    def clock() -> datetime:
        return now + timedelta(seconds=asyncio.get_running_loop().time() - began)

    admissions = Admissions(patience=5.0, clock=clock)
    admissions.told(from_now_on=True)
    soon, later, passed = Stream(), Stream(), Stream()
    admissions.follow(soon, record("soon", expires_at=now + timedelta(seconds=0.2)))
    admissions.follow(later, record("later", expires_at=now + timedelta(hours=1)))
    soon.allowed = False
    await until(lambda: not soon.running)
    assert clock() >= now + timedelta(seconds=0.2)
    admissions.follow(passed, record("passed", expires_at=now))
    await until(lambda: passed.reviews > 0)
    assert not later.reviews
    # It is extended, which is told, and cut short, which is told as well.
    admissions.follow(later, record("later", expires_at=now + timedelta(seconds=0.4)))
    await until(lambda: later.reviews > 0)
    admissions.close()


async def test_it_is_reviewed_when_the_old_secret_of_its_key_is_over() -> None:
    now = datetime.now(UTC)
    began = asyncio.get_running_loop().time()

    def clock() -> datetime:
        return now + timedelta(seconds=asyncio.get_running_loop().time() - began)

    admissions = Admissions(patience=5.0, clock=clock)
    admissions.told(from_now_on=True)
    ends, expires_at = now + timedelta(seconds=0.2), now + timedelta(seconds=1.5)
    by_old, by_new, other = Stream(), Stream(), Stream()
    admissions.follow(by_old, record(retiring_until=ends, expires_at=expires_at))
    admissions.follow(by_new, record(retiring_until=ends, expires_at=expires_at))
    admissions.follow(other, record("other", retiring_until=now + timedelta(hours=1)))
    by_old.allowed = False
    await until(lambda: not by_old.running)
    assert clock() >= ends
    await until(lambda: by_new.reviews == 1)
    # The record is read anew, as it is: what was reviewed for its end once is not again.
    admissions.follow(by_new, record(retiring_until=ends, expires_at=expires_at))
    await settled()
    assert by_new.reviews == 1
    # Its expiry is awaited all the same.
    await until(lambda: by_new.reviews == 2)
    assert clock() >= expires_at
    # Another rotation has another end.
    admissions.follow(by_new, record(retiring_until=clock() + timedelta(seconds=0.1)))
    await until(lambda: by_new.reviews == 3)
    assert not other.reviews


async def test_an_end_that_passed_before_the_record_was_read_is_noticed(admissions: Admissions) -> None:
    ends = datetime.now(UTC) + timedelta(hours=1)
    stream, other = Stream(), Stream()
    admissions.follow(stream, record(retiring_until=ends))
    admissions.follow(other, record(retiring_until=ends - timedelta(hours=2)))
    await until(lambda: stream.reviews == 1 and other.reviews == 1)


class World:
    """A request that is judged by what it reads, and a change that is told on another connection."""

    def __init__(self, admissions: Admissions) -> None:
        self.admissions = admissions
        self.right = True
        self.stream: Stream | None = None
        self.read_before = True
        self.changes = 0
        self.answers: list[asyncio.Future[bool]] = []
        self.readings: list[bool] = []

    async def step(self, step: str) -> None:
        getattr(self, step.replace(" ", "_"))()
        await settled()

    def ask(self) -> None:
        self.changes = self.admissions.changes

    def read(self) -> None:
        self.read_before = self.right

    def let_in(self) -> None:
        if not self.read_before:
            return
        world = self

        class Reviewed(Stream):
            async def review(self, *, last: bool) -> bool:
                assert not last
                self.running = await world.asked()
                return True

        self.stream = Reviewed()
        self.admissions.follow(self.stream, record())
        if self.admissions.changes != self.changes:
            self.admissions.doubt(self.stream)

    def write(self) -> None:
        self.right = False

    def hear(self) -> None:
        self.admissions.key_changed(f"{TAG}one")

    def store_reads(self) -> None:
        self.readings = [self.right for _ in self.answers]

    def store_replies(self) -> None:
        for answer, reading in zip(self.answers, self.readings, strict=False):
            if not answer.done():
                answer.set_result(reading)

    async def asked(self) -> bool:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        return await answer


@pytest.mark.parametrize(
    "others",
    [(("store reads", "store replies") * 2,), (("store reads", "store replies"), ("hear",))],
    ids=["two reviews", "another change that takes nothing"],
)
async def test_in_every_order_what_lost_its_right_has_ended_when_all_is_heard(
    others: tuple[tuple[str, ...], ...],
) -> None:
    orders = 0
    for order in interleavings(("ask", "read", "let in"), ("write", "hear"), *others):
        admissions = Admissions(patience=5.0)
        admissions.told(from_now_on=True)
        world = World(admissions)
        for step in order:
            await world.step(step)
        for _ in range(3):  # all that is still under way arrives
            await world.step("store reads")
            await world.step("store replies")
        assert world.stream is None or not world.stream.running, order
        admissions.close()
        orders += 1
    assert orders > 1_000
