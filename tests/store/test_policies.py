"""The contract of the stored policies and flags."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from scopegate.core.catalogue import Endpoint
from scopegate.core.changes import plan
from scopegate.core.errors import StaleVersion, StoreUnavailable
from scopegate.core.policies import Policies
from scopegate.core.tenants import SCOPED_API, Tenant
from scopegate.store import Store, layout
from scopegate.store.policies import Applied, version
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


async def test_policies_of_another_version_are_not_replaced(store: Store) -> None:
    seen = version(await store.policies.get())
    await store.policies.put(POLICIES, expected=seen)
    with pytest.raises(StaleVersion):
        await store.policies.put(Policies(), expected=seen)
    assert await store.policies.get() == POLICIES
    await store.policies.put(Policies(), expected=version(POLICIES))
    assert await store.policies.get() == Policies()


@pytest.mark.parametrize("forgetful_store", [b"EXEC"], indirect=True)
async def test_a_replacement_whose_answer_is_lost_is_no_other_version(
    forgetful_store: Store, store: Store
) -> None:
    seen = version(await store.policies.get())
    applied = await forgetful_store.policies.put(POLICIES, expected=seen)
    assert applied == Applied(POLICIES, plan(Policies(), POLICIES))
    assert await store.policies.get() == POLICIES


async def test_what_is_settled_for_unlisted_endpoints_belongs_to_the_version(store: Store) -> None:
    await store.policies.put(POLICIES)
    seen = version(await store.policies.get())
    await store.settings.change(lambda present: replace(present, unlisted_allowed=True))
    with pytest.raises(StaleVersion):
        await store.policies.put(Policies(), expected=seen)
    applied = await store.policies.put(Policies(unlisted_allowed=None))
    assert applied.policies == Policies(unlisted_allowed=True) == await store.policies.get()


async def test_of_two_who_replace_the_same_version_one_is_refused(store: Store, store_url: str) -> None:
    others = [Store.at(store_url) for _ in range(5)]
    seen = version(await store.policies.get())
    desired = [Policies(roles={f"role{number}": names()}) for number in range(len(others))]
    done = await asyncio.gather(
        *(
            other.policies.put(policies, expected=seen)
            for other, policies in zip(others, desired, strict=True)
        ),
        return_exceptions=True,
    )
    (applied,) = (one for one in done if not isinstance(one, StaleVersion))
    assert isinstance(applied, Applied)
    assert await store.policies.get() == applied.policies
    for other in others:
        await other.aclose()


def test_versions_are_the_same_for_equal_policies_alone() -> None:
    turned = replace(
        POLICIES, endpoints=POLICIES.endpoints[::-1], roles=dict(sorted(POLICIES.roles.items(), reverse=True))
    )
    assert version(turned) == version(POLICIES)
    said = replace(POLICIES.endpoints[0], summary="Another")
    different = (
        replace(POLICIES, unlisted_allowed=True),
        replace(POLICIES, groups={}),
        replace(POLICIES, endpoints=(said, *POLICIES.endpoints[1:])),
    )
    assert len({version(POLICIES), *map(version, different)}) == 4


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
