"""The contract of the directory of users."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.core.errors import Conflict, NotFound, StoreUnavailable
from scopegate.core.tenants import Tenant
from scopegate.store import Store, directory, layout
from store.facts import TAG, names, user

if TYPE_CHECKING:
    from scopegate.core.principal import User

FULL = user(
    "kim@example.com",
    email="kim@example.com",
    organization="Vertrieb/Wien Ω",
    active=False,
    groups=names("agents", "wien"),
    roles=names("editor", "auditor"),
)


@pytest.mark.parametrize("one", [user(), FULL, user("!~{}:*?")], ids=lambda one: one.id)
async def test_every_field_comes_back_as_it_was_stored(store: Store, one: User) -> None:
    await store.users.put([one])
    assert await store.users.get(one.id) == one
    assert await store.users.all() == [one]


async def test_users_are_listed_by_id(store: Store) -> None:
    ids = ["b", "B", "a", "10", "9", "_"]
    await store.users.put(user(one) for one in ids)
    assert [one.id for one in await store.users.all()] == sorted(ids)


async def test_many_users_are_read_some_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "PAGE", 2)
    ids = [f"{number:02}" for number in range(5)]
    await store.users.put(user(one) for one in ids)
    assert [[one.id for one in page] async for page in store.users.pages()] == [ids[:2], ids[2:4], ids[4:]]
    await store.users.delete("04")
    assert [one.id for one in await store.users.all()] == ids[:4]


async def test_who_comes_and_goes_meanwhile_costs_nobody_a_place(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "PAGE", 2)
    await store.users.put(user(one) for one in "bdfhj")
    seen = []
    async for page in store.users.pages():
        seen += [one.id for one in page]
        if seen == ["b", "d"]:
            await store.users.delete("b")
            await store.users.delete("d")
            await store.users.put([user("a"), user("c")])
    assert seen == ["b", "d", "f", "h", "j"]


async def test_a_known_id_is_replaced(store: Store) -> None:
    await store.users.put([FULL, user("lou")])
    await store.users.put([user(FULL.id)])
    assert await store.users.all() == [user(FULL.id), user("lou")]


async def test_nothing_can_be_put(store: Store) -> None:
    await store.users.put([])
    assert await store.users.all() == []


async def test_an_unknown_user_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="no user"):
        await store.users.get("kim")
    with pytest.raises(NotFound, match="no user"):
        await store.users.change("kim", lambda one: one)
    assert await store.users.all() == []


async def test_changes_at_the_same_time_lose_nothing(store: Store) -> None:
    await store.users.put([user()])

    def give(role: str) -> Any:
        return lambda one: replace(one, roles=one.roles | {role})

    wanted = names(*(f"role{number}" for number in range(40)))
    await asyncio.gather(*(store.users.change("kim", give(role)) for role in wanted))
    assert (await store.users.get("kim")).roles == wanted


async def test_tenants_do_not_see_each_others_users(store: Store, store_url: str) -> None:
    other = Store.at(store_url, Tenant(id="other", tag="0a1"))
    await other.users.put([user("kim", roles=names("theirs"))])
    await store.users.put([user("kim", roles=names("ours"))])
    assert (await other.users.get("kim")).roles == {"theirs"}
    assert (await store.users.get("kim")).roles == {"ours"}
    await other.aclose()


@pytest.mark.parametrize("text", ["", "null", '{"id": "kim"}', '{"id": "k m", "name": "Kim"}'])
async def test_a_user_that_cannot_be_read_is_a_fault_of_the_store(store: Store, raw: Any, text: str) -> None:
    await store.users.put([user()])
    raw.set(layout.user_record(TAG, "kim"), text)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await store.users.get("kim")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await store.users.all()
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await store.users.change("kim", lambda one: one)


async def test_an_id_is_taken_once(store: Store) -> None:
    first, second = user(), replace(user(), name="Somebody else")
    outcomes = await asyncio.gather(
        *(store.users.add(one) for one in (first, second)), return_exceptions=True
    )
    (conflict,) = (outcome for outcome in outcomes if outcome is not None)
    assert isinstance(conflict, Conflict)
    assert await store.users.all() == [first if outcomes[0] is None else second]


async def test_a_deleted_user_is_gone_and_can_be_added_again(store: Store) -> None:
    await store.users.add(user())
    await store.users.delete(user().id)
    assert await store.users.all() == []
    with pytest.raises(NotFound):
        await store.users.delete(user().id)
    await store.users.add(user())
    assert await store.users.all() == [user()]
