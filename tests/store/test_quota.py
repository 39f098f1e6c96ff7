"""The number of keys that a tenant may have (D2) and the flag that custom keys need (D4)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.core.errors import FeatureDisabled, KeyLimitReached
from scopegate.core.keys import KEYS_PER_TENANT, KeyType
from scopegate.core.tenants import SCOPED_API, Tenant, TenantSettings
from scopegate.store import Store, layout
from scopegate.store.records import encode
from store import creator
from store.facts import NOW, RULES, TAG, WEEK, key, key_id, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES = 3
CUSTOM = key(type=KeyType.CUSTOM, rules=RULES)


async def fill(store: Store, count: int) -> None:
    await asyncio.gather(*(store.keys.create(key(number), now=NOW) for number in range(count)))


async def test_the_limit_is_three_hundred(store: Store) -> None:
    await fill(store, 299)
    await store.keys.create(key(299), now=NOW)
    with pytest.raises(KeyLimitReached, match="300 of 300") as refused:
        await store.keys.create(key(300), now=NOW)
    assert (refused.value.limit, refused.value.used) == (300, 300)


async def test_creators_at_the_same_time_get_exactly_the_room_there_is(store: Store, raw: Any) -> None:
    await fill(store, 290)
    answers = await asyncio.gather(
        *(store.keys.create(key(number), now=NOW) for number in range(1000, 1050)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, KeyLimitReached)]
    assert answers.count(None) == 10
    assert len(refused) == 40
    assert {(one.limit, one.used) for one in refused} == {(KEYS_PER_TENANT, KEYS_PER_TENANT)}
    indexed = {member.decode() for member in raw.zrange(layout.key_index(TAG), 0, -1)}
    stored = {name.decode().rpartition(":")[2] for name in raw.keys(layout.key_record(TAG, "*"))}
    assert indexed == stored == {record.id for record in await store.keys.all(now=NOW)}
    assert len(indexed) == KEYS_PER_TENANT


@contextmanager
def creating(url: str, *, tries: int, limit: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that have begun to create keys."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, creator.__file__, url, str(n * tries), str(tries), str(limit)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
            for n in range(PROCESSES)
        ]
        assert [process.stdout.readline() for process in running if process.stdout] == ["ready\n"] * PROCESSES
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        yield running


def test_processes_at_the_same_time_get_exactly_the_room_there_is(store_url: str, raw: Any) -> None:
    limit = 100
    with creating(store_url, tries=60, limit=limit) as running:
        created = [int(process.communicate()[0]) for process in running]
    assert sum(created) == limit
    assert raw.zcard(layout.key_index(TAG)) == limit
    assert len(raw.keys(layout.key_record(TAG, "*"))) == limit


def test_the_limit_is_exact_while_it_is_changed(store_url: str, raw: Any) -> None:
    """Whatever limit is in force when a key is created, there are no more keys than that."""
    index, settings, highest = layout.key_index(TAG), layout.settings(TAG), 60
    raw.set(settings, encode(TenantSettings(key_limit=10)))
    with creating(store_url, tries=60, limit=10**6) as running:
        for limit in range(11, highest + 1):
            # Between the two nobody else comes, so the count is one of the limit that was in force.
            with raw.pipeline() as pipe:
                pipe.zcard(index)
                pipe.set(settings, encode(TenantSettings(key_limit=limit)))
                used, _ = pipe.execute()
            assert used < limit
        created = [int(process.communicate()[0]) for process in running]
    assert sum(created) == raw.zcard(index) <= highest


async def test_a_deleted_key_frees_its_place(store: Store) -> None:
    await store.keys.create(key(1), now=NOW, limit=1)
    with pytest.raises(KeyLimitReached):
        await store.keys.create(key(2), now=NOW, limit=1)
    await store.keys.delete(key(1).id)
    await store.keys.create(key(2), now=NOW, limit=1)


async def test_expired_and_disabled_keys_count_until_they_are_deleted(store: Store, raw: Any) -> None:
    await store.keys.create(key(1, expires_at=NOW), now=NOW - WEEK, limit=2)
    await store.keys.create(key(2, enabled=False), now=NOW - WEEK, limit=2)
    with pytest.raises(KeyLimitReached, match="2 of 2"):
        await store.keys.create(key(3), now=NOW + WEEK - timedelta(milliseconds=1), limit=2)
    assert raw.exists(layout.key_record(TAG, key(1).id)), "by its own clock Redis has no reason to drop it"
    await store.keys.create(key(3), now=NOW + WEEK, limit=2)


async def test_an_extended_key_counts_as_long_as_it_now_lives(store: Store) -> None:
    await store.keys.create(key(1, expires_at=NOW), now=NOW, limit=1)
    await store.keys.change(key(1).id, lambda record: replace(record, expires_at=NOW + 4 * WEEK))
    with pytest.raises(KeyLimitReached):
        await store.keys.create(key(2), now=NOW + 2 * WEEK, limit=1)
    await store.keys.change(key(1).id, lambda record: replace(record, expires_at=None))
    with pytest.raises(KeyLimitReached):
        await store.keys.create(key(2), now=NOW + 500 * WEEK, limit=1)


async def test_a_refused_key_leaves_no_trace(store: Store, raw: Any) -> None:
    with pytest.raises(KeyLimitReached):
        await store.keys.create(key(1), now=NOW, limit=0)
    with pytest.raises(FeatureDisabled):
        await store.keys.create(CUSTOM, now=NOW)
    assert raw.keys("*") == []


async def test_each_tenant_has_its_own_room(store: Store, store_url: str) -> None:
    other = Store.at(store_url, Tenant(id="other", tag="0a1"))
    await store.keys.create(key(1), now=NOW, limit=1)
    await other.keys.create(key(1, id=key_id(1, "0a1"), tenant="other"), now=NOW, limit=1)
    await other.aclose()


@pytest.mark.parametrize("value", [None, "off", "ON", "true", "1", ""])
async def test_a_custom_key_needs_the_flag_on(store: Store, raw: Any, value: str | None) -> None:
    if value is not None:
        raw.hset(layout.flags(TAG), SCOPED_API, value)
    assert not await store.policies.flag(SCOPED_API)
    with pytest.raises(FeatureDisabled) as refused:
        await store.keys.create(CUSTOM, now=NOW)
    assert "scopegate flag scoped-api on" in str(refused.value.hint)
    await store.keys.create(key(2), now=NOW)
    await store.keys.create(key(3, type=KeyType.DESKTOP), now=NOW)


async def test_custom_keys_that_exist_outlive_the_flag(store: Store) -> None:
    await store.policies.set_flag(SCOPED_API, on=True)
    await store.keys.create(CUSTOM, now=NOW)
    await store.policies.set_flag(SCOPED_API, on=False)
    assert await store.keys.get(CUSTOM.id) == CUSTOM
    assert await store.access.scope(text_of(CUSTOM)) is not None
    disabled = await store.keys.change(CUSTOM.id, lambda record: replace(record, enabled=False))
    assert await store.keys.all(now=NOW) == [disabled]
