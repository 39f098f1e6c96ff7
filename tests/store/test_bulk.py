"""Many keys in one go."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.commands import Commands
from scopegate.core.bulk import BulkAction
from scopegate.core.errors import InvalidInput, KeyLimitReached
from scopegate.core.keydocuments import read_document
from scopegate.core.keys import KeyType, parse
from scopegate.core.tenants import SCOPED_API, Tenant
from scopegate.store import Store
from store.facts import NOW, RULES, WEEK, key, key_id, user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RECORDS = (
    key(1, type=KeyType.DESKTOP, created_at=NOW + timedelta(1)),
    key(2, expires_at=NOW + WEEK, user="kim", enabled=False),
    key(3, type=KeyType.CUSTOM, rules=RULES, created_at=NOW - timedelta(1)),
)


@pytest.fixture
async def commands(store: Store) -> Commands:
    await store.policies.set_flag(SCOPED_API, on=True)
    await store.users.put([user("kim")])
    for record in RECORDS:
        await store.keys.create(record, now=NOW)
    return Commands(store, clock=lambda: NOW)


@pytest.fixture
async def other(store_url: str) -> AsyncIterator[Store]:
    """The store of an empty tenant."""
    opened = Store.at(store_url, Tenant("other", "0a1"))
    await opened.policies.set_flag(SCOPED_API, on=True)
    await opened.users.put([user("kim")])
    yield opened
    await opened.aclose()


async def test_each_key_has_an_outcome_and_none_stops_the_others(commands: Commands, store: Store) -> None:
    ids = [key_id(9), key_id(1), key_id(2), key_id(1), "*", key_id(3)]
    outcomes = await commands.change_keys(ids, BulkAction.EXTEND, expires_at=NOW + 2 * WEEK)
    assert [(one.id, one.error.code if one.error else None) for one in outcomes] == [
        (key_id(9), "not_found"),
        (key_id(1), "expiry_not_allowed_for_desktop"),
        (key_id(2), None),
        ("*", "invalid"),
        (key_id(3), None),
    ]
    assert outcomes[2].record == await store.keys.get(key_id(2))
    assert outcomes[2].record == replace(RECORDS[1], expires_at=NOW + 2 * WEEK)


async def test_keys_are_disabled_enabled_and_deleted(commands: Commands) -> None:
    ids = [record.id for record in RECORDS]
    for action, enabled in ((BulkAction.DISABLE, False), (BulkAction.ENABLE, True)):
        outcomes = await commands.change_keys(ids, action)
        assert [one.record and one.record.enabled for one in outcomes] == [enabled] * 3
    assert [one.error for one in await commands.change_keys(ids, BulkAction.DELETE)] == [None] * 3
    assert await commands.list_keys() == []


async def test_an_export_can_be_imported_and_gives_like_keys_with_new_secrets(
    commands: Commands, other: Store
) -> None:
    exported = json.loads(json.dumps(await commands.export_keys()))
    assert [one["id"] for one in exported] == [record.id for record in RECORDS]
    assert not any(record.digest in json.dumps(exported) for record in RECORDS)
    imported = await Commands(other, clock=lambda: NOW).import_keys(exported)
    for record, one in zip(RECORDS, imported, strict=True):
        assert one.issued is not None
        made = one.issued.record
        assert parse(one.issued.new_secret) is not None
        assert made.digest != record.digest
        assert made == replace(
            record, id=made.id, digest=made.digest, tenant="other", created_at=made.created_at
        )


async def test_what_is_wrong_in_a_document_is_told_by_row(commands: Commands) -> None:
    good = {"type": "external", "description": "good"}
    imported = await commands.import_keys([good, {**good, "description": ""}, [], good])
    assert [(one.row, one.error and one.error.code) for one in imported] == [
        (1, None),
        (2, "description_required"),
        (3, "document_invalid"),
        (4, None),
    ]
    assert len(await commands.list_keys()) == 5


async def test_a_dry_import_counts_the_room(commands: Commands, store_url: str, raw: Any) -> None:
    for number in range(4, 300):
        await commands._store.keys.create(key(number), now=NOW)
    before = {name: raw.dump(name) for name in raw.keys("*")}
    dry = Store.at(store_url, dry=True)
    imported = await Commands(dry, clock=lambda: NOW).import_keys(
        [{"type": "external", "description": "d"}] * 3
    )
    await dry.aclose()
    assert [type(one.error) for one in imported] == [type(None), KeyLimitReached, KeyLimitReached]
    assert imported[0].issued is not None
    assert imported[0].issued.secret is None
    assert {name: raw.dump(name) for name in raw.keys("*")} == before


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (None, ""),
        ({}, "type"),
        ({"type": "nonsense"}, "type"),
        ({"type": ["external"]}, "type"),
        ({"type": "external", "digest": "0"}, "digest"),
        ({"type": "external", "enabled": 1}, "enabled"),
        ({"type": "external", "expires_at": "2031-03-31T23:59:00"}, "expires_at"),
        ({"type": "external", "expires_at": "soon"}, "expires_at"),
        ({"type": "external", "user": 7}, "user"),
        ({"type": "custom", "rules": {}}, "rules"),
        ({"type": "custom", "rules": [{"method": "GET", "url": "/"}, {"url": "/"}]}, "rules[2]"),
        ({"type": "custom", "rules": [{"method": "GET", "url": "nonsense"}]}, "rules[1].url"),
    ],
)
def test_a_document_says_what_a_key_is_and_no_more(document: object, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_document(document)
    assert refused.value.field == field
    assert refused.value.hint
