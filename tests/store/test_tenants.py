"""The contract of the registry of tenants."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.core.audit import parse
from scopegate.core.errors import Conflict, NotFound, StoreUnavailable
from scopegate.core.tenants import DEFAULT_TENANT, Tenant, new_tenant
from scopegate.store import Store, layout
from store.facts import NOW, WEEK, key, key_id

if TYPE_CHECKING:
    from collections.abc import Callable


def tenant(tenant_id: str = "acme") -> Callable[[list[Tenant]], Tenant]:
    return lambda taken: new_tenant(tenant_id, "Acme", taken, now=NOW, choose=secrets.choice)


async def test_the_default_tenant_is_there_without_being_stored(store: Store, raw: Any) -> None:
    assert await store.system.tenants.all() == [DEFAULT_TENANT]
    assert await store.system.tenants.get("default") == DEFAULT_TENANT
    assert raw.keys("*") == []


async def test_a_tenant_comes_back_as_it_was_created(store: Store) -> None:
    created = await store.system.tenants.create(tenant())
    assert await store.system.tenants.get("acme") == created
    assert await store.system.tenants.all() == [created, DEFAULT_TENANT]
    [line] = [parse(line) async for line in store.system.audit.forwards()]
    assert line["action"] == "tenant.create"
    assert line["target"] == {"kind": "tenant", "id": "acme"}
    assert [line async for line in store.audit.forwards()] == []


async def test_an_unknown_tenant_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.system.tenants.get("acme")
    with pytest.raises(NotFound):
        await store.system.tenants.change("acme", lambda one: one)


async def test_a_tenant_can_be_renamed_the_default_one_too(store: Store) -> None:
    await store.system.tenants.create(tenant())
    for tenant_id in ("acme", "default"):
        renamed = await store.system.tenants.change(tenant_id, lambda one: replace(one, name="Other"))
        assert renamed.name == "Other"
        assert await store.system.tenants.get(tenant_id) == renamed
    assert [one.id for one in await store.system.tenants.all()] == ["acme", "default"]
    assert (await store.system.tenants.get("default")).tag == DEFAULT_TENANT.tag


async def test_of_many_at_once_one_gets_the_id_and_nobody_another_ones_tag(
    store: Store, store_url: str
) -> None:
    """Few tags are to be had, so that those who come at the same time choose the same ones."""
    stores = [store, Store.at(store_url)]
    ids = [f"t{number}" for number in range(8)]

    async def create(number: int, tenant_id: str) -> bool:
        try:
            await stores[number % 2].system.tenants.create(
                lambda taken: new_tenant(
                    tenant_id, "Acme", taken, now=NOW, choose=lambda _alphabet: secrets.choice("ab")
                )
            )
        except Conflict as conflict:
            assert "already" in conflict.message  # noqa: PT017 -- not the tag
            return False
        return True

    # Eight tags of two letters: all of them are given.
    created = await asyncio.gather(*(create(number, ids[number // 2]) for number in range(16)))
    assert sum(created) == 8
    tenants = [one for one in await store.system.tenants.all() if one != DEFAULT_TENANT]
    assert [one.id for one in tenants] == ids
    assert len({one.tag for one in tenants}) == 8
    assert (await store.system.audit.verify()).count == 8
    await stores[1].aclose()


async def test_keys_are_counted_until_their_deletion(store: Store) -> None:
    acme = await store.system.tenants.create(tenant())
    empty = await store.system.tenants.create(tenant("empty"))
    for number in range(3):
        await store.keys.create(key(number), now=NOW)
    of_acme = store.of(acme)
    fields = {"tenant": "acme", "expires_at": NOW + WEEK}
    await of_acme.keys.create(key(1, id=key_id(1, acme.tag), **fields), now=NOW)
    await of_acme.keys.create(key(2, id=key_id(2, acme.tag), tenant="acme", enabled=False), now=NOW)
    tenants = await store.system.tenants.all()

    async def counted(after: timedelta) -> dict[str, int]:
        found = await store.system.tenants.count(tenants, now=NOW + after)
        return {one.tenant.id: one.keys for one in found}

    assert await counted(timedelta()) == {"acme": 2, "default": 3, empty.id: 0}
    assert await counted(2 * WEEK - timedelta(milliseconds=1)) == {"acme": 2, "default": 3, empty.id: 0}
    assert await counted(2 * WEEK) == {"acme": 1, "default": 3, empty.id: 0}


async def test_a_registry_that_cannot_be_read_is_a_fault_of_the_store(store: Store, raw: Any) -> None:
    raw.hset(layout.tenants(), "acme", '{"id": "acme"}')
    for refused in (
        store.system.tenants.all(),
        store.system.tenants.get("acme"),
        store.system.tenants.create(tenant("other")),
    ):
        with pytest.raises(StoreUnavailable):
            await refused
