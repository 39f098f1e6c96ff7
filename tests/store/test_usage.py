"""What keys were used for, as it lies in Redis: added once, never going back, gone in time."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from redisservers import cluster
from scopegate.core.errors import StoreUnavailable, UnreadableRecord
from scopegate.core.keys import RetiringSecret
from scopegate.core.reasons import Reason
from scopegate.core.tenants import Tenant
from scopegate.core.usage import COUNTS_KEPT, NO_RULE, Batch, Count, Known, LastUse, Use, of_secret, rule_id
from scopegate.store import Store, layout
from store.facts import RULES, TAG, key, key_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MS = int(NOON.timestamp() * 1_000)
HOUR = MS // 3_600_000
KEY = key(1, created_at=NOON)
SECRET = of_secret(KEY.id, KEY.digest)
GET = rule_id(RULES[0])
ALLOWED, REFUSED = Reason.ALLOWED, Reason.PRIVILEGE_MISSING


def batch(
    number: int = 1,
    counts: Mapping[Use, int] | None = None,
    last: Mapping[str, int] | None = None,
    **more: Any,
) -> Batch:
    facts: dict[str, Any] = {"recorder": "a", "tag": TAG}
    return Batch(number=number, counts=counts or {}, last=last or {}, **(facts | more))


def use(hour: int = 0, rule: str = GET, reason: Reason = ALLOWED, key_id: str = KEY.id) -> Use:
    return Use(key_id, HOUR + hour, rule, reason)


async def add(store: Store, *batches: Batch) -> None:
    for one in batches:
        await store.usage_writer.add(one, MS)


async def test_what_recorders_count_is_added_up_by_hour_rule_and_outcome(store: Store) -> None:
    await store.usage_writer.begin(MS)
    await add(
        store,
        batch(1, {use(): 3, use(reason=REFUSED): 1, use(1, rule=NO_RULE, reason=Reason.URL_NOT_ALLOWED): 2}),
        batch(2, {use(): 4}),
        batch(1, {use(): 1, use(12): 9}, recorder="b"),
    )
    day = NOON.date()
    found = await store.usage.of_key(KEY.id, day, day + timedelta(days=1))
    assert found.counts == (
        Count(NOON, GET, ALLOWED, 8),
        Count(NOON, GET, REFUSED, 1),
        Count(NOON + timedelta(hours=1), NO_RULE, Reason.URL_NOT_ALLOWED, 2),
        Count(NOON + timedelta(hours=12), GET, ALLOWED, 9),
    )
    assert found.counted_since == NOON
    [other_day] = (await store.usage.of_key(KEY.id, day, day)).by_day()
    assert other_day.allowed == 8
    assert not (await store.usage.of_key(key_id(2), day, day)).counts


async def test_a_batch_that_comes_again_is_added_once_even_after_the_next(store: Store) -> None:
    first, second = batch(1, {use(): 3}, missed=5), batch(2, {use(): 4})
    await add(store, first, first, second, first, second)
    found = await store.usage.of_key(KEY.id, NOON.date(), NOON.date())
    assert found.in_all().allowed == 7
    assert await store.usage.missed() == 5


async def test_batches_of_one_recorder_are_told_apart_by_tenant(store: Store, store_url: str) -> None:
    other = Store.at(store_url, Tenant(id="other", tag="0a1"))
    theirs = key_id(1, "0a1")
    await add(store, batch(2, {use(): 3}), batch(1, {use(key_id=theirs): 4}, tag="0a1"))
    assert (await other.usage.of_key(theirs, NOON.date(), NOON.date())).in_all().allowed == 4
    await other.aclose()


@pytest.mark.parametrize("order", [*itertools.permutations([10, 20, 30])])
async def test_a_last_use_never_goes_back(store: Store, order: tuple[int, ...]) -> None:
    await add(store, *(batch(last={KEY.id: MS + at}, recorder=str(at)) for at in order))
    found = await store.usage.last_uses([KEY], now=NOON)
    assert found[KEY.id].key == LastUse(Known.USED, NOON + timedelta(milliseconds=30))


async def test_the_last_uses_of_all_keys_and_their_secrets_are_read_together(store: Store) -> None:
    before = key(1, created_at=NOON - timedelta(days=9))
    rotated = replace(before, digest="f" * 64, retiring=RetiringSecret(before.digest, NOON + timedelta(1)))
    older = key(2, created_at=NOON - timedelta(days=9))
    unused = key(3, created_at=NOON)
    await store.usage_writer.begin(MS - 1_000)
    await add(store, batch(last={before.id: MS - 500, of_secret(before.id, before.digest): MS - 500}))
    half_a_second_ago, since = NOON - timedelta(milliseconds=500), NOON - timedelta(seconds=1)
    found = await store.usage.last_uses([rotated, older, unused], now=NOON)
    assert found[rotated.id].key == LastUse(Known.USED, half_a_second_ago)
    assert found[rotated.id].retiring == LastUse(Known.USED, half_a_second_ago)
    assert found[rotated.id].current == LastUse(Known.NOT_SINCE, since)
    assert found[older.id].key == found[older.id].current == LastUse(Known.NOT_SINCE, since)
    assert found[unused.id].key == LastUse(Known.NEVER)
    assert found[unused.id].retiring is None
    assert await store.usage.last_uses([], now=NOON) == {}


async def test_as_long_as_nobody_counts_nothing_is_claimed(store: Store) -> None:
    assert (await store.usage.last_uses([KEY], now=NOON))[KEY.id].key == LastUse(Known.NOTHING)


async def test_in_a_cluster_tenants_and_the_marker_lie_on_nodes_of_their_own(tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", replicas=False) as nodes:
        tags = (TAG, "0a1", "0a2", "0a3")
        store = Store.at(nodes.url)
        await store.usage_writer.begin(MS)
        for tag in tags:
            used = key_id(1, tag)
            await add(store, batch(1, {use(key_id=used): 3, use(12, key_id=used): 4}, {used: MS}, tag=tag))
        await store.aclose()
        for tag in tags:
            theirs = Store.at(nodes.url, Tenant(id="x", tag=tag))
            record = key(1, id=key_id(1, tag))
            found = await theirs.usage.last_uses([record], now=NOON)
            assert found[record.id].key == LastUse(Known.USED, NOON)
            usage = await theirs.usage.of_key(record.id, NOON.date(), NOON.date() + timedelta(days=1))
            assert (usage.in_all().allowed, usage.counted_since) == (7, NOON)
            await theirs.aclose()


async def test_counting_begins_once(store: Store) -> None:
    await store.usage_writer.begin(MS)
    await store.usage_writer.begin(MS + 1_000)
    assert (await store.usage.of_key(KEY.id, NOON.date(), NOON.date())).counted_since == NOON


async def test_requests_that_were_missed_make_what_was_before_unknown(store: Store) -> None:
    await store.usage_writer.begin(MS - 60_000)
    created = replace(KEY, created_at=NOON - timedelta(seconds=30))
    assert (await store.usage.last_uses([created], now=NOON))[KEY.id].key == LastUse(Known.NEVER)
    await add(
        store,
        batch(1, missed=3, missed_until=MS - 1_000),
        batch(1, missed=4, missed_until=MS - 2_000, recorder="b"),
    )
    since = LastUse(Known.NOT_SINCE, NOON - timedelta(seconds=1))
    assert (await store.usage.last_uses([created], now=NOON))[KEY.id].key == since
    assert await store.usage.missed() == 7


async def test_last_uses_are_forgotten_and_then_not_taken_for_none(store: Store) -> None:
    await store.usage_writer.begin(MS)
    await add(store, batch(last={KEY.id: MS, SECRET: MS}))
    later = NOON + timedelta(days=401)
    await store.usage_writer.add(batch(2), int(later.timestamp() * 1_000))
    found = await store.usage.last_uses([KEY], now=later)
    assert found[KEY.id].key == LastUse(Known.NOT_SINCE, NOON + timedelta(days=1))


async def test_counts_and_batches_are_gone_in_time(store: Store, raw: Any) -> None:
    await add(store, batch(1, {use(): 1, use(12): 1}))
    kept = COUNTS_KEPT // timedelta(seconds=1)
    for day in (NOON.date(), NOON.date() + timedelta(days=1)):
        assert kept - 60 < raw.ttl(layout.usage(TAG, KEY.id, day)) <= kept
    assert 86_000 < raw.ttl(layout.usage_batch(TAG, "a")) <= 86_400


async def test_workers_are_told_nothing_of_it(store: Store, raw: Any) -> None:
    await store.usage_writer.begin(MS)
    await add(store, batch(1, {use(): 1}, {KEY.id: MS, SECRET: MS}, missed=1, missed_until=MS))
    names = raw.keys("*")
    assert len(names) == 5
    assert not any(name.startswith(layout.TENANTS.encode()) for name in names)
    assert all(layout.parse(name) is None for name in names)


@pytest.mark.parametrize(
    "field", ["12", "12:x", "x:y:allowed", "12:x:no_such_reason", "24:x:allowed", "12:a:b:allowed"]
)
async def test_what_means_nothing_is_not_guessed_at(store: Store, raw: Any, field: str) -> None:
    raw.hset(layout.usage(TAG, KEY.id, NOON.date()), field, 1)
    with pytest.raises(UnreadableRecord):
        await store.usage.of_key(KEY.id, NOON.date(), NOON.date())


async def test_a_marker_that_means_nothing_is_not_guessed_at(store: Store, raw: Any) -> None:
    raw.set(layout.usage_since(), "yesterday")
    with pytest.raises(UnreadableRecord):
        await store.usage.last_uses([KEY], now=NOON)


@pytest.mark.parametrize("name", [layout.last_uses(TAG), layout.usage(TAG, KEY.id, NOON.date())])
async def test_where_one_name_is_of_another_type_all_is_added_later(
    store: Store, raw: Any, name: str
) -> None:
    raw.set(name, "another type")
    one = batch(1, {use(12): 2, use(): 3}, {KEY.id: MS}, missed=1)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await add(store, one)
    raw.delete(name)
    await add(store, one, one)
    found = await store.usage.of_key(KEY.id, NOON.date(), NOON.date() + timedelta(days=1))
    assert found.in_all().allowed == 5
    assert await store.usage.missed() == 1


async def test_a_server_that_is_full_takes_none_of_it(store: Store, raw: Any) -> None:
    one = batch(1, {use(): 3}, {KEY.id: MS})
    raw.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable):
            await add(store, one)
        assert not raw.keys("*")
    finally:
        raw.config_set("maxmemory", "0")
    await add(store, one)
    assert (await store.usage.of_key(KEY.id, NOON.date(), NOON.date())).in_all().allowed == 3
