"""A request that is sent twice makes one key, and gives its secret once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.commands import Commands, IssuedKey
from scopegate.core.audit import Selection
from scopegate.core.errors import Conflict, InvalidInput
from scopegate.core.idempotency import Idempotency
from scopegate.core.keys import KeyType
from scopegate.store import layout
from store.facts import IDEMPOTENCY, NOW, TAG, key

if TYPE_CHECKING:
    from scopegate.store import Store


@pytest.fixture
def commands(store: Store) -> Commands:
    return Commands(store, clock=lambda: NOW)


async def create(commands: Commands, idempotency: Idempotency = IDEMPOTENCY) -> IssuedKey:
    return await commands.create_key(key_type=KeyType.EXTERNAL, description="d", idempotency=idempotency)


async def test_equal_requests_at_the_same_time_make_one_key(commands: Commands) -> None:
    answers = await asyncio.gather(*(create(commands) for _ in range(20)))
    [record] = await commands.list_keys()
    assert [answer.record for answer in answers] == [record] * 20
    [first] = [answer for answer in answers if not answer.replayed]
    assert first.secret is not None
    assert {answer.secret for answer in answers if answer.replayed} == {None}
    assert len(await commands.list_audit(Selection(), 100)) == 1


async def test_a_repetition_is_answered_whatever_became_of_the_tenant(
    commands: Commands, store: Store
) -> None:
    first = await create(commands)
    await commands.set_enabled(first.record.id, enabled=False)
    for number in range(299):
        await store.keys.create(key(number), now=NOW)
    again = await create(commands)
    assert again == IssuedKey(replace(first.record, enabled=False), None, replayed=True)
    with pytest.raises(Conflict) as refused:
        _ = again.new_secret
    assert refused.value.code == "secret_not_shown"


async def test_another_request_with_the_same_key_is_refused(commands: Commands) -> None:
    await create(commands)
    with pytest.raises(InvalidInput) as refused:
        await create(commands, replace(IDEMPOTENCY, fingerprint="of another body"))
    assert (refused.value.field, refused.value.code) == ("idempotency_key", "idempotency_key_reused")
    for other in (replace(IDEMPOTENCY, scope="lou POST /keys"), replace(IDEMPOTENCY, key="other")):
        assert not (await create(commands, other)).replayed
    assert len(await commands.list_keys()) == 3


async def test_the_parts_of_a_name_cannot_be_taken_for_each_other() -> None:
    assert Idempotency("a", "b", "f").digest != Idempotency("ab", "", "f").digest
    assert Idempotency("a", "b", "f").digest == Idempotency("a", "b", "g").digest


async def test_a_key_that_was_deleted_meanwhile_is_not_made_again(commands: Commands) -> None:
    await commands.delete_key((await create(commands)).record.id)
    with pytest.raises(Conflict, match="deleted meanwhile") as refused:
        await create(commands)
    assert refused.value.code == "idempotent_key_gone"
    assert await commands.list_keys() == []


async def test_what_is_refused_is_not_kept(commands: Commands, raw: Any) -> None:
    with pytest.raises(InvalidInput):
        await commands.create_key(key_type=KeyType.EXTERNAL, description="", idempotency=IDEMPOTENCY)
    assert raw.keys("*") == []
    assert not (await create(commands)).replayed


async def test_it_is_kept_for_a_day_without_any_secret(commands: Commands, raw: Any) -> None:
    issued = await create(commands)
    name = layout.idempotency(TAG, IDEMPOTENCY.digest)
    day = int(timedelta(days=1).total_seconds() * 1_000)
    assert day - 60_000 < raw.pttl(name) <= day
    stored = raw.get(name).decode()
    assert issued.record.id in stored
    assert issued.new_secret not in stored
    assert issued.record.digest not in stored
    raw.delete(name)
    assert not (await create(commands)).replayed


async def test_a_key_is_duplicated_once(commands: Commands, store: Store) -> None:
    await store.keys.create(key(), now=NOW)
    first, again = [
        await commands.duplicate_key(key().id, description="copy", idempotency=IDEMPOTENCY) for _ in range(2)
    ]
    assert (first.record, first.replayed, again.replayed) == (again.record, False, True)
    assert len(await commands.list_keys()) == 2


async def test_a_key_is_rotated_once(commands: Commands, store: Store) -> None:
    await store.keys.create(key(), now=NOW)
    answers = await asyncio.gather(
        *(commands.rotate_key(key().id, idempotency=IDEMPOTENCY) for _ in range(10))
    )
    [first] = [answer for answer in answers if not answer.replayed]
    assert first.secret is not None
    assert all(answer.record == first.record for answer in answers)
    assert all(answer.secret is None for answer in answers if answer.replayed)
    assert await store.keys.get(key().id) == first.record
    with pytest.raises(InvalidInput):
        await commands.rotate_key(key().id, idempotency=replace(IDEMPOTENCY, fingerprint="other"))
