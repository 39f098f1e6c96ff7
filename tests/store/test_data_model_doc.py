"""docs/data-model.md says what is so: names, examples and permissions."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scopegate.core.administrators import Administrator
from scopegate.core.admintokens import AdminToken
from scopegate.core.keys import KeyRecord
from scopegate.core.principal import Group, User
from scopegate.core.tenants import Tenant, TenantSettings
from scopegate.store import Store, layout
from scopegate.store.policies import StoredCatalogue
from scopegate.store.records import decode, encode
from store.facts import administrator, batch, bootstrap_token, exercise, exercise_system

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = (Path(__file__).parents[2] / "docs" / "data-model.md").read_text("utf-8")

LAYOUT: dict[str, Callable[..., str]] = {
    name: function
    for name, function in inspect.getmembers(layout, inspect.isfunction)
    if function.__module__ == layout.__name__ and function is not layout.parse
}


def rows() -> dict[str, list[str]]:
    """The rows of the table of names, by name."""
    table = PAGE.split("## Names", 1)[1].split("\n\n")[1]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in cells}


def documented_name(function: Callable[..., str]) -> str:
    return function(*(f"<{name.replace('_', ' ')}>" for name in inspect.signature(function).parameters))


@pytest.mark.parametrize("function", LAYOUT.values(), ids=LAYOUT.keys())
def test_every_name_is_documented_with_its_type(function: Callable[..., str]) -> None:
    row = rows()[documented_name(function)]
    kind = str(function.__doc__).partition(":")[0].lower()
    assert row[0] == kind
    assert all(row)


def test_no_other_name_is_documented() -> None:
    assert rows().keys() == {documented_name(function) for function in LAYOUT.values()}


async def test_everything_that_is_stored_has_a_documented_name_and_type(store: Store, raw: Any) -> None:
    await exercise(store)
    await exercise_system(store)
    # The one is there only until the other is.
    raw.delete(layout.administrators())
    assert await store.system.tokens.offer_bootstrap(bootstrap_token())
    await store.system.administrators.create(administrator())
    await store.usage_writer.begin(0)
    await store.usage_writer.add(batch(), 0)
    live = store.live_access()
    live.start()
    async with asyncio.timeout(10):
        while not raw.keys("sg:canary:*"):  # noqa: ASYNC110 -- the server tells nobody else
            await asyncio.sleep(0)
    await live.stop()
    patterns = {
        re.sub(r"<[a-z ]+>", "[^:]+", re.escape(name).replace(r"\ ", " ")): row[0].replace(
            "sorted set", "zset"
        )
        for name, row in rows().items()
    }
    met = set()
    for stored in raw.keys("*"):
        [pattern] = [one for one in patterns if re.fullmatch(one, stored.decode())]
        assert raw.type(stored).decode() == patterns[pattern]
        met.add(pattern)
    assert met == patterns.keys()


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("### A key's record", KeyRecord),
        ("### A user's record", User),
        ("### A group's record", Group),
        ("### A tenant's record", Tenant),
        ("### A tenant's settings", TenantSettings),
        ("### An administrator's record", Administrator),
        ("### A token's record", AdminToken),
        ("### The endpoint catalogue", StoredCatalogue),
    ],
)
def test_each_example_is_what_would_be_stored(heading: str, kind: type[Any]) -> None:
    example = PAGE.split(heading, 1)[1].split("```json\n", 1)[1].split("```", 1)[0]
    assert msgspec.json.decode(encode(decode(example, kind))) == msgspec.json.decode(example)


async def test_another_tenant_has_the_same_names_under_its_tag(store_url: str, raw: Any) -> None:
    store = Store.at(store_url, Tenant(id="other", tag="0a1"))
    await exercise(store)
    await store.aclose()
    assert all(name.startswith(b"sg:{0a1}:") for name in raw.keys("*"))
