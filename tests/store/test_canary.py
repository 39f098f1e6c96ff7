"""The canary: what counts as its answer, and what it finds out about real servers."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import redis

from redisproxy import RedisProxy
from scopegate.metrics import MetricsArea
from scopegate.metrics.families import CANARIES_TOTAL, HIGHEST_LAG, PROPAGATION_LAG, TRACKING_LOSSES
from scopegate.store import Store, layout
from scopegate.store.canary import Canary, CanaryWatch, new_id
from store.facts import NOW, key, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from scopegate.metrics import StoreMetrics
    from scopegate.store.liveaccess import LiveAccess

LIFETIME = 10.0


def watch() -> CanaryWatch:
    ids = itertools.count(1)
    return CanaryWatch(lambda: f"c{next(ids)}", LIFETIME)


# What counts as an answer


def test_a_canary_is_answered_by_being_told_after_its_acknowledgement() -> None:
    one = watch()
    canary = one.write(100.0)
    assert one.acknowledged(canary)
    assert one.told(canary, 100.25) == 0.25


def test_a_canary_is_answered_by_being_told_before_its_acknowledgement() -> None:
    one = watch()
    canary = one.write(100.0)
    assert one.told(canary, 100.25) == 0.25
    assert not one.acknowledged(canary)


def test_a_canary_that_was_answered_gives_the_next_one_its_name() -> None:
    one = watch()
    canary = one.write(100.0)
    one.told(canary, 100.1)
    one.acknowledged(canary)
    assert one.write(101.0) == canary


def test_what_is_told_a_second_time_is_no_answer() -> None:
    one = watch()
    canary = one.write(100.0)
    one.told(canary, 100.1)
    assert one.told(canary, 100.2) is None


@pytest.mark.parametrize("acknowledged", [False, True], ids=["refused", "too late"])
def test_nothing_is_an_answer_once_it_was_given_up(*, acknowledged: bool) -> None:
    one = watch()
    canary = one.write(100.0)
    if acknowledged:
        one.acknowledged(canary)
    assert one.give_up()
    assert one.told(canary, 100.3) is None
    following = one.write(101.0)
    assert following != canary
    assert one.told(canary, 101.1) is None  # late, or its expiry
    assert one.told(following, 101.2) == pytest.approx(0.2)


def test_another_workers_canary_is_no_answer() -> None:
    one = watch()
    one.write(100.0)
    assert one.told("another", 100.1) is None


def test_an_answer_before_a_refusal_stands_but_what_was_refused_may_be_told_again() -> None:
    one = watch()
    canary = one.write(100.0)
    assert one.told(canary, 100.1) is not None
    assert not one.give_up()
    assert one.write(101.0) != canary


def test_a_record_that_may_have_expired_meanwhile_is_not_written_again() -> None:
    one = watch()
    canary = one.write(100.0)
    one.told(canary, 100.1)
    assert one.write(100.0 + LIFETIME / 2 + 0.1) != canary


def test_its_own_expiry_is_no_answer() -> None:
    one = watch()
    canary = one.write(100.0)
    one.acknowledged(canary)
    assert one.told(canary, 100.0 + LIFETIME) is None


def test_an_acknowledgement_of_an_earlier_canary_is_none_of_this_one() -> None:
    one = watch()
    first = one.write(100.0)
    one.give_up()
    second = one.write(101.0)
    assert not one.acknowledged(first)
    assert one.acknowledged(second)


@dataclass
class World:
    """A server, its pushes on their way, and a worker, all of which may be as slow as they like."""

    watch: CanaryWatch
    now: float = 0.0
    written: int = 0
    resting: bool = True
    acknowledged: bool = False
    pending: list[tuple[int, str]] = field(default_factory=list)  # writes that the server has not done
    done: dict[str, float] = field(default_factory=dict)  # when a record that exists was written
    pushes: deque[tuple[int | None, str]] = field(default_factory=deque)
    answers: int = 0

    def clone(self) -> World:
        return World(
            **{
                **self.__dict__,
                "watch": copy.copy(self.watch),
                "pending": list(self.pending),
                "done": dict(self.done),
                "pushes": deque(self.pushes),
            }
        )

    def writes(self) -> bool:
        if not self.resting:
            return False
        self.now += 1.0
        self.written += 1
        self.pending.append((self.written, self.watch.write(self.now)))
        self.resting, self.acknowledged = False, False
        return True

    def serves(self) -> bool:
        if not self.pending:
            return False
        number, name = self.pending.pop(0)
        self.done[name] = self.now
        self.pushes.append((number, name))
        return True

    def acknowledges(self) -> bool:
        current = (self.written, self.watch.id)
        if self.acknowledged or not self.written or current in self.pending:
            return False
        self.acknowledged = True
        self.watch.acknowledged(self.watch.id)
        return True

    def tells(self) -> bool:
        if not self.pushes:
            return False
        number, name = self.pushes.popleft()
        if self.watch.told(name, self.now) is not None:
            assert number == self.written, "a canary was answered by what is not its own"
            assert not self.resting
            self.resting = True
            self.answers += 1
        return True

    def gives_up(self) -> bool:
        if self.resting:
            return False
        assert self.watch.give_up()
        self.resting = True
        return True

    def stalls(self) -> bool:
        self.now += LIFETIME * 0.6
        return True

    def expires(self) -> bool:
        for name, since in self.done.items():
            if self.now - since >= LIFETIME:
                del self.done[name]
                self.pushes.append((None, name))
                return True
        return False


def test_no_interleaving_answers_a_canary_by_what_is_not_its_own() -> None:
    steps = ("writes", "serves", "acknowledges", "tells", "gives_up", "stalls", "expires")
    worlds = [World(watch())]
    answers = 0
    for _ in range(9):
        following = []
        for world in worlds:
            for step in steps:
                other = world.clone()
                if getattr(other, step)():
                    following.append(other)
                    answers = max(answers, other.answers)
        worlds = following
    assert answers == 3
    assert len(worlds) > 10_000


# On real servers


def count(metrics: MetricsArea, outcome: str) -> int:
    return metrics.total(CANARIES_TOTAL.first + CANARIES_TOTAL.series.index((outcome,)))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- the server tells nobody else
            await asyncio.sleep(0.002)


@pytest.fixture
def area() -> MetricsArea:
    return MetricsArea(1)


@pytest.fixture
def metrics(area: MetricsArea) -> StoreMetrics:
    return area.worker(0).store


@pytest.fixture
async def live(store: Store, metrics: StoreMetrics) -> AsyncIterator[LiveAccess]:
    access = store.live_access(canary_interval=0.02, max_lag=5.0, metrics=metrics)
    access.start()
    yield access
    await access.stop()


async def test_the_lag_is_measured_over_and_over(live: LiveAccess, area: MetricsArea) -> None:
    await until(lambda: count(area, "told") >= 5)
    assert (count(area, "lost"), count(area, "not_measured")) == (0, 0)
    [last], [most] = area.measured(PROPAGATION_LAG, 0.0), area.measured(HIGHEST_LAG, 0.0)
    assert 0 < last <= most < 5


async def test_a_canary_leaves_what_is_known_as_it_is(
    store: Store, live: LiveAccess, area: MetricsArea
) -> None:
    await store.keys.create(key(), now=NOW)
    await until(lambda: count(area, "told") >= 1)
    scope = await live.scope(text_of(key()))
    seen = count(area, "told")
    await until(lambda: count(area, "told") >= seen + 3)
    assert live.known_scope(text_of(key())) is scope


async def test_canaries_are_one_record_that_lives_for_a_short_time(
    live: LiveAccess, area: MetricsArea, raw: Any
) -> None:
    await until(lambda: count(area, "told") >= 5)
    [name] = raw.keys("sg:canary:*")
    assert 0 < raw.pttl(name) <= 25_000


async def test_a_worker_is_told_of_few_canaries_of_others(store: Store, metrics: StoreMetrics) -> None:
    prefixes = {Canary(store._redis, metrics).prefix for _ in range(2_000)}
    assert len(prefixes) == 62
    assert {len(prefix) for prefix in prefixes} == {len("sg:canary:x")}
    assert len({new_id("x") for _ in range(100)}) == 100


async def test_another_workers_canary_and_an_expiry_are_no_answers(
    store: Store, metrics: StoreMetrics, area: MetricsArea, raw: Any
) -> None:
    access = store.live_access(canary_interval=3600, metrics=metrics)
    access.start()
    await until(lambda: count(area, "told") == 1)
    assert access._canary is not None
    [name] = raw.keys("sg:canary:*")
    raw.set(layout.canary(new_id(access._canary.prefix[-1])), "")
    raw.pexpire(name, 1)
    raw.set(layout.key_record("000", "x"), "{}")
    assert access._canary._task is not None
    await until(lambda: not raw.exists(name))
    assert not access._canary._task.done()
    assert count(area, "told") == 1
    await access.stop()


async def test_a_worker_asks_for_tenants_and_for_canaries_like_its_own(
    store: Store, metrics: StoreMetrics, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = store.live_access(canary_interval=3600, metrics=metrics)
    assert access._canary is not None
    own = access._canary.prefix[-1]
    heard: list[bytes] = []
    monkeypatch.setattr(access, "changed", heard.append)
    access.start()
    await until(lambda: access.live)
    for first in ("a", "b"):
        raw.set(layout.canary(new_id(first)), "")
    raw.set("sg:other", "")
    raw.set(layout.canary(f"{own}!"), "")
    raw.set(layout.flags("000"), "")
    await until(lambda: layout.flags("000").encode() in heard)
    others = [name for name in heard if not name.startswith(layout.canary(own).encode())]
    assert others == [layout.flags("000").encode()]
    assert layout.canary(f"{own}!").encode() in heard
    await access.stop()


@contextmanager
def configured(raw: Any, name: str, value: str) -> Iterator[None]:
    before = raw.config_get(name)[name]
    raw.config_set(name, value)
    try:
        yield
    finally:
        raw.config_set(name, before)


@contextmanager
def replica(raw: Any) -> Iterator[None]:
    raw.replicaof("127.0.0.1", 1)
    try:
        yield
    finally:
        raw.replicaof("NO", "ONE")


REFUSALS: dict[str, Callable[[Any], Any]] = {
    "OutOfMemoryError": lambda raw: configured(raw, "maxmemory", "1"),
    "NoReplicas": lambda raw: configured(raw, "min-replicas-to-write", "1"),
    "ReadOnlyError": replica,
}


@pytest.mark.parametrize("refusing", REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_canary_that_is_refused_measures_nothing_and_decisions_go_on(
    store: Store,
    live: LiveAccess,
    area: MetricsArea,
    raw: Any,
    caplog: pytest.LogCaptureFixture,
    refusing: Callable[[Any], Any],
) -> None:
    await store.keys.create(key(), now=NOW)
    await until(lambda: count(area, "told") >= 1)
    with refusing(raw):
        await until(lambda: count(area, "not_measured") >= 5)
        assert area.measured(PROPAGATION_LAG, 0.0) == []
        assert live.live
        assert await live.scope(text_of(key())) is not None
    told = count(area, "told")
    await until(lambda: count(area, "told") > told)
    assert (count(area, "lost"), area.total(TRACKING_LOSSES.first)) == (0, 0)
    assert len([line for line in caplog.messages if "no canary can be written" in line]) == 1


async def test_a_worker_that_may_only_read_is_told_of_changes(
    store_url: str, store: Store, metrics: StoreMetrics, area: MetricsArea, raw: Any
) -> None:
    reading = "+get +evalsha_ro +script|load +hget +info +client|setname +client|tracking"
    raw.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~sg:*", *reading.split())
    restricted = Store.at(store_url.replace("unix://", "unix://reader:secret@"))
    live = restricted.live_access(canary_interval=0.02, metrics=metrics)
    live.start()
    await store.keys.create(key(), now=NOW)
    await until(lambda: count(area, "not_measured") >= 2)
    assert await live.scope(text_of(key())) is not None
    await store.keys.delete(key().id)
    async with asyncio.timeout(20):
        while await live.scope(text_of(key())) is not None:  # noqa: ASYNC110 -- the server tells nobody else
            await asyncio.sleep(0)
    assert live.live
    assert (count(area, "lost"), count(area, "told")) == (0, 0)
    await live.stop()
    await restricted.aclose()
    raw.acl_deluser("reader")


@pytest.fixture
def proxy(store_url: str) -> Iterator[RedisProxy]:
    with RedisProxy(store_url.removeprefix("unix://")) as between:
        yield between


async def test_a_connection_that_answers_and_tells_nothing_is_dropped(
    proxy: RedisProxy, metrics: StoreMetrics, area: MetricsArea, store: Store
) -> None:
    through = Store.at(proxy.url)
    live = through.live_access(canary_interval=0.02, max_lag=0.1, metrics=metrics)
    live.start()
    await store.keys.create(key(), now=NOW)
    await until(lambda: count(area, "told") >= 1)
    assert await live.scope(text_of(key())) is not None

    proxy.drops_pushes = True
    await store.keys.delete(key().id)
    await until(lambda: count(area, "lost") >= 2)
    async with asyncio.timeout(20):
        while await live.scope(text_of(key())) is not None:
            pass
    [lag] = area.measured(PROPAGATION_LAG, 0.0)
    assert lag >= 0.1
    assert proxy.trackings >= 2

    proxy.drops_pushes = False
    told = count(area, "told")
    await until(lambda: count(area, "told") > told and live.live)
    await until(lambda: max(area.measured(PROPAGATION_LAG, 0.0)) < 0.1)
    await live.stop()
    await through.aclose()


async def test_a_connection_that_ends_while_a_canary_waits_is_no_loss(
    proxy: RedisProxy, metrics: StoreMetrics, area: MetricsArea, store_url: str
) -> None:
    through = Store.at(proxy.url)
    live = through.live_access(canary_interval=0.02, max_lag=60, metrics=metrics)
    live.start()
    await until(lambda: count(area, "told") >= 1)
    proxy.drops_pushes = True
    told = count(area, "told")
    await until(lambda: bool(area.measured(PROPAGATION_LAG, 1e12)) and _waits(area))
    with redis.Redis.from_url(store_url) as operator:
        operator.client_kill_filter(_type="normal", skipme=True)
    await until(lambda: count(area, "not_measured") >= 1)
    [lag] = area.measured(PROPAGATION_LAG, 0.0)
    assert lag > 0  # what was measured before is not forgotten
    proxy.drops_pushes = False
    await until(lambda: count(area, "told") > told + 1)
    assert count(area, "lost") == 0
    await live.stop()
    await through.aclose()


def _waits(area: MetricsArea) -> bool:
    """Whether a canary waits now, told by an age that no measurement has."""
    return max(area.measured(PROPAGATION_LAG, 1e12)) > 1e9
