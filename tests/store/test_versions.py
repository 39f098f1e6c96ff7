"""A change that is meant for one version of a key is made to that version only."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.commands import Commands
from scopegate.core.errors import Conflict, FeatureDisabled, InvalidInput, NotFound, StaleVersion
from scopegate.core.keys import KeyType, Rule
from scopegate.core.tenants import SCOPED_API
from scopegate.store import Store, layout
from scopegate.store.records import etag
from store.facts import NOW, RULES, TAG, WEEK, key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CUSTOM = key(type=KeyType.CUSTOM, rules=RULES)
NEW = Rule("GET", "/api/new")
CHANGES: dict[str, Callable[[Commands, str], Awaitable[object]]] = {
    "enable": lambda commands, version: commands.set_enabled(CUSTOM.id, enabled=False, expected=version),
    "extend": lambda commands, version: commands.extend_key(CUSTOM.id, NOW + WEEK, expected=version),
    "rotate": lambda commands, version: commands.rotate_key(CUSTOM.id, expected=version),
    "edit": lambda commands, version: commands.edit_key(CUSTOM.id, description="new", expected=version),
    "bind": lambda commands, version: commands.edit_key(CUSTOM.id, user=None, expected=version),
    "add rules": lambda commands, version: commands.add_rules(CUSTOM.id, (NEW,), expected=version),
    "set rules": lambda commands, version: commands.set_rules(CUSTOM.id, (NEW,), expected=version),
    "remove rules": lambda commands, version: commands.remove_rules(CUSTOM.id, RULES[:1], expected=version),
    "delete": lambda commands, version: commands.delete_key(CUSTOM.id, expected=version),
}


@pytest.fixture
async def commands(store: Store) -> Commands:
    await store.policies.set_flag(SCOPED_API, on=True)
    await store.keys.create(CUSTOM, now=NOW)
    return Commands(store, clock=lambda: NOW)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_change_is_made_to_the_version_that_it_is_meant_for(
    commands: Commands, store: Store, raw: Any, change: Callable[[Commands, str], Awaitable[object]]
) -> None:
    version = etag(await store.keys.get(CUSTOM.id))
    await commands.edit_key(CUSTOM.id, description="changed meanwhile")
    before = {name: raw.dump(name) for name in raw.keys("*")}
    with pytest.raises(StaleVersion) as refused:
        await change(commands, version)
    assert refused.value.code == "etag_mismatch"
    assert {name: raw.dump(name) for name in raw.keys("*")} == before
    await change(commands, etag(await store.keys.get(CUSTOM.id)))


async def test_of_changes_meant_for_the_same_version_one_is_made(commands: Commands, store: Store) -> None:
    version = etag(await store.keys.get(CUSTOM.id))
    outcomes = await asyncio.gather(
        *(commands.edit_key(CUSTOM.id, description=f"{n}", expected=version) for n in range(10)),
        *(commands.delete_key(CUSTOM.id, expected=version) for _ in range(10)),
        return_exceptions=True,
    )
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
    assert all(isinstance(one, StaleVersion | NotFound) for one in outcomes if isinstance(one, Exception))


async def test_a_deletion_is_not_made_to_what_the_key_became_after_it_was_looked_at(
    commands: Commands, store: Store, store_url: str
) -> None:
    journal, other = store.keys._journal, Store.at(store_url)
    run: Any = journal.run

    async def overtaken(*arguments: Any) -> Any:
        *others, deed = arguments

        async def changed_after(client: Any) -> Any:
            done = await deed(client)
            journal.run = run  # type: ignore[method-assign]
            await other.keys.change(CUSTOM.id, lambda record: replace(record, description="changed"))
            return done

        return await run(*others, changed_after)

    journal.run = overtaken  # type: ignore[method-assign, assignment]
    with pytest.raises(StaleVersion):
        await commands.delete_key(CUSTOM.id, expected=etag(CUSTOM))
    assert (await store.keys.get(CUSTOM.id)).description == "changed"
    await other.aclose()


async def test_an_unreadable_key_has_no_version(commands: Commands, raw: Any) -> None:
    raw.set(layout.key_record(TAG, CUSTOM.id), "x")
    with pytest.raises(StaleVersion):
        await commands.delete_key(CUSTOM.id, expected=etag(CUSTOM))
    await commands.delete_key(CUSTOM.id)


def test_each_record_has_a_version_of_its_own() -> None:
    versions = {etag(CUSTOM), etag(replace(CUSTOM, enabled=False)), etag(replace(CUSTOM, rules=RULES[:1]))}
    assert len(versions) == 3
    assert etag(replace(CUSTOM)) in versions
    assert all(len(version) == 32 for version in versions)


async def test_rules_are_replaced(commands: Commands, store: Store) -> None:
    changed = await commands.set_rules(CUSTOM.id, (NEW,))
    assert changed.record == replace(CUSTOM, rules=(NEW,)) == await store.keys.get(CUSTOM.id)
    for rules, code in (
        ((), "rules_required"),
        ((NEW, NEW), "rule_duplicate"),
        ((Rule("DELETE", "/api"),), "method_not_allowed_value"),
    ):
        with pytest.raises(InvalidInput) as refused:
            await commands.set_rules(CUSTOM.id, rules)
        assert refused.value.code == code
    await commands.set_scoped_api(on=False)
    with pytest.raises(FeatureDisabled):
        await commands.set_rules(CUSTOM.id, RULES)
    assert (await store.keys.get(CUSTOM.id)).rules == (NEW,)


async def test_rules_of_no_custom_key_are_not_replaced(commands: Commands, store: Store) -> None:
    await store.keys.create(key(2), now=NOW)
    with pytest.raises(InvalidInput, match="no URL rules"):
        await commands.set_rules(key(2).id, RULES)
    with pytest.raises(Conflict):
        await commands.remove_rules(CUSTOM.id, RULES)
