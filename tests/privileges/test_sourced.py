"""An answer of a privilege source serves for as long as it may, and not a moment longer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from scopegate.core.catalogue import Catalogue
from scopegate.core.decision import Scope
from scopegate.core.errors import PrivilegesUnavailable, StoreUnavailable
from scopegate.core.keys import KeyRecord, KeyText, KeyType
from scopegate.core.principal import Member, Principal, User
from scopegate.privileges.source import Answer, Inquiry
from scopegate.privileges.sourced import SourcedAccess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from scopegate.enforcer import Entitlement

TAG = "000"
MAX_AGE = 5.0
CATALOGUE = Catalogue()
MAY = Answer(active=True, privileges=frozenset({"calls.view"}))
MAY_NOT = Answer(active=True)
BEGINNING = datetime(2027, 1, 1, tzinfo=UTC)


class Clock:
    """Seconds since some moment, as the test says."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.seconds)


def member(**changes: object) -> Member:
    user = User(id="maria", name="Maria", **changes)  # type: ignore[arg-type] # a test's facts
    return Member("maria", user.active, frozenset({"of.the.directory"}), user=user, roles=frozenset())


class Directory:
    """What the directory says now; `live`: it is known without asking anybody."""

    def __init__(self) -> None:
        self.facts: Entitlement = (member(), CATALOGUE)
        self.live = True
        self.fails = False

    def say(self, principal: Principal | None) -> None:
        self.facts = (principal, CATALOGUE)

    async def scope(self, key: KeyText) -> Scope | None:
        return Scope(
            KeyRecord(
                id=key.id,
                tenant="acme",
                type=KeyType.EXTERNAL,
                digest="d",
                description="d",
                created_at=BEGINNING,
                user="maria",
            )
        )

    async def of_user(self, tenant_tag: str, user_id: str) -> Entitlement:
        await asyncio.sleep(0)
        if self.fails:
            raise StoreUnavailable("Redis is away.")
        principal, catalogue = self.facts
        return self.facts if self.live else (principal, catalogue)

    def known_scope(self, key: KeyText, /) -> None:
        return None

    def known_user(self, tenant_tag: str, user_id: str, /) -> Entitlement | None:
        return self.facts if self.live else None


class Source:
    """Answers what the test says, at once or when the test lets it."""

    name = "scripted"

    def __init__(self) -> None:
        self.max_age = MAX_AGE
        self.stale_if_error = 0.0
        self.answer: Answer | None = MAY
        self.fails = False
        self.inquiries: list[Inquiry] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.changed: Callable[[], None] = lambda: None

    def start(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    async def ask(self, inquiry: Inquiry) -> Answer | None:
        self.inquiries.append(inquiry)
        answer, fails = self.answer, self.fails
        await self.may_answer.wait()
        if fails:
            raise PrivilegesUnavailable("It is silent.")
        return answer

    async def aclose(self) -> None:
        pass

    @property
    def asked(self) -> int:
        return len(self.inquiries)


class Observer:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.users: list[tuple[str, str]] = []
        self.everything = 0

    def key_changed(self, key_id: str) -> None: ...

    def policies_changed(self, tenant_tag: str) -> None: ...

    def told(self, *, from_now_on: bool, silent_for: float = 0.0) -> None: ...

    def user_changed(self, tenant_tag: str, user_id: str) -> None:
        self.users.append((tenant_tag, user_id))

    def everything_changed(self) -> None:
        self.everything += 1


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.directory = Directory()
        self.source = Source()
        self.observer = Observer()
        self.in_use: list[tuple[str, str]] = []
        self.access = SourcedAccess(self.directory, self.source, ticks=self.clock, clock=self.clock.now)
        self.access.introduce(TAG, "acme")

    def start(self) -> None:
        self.access.start(self.observer, lambda: self.in_use)

    def known(self) -> Principal | str | None:
        """What is known without asking; "to be asked" if nothing is."""
        found = self.access.known_user(TAG, "maria")
        return "to be asked" if found is None else found[0]

    async def principal(self) -> Principal | None:
        return (await self.access.of_user(TAG, "maria"))[0]

    async def privileges(self) -> set[str]:
        principal = await self.principal()
        return set() if principal is None else set(principal.privileges)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    made.start()
    yield made
    made.source.may_answer.set()
    await made.access.aclose()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- there is nobody who would tell
            await asyncio.sleep(0)


async def test_the_source_says_what_a_user_may_do_and_the_directory_does_not(world: World) -> None:
    assert world.known() == "to be asked"
    assert await world.privileges() == {"calls.view"}
    [inquiry] = world.source.inquiries
    assert inquiry == Inquiry("acme", "maria", member(), CATALOGUE)


async def test_an_answer_serves_while_it_is_fresh(world: World) -> None:
    await world.principal()
    world.source.answer = MAY_NOT
    world.clock.seconds += MAX_AGE - 0.01
    assert await world.privileges() == {"calls.view"}
    assert world.source.asked == 1
    world.clock.seconds += 0.01
    assert world.known() == "to be asked"
    assert await world.privileges() == set()


async def test_who_is_inactive_in_the_directory_has_nothing_and_nobody_is_asked(world: World) -> None:
    await world.principal()
    world.directory.say(member(active=False))
    known = world.known()
    assert isinstance(known, Principal)
    assert not known.active
    principal = await world.principal()
    assert principal is not None
    assert not principal.active
    assert world.source.asked == 1


async def test_whom_the_directory_does_not_know_the_source_may_know(world: World) -> None:
    world.directory.say(None)
    assert await world.privileges() == {"calls.view"}
    assert world.source.inquiries[0].member is None


async def test_whom_the_source_does_not_know_nobody_knows(world: World) -> None:
    world.source.answer = None
    assert await world.principal() is None
    assert world.known() is None


async def test_who_is_inactive_for_the_source_is_inactive(world: World) -> None:
    world.source.answer = Answer(active=False)
    principal = await world.principal()
    assert principal == Principal("maria", active=False, privileges=frozenset())


async def test_another_word_of_the_directory_has_the_source_asked_anew(world: World) -> None:
    await world.principal()
    world.source.answer = MAY_NOT
    world.directory.say(member(organization="Sales"))
    assert world.known() == "to be asked"
    assert await world.privileges() == set()


async def test_the_same_word_of_the_directory_read_again_does_not(world: World) -> None:
    await world.principal()
    world.directory.say(member())
    assert world.known() == "to be asked"
    assert await world.privileges() == {"calls.view"}
    assert world.source.asked == 1
    assert isinstance(world.known(), Principal)


async def test_while_the_directory_is_read_each_time_an_answer_serves_all_the_same(world: World) -> None:
    world.directory.live = False
    await world.principal()
    assert world.known() == "to be asked"
    await world.principal()
    assert world.source.asked == 1


async def test_a_directory_that_cannot_be_read_is_no_matter_of_the_source(world: World) -> None:
    await world.principal()
    world.directory.fails = True
    with pytest.raises(StoreUnavailable):
        await world.principal()


async def test_at_no_age_each_request_asks(world: World) -> None:
    world.source.max_age = 0.0
    assert await world.privileges() == {"calls.view"}
    assert world.known() == "to be asked"
    world.source.answer = MAY_NOT
    assert await world.privileges() == set()
    assert world.source.asked == 2


async def test_at_no_age_nobody_takes_the_answer_to_a_question_that_was_asked_before(world: World) -> None:
    world.source.max_age = 0.0
    world.source.may_answer.clear()
    first = asyncio.create_task(world.privileges())
    await until(lambda: world.source.asked == 1)
    world.source.answer = MAY_NOT
    second = asyncio.create_task(world.privileges())
    await until(lambda: world.source.asked == 2)
    world.source.may_answer.set()
    assert (await first, await second) == ({"calls.view"}, set())


# Questions that come together


async def test_questions_about_one_user_that_come_together_are_one(world: World) -> None:
    world.source.may_answer.clear()
    asking = [asyncio.create_task(world.privileges()) for _ in range(50)]
    await until(lambda: world.source.asked == 1)
    await settled()
    world.source.may_answer.set()
    assert await asyncio.gather(*asking) == [{"calls.view"}] * 50
    assert world.source.asked == 1


async def test_one_who_gives_up_takes_the_answer_from_nobody(world: World) -> None:
    world.source.may_answer.clear()
    impatient, patient = (asyncio.create_task(world.privileges()) for _ in range(2))
    await until(lambda: world.source.asked == 1)
    await settled()
    impatient.cancel()
    await settled()
    world.source.may_answer.set()
    assert await patient == {"calls.view"}
    assert impatient.cancelled()


async def test_a_question_that_is_too_old_is_not_waited_for(world: World) -> None:
    world.source.may_answer.clear()
    first = asyncio.create_task(world.privileges())
    await until(lambda: world.source.asked == 1)
    world.source.answer = MAY_NOT
    world.clock.seconds += MAX_AGE
    second = asyncio.create_task(world.privileges())
    await until(lambda: world.source.asked == 2)
    world.source.may_answer.set()
    assert (await first, await second) == ({"calls.view"}, set())
    assert await world.privileges() == set()


async def test_a_question_about_other_facts_is_not_waited_for(world: World) -> None:
    world.source.may_answer.clear()
    first = asyncio.create_task(world.privileges())
    await until(lambda: world.source.asked == 1)
    world.source.answer = MAY_NOT
    world.directory.say(member(organization="Sales"))
    second = asyncio.create_task(world.privileges())
    await until(lambda: world.source.asked == 2)
    world.source.may_answer.set()
    assert (await first, await second) == ({"calls.view"}, set())


async def test_an_answer_that_comes_late_does_not_replace_one_to_a_later_question(world: World) -> None:
    world.source.max_age = 0.0
    slow = world.source.may_answer
    slow.clear()
    first = asyncio.create_task(world.privileges())
    await until(lambda: world.source.asked == 1)
    world.clock.seconds += 0.1
    world.source.answer, world.source.may_answer = MAY_NOT, asyncio.Event()
    world.source.may_answer.set()
    world.source.stale_if_error = 60.0
    assert await world.privileges() == set()
    slow.set()
    assert await first == {"calls.view"}
    world.source.fails = True
    assert await world.privileges() == set()


async def test_a_failure_is_told_to_all_who_wait_and_the_next_one_asks_anew(world: World) -> None:
    world.source.may_answer.clear()
    world.source.fails = True
    asking = [asyncio.create_task(world.principal()) for _ in range(3)]
    await until(lambda: world.source.asked == 1)
    await settled()
    world.source.may_answer.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(error) for error in found] == [PrivilegesUnavailable] * 3
    world.source.fails = False
    assert await world.privileges() == {"calls.view"}


# Where there is no answer


async def test_without_an_answer_nobody_can_tell(world: World) -> None:
    await world.principal()
    world.source.fails = True
    world.clock.seconds += MAX_AGE
    with pytest.raises(PrivilegesUnavailable):
        await world.principal()


async def test_an_answer_that_was_good_serves_a_while_longer_if_that_is_wanted(world: World) -> None:
    world.source.stale_if_error = 10.0
    await world.principal()
    world.source.fails = True
    world.clock.seconds += MAX_AGE + 9.99
    assert await world.privileges() == {"calls.view"}
    world.clock.seconds += 0.01
    with pytest.raises(PrivilegesUnavailable):
        await world.principal()


async def test_what_was_denied_is_not_given_for_want_of_an_answer(world: World) -> None:
    world.source.stale_if_error = 10.0
    await world.principal()
    world.source.answer = MAY_NOT
    world.clock.seconds += MAX_AGE
    assert await world.privileges() == set()
    world.source.fails = True
    world.clock.seconds += MAX_AGE
    assert await world.privileges() == set()


async def test_what_was_denied_meanwhile_is_not_given_to_one_whose_question_failed(world: World) -> None:
    world.source.stale_if_error = 60.0
    await world.principal()
    world.clock.seconds += MAX_AGE
    slow = world.source.may_answer
    slow.clear()
    world.source.fails = True
    failing = asyncio.create_task(world.privileges())
    await until(lambda: world.source.asked == 2)
    world.clock.seconds += MAX_AGE
    world.source.fails, world.source.answer, world.source.may_answer = False, MAY_NOT, asyncio.Event()
    world.source.may_answer.set()
    assert await world.privileges() == set()
    slow.set()
    assert await failing == set()


async def test_an_answer_about_other_facts_does_not_serve_for_want_of_another(world: World) -> None:
    world.source.stale_if_error = 10.0
    await world.principal()
    world.source.fails = True
    world.directory.say(member(organization="Sales"))
    with pytest.raises(PrivilegesUnavailable):
        await world.principal()


async def test_a_tenant_of_which_nobody_has_heard_is_not_asked_about(world: World) -> None:
    with pytest.raises(PrivilegesUnavailable):
        await world.access.of_user("111", "maria")
    assert world.source.asked == 0


async def test_the_tenant_is_told_by_the_key(world: World) -> None:
    await world.access.scope(KeyText("111000000001", "a text"))
    await world.access.of_user("111", "maria")
    assert world.source.inquiries[0].tenant == "acme"


# Renewal, and what is open


async def test_an_answer_that_is_in_use_is_renewed_before_it_is_too_old(world: World) -> None:
    await world.principal()
    world.clock.seconds += 0.8 * MAX_AGE
    world.source.answer = MAY_NOT
    world.source.may_answer.clear()
    for _ in range(5):
        assert isinstance(world.known(), Principal)  # nobody waits
    await until(lambda: world.source.asked == 2)
    world.source.may_answer.set()
    await settled()
    assert world.source.asked == 2
    known = world.known()
    assert isinstance(known, Principal)
    assert known.privileges == frozenset()


async def test_a_renewal_that_fails_leaves_the_answer_as_old_as_it_is(world: World) -> None:
    await world.principal()
    world.clock.seconds += 0.8 * MAX_AGE
    world.source.fails = True
    assert isinstance(world.known(), Principal)
    await until(lambda: world.source.asked == 2)
    await settled()
    assert isinstance(world.known(), Principal)
    world.clock.seconds += 0.2 * MAX_AGE
    assert world.known() == "to be asked"


async def test_another_answer_is_told_to_whoever_looks_after_what_is_open(world: World) -> None:
    await world.principal()
    world.clock.seconds += MAX_AGE
    await world.principal()
    assert world.observer.users == []
    world.source.answer = MAY_NOT
    world.clock.seconds += MAX_AGE
    await world.principal()
    assert world.observer.users == [(TAG, "maria")]


@pytest.fixture
async def quick() -> AsyncIterator[World]:
    """One whose source has a short age by the clock of the event loop."""
    made = World()
    made.source.max_age = 0.05
    made.clock = Clock()
    made.access._ticks = asyncio.get_running_loop().time
    yield made
    await made.access.aclose()


@pytest.fixture
def no_watch_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scopegate.privileges.sourced._SHORTEST_WATCH", 0.05)


async def test_the_users_of_what_is_open_are_asked_about_again(
    quick: World, no_watch_is_shorter: None
) -> None:
    quick.start()
    quick.in_use = [(TAG, "maria")]
    await quick.principal()
    await until(lambda: quick.source.asked > 3)
    quick.source.answer = MAY_NOT
    known = quick.access._known
    await until(lambda: known[TAG, "maria"].entitlement[0] == Principal("maria", True, frozenset()))  # noqa: FBT003
    assert quick.observer.users[-1] == (TAG, "maria")


async def test_a_slow_source_is_not_asked_again_for_one_user_before_it_has_answered(
    quick: World, no_watch_is_shorter: None
) -> None:
    quick.start()
    quick.in_use = [(TAG, "maria")]
    await quick.principal()
    quick.source.may_answer.clear()
    await until(lambda: len(quick.observer.users) > 5)  # so many looks later
    assert len(quick.access._renewing) == 1
    assert len(quick.access._tasks) <= 2
    quick.source.may_answer.set()


async def test_nobody_is_asked_about_for_whom_nothing_is_open(
    quick: World, no_watch_is_shorter: None
) -> None:
    quick.start()
    await quick.principal()
    await asyncio.sleep(0.2)  # several ages; what must not happen has no moment to wait for
    assert quick.source.asked == 1


async def test_what_is_open_is_judged_when_nobody_can_tell_any_more(
    quick: World, no_watch_is_shorter: None
) -> None:
    quick.start()
    quick.in_use = [(TAG, "maria")]
    await quick.principal()
    quick.source.fails = True
    await until(lambda: bool(quick.observer.users))
    with pytest.raises(PrivilegesUnavailable):
        await quick.principal()


# Sources that tell by themselves


async def test_all_answers_are_void_when_the_source_says_so(world: World) -> None:
    world.source.max_age = float("inf")
    await world.principal()
    world.clock.seconds += 1e9
    assert isinstance(world.known(), Principal)
    world.source.answer = MAY_NOT
    world.source.changed()
    assert world.known() == "to be asked"
    assert world.observer.everything == 1
    assert await world.privileges() == set()


async def test_an_answer_that_is_on_its_way_then_is_not_kept(world: World) -> None:
    world.source.max_age = float("inf")
    world.source.may_answer.clear()
    asking = asyncio.create_task(world.privileges())
    await until(lambda: world.source.asked == 1)
    world.source.answer = MAY_NOT
    world.source.changed()
    world.source.may_answer.set()
    assert await asking == {"calls.view"}  # it asked before the change was known
    assert world.known() == "to be asked"
    assert await world.privileges() == set()


async def test_before_it_is_started_nothing_is_kept() -> None:
    world = World()
    await world.principal()
    await world.principal()
    assert world.source.asked == 2
    await world.access.aclose()


async def test_who_said_so_and_when_is_known() -> None:
    world = World()
    principal = await world.principal()
    assert principal is not None
    assert principal.testimony is not None
    later = world.clock.now() + timedelta(seconds=2)
    assert principal.testimony.in_words(later) == "the source scripted said so 2.0 s ago"
    await world.access.aclose()


async def test_no_more_users_are_kept_than_there_is_room_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scopegate.privileges.sourced._USERS", 3)
    for number in range(10):
        await world.access.of_user(TAG, f"user{number}")
    assert len(world.access._known) == 3
    assert not world.access._flights
