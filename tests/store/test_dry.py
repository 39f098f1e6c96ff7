"""A dry run answers what would be, and writes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.commands import Commands
from scopegate.core.errors import (
    Conflict,
    FeatureDisabled,
    InvalidInput,
    KeyLimitReached,
    NotFound,
    StaleVersion,
)
from scopegate.core.keys import KeyType, Rule
from scopegate.core.policies import Policies
from scopegate.core.tenants import SCOPED_API
from scopegate.store import Store
from store.facts import IDEMPOTENCY, NOW, POLICIES, RULES, WEEK, key, key_id, user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

CUSTOM = key(2, type=KeyType.CUSTOM, rules=RULES)
NEW = Rule("GET", "/api/new")


@pytest.fixture
async def dry(store: Store, store_url: str) -> AsyncIterator[Commands]:
    """The operations on a tenant with something of everything, tried only."""
    await store.policies.put(POLICIES)
    await store.policies.set_flag(SCOPED_API, on=True)
    await store.users.put([user("kim"), user("lou")])
    for record in (key(1, expires_at=NOW + WEEK), CUSTOM):
        await store.keys.create(record, now=NOW)
    trying = Store.at(store_url, dry=True)
    yield Commands(trying, clock=lambda: NOW)
    await trying.aclose()


CHANGES: dict[str, Callable[[Commands], Awaitable[Any]]] = {
    "create": lambda dry: dry.create_key(key_type=KeyType.EXTERNAL, description="d"),
    "create once": lambda dry: dry.create_key(
        key_type=KeyType.EXTERNAL, description="d", idempotency=IDEMPOTENCY
    ),
    "duplicate": lambda dry: dry.duplicate_key(CUSTOM.id, description="d"),
    "rotate": lambda dry: dry.rotate_key(CUSTOM.id),
    "disable": lambda dry: dry.set_enabled(CUSTOM.id, enabled=False),
    "extend": lambda dry: dry.extend_key(key(1).id, None),
    "edit": lambda dry: dry.edit_key(CUSTOM.id, description="new"),
    "set rules": lambda dry: dry.set_rules(CUSTOM.id, (NEW,)),
    "remove rules": lambda dry: dry.remove_rules(CUSTOM.id, RULES[:1]),
    "delete": lambda dry: dry.delete_key(CUSTOM.id),
    "apply policies": lambda dry: dry.apply_policies(Policies()),
    "turn a flag": lambda dry: dry.set_scoped_api(on=False),
    "add a user": lambda dry: dry.add_user(user("max")),
    "put users": lambda dry: dry.put_users([user("kim", active=False)]),
    "deactivate": lambda dry: dry.set_active("kim", active=False),
    "delete a user": lambda dry: dry.delete_user("kim"),
    "sweep": lambda dry: dry._store.sweep(NOW + 5 * WEEK),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_nothing_is_written(
    dry: Commands, raw: Any, change: Callable[[Commands], Awaitable[Any]]
) -> None:
    before = {name: raw.dump(name) for name in raw.keys("*")}
    await change(dry)
    assert {name: raw.dump(name) for name in raw.keys("*")} == before


async def test_the_answer_is_what_would_have_been(dry: Commands, store: Store) -> None:
    created = await dry.create_key(key_type=KeyType.EXTERNAL, description="d", user="kim")
    assert (created.record.description, created.record.user, created.secret) == ("d", "kim", None)
    with pytest.raises(NotFound):
        await store.keys.get(created.record.id)
    rotated = await dry.rotate_key(CUSTOM.id)
    assert rotated.secret is None
    assert rotated.record.retiring is not None
    assert (await dry.set_enabled(CUSTOM.id, enabled=False)) == replace(CUSTOM, enabled=False)
    assert (await dry.set_rules(CUSTOM.id, (NEW,))).record.rules == (NEW,)
    assert [change.subject for change in (await dry.apply_policies(Policies())).changes]


async def test_every_check_is_made(dry: Commands, store: Store) -> None:
    with pytest.raises(InvalidInput):
        await dry.create_key(key_type=KeyType.EXTERNAL, description=" ")
    with pytest.raises(NotFound):
        await dry.delete_key(key_id(9))
    with pytest.raises(StaleVersion):
        await dry.delete_key(CUSTOM.id, expected="0" * 32)
    with pytest.raises(Conflict):
        await dry.add_user(user("kim"))
    await store.policies.set_flag(SCOPED_API, on=False)
    with pytest.raises(FeatureDisabled):
        await dry.duplicate_key(CUSTOM.id, description="d")
    for number in range(3, 301):
        await store.keys.create(key(number), now=NOW)
    with pytest.raises(KeyLimitReached, match="300 of 300"):
        await dry.create_key(key_type=KeyType.EXTERNAL, description="d")
