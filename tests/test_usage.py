"""The recorder counts without asking anybody, and what it counted arrives once, late and in the end."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis

from redisservers import server
from scopegate.core.decision import Decision
from scopegate.core.errors import ConfigurationError
from scopegate.core.keys import KeyType, RetiringSecret, Rule
from scopegate.core.reasons import Reason
from scopegate.core.usage import Known, LastUse
from scopegate.metrics import MetricsArea
from scopegate.store import Store
from scopegate.usage import UsageRecorder
from store.facts import key, key_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from scopegate.core.usage import KeyUsage
    from scopegate.metrics import StoreMetrics

NEXT_HOUR = 3_600
LOST = 3
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
RULES = (Rule("GET", "/api/recordings/*"), Rule("GET", "/api/notes"))
KEY = key(1, type=KeyType.CUSTOM, rules=RULES, created_at=NOON)
ALLOWED = Decision(Reason.ALLOWED, KEY, 0)
MISSING = Decision(Reason.PRIVILEGE_MISSING, KEY, 1, ("notes.view",))
OUT_OF_SCOPE = Decision(Reason.URL_NOT_ALLOWED, KEY)


class Clock:
    """A clock on the wall that is set by hand."""

    def __init__(self) -> None:
        self.now = NOON.timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def area() -> MetricsArea:
    return MetricsArea(1)


@pytest.fixture
def metrics(area: MetricsArea) -> StoreMetrics:
    return area.worker(0).store


@pytest.fixture
def recorder(metrics: StoreMetrics, clock: Clock) -> UsageRecorder:
    return UsageRecorder(interval=60, metrics=metrics, clock=clock)


@pytest.fixture
async def store(valkey_url: str) -> AsyncIterator[Store]:
    opened = Store.at(valkey_url)
    yield opened
    await opened.aclose()


async def written(recorder: UsageRecorder, store: Store) -> None:
    """Have all written that was counted so far."""
    recorder.start(store.usage_writer)
    await recorder.stop()


async def usage_of(store: Store, key_id: str = KEY.id) -> KeyUsage:
    return await store.usage.of_key(key_id, NOON.date(), NOON.date())


async def eventually(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 -- the server tells nobody else
            await asyncio.sleep(0.01)


async def test_each_outcome_is_counted_for_the_rule_that_admitted_it(
    recorder: UsageRecorder, store: Store
) -> None:
    for decision in (ALLOWED, ALLOWED, MISSING, OUT_OF_SCOPE, ALLOWED):
        recorder.record(decision, KEY.digest)
    await written(recorder, store)
    found = await usage_of(store)
    assert found.of_rule(RULES[0]).in_all().reasons == {Reason.ALLOWED: 3}
    assert found.of_rule(RULES[1]).in_all().reasons == {Reason.PRIVILEGE_MISSING: 1}
    assert found.of_rule(None).in_all().reasons == {Reason.URL_NOT_ALLOWED: 1}


async def test_what_is_no_use_of_a_key_is_not_counted(
    recorder: UsageRecorder, store: Store, valkey_url: str
) -> None:
    recorder.record(Decision(Reason.KEY_SECRET_WRONG), KEY.digest)
    recorder.record(Decision(Reason.STORE_UNAVAILABLE), KEY.digest)
    recorder.record(Decision(Reason.KEY_DELETED, KEY), KEY.digest)
    await written(recorder, store)
    with redis.Redis.from_url(valkey_url) as raw:
        assert raw.keys("*") == [b"sg:usage:{system}:since"]


async def test_a_rule_keeps_its_counts_when_it_moves_and_loses_none_when_it_goes(
    recorder: UsageRecorder, store: Store
) -> None:
    recorder.record(ALLOWED, KEY.digest)
    moved = replace(KEY, rules=RULES[::-1])
    recorder.record(Decision(Reason.ALLOWED, moved, 1), KEY.digest)
    edited = replace(KEY, rules=(Rule("GET", "/api/*"), RULES[1]))
    recorder.record(Decision(Reason.ALLOWED, edited, 0), KEY.digest)
    recorder.record(ALLOWED, KEY.digest)
    await written(recorder, store)
    found = await usage_of(store)
    assert found.of_rule(RULES[0]).in_all().allowed == 3
    assert found.of_rule(edited.rules[0]).in_all().allowed == 1


async def test_another_reading_of_the_same_record_counts_on(recorder: UsageRecorder, store: Store) -> None:
    for _ in range(3):
        again = replace(KEY, rules=tuple(replace(rule) for rule in RULES))
        recorder.record(Decision(Reason.ALLOWED, again, 0), KEY.digest)
    assert recorder._held == 1
    await written(recorder, store)
    assert (await usage_of(store)).in_all().allowed == 3


async def test_requests_are_counted_in_their_hour(
    recorder: UsageRecorder, store: Store, clock: Clock
) -> None:
    for number in range(3):
        for _ in range(number + 1):
            recorder.record(ALLOWED, KEY.digest)
        clock.now += NEXT_HOUR
    clock.now -= 3 * NEXT_HOUR  # somebody sets it back
    await written(recorder, store)
    recorder.record(ALLOWED, KEY.digest)
    await written(recorder, store)
    hours = (await usage_of(store)).by_hour()
    assert [span.allowed for span in hours] == [*[0] * 12, 2, 2, 3, *[0] * 9]


async def test_each_secret_has_the_time_of_its_own_last_use(
    recorder: UsageRecorder, store: Store, clock: Clock
) -> None:
    rotated = replace(KEY, digest="e" * 64, retiring=RetiringSecret(KEY.digest, NOON + timedelta(days=1)))
    recorder.record(Decision(Reason.ALLOWED, rotated, 0), KEY.digest)
    clock.now += 1.5
    recorder.record(Decision(Reason.ALLOWED, rotated, 0), rotated.digest)
    clock.now += 7
    await written(recorder, store)
    found = (await store.usage.last_uses([rotated], now=NOON))[KEY.id]
    assert found.retiring == LastUse(Known.USED, NOON)
    assert found.current == found.key == LastUse(Known.USED, NOON + timedelta(seconds=1.5))


async def test_a_key_is_known_to_be_unused_from_the_start_of_the_recorder_on(
    recorder: UsageRecorder, store: Store, clock: Clock
) -> None:
    recorder.start(store.usage_writer)
    clock.now += 5
    await recorder.stop()
    found = await store.usage.last_uses([KEY, key(2, created_at=NOON - timedelta(1))], now=NOON)
    assert found[KEY.id].key == LastUse(Known.NEVER)
    assert found[key_id(2)].key == LastUse(Known.NOT_SINCE, NOON)


async def test_what_a_server_lost_is_not_taken_for_never_used(
    recorder: UsageRecorder, store: Store, clock: Clock, valkey_url: str
) -> None:
    recorder.record(ALLOWED, KEY.digest)
    recorder._interval = 0.01
    recorder.start(store.usage_writer)

    async def counts_since(moment: datetime) -> bool:
        return (await usage_of(store)).counted_since == moment

    await eventually(lambda: counts_since(NOON))
    clock.now += 5
    with redis.Redis.from_url(valkey_url) as raw:
        raw.flushall()
    await eventually(lambda: counts_since(NOON + timedelta(seconds=5)))
    await recorder.stop()
    found = await store.usage.last_uses([KEY], now=NOON)
    assert found[KEY.id].key == LastUse(Known.NOT_SINCE, NOON + timedelta(seconds=5))


async def test_it_is_written_again_and_again_while_requests_go_on(
    recorder: UsageRecorder, store: Store, area: MetricsArea
) -> None:
    recorder._interval = 0.01
    recorder.start(store.usage_writer)
    for number in range(1, 4):
        recorder.record(ALLOWED, KEY.digest)

        async def arrived(expected: int = number) -> bool:
            return (await usage_of(store)).in_all().allowed == expected

        await eventually(arrived)
    await recorder.stop()
    assert recorder._held == 0


async def test_more_than_one_batch_and_tenant_arrive_whole(recorder: UsageRecorder, store: Store) -> None:
    ours = [key(number) for number in range(1_200)]
    records = [*ours, *(key(number, id=key_id(number, "0a1")) for number in range(1_200, 1_300))]
    for record in records:
        recorder.record(Decision(Reason.ALLOWED, record), record.digest)
    await written(recorder, store)
    found = await store.usage.last_uses(ours, now=NOON)
    assert all(one.key == one.current == LastUse(Known.USED, NOON) for one in found.values())
    for record in (ours[0], ours[-1]):
        assert (await usage_of(store, record.id)).in_all().allowed == 1
    assert recorder._held == 0


async def test_what_is_too_much_is_counted_together_and_told(
    metrics: StoreMetrics, area: MetricsArea, store: Store, clock: Clock
) -> None:
    recorder = UsageRecorder(interval=60, metrics=metrics, most=2, clock=clock)
    recorder._since = NOON.timestamp()
    for number in (1, 2, 3, 4, 1):
        record = key(number, created_at=NOON)
        clock.now += 1
        recorder.record(Decision(Reason.ALLOWED, record), record.digest)
    await written(recorder, store)
    assert await store.usage.missed() == 2
    assert (await usage_of(store, key_id(1))).in_all().allowed == 2
    assert not (await usage_of(store, key_id(3))).counts
    # It was used, so it must not be said that it was not.
    found = await store.usage.last_uses([key(3, created_at=NOON)], now=NOON)
    assert found[key_id(3)].key.known is Known.NOT_SINCE
    # There is room again.
    recorder.record(Decision(Reason.ALLOWED, key(3)), key(3).digest)
    await written(recorder, store)
    assert (await usage_of(store, key_id(3))).in_all().allowed == 1


async def test_while_redis_is_away_it_is_kept_and_then_written_once(
    recorder: UsageRecorder, tmp_path: Path, area: MetricsArea, caplog: pytest.LogCaptureFixture
) -> None:
    recorder._interval = 0.01
    with server(tmp_path / "redis") as one:
        store = Store.at(f"redis://127.0.0.1:{one.port}")
        recorder.start(store.usage_writer)
        recorder.record(ALLOWED, KEY.digest)

        async def arrived(requests: int = 1) -> bool:
            return (await usage_of(store)).in_all().allowed == requests

        await eventually(arrived)
        with one.client() as operator:
            operator.save()
        one.kill()
        began = time.monotonic()
        for _ in range(1_000):
            recorder.record(ALLOWED, KEY.digest)
        assert time.monotonic() - began < 1  # nobody is asked
        async with asyncio.timeout(20):
            while "it cannot be written" not in caplog.text:  # noqa: ASYNC110 -- nobody else tells
                await asyncio.sleep(0.01)
        one.start()
        await eventually(lambda: arrived(1_001))
        await recorder.stop()
        assert await arrived(1_001)
        await store.aclose()


async def test_a_batch_whose_answer_is_lost_is_not_added_twice(
    recorder: UsageRecorder, valkey_url: str, store: Store
) -> None:
    async with deaf(valkey_url) as (url, lost):
        behind = Store.at(url)
        recorder._interval = 0.01
        recorder.start(behind.usage_writer)
        for _ in range(7):
            recorder.record(ALLOWED, KEY.digest)

        async def is_written() -> bool:
            return recorder._held == 0

        await eventually(is_written)
        await recorder.stop()
        await behind.aclose()
    assert len(lost) == LOST  # so neither the client's second attempt was answered nor that of the recorder
    assert (await usage_of(store)).in_all().allowed == 7


async def test_a_stop_does_not_wait_for_a_server_that_is_silent(
    recorder: UsageRecorder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with server(tmp_path / "redis") as one:
        store = Store.at(f"redis://127.0.0.1:{one.port}")
        recorder.start(store.usage_writer)
        recorder.record(ALLOWED, KEY.digest)
        one.pause()
        async with asyncio.timeout(4):
            await recorder.stop()
        one.resume()
        await store.aclose()
    assert "1 counts" in caplog.text


def test_an_interval_that_makes_no_sense_is_refused(metrics: StoreMetrics) -> None:
    with pytest.raises(ConfigurationError) as refused:
        UsageRecorder(interval=-1, metrics=metrics)
    assert refused.value.setting == "usage_interval"


def test_a_failure_to_count_is_nothing_to_the_request(
    metrics: StoreMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> float:
        raise OSError("no clock")

    recorder = UsageRecorder(interval=60, metrics=metrics, clock=broken)
    for _ in range(3):
        recorder.record(ALLOWED, KEY.digest)
    assert caplog.text.count("was not counted") == 1


@asynccontextmanager
async def deaf(url: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A way to the server on which the first answers to scripts get lost, with their connections."""
    lost: list[bytes] = []
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(url.removeprefix("unix://"))
        runs_script = False

        async def answer() -> None:
            while answer := await from_server.read(65_536):
                if runs_script and b"NOSCRIPT" not in answer and len(lost) < LOST:
                    lost.append(answer)
                    break
                writer.write(answer)
            writer.close()

        answering = asyncio.create_task(answer())
        while request := await reader.read(65_536):
            runs_script = b"EVALSHA" in request
            to_server.write(request)
        to_server.close()
        await answering

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(serve(reader, writer)))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with listener:
        yield f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}", lost
    await asyncio.gather(*connections, return_exceptions=True)
