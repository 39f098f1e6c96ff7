"""The contract of the stored administrators."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from scopegate.core.administrators import Administrator, Role
from scopegate.core.audit import parse
from scopegate.core.errors import Conflict, InvalidInput, NotFound
from scopegate.store import Store
from store.facts import administrator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MARIA, BO = administrator("maria"), administrator("bo")


async def test_an_administrator_comes_back_as_created(store: Store) -> None:
    assert await store.system.administrators.all() == []
    limited = administrator("kim", role=Role.KEY_ADMINISTRATOR, tenants=frozenset({"acme", "default"}))
    for one in (limited, MARIA):
        await store.system.administrators.create(one)
        assert await store.system.administrators.get(one.id) == one
    assert await store.system.administrators.all() == [limited, MARIA]


async def test_an_unknown_administrator_is_not_found(store: Store) -> None:
    await store.system.administrators.create(MARIA)
    for refused in (
        store.system.administrators.get("nobody"),
        store.system.administrators.change("nobody", lambda one: one),
        store.system.administrators.delete("nobody"),
    ):
        with pytest.raises(NotFound):
            await refused


async def test_each_change_is_entered_in_the_log_of_the_system(store: Store) -> None:
    administrators = store.system.administrators
    await administrators.create(MARIA)
    await administrators.create(BO)
    await administrators.change(BO.id, lambda one: replace(one, role=Role.AUDITOR))
    await administrators.change(BO.id, lambda one: replace(one, role=Role.AUDITOR))
    await administrators.delete(BO.id)
    said = [parse(line) async for line in store.system.audit.forwards()]
    assert [(one["action"], one["target"]["id"]) for one in said] == [
        ("administrator.create", MARIA.id),
        ("administrator.create", BO.id),
        ("administrator.edit", BO.id),
        ("administrator.delete", BO.id),
    ]
    assert said[2]["changed"] == {"role": {"before": "system_administrator", "after": "auditor"}}
    assert [line async for line in store.audit.forwards()] == []


async def test_an_address_is_one_administrators(store: Store) -> None:
    await store.system.administrators.create(MARIA)
    await store.system.administrators.create(BO)
    with pytest.raises(Conflict):
        await store.system.administrators.create(administrator("kim", email="Maria@Example.com"))
    with pytest.raises(Conflict):
        await store.system.administrators.change(BO.id, lambda one: replace(one, email=MARIA.email))
    with pytest.raises(InvalidInput):
        await store.system.administrators.change(BO.id, lambda one: replace(one, email="bo"))


def demoted(one: Administrator) -> Administrator:
    return replace(one, role=Role.AUDITOR)


def deactivated(one: Administrator) -> Administrator:
    return replace(one, active=False)


GOING: dict[str, Callable[[Store, str], Awaitable[object]]] = {
    "deleted": lambda store, one: store.system.administrators.delete(one),
    "demoted": lambda store, one: store.system.administrators.change(one, demoted),
    "deactivated": lambda store, one: store.system.administrators.change(one, deactivated),
}


@pytest.mark.parametrize("go", GOING.values(), ids=GOING.keys())
async def test_the_last_active_system_administrator_stays(
    store: Store, go: Callable[[Store, str], Awaitable[object]]
) -> None:
    await store.system.administrators.create(MARIA)
    await store.system.administrators.create(replace(BO, active=False))
    with pytest.raises(Conflict) as refused:
        await go(store, MARIA.id)
    assert refused.value.code == "last_system_administrator"
    assert await store.system.administrators.get(MARIA.id) == MARIA
    await store.system.administrators.change(BO.id, lambda one: replace(one, active=True))
    await go(store, MARIA.id)


async def test_of_two_who_let_each_other_go_at_once_one_stays(store: Store, store_url: str) -> None:
    other = Store.at(store_url)
    for _ in range(10):
        for one in (MARIA, BO):
            try:
                await store.system.administrators.create(one)
            except Conflict:  # it is the one that stayed
                continue
        went = await asyncio.gather(
            store.system.administrators.delete(MARIA.id),
            other.system.administrators.delete(BO.id),
            return_exceptions=True,
        )
        assert {type(one) for one in went} == {type(None), Conflict}
        assert len(await store.system.administrators.all()) == 1
    await other.aclose()
