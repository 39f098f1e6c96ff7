"""What is settled for a tenant counts for the keys that are created and changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.commands import Commands
from scopegate.core.drafts import Draft, DraftRule
from scopegate.core.errors import InvalidInput, KeyLimitReached, StoreUnavailable
from scopegate.core.keys import KeyType, Rule
from scopegate.core.tenants import DEFAULT_SETTINGS, SCOPED_API, TenantSettings
from scopegate.store import Store, layout
from scopegate.store.records import encode
from store.facts import NOW, POLICIES, TAG, key, user

if TYPE_CHECKING:
    from collections.abc import Callable

    Settle = Callable[..., None]

DAY = timedelta(days=1)
RULES = (Rule("DELETE", "/api/recordings/*"),)


@pytest.fixture
def settle(raw: Any) -> Settle:
    def settled(**changes: Any) -> None:
        raw.set(layout.settings(TAG), encode(TenantSettings(**changes)))

    return settled


@pytest.fixture
async def commands(store: Store) -> Commands:
    await store.policies.set_flag(SCOPED_API, on=True)
    return Commands(store, clock=lambda: NOW)


async def test_the_limit_of_keys_counts_at_once(store: Store, settle: Settle) -> None:
    settle(key_limit=2)
    for number in (1, 2):
        await store.keys.create(key(number), now=NOW)
    with pytest.raises(KeyLimitReached, match="2 of 2"):
        await store.keys.create(key(3), now=NOW)
    settle(key_limit=3)
    await store.keys.create(key(3), now=NOW)
    settle(key_limit=1)
    with pytest.raises(KeyLimitReached, match="3 of 1"):
        await store.keys.create(key(4), now=NOW)


@pytest.mark.parametrize("stored", ["", "x", "{}", '{"key_limit": null}', '{"key_limit": "9"}', "[]"])
async def test_where_nobody_can_tell_the_limit_no_key_is_created(store: Store, raw: Any, stored: str) -> None:
    raw.set(layout.settings(TAG), stored)
    with pytest.raises(StoreUnavailable):
        await store.keys.create(key(), now=NOW)
    with pytest.raises(StoreUnavailable):
        await store.settings.get()
    assert raw.keys("*") == [layout.settings(TAG).encode()]


async def test_the_quota_says_what_the_keys_are(commands: Commands, store: Store, settle: Settle) -> None:
    settle(key_limit=5)
    kinds: tuple[dict[str, Any], ...] = (
        {"type": KeyType.DESKTOP},
        {"enabled": False},
        {"expires_at": NOW},
        {"expires_at": NOW, "enabled": False},
        {"expires_at": NOW + DAY},
    )
    for number, fields in enumerate(kinds):
        await store.keys.create(key(number, **fields), now=NOW - DAY)
    quota = await commands.quota()
    assert (quota.limit, quota.used, quota.left, quota.reclaimable, quota.never_expiring) == (5, 5, 0, 2, 2)
    assert quota.by_type == {KeyType.DESKTOP: 1, KeyType.EXTERNAL: 4, KeyType.CUSTOM: 0}
    with pytest.raises(KeyLimitReached) as refused:
        await commands.create_key(key_type=KeyType.DESKTOP, description="d")
    assert refused.value.quota == quota
    assert refused.value.message == (
        "This tenant has 5 of 5 keys: 2 active, 1 disabled, 2 expired (2 can be deleted now)."
    )


async def test_other_methods_can_be_allowed_and_taken_back(commands: Commands, settle: Settle) -> None:
    async def create() -> str:
        made = await commands.create_key(key_type=KeyType.CUSTOM, description="d", rules=RULES)
        return made.record.id

    with pytest.raises(InvalidInput):
        await create()
    settle(rule_methods=frozenset({"GET", "DELETE"}))
    kept = await create()
    settle(rule_methods=frozenset({"GET"}))
    for refused in (
        create(),
        commands.duplicate_key(kept, description="d"),
        commands.add_rules(kept, (Rule("DELETE", "/other"),)),
        commands.set_rules(kept, RULES),
        commands.add_rules(kept, (Rule("POST", "/other"),)),
    ):
        with pytest.raises(InvalidInput) as error:
            await refused
        assert error.value.code == "method_not_allowed_value"
    changed = await commands.add_rules(kept, (Rule("GET", "/other"),))
    assert changed.record.rules == (*RULES, Rule("GET", "/other")), "what it had, it keeps"


async def test_an_expiry_that_is_not_given_is_the_tenants(commands: Commands, settle: Settle) -> None:
    async def expiry(**fields: Any) -> Any:
        given = {"key_type": KeyType.EXTERNAL, "description": "d", **fields}
        return (await commands.create_key(**given)).record.expires_at

    assert await expiry() is None
    settle(default_lifetime=90)
    assert await expiry() == NOW + 90 * DAY
    assert await expiry(expires_at=None) is None, "never, said on purpose"
    assert await expiry(expires_at=NOW + DAY) == NOW + DAY
    assert await expiry(key_type=KeyType.DESKTOP) is None


async def test_no_key_lives_longer_than_the_tenant_allows(
    commands: Commands, store: Store, settle: Settle
) -> None:
    settle(max_lifetime=30)
    await store.keys.create(key(), now=NOW)
    last = NOW + 30 * DAY
    for refused in (
        commands.create_key(key_type=KeyType.EXTERNAL, description="d"),
        commands.create_key(key_type=KeyType.EXTERNAL, description="d", expires_at=last + DAY),
        commands.duplicate_key(key().id, description="d"),
        commands.extend_key(key().id, None),
        commands.extend_key(key().id, last + timedelta(microseconds=1)),
        commands.edit_key(key().id, expires_at=None),
    ):
        with pytest.raises(InvalidInput) as error:
            await refused
        assert (error.value.field, error.value.code) == ("expires_at", "expiry_too_late")
    assert (await commands.edit_key(key().id, description="other")).record.expires_at is None
    assert (await commands.extend_key(key().id, last)).expires_at == last
    desktop = await commands.create_key(key_type=KeyType.DESKTOP, description="d")
    assert desktop.record.expires_at is None
    assert (await commands.edit_key(desktop.record.id, expires_at=None)).record == desktop.record


async def test_settings_are_the_default_until_something_is_settled(store: Store, settle: Settle) -> None:
    assert await store.settings.get() == DEFAULT_SETTINGS
    settle(max_lifetime=3)
    assert await store.settings.get() == replace(DEFAULT_SETTINGS, max_lifetime=3)


async def test_a_draft_is_looked_at_and_nothing_is_made(
    commands: Commands, store: Store, settle: Settle, raw: Any
) -> None:
    settle(key_limit=2)
    await store.policies.put(POLICIES)
    await store.users.put([user("kim", groups=frozenset({"agents"}))])
    before = {name: raw.dump(name) for name in raw.keys("*")}
    url = DraftRule("GET", "/api/recordings/*")
    seen = await commands.preview_key(Draft(type=KeyType.CUSTOM, description="d", user="kim", rules=(url,)))
    assert (seen.problems, seen.left) == ((), 1)
    assert [(one.url, one.allowed) for one in seen.access] == [("/api/recordings/*", True)]
    unbound = await commands.preview_key(Draft(type=KeyType.CUSTOM, rules=(url,)))
    assert [one.field for one in unbound.problems] == ["description"]
    assert len(unbound.access) == 1
    assert {name: raw.dump(name) for name in raw.keys("*")} == before
