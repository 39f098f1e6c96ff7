"""What the passing of time does to keys, with a clock that goes when it is told to (D5)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.core.audit import Author, parse
from scopegate.core.keys import KeyState, state
from scopegate.core.tenants import Tenant
from scopegate.store import Store, layout
from scopegate.store.records import encode
from store.facts import NOW, TAG, WEEK, key, key_id

if TYPE_CHECKING:
    from scopegate.core.keys import KeyRecord

INSTANT = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)


async def entries(store: Store) -> list[tuple[str, str, str]]:
    """Action, key and actor of what was entered, creations left out."""
    found = [parse(line) async for line in store.audit.forwards()]
    return [
        (one["action"], one["target"]["id"], one["actor"]) for one in found if one["action"] != "key.create"
    ]


def expired(record: KeyRecord) -> tuple[str, str, str]:
    return "key.expire", record.id, "system"


def deleted(record: KeyRecord) -> tuple[str, str, str]:
    return "key.delete", record.id, "system"


async def test_expiry_and_deletion_are_entered_when_they_are_due_and_once(
    store_url: str, store: Store, raw: Any
) -> None:
    record = key(expires_at=NOW)
    await store.keys.create(record, now=NOW - WEEK)
    await store.keys.create(key(2), now=NOW)
    somebody = Store.at(store_url, author=Author("cli:kim@host", "cli", "because"))
    for now, due in (
        (NOW - INSTANT, []),
        (NOW, [expired(record)]),
        (NOW + HOUR, [expired(record)]),
        (NOW + WEEK - INSTANT, [expired(record)]),
        (NOW + WEEK, [expired(record), deleted(record)]),
        (NOW + 9 * WEEK, [expired(record), deleted(record)]),
    ):
        await somebody.sweep(now)
        assert await entries(store) == due
        assert bool(raw.exists(layout.key_record(TAG, record.id))) is (now < NOW + WEEK)
    await somebody.aclose()
    assert await store.keys.all(now=NOW + 9 * WEEK) == [key(2)]
    assert raw.zrange(layout.key_index(TAG), 0, -1) == [key(2).id.encode()]
    assert not raw.exists(layout.expiries(TAG))
    assert (await store.audit.verify()).broken is None


@pytest.mark.parametrize("enabled", [True, False])
async def test_the_entry_of_an_expiry_says_what_the_key_was(store: Store, enabled: bool) -> None:  # noqa: FBT001
    await store.keys.create(key(expires_at=NOW, enabled=enabled), now=NOW - WEEK)
    await store.sweep(NOW + HOUR)
    *_, entry = [parse(line) async for line in store.audit.forwards()]
    assert entry["changed"] == {
        "state": {"before": "active" if enabled else "disabled", "after": "expired"},
        "expired_at": {"before": None, "after": "2100-01-01T12:00:00.000Z"},
    }


async def test_many_sweepers_enter_each_once(store: Store, store_url: str) -> None:
    count = 120  # more than one batch
    for number in range(count):
        await store.keys.create(key(number, expires_at=NOW - WEEK if number % 2 else NOW), now=NOW - 2 * WEEK)
    others = [Store.at(store_url) for _ in range(4)]
    swept = await asyncio.gather(*(one.sweep(NOW) for one in (store, *others)))
    assert [sum(counts) for counts in zip(*swept, strict=True)] == [count, count // 2]
    for one in others:
        await one.aclose()
    made = await entries(store)
    assert len(made) == len(set(made)) == count + count // 2
    assert len(await store.keys.all(now=NOW)) == count // 2
    assert (await store.audit.verify()).broken is None


async def test_a_key_that_is_extended_expires_again(store: Store) -> None:
    record = key(expires_at=NOW)
    await store.keys.create(record, now=NOW - WEEK)
    await store.keys.change(record.id, lambda one: replace(one, expires_at=NOW + HOUR))
    assert await store.sweep(NOW) == (0, 0), "it was extended before it expired"
    assert await store.sweep(NOW + HOUR) == (1, 0)
    await store.keys.change(record.id, lambda one: replace(one, expires_at=NOW + WEEK))
    await store.keys.change(record.id, lambda one: replace(one, description="other"))
    assert await store.sweep(NOW + HOUR) == (0, 0)
    assert await store.sweep(NOW + WEEK) == (1, 0), "it was extended after it had expired"
    await store.keys.change(record.id, lambda one: replace(one, expires_at=None))
    assert await store.sweep(NOW + 99 * WEEK) == (0, 0)
    assert await store.keys.all(now=NOW + 99 * WEEK)


async def test_what_is_changed_of_an_expired_key_does_not_expire_it_again(store: Store) -> None:
    await store.keys.create(key(expires_at=NOW), now=NOW - WEEK)
    await store.sweep(NOW)
    await store.keys.change(key().id, lambda one: replace(one, enabled=False))
    assert await store.sweep(NOW + HOUR) == (0, 0)


async def test_a_key_that_is_extended_while_it_is_swept_is_left_alone(store: Store, store_url: str) -> None:
    record, other = key(expires_at=NOW), Store.at(store_url)
    await store.keys.create(record, now=NOW - WEEK)
    journal = store._sweep._journal
    begin: Any = journal.begin

    async def overtaken(*arguments: Any) -> None:
        journal.begin = begin  # type: ignore[method-assign]
        await other.keys.change(record.id, lambda one: replace(one, expires_at=NOW + WEEK))
        await begin(*arguments)

    journal.begin = overtaken  # type: ignore[method-assign, assignment]
    assert await store.sweep(NOW + HOUR) == (0, 0)
    assert await entries(store) == [("key.extend", record.id, "system")]
    await other.aclose()


async def test_a_record_that_is_written_by_hand_while_it_is_swept_counts(store: Store, raw: Any) -> None:
    record = key(expires_at=NOW)
    await store.keys.create(record, now=NOW - WEEK)
    journal = store._sweep._journal
    begin: Any = journal.begin

    async def overtaken(*arguments: Any) -> None:
        journal.begin = begin  # type: ignore[method-assign]
        raw.set(layout.key_record(TAG, record.id), encode(replace(record, expires_at=NOW + WEEK)))
        await begin(*arguments)

    journal.begin = overtaken  # type: ignore[method-assign, assignment]
    assert await store.sweep(NOW + HOUR) == (0, 0)
    assert await store.sweep(NOW + WEEK) == (1, 0)


async def test_a_key_that_somebody_deletes_is_entered_as_theirs_only(store: Store) -> None:
    for number in (1, 2):
        await store.keys.create(key(number, expires_at=NOW), now=NOW - WEEK)
    await store.keys.delete(key(1).id)
    await store.sweep(NOW)
    await store.keys.delete(key(2).id)
    await store.sweep(NOW + 2 * WEEK)
    assert [action for action, *_ in await entries(store)] == ["key.delete", "key.expire", "key.delete"]


async def test_what_redis_has_deleted_by_its_own_clock_is_entered(store: Store, raw: Any) -> None:
    """Nobody swept for long, so there is no record any more to tell of."""
    past = datetime.now(tz=NOW.tzinfo) - 2 * WEEK
    record = key(expires_at=past)
    await store.keys.create(record, now=past - WEEK)
    assert not raw.exists(layout.key_record(TAG, record.id))
    assert await store.sweep(past + WEEK) == (1, 1)
    assert await entries(store) == [expired(record), deleted(record)]
    *_, gone = [parse(line) async for line in store.audit.forwards()]
    assert gone["changed"].keys() == {"delete_at"}
    assert await store.sweep(past + WEEK) == (0, 0)


async def test_a_deletion_that_is_too_late_leaves_the_entry_to_the_sweep(store: Store) -> None:
    past = datetime.now(tz=NOW.tzinfo) - 2 * WEEK
    await store.keys.create(key(expires_at=past), now=past - WEEK)
    with pytest.raises(Exception, match="There is no key"):
        await store.keys.delete(key().id)
    assert await store.sweep(past + WEEK) == (1, 1)


async def test_keys_that_are_past_their_deletion_need_no_place(store: Store) -> None:
    await store.keys.create(key(1, expires_at=NOW), now=NOW - WEEK, limit=1)
    await store.keys.create(key(2), now=NOW + WEEK, limit=1)
    await store.sweep(NOW + WEEK)
    assert await entries(store) == [expired(key(1)), deleted(key(1))]


async def test_an_index_that_disagrees_with_the_record_is_corrected(store: Store, raw: Any) -> None:
    records = [key(1), key(2, expires_at=NOW + WEEK)]
    for record in records:
        await store.keys.create(record, now=NOW)
        raw.zadd(layout.key_index(TAG), {record.id: 1})
        raw.zadd(layout.expiries(TAG), {record.id: 1})
    assert await store.sweep(NOW) == (0, 0)
    assert await entries(store) == []
    assert len(await store.keys.all(now=NOW)) == 2
    assert await store.sweep(NOW + WEEK) == (1, 0)


async def test_what_cannot_be_read_does_not_stop_the_sweep(store: Store, raw: Any) -> None:
    for number in (1, 2):
        await store.keys.create(key(number, expires_at=NOW), now=NOW - WEEK)
    raw.set(layout.key_record(TAG, key(1).id), "x")
    assert await store.sweep(NOW) == (2, 0)
    assert await store.sweep(NOW + WEEK) == (0, 2)
    assert raw.keys(layout.key_record(TAG, "*")) == []


async def test_each_record_says_when_it_is_deleted(store: Store) -> None:
    record = key(expires_at=NOW, deletion_delay=HOUR)
    await store.keys.create(record, now=NOW - WEEK)
    assert await store.keys.get(record.id) == record
    assert state(record, NOW + HOUR - INSTANT) is KeyState.EXPIRED
    assert state(record, NOW + HOUR) is KeyState.DELETED
    assert await store.sweep(NOW + HOUR - INSTANT) == (1, 0)
    assert await store.sweep(NOW + HOUR) == (0, 1)
    assert await store.keys.all(now=NOW + HOUR) == []


async def test_tenants_are_swept_apart(store: Store, store_url: str) -> None:

    other = Store.at(store_url, Tenant(id="other", tag="0a1"))
    await other.keys.create(key(id=key_id(1, "0a1"), tenant="other", expires_at=NOW), now=NOW - WEEK)
    assert await store.sweep(NOW) == (0, 0)
    assert await other.sweep(NOW) == (1, 0)
    await other.aclose()
