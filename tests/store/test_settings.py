"""The contract of a tenant's settings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scopegate.core.audit import parse
from scopegate.core.errors import InvalidInput, StoreUnavailable
from scopegate.core.policies import Policies
from scopegate.core.settling import Settled, settle
from scopegate.core.tenants import DEFAULT_SETTINGS, Tenant, TenantSettings
from scopegate.store import Store, layout
from store.facts import POLICIES, TAG

UNKNOWN_FIELD = (
    '{"key_limit":300,"key_limit_max":300,"rule_methods":["GET"],"default_lifetime":null,'
    '"max_lifetime":null,"more":1}'
)
MORE = {"key_limit": 20, "rule_methods": ["GET", "DELETE"], "default_lifetime": 7, "max_lifetime": 30}


async def test_there_are_default_settings_at_first(store: Store) -> None:
    assert await store.settings.get() == DEFAULT_SETTINGS
    assert await store.settings.settled() == Settled()


async def test_settings_come_back_as_they_were_changed_and_are_one_tenants(store: Store) -> None:
    changed = await store.settings.change(lambda present: settle(present, MORE))
    assert changed.settings == TenantSettings(
        key_limit=20, rule_methods=frozenset({"GET", "DELETE"}), default_lifetime=7, max_lifetime=30
    )
    assert await store.settings.settled() == changed
    assert await store.settings.get() == changed.settings
    assert await store.of(Tenant("other", "0a1")).settings.get() == DEFAULT_SETTINGS


async def test_a_change_is_entered_in_the_tenants_own_log_and_nothing_else_is(store: Store) -> None:
    await store.settings.change(lambda present: settle(present, {"key_limit": 20}))
    await store.settings.change(lambda present: settle(present, {"key_limit": 20}))
    [line] = [parse(line) async for line in store.audit.forwards()]
    assert line["action"] == "tenant.settings"
    assert line["changed"] == {"key_limit": {"before": 300, "after": 20}}
    assert [line async for line in store.system.audit.forwards()] == []


async def test_what_is_refused_changes_nothing(store: Store, raw: Any) -> None:
    with pytest.raises(InvalidInput):
        await store.settings.change(lambda present: settle(present, {"key_limit": 301}))
    assert raw.keys("*") == []


async def test_unlisted_endpoints_lie_with_the_catalogue_and_leave_it_alone(store: Store) -> None:
    await store.policies.put(POLICIES)
    await store.settings.change(lambda present: settle(present, {"unlisted_endpoints": "allow"}))
    _, catalogue = await store.access.of_user(TAG, "kim")
    assert catalogue.unlisted_allowed
    assert catalogue.endpoints == POLICIES.endpoints
    assert (await store.settings.settled()).unlisted_allowed
    assert await store.settings.get() == DEFAULT_SETTINGS


@pytest.mark.parametrize("allowed", [True, False])
async def test_policies_that_do_not_say_it_leave_unlisted_endpoints_as_they_are(
    store: Store, *, allowed: bool
) -> None:
    await store.policies.put(Policies(unlisted_allowed=allowed))
    silent = Policies(endpoints=POLICIES.endpoints, unlisted_allowed=None)
    changes = (await store.policies.put(silent)).changes
    assert [change.subject for change in changes if change.area == "setting"] == []
    assert await store.policies.get() == Policies(endpoints=POLICIES.endpoints, unlisted_allowed=allowed)
    assert (await store.policies.put(silent)).changes == ()


async def test_no_change_of_many_at_once_is_lost(store: Store, store_url: str) -> None:
    async def settle_one(changes: dict[str, Any]) -> None:
        # Of another process, as far as the store can tell: it waits for no turn of ours.
        other = Store.at(store_url)
        await other.settings.change(lambda present: settle(present, changes))
        await other.aclose()

    made: list[dict[str, Any]] = [
        {"key_limit": 20},
        {"max_lifetime": 30},
        {"rule_methods": ["GET"]},
        {"unlisted_endpoints": "allow"},
    ]
    silent = Policies(POLICIES.endpoints, unlisted_allowed=None)
    await asyncio.gather(*map(settle_one, made), store.policies.put(silent))
    assert await store.settings.settled() == Settled(
        TenantSettings(key_limit=20, max_lifetime=30, rule_methods=frozenset({"GET"})), unlisted_allowed=True
    )
    assert (await store.policies.get()).endpoints == POLICIES.endpoints
    assert (await store.audit.verify()).broken is None


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        '{"key_limit": 20}',
        UNKNOWN_FIELD,
    ],
)
async def test_settings_that_cannot_be_read_are_a_fault_of_the_store(
    store: Store, raw: Any, damage: str
) -> None:
    raw.set(layout.settings(TAG), damage)
    for refused in (
        store.settings.get(),
        store.settings.settled(),
        store.settings.change(lambda present: settle(present, MORE)),
    ):
        with pytest.raises(StoreUnavailable):
            await refused
