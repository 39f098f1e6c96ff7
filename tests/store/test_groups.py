"""The contract of the directory's groups."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.core.audit import parse
from scopegate.core.errors import Conflict, InvalidInput, NotFound, StaleVersion, StoreUnavailable
from scopegate.core.principal import Group
from scopegate.store import Store, groups, layout
from scopegate.store.records import etag
from store.facts import POLICIES, TAG, names, user

if TYPE_CHECKING:
    from collections.abc import Iterable

WIEN = Group(id="wien", name="Wien Ω", external_id="cn=wien")


async def members(store: Store, group_id: str) -> list[str]:
    return [one.id async for some in store.groups.members(group_id) for one in some]


async def actions(store: Store) -> list[str]:
    return [parse(line)["action"] async for line in store.audit.forwards()]


async def fill(store: Store, ids: Iterable[str]) -> None:
    await store.users.put(user(one) for one in ids)


async def test_groups_come_back_as_they_were_stored(store: Store) -> None:
    await store.groups.add(WIEN)
    await store.groups.add(Group(id="a", name="A"))
    assert await store.groups.get("wien") == WIEN
    assert await store.groups.all() == [Group(id="a", name="A"), WIEN]
    with pytest.raises(Conflict):
        await store.groups.add(replace(WIEN, name="Else"))
    with pytest.raises(NotFound):
        await store.groups.get("b")


async def test_a_group_is_changed_if_it_is_the_one_that_was_seen(store: Store) -> None:
    await store.groups.add(WIEN)
    seen = etag(WIEN)
    renamed = await store.groups.change("wien", lambda one: replace(one, name="Vienna"), expected=seen)
    assert await store.groups.get("wien") == renamed == replace(WIEN, name="Vienna")
    with pytest.raises(StaleVersion):
        await store.groups.change("wien", lambda one: replace(one, name="Wean"), expected=seen)
    with pytest.raises(StaleVersion):
        await store.groups.delete("wien", expected=seen)
    with pytest.raises(NotFound):
        await store.groups.change("b", lambda one: one)
    await store.groups.change("wien", lambda one: one)
    assert await actions(store) == ["group.add", "group.edit"]


async def test_users_come_into_a_group_and_leave_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "PIECE", 2)
    await fill(store, "abcde")
    await store.groups.add(WIEN)
    await store.groups.set_members("wien", add="abcd")
    assert await members(store, "wien") == ["a", "b", "c", "d"]
    await store.groups.set_members("wien", add="ae", remove=["a", "b", "nobody"])
    assert await members(store, "wien") == ["a", "c", "d", "e"]
    done = await actions(store)
    assert done[6:] == ["group.members"] * 4
    entry = [parse(line) async for line in store.audit.backwards()][1]
    assert entry["target"] == {"kind": "group", "id": "wien"}
    assert entry["changed"] == {"b": {"before": True, "after": False}}


async def test_a_group_that_policies_have_takes_members_too(store: Store) -> None:
    await fill(store, "a")
    with pytest.raises(NotFound):
        await store.groups.set_members("agents", add="a")
    await store.policies.put(POLICIES)
    await store.groups.set_members("agents", add="a")
    principal, _ = await store.access.of_user(TAG, "a")
    assert principal is not None
    assert principal.privileges == {"recordings.view"}


async def test_where_one_is_no_user_nobody_comes_in(store: Store) -> None:
    await fill(store, "a")
    await store.groups.add(WIEN)
    with pytest.raises(NotFound, match="nobody"):
        await store.groups.set_members("wien", add=["a", "nobody"])
    assert await members(store, "wien") == []


async def test_nobody_is_in_more_groups_than_one_can_be(store: Store) -> None:
    await store.users.put([user("a", groups=names(*(f"g{number}" for number in range(1_000))))])
    await store.groups.add(WIEN)
    with pytest.raises(InvalidInput) as refused:
        await store.groups.set_members("wien", add="a")
    assert refused.value.field == "groups"
    await store.groups.set_members("wien", remove="a")


async def test_who_was_in_a_group_that_is_deleted_has_nothing_of_it(store: Store) -> None:
    await store.policies.put(POLICIES)
    await fill(store, "ab")
    await store.groups.add(Group(id="agents", name="Agents"))
    await store.groups.set_members("agents", add="ab")
    await store.groups.delete("agents")
    assert await members(store, "agents") == []
    assert (await store.users.get("a")).groups == set()
    principal, _ = await store.access.of_user(TAG, "a")
    assert principal is not None
    assert principal.privileges == set()
    assert (await actions(store))[-2:] == ["group.members", "group.delete"]
    with pytest.raises(NotFound):
        await store.groups.delete("agents")


async def test_whoever_comes_into_a_group_while_it_is_deleted_is_not_left_in_it(store: Store) -> None:
    await fill(store, (f"u{number}" for number in range(40)))
    await store.groups.add(WIEN)

    async def come(user_id: str) -> None:
        with suppress(NotFound):
            await store.groups.set_members("wien", add=[user_id])

    coming = [come(f"u{number}") for number in range(40)]
    await asyncio.gather(*coming[:20], store.groups.delete("wien"), *coming[20:])
    assert await members(store, "wien") == []


async def test_a_group_that_cannot_be_read_is_a_fault_of_the_store(store: Store, raw: Any) -> None:
    raw.hset(layout.group_records(TAG), "wien", '{"id": "wien"}')
    for attempt in (store.groups.all(), store.groups.get("wien"), store.groups.delete("wien")):
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await attempt


async def test_nobody_comes_into_a_group_that_went_a_moment_ago(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, "a")
    await store.groups.add(WIEN)
    known = groups.DirectoryGroups._require_known

    async def then_deleted(self: Any, group_id: str, users: Any) -> None:
        await known(self, group_id, users)
        await self.delete(group_id)

    monkeypatch.setattr(groups.DirectoryGroups, "_require_known", then_deleted)
    with pytest.raises(NotFound, match="no group"):
        await store.groups.set_members("wien", add="a")
    assert await members(store, "wien") == []
