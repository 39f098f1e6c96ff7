"""The contract of the key store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest

from scopegate.core.errors import Conflict, InvalidInput, NotFound, StoreUnavailable
from scopegate.core.keys import MAX_RULES, KeyRecord, KeyType, Rule
from scopegate.core.tenants import SCOPED_API, Tenant
from scopegate.store import Store, layout
from store.facts import NOW, RULES, TAG, WEEK, key, key_id, text_of

CHANGERS = 40

RECORDS = {
    "desktop": key(type=KeyType.DESKTOP),
    "external for all users": key(),
    "external for one user": key(user="kim@example.com"),
    "custom": key(type=KeyType.CUSTOM, rules=RULES),
    "custom for one user": key(type=KeyType.CUSTOM, rules=RULES, user="kim"),
    "custom with as many rules as there may be": key(
        type=KeyType.CUSTOM, rules=tuple(Rule("GET", f"/api/{row}/*") for row in range(MAX_RULES))
    ),
    "disabled": key(enabled=False),
    "expiring": key(expires_at=NOW + WEEK),
    "expiring at a microsecond": key(expires_at=NOW + timedelta(microseconds=123_456)),
    "expiring in another time zone": key(
        expires_at=datetime(2100, 5, 1, tzinfo=timezone(timedelta(hours=2)))
    ),
    "expiring in the last year there is": key(expires_at=datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)),
    "created at a microsecond": key(created_at=NOW + timedelta(microseconds=1)),
    "described in other scripts": key(description='Für Ωmega 录音 🎙 "quoted" \\ back'),
}


@pytest.fixture
async def scoped(store: Store) -> Store:
    """A store in which custom keys can be created."""
    await store.policies.set_flag(SCOPED_API, on=True)
    return store


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS.keys())
async def test_every_field_comes_back_as_it_was_stored(scoped: Store, record: KeyRecord) -> None:
    await scoped.keys.create(record, now=NOW)
    assert await scoped.keys.get(record.id) == record
    assert await scoped.keys.all(now=NOW) == [record]
    found = await scoped.access.scope(text_of(record))
    assert found is not None
    assert found.record == record


async def test_a_changed_record_comes_back_in_every_field(scoped: Store) -> None:
    await scoped.keys.create(key(type=KeyType.CUSTOM, rules=RULES), now=NOW)
    wanted = key(
        type=KeyType.CUSTOM,
        rules=RULES[:1],
        user="lou",
        enabled=False,
        description="changed",
        expires_at=NOW + WEEK,
    )
    assert await scoped.keys.change(wanted.id, lambda _: wanted) == wanted
    assert await scoped.keys.get(wanted.id) == wanted
    assert await scoped.keys.all(now=NOW) == [wanted]


async def test_keys_are_listed_newest_first(store: Store) -> None:
    made = [key(number, created_at=NOW + timedelta(seconds=number % 4)) for number in (3, 1, 4, 2, 7)]
    for record in made:
        await store.keys.create(record, now=NOW)
    listed = [(record.created_at, record.id) for record in await store.keys.all(now=NOW)]
    assert listed == sorted(((record.created_at, record.id) for record in made), reverse=True)


async def test_an_empty_store_lists_no_keys(store: Store) -> None:
    assert await store.keys.all(now=NOW) == []


async def test_an_unknown_key_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="no key"):
        await store.keys.get(key_id(9))
    with pytest.raises(NotFound, match="no key"):
        await store.keys.change(key_id(9), lambda record: record)
    with pytest.raises(NotFound, match="no key"):
        await store.keys.delete(key_id(9))


async def test_a_deleted_key_is_gone_from_everywhere(store: Store, raw: Any) -> None:
    await store.keys.create(key(expires_at=NOW), now=NOW)
    await store.keys.delete(key().id)
    assert await store.keys.all(now=NOW) == []
    assert await store.access.scope(text_of(key())) is None
    assert set(raw.keys("*")) == {layout.audit(TAG).encode(), layout.audit_bounds(TAG).encode()}
    with pytest.raises(NotFound):
        await store.keys.get(key().id)


async def test_a_taken_id_is_not_overwritten(store: Store) -> None:
    await store.keys.create(key(), now=NOW)
    with pytest.raises(Conflict) as refused:
        await store.keys.create(key(description="another"), now=NOW)
    assert refused.value.code == Conflict.code
    assert await store.keys.all(now=NOW) == [key()]


async def test_a_change_that_is_refused_changes_nothing(store: Store, raw: Any) -> None:
    def refuse(record: KeyRecord) -> KeyRecord:
        raise InvalidInput("any", "No.")

    await store.keys.create(key(expires_at=NOW), now=NOW)
    before = raw.pexpiretime(layout.key_record(TAG, key().id))
    with pytest.raises(InvalidInput, match="No"):
        await store.keys.change(key().id, refuse)
    assert await store.keys.get(key().id) == key(expires_at=NOW)
    assert raw.pexpiretime(layout.key_record(TAG, key().id)) == before


async def test_changes_at_the_same_time_lose_nothing(scoped: Store, store_url: str) -> None:
    await scoped.keys.create(key(type=KeyType.CUSTOM), now=NOW)
    other = Store.at(store_url)

    def append(number: int) -> Any:
        return lambda record: replace(record, rules=(*record.rules, Rule("GET", f"/api/{number}")))

    await asyncio.gather(
        *((scoped, other)[number % 2].keys.change(key().id, append(number)) for number in range(CHANGERS))
    )
    await other.aclose()
    rules = (await scoped.keys.get(key().id)).rules
    assert {rule.url for rule in rules} == {f"/api/{number}" for number in range(CHANGERS)}
    assert len(rules) == CHANGERS


async def test_a_change_does_not_bring_back_a_key_that_is_deleted_meanwhile(store: Store, raw: Any) -> None:
    await store.keys.create(key(), now=NOW)

    def delete_first(record: KeyRecord) -> KeyRecord:
        raw.delete(layout.key_record(TAG, record.id))
        return replace(record, enabled=False)

    with pytest.raises(NotFound):
        await store.keys.change(key().id, delete_first)
    assert await store.access.scope(text_of(key())) is None


# Expiry


@pytest.mark.parametrize("microsecond", [0, 1_000, 1_001, 123_000, 123_999, 999_999])
async def test_redis_deletes_a_key_seven_days_after_its_expiry(
    store: Store, raw: Any, microsecond: int
) -> None:
    expires_at = datetime(2100, 7, 14, 9, 26, 53, microsecond, tzinfo=UTC)
    await store.keys.create(key(expires_at=expires_at), now=NOW)
    whole_seconds = int((expires_at.replace(microsecond=0) + WEEK).timestamp())
    expected = whole_seconds * 1000 + microsecond // 1000
    assert raw.pexpiretime(layout.key_record(TAG, key().id)) == expected
    assert raw.zscore(layout.key_index(TAG), key().id) == expected


async def test_no_deletion_is_so_far_away_that_it_is_rounded(store: Store, raw: Any) -> None:
    # A float of seconds has no microseconds left by then.
    await store.keys.create(key(expires_at=datetime(9998, 12, 24, 23, 59, 59, 999_999, tzinfo=UTC)), now=NOW)
    deletion = datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert raw.pexpiretime(layout.key_record(TAG, key().id)) == int(deletion.timestamp()) * 1000 + 999


async def test_another_expiry_moves_the_deletion(store: Store, raw: Any) -> None:
    await store.keys.create(key(expires_at=NOW), now=NOW - WEEK)
    for expires_at in (NOW + 4 * WEEK, NOW + WEEK):
        await store.keys.change(key().id, partial(replace, expires_at=expires_at))
        expected = int((expires_at + WEEK).timestamp()) * 1000
        assert raw.pexpiretime(layout.key_record(TAG, key().id)) == expected
        assert raw.zscore(layout.key_index(TAG), key().id) == expected


async def test_a_key_that_is_made_never_expiring_stays(store: Store, raw: Any) -> None:
    await store.keys.create(key(expires_at=NOW), now=NOW)
    await store.keys.change(key().id, lambda record: replace(record, expires_at=None))
    assert raw.pttl(layout.key_record(TAG, key().id)) == -1
    assert raw.zscore(layout.key_index(TAG), key().id) == float("inf")
    assert await store.keys.all(now=NOW + 1000 * WEEK) == [key()]


async def test_a_change_of_something_else_keeps_the_deletion(store: Store, raw: Any) -> None:
    await store.keys.create(key(expires_at=NOW), now=NOW)
    before = raw.pexpiretime(layout.key_record(TAG, key().id))
    await store.keys.change(key().id, lambda record: replace(record, enabled=False))
    assert raw.pexpiretime(layout.key_record(TAG, key().id)) == before


async def test_a_key_that_never_expires_has_no_deletion(store: Store, raw: Any) -> None:
    await store.keys.create(key(), now=NOW)
    assert raw.pttl(layout.key_record(TAG, key().id)) == -1


async def test_a_key_past_its_deletion_is_not_listed_though_redis_has_it(store: Store, raw: Any) -> None:
    await store.keys.create(key(expires_at=NOW), now=NOW - WEEK)
    deletion = NOW + WEEK
    assert await store.keys.all(now=deletion - timedelta(milliseconds=1)) == [key(expires_at=NOW)]
    assert await store.keys.all(now=deletion) == []
    assert raw.exists(layout.key_record(TAG, key().id))


async def test_redis_drops_a_key_whose_deletion_is_past_by_its_own_clock(store: Store) -> None:
    then = datetime(2001, 1, 1, tzinfo=UTC)
    await store.keys.create(key(expires_at=then), now=then - WEEK)
    assert await store.access.scope(text_of(key())) is None
    assert await store.keys.all(now=then) == []


# A broken connection


async def test_a_creation_whose_answer_is_lost_counts_once(forgetful_store: Store, store: Store) -> None:
    await forgetful_store.keys.create(key(), now=NOW, limit=1)
    assert await store.keys.all(now=NOW) == [key()]


# Tenants and faults


async def test_tenants_do_not_see_each_others_keys(store: Store, store_url: str) -> None:
    other = Store.at(store_url, Tenant(id="other", tag="0a1"))
    theirs = key(1, id=key_id(1, "0a1"), tenant="other")
    await other.keys.create(theirs, now=NOW)
    await store.keys.create(key(1), now=NOW)
    assert await other.keys.all(now=NOW) == [theirs]
    assert await store.keys.all(now=NOW) == [key(1)]
    with pytest.raises(NotFound):
        await store.keys.get(theirs.id)
    await other.aclose()


@pytest.mark.parametrize("text", ["", "null", "{}", "[1]", "{", "\ud800", '{"id": 5}'], ids=ascii)
async def test_a_record_that_cannot_be_read_is_a_fault_of_the_store(
    store: Store, raw: Any, text: str
) -> None:
    await store.keys.create(key(), now=NOW)
    raw.set(layout.key_record(TAG, key().id), text.encode("utf-8", "surrogatepass"))
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await store.keys.get(key().id)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await store.keys.all(now=NOW)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await store.keys.change(key().id, lambda record: record)
    await store.keys.delete(key().id)  # which is what the hint says


async def test_an_index_of_another_type_is_a_fault_of_the_store(store: Store, raw: Any) -> None:
    raw.set(layout.key_index(TAG), "not a sorted set")
    with pytest.raises(StoreUnavailable):
        await store.keys.all(now=NOW)
    with pytest.raises(StoreUnavailable):
        await store.keys.create(key(), now=NOW)
    assert not raw.exists(layout.key_record(TAG, key().id))


async def test_an_index_that_is_no_text_is_a_fault_of_the_store(store: Store, raw: Any) -> None:
    raw.zadd(layout.key_index(TAG), {b"\xff": 1e15})
    with pytest.raises(StoreUnavailable):
        await store.keys.all(now=NOW)
