"""The contract of the stored policies and flags."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scopegate.core.catalogue import Endpoint
from scopegate.core.errors import StoreUnavailable
from scopegate.core.policies import Policies
from scopegate.core.tenants import SCOPED_API, Tenant
from scopegate.store import Store, layout
from store.facts import POLICIES, TAG, names, user

# So many that one replacement is more than a server reads at once.
ROLES = 3_000
READS = 150


async def test_there_are_no_policies_at_first(store: Store) -> None:
    assert await store.policies.get() == Policies()


@pytest.mark.parametrize(
    "policies", [Policies(), POLICIES, Policies(unlisted_allowed=True), Policies(roles={"none": names()})]
)
async def test_policies_come_back_as_they_were_put(store: Store, policies: Policies) -> None:
    await store.policies.put(policies)
    assert await store.policies.get() == policies


async def test_what_is_no_longer_named_vanishes(store: Store, raw: Any) -> None:
    await store.policies.put(POLICIES)
    await store.policies.put(Policies(roles={"other": names("other.privilege")}))
    assert await store.policies.get() == Policies(roles={"other": names("other.privilege")})
    await store.policies.put(Policies())
    assert await store.policies.get() == Policies()
    left = {layout.catalogue(TAG), layout.audit(TAG), layout.audit_bounds(TAG)}
    assert set(raw.keys("*")) == {name.encode() for name in left}


def recognisable(name: str) -> Policies:
    """Policies all of whose parts say which ones they are."""
    return Policies(
        endpoints=(Endpoint(names("GET"), f"/{name}", names(name)),),
        roles={f"{name}{number}": names(name) for number in range(ROLES)},
        groups={name: names(f"{name}0", f"{name}{ROLES - 1}")},
    )


async def test_no_reader_sees_a_mixture_of_old_and_new(store: Store, store_url: str) -> None:
    versions = {"a": recognisable("a"), "b": recognisable("b")}
    writer = Store.at(store_url)
    await writer.users.put([user("kim", groups=names("a", "b"))])
    await writer.policies.put(versions["a"])
    reading = True

    async def write() -> None:
        while reading:
            for policies in (versions["b"], versions["a"]):
                await writer.policies.put(policies)

    async def read() -> None:
        seen: set[str] = set()
        reads = 0
        while reads < READS or len(seen) < len(versions):
            principal, catalogue = await store.access.of_user(TAG, "kim")
            version = catalogue.endpoints[0].url[1:]
            assert principal is not None
            assert principal.privileges == {version}
            seen.add(version)
            reads += 1
            if reads % 10 == 0:
                whole = await store.policies.get() in versions.values()
                assert whole  # apart, as no reader of a failure wants to see all of them

    async def read_all() -> None:
        nonlocal reading
        try:
            await read()
        finally:
            reading = False

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read_all())
        tasks.create_task(write())
    await writer.aclose()


async def test_tenants_do_not_share_policies_or_flags(store: Store, store_url: str) -> None:
    other = Store.at(store_url, Tenant(id="other", tag="0a1"))
    await store.policies.put(POLICIES)
    await store.policies.set_flag(SCOPED_API, on=True)
    assert await other.policies.get() == Policies()
    assert not await other.policies.flag(SCOPED_API)
    await other.aclose()


async def test_a_flag_is_off_until_it_is_turned_on(store: Store) -> None:
    assert not await store.policies.flag(SCOPED_API)
    await store.policies.set_flag(SCOPED_API, on=True)
    assert await store.policies.flag(SCOPED_API)
    assert not await store.policies.flag("another")
    await store.policies.set_flag(SCOPED_API, on=False)
    assert not await store.policies.flag(SCOPED_API)


DAMAGE = {
    "a catalogue that is no JSON": lambda raw: raw.set(layout.catalogue(TAG), "{"),
    "a catalogue with an unknown method": lambda raw: raw.set(
        layout.catalogue(TAG), '{"endpoints": [{"methods": ["FETCH"], "url": "/a"}]}'
    ),
    "a catalogue of another type": lambda raw: raw.rpush(layout.catalogue(TAG), "x"),
    "roles of another type": lambda raw: raw.set(layout.roles(TAG), "x"),
    "a role that is no list": lambda raw: raw.hset(layout.roles(TAG), "agent", '"recordings.view"'),
    "a role whose name is no text": lambda raw: raw.hset(layout.roles(TAG), b"\xff", "[]"),
    "a group that names an undefined role": lambda raw: raw.hset(layout.groups(TAG), "g", '["nobody"]'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
async def test_policies_that_cannot_be_read_are_a_fault_of_the_store(
    store: Store, raw: Any, damage: Any
) -> None:
    damage(raw)
    with pytest.raises(StoreUnavailable):
        await store.policies.get()
