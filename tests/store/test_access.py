"""What a decision reads: always what lies in Redis now, and a fault wherever nobody can tell."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from scopegate.core.catalogue import Endpoint
from scopegate.core.errors import StoreUnavailable
from scopegate.core.keys import KeyType, Rule
from scopegate.core.policies import Policies
from scopegate.core.principal import Member, Principal
from scopegate.core.request import CanonicalRequest
from scopegate.core.tenants import SCOPED_API, Tenant
from scopegate.store import Store, layout
from scopegate.store.records import encode
from store.facts import INCOMPILABLE, NOW, POLICIES, TAG, key, key_id, names, text_of, user

RECORD = layout.key_record(TAG, key().id)
KIM = layout.user_record(TAG, "kim")
POLICY_RULE = Rule("GET", "/api/recordings/*")
RECORDING = CanonicalRequest("GET", "/api/recordings/1")


async def privileges(store: Store, user_id: str = "kim", tag: str = TAG) -> frozenset[str]:
    principal, _ = await store.access.of_user(tag, user_id)
    assert principal is not None
    return principal.privileges


# Keys


async def test_there_is_no_scope_for_an_unknown_key(store: Store) -> None:
    assert await store.access.scope(text_of(key())) is None


async def test_the_tenant_is_told_by_the_id(store: Store, store_url: str) -> None:
    other = Store.at(store_url, Tenant(id="other", tag="0a1"))
    theirs = key(1, id=key_id(1, "0a1"), tenant="other")
    await other.keys.create(theirs, now=NOW)
    found = await store.access.scope(text_of(theirs))
    assert found is not None
    assert found.record == theirs
    assert await store.access.scope(text_of(key(1))) is None
    await other.aclose()


async def test_every_change_of_a_key_counts_for_the_next_call(store: Store) -> None:
    await store.keys.create(key(), now=NOW)
    for enabled in (False, True, False):
        await store.keys.change(key().id, partial(replace, enabled=enabled))
        found = await store.access.scope(text_of(key()))
        assert found is not None
        assert found.record.enabled is enabled
    await store.keys.delete(key().id)
    assert await store.access.scope(text_of(key())) is None


async def test_removed_rules_count_for_the_next_call(store: Store) -> None:
    await store.policies.set_flag(SCOPED_API, on=True)
    custom = key(type=KeyType.CUSTOM, rules=(POLICY_RULE,))
    await store.keys.create(custom, now=NOW)
    before = await store.access.scope(text_of(custom))
    await store.keys.change(custom.id, lambda record: replace(record, rules=()))
    after = await store.access.scope(text_of(custom))
    assert before is not None
    assert after is not None
    assert (before.admitting_rule(RECORDING), after.admitting_rule(RECORDING)) == (0, None)


async def test_what_another_client_writes_counts_for_the_next_call(store: Store, raw: Any) -> None:
    await store.keys.create(key(), now=NOW)
    record = json.loads(raw.get(RECORD))
    raw.set(RECORD, json.dumps(record | {"enabled": False}))
    found = await store.access.scope(text_of(key()))
    assert found is not None
    assert not found.record.enabled
    raw.delete(RECORD)
    assert await store.access.scope(text_of(key())) is None


async def test_many_callers_at_once_are_all_answered(store: Store) -> None:
    await store.keys.create(key(), now=NOW)
    found = await asyncio.gather(*(store.access.scope(text_of(key())) for _ in range(500)))
    assert all(scope is not None and scope.record == key() for scope in found)


DAMAGED_RECORDS = {
    "empty": "",
    "no JSON": "{",
    "not an object": "[]",
    "null": "null",
    "without a digest": '{"id": "x", "tenant": "default", "type": "external"}',
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("value", DAMAGED_RECORDS.values(), ids=DAMAGED_RECORDS.keys())
async def test_a_key_record_that_cannot_be_read_is_neither_unknown_nor_allowed(
    store: Store, raw: Any, value: str | bytes
) -> None:
    raw.set(RECORD, value)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await store.access.scope(text_of(key()))


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "root"},
        {"enabled": "yes"},
        {"expires_at": "2100-01-01T00:00:00"},
        {"expires_at": "tomorrow"},
        {"rules": [{"method": "GET", "url": "/api"}]},
        {"type": "custom", "rules": [{"method": "GET", "url": "/a/../b"}]},
        {"type": "custom", "rules": [{"method": "GET", "url": "/a?b"}]},
        {"type": "custom", "rules": None},
        {"type": "desktop", "user": "kim"},
    ],
    ids=json.dumps,
)
async def test_a_key_record_that_means_nothing_is_a_fault_of_the_store(
    store: Store, raw: Any, changes: dict[str, Any]
) -> None:
    await store.keys.create(key(), now=NOW)
    raw.set(RECORD, json.dumps(json.loads(raw.get(RECORD)) | changes))
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await store.access.scope(text_of(key()))


async def test_rules_that_cannot_be_compiled_are_a_fault_of_the_store(store: Store, raw: Any) -> None:
    await store.keys.create(key(), now=NOW)
    record = json.loads(raw.get(RECORD))
    rules = [{"method": "GET", "url": url} for url in INCOMPILABLE]
    raw.set(RECORD, json.dumps(record | {"type": "custom", "rules": rules}))
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await store.access.scope(text_of(key()))


async def test_a_key_record_of_another_type_is_a_fault_of_the_store(store: Store, raw: Any) -> None:
    raw.rpush(RECORD, "x")
    with pytest.raises(StoreUnavailable):
        await store.access.scope(text_of(key()))


# Users


async def test_an_unknown_user_is_nobody_but_has_the_catalogue(store: Store) -> None:
    await store.policies.put(POLICIES)
    principal, catalogue = await store.access.of_user(TAG, "kim")
    assert principal is None
    assert catalogue.endpoints == POLICIES.endpoints


async def test_privileges_come_from_roles_and_from_groups(store: Store) -> None:
    await store.policies.put(POLICIES)
    for held, expected in (
        (user(), names()),
        (user(roles=names("agent")), names("recordings.view")),
        (user(groups=names("agents")), names("recordings.view")),
        (user(groups=names("agents"), roles=names("agent")), names("recordings.view")),
        (
            user(groups=names("agents"), roles=names("editor")),
            names("recordings.view", "notes.view", "notes.edit"),
        ),
        (user(roles=names("undefined")), names()),
        (user(groups=names("undefined")), names()),
        (user(groups=names("agents", "undefined"), roles=names("gone")), names("recordings.view")),
        # A group and a role are different things, whatever they are called.
        (user(groups=names("agent"), roles=names("agents")), names()),
    ):
        await store.users.put([held])
        assert await privileges(store) == expected, held


async def test_an_inactive_user_has_no_privileges(store: Store) -> None:
    await store.policies.put(POLICIES)
    await store.users.put([user(active=False, roles=names("agent"), groups=names("agents"))])
    principal, _ = await store.access.of_user(TAG, "kim")
    assert principal == Principal("kim", active=False, privileges=names())


async def test_whoever_wants_to_know_more_is_told_the_user_and_all_roles(store: Store) -> None:
    await store.policies.put(POLICIES)
    for active in (True, False):
        kim = user(active=active, groups=names("agents", "undefined"), roles=names("editor", "undefined"))
        await store.users.put([kim])
        plain, catalogue = await store.access.of_user(TAG, "kim")
        member, same = await store.member_access().of_user(TAG, "kim")
        assert isinstance(member, Member)
        assert not isinstance(plain, Member)
        assert plain is not None
        assert (member.active, member.privileges) == (plain.active, plain.privileges)
        assert member.user == kim
        assert member.roles == names("agent", "editor", "undefined")
        assert same.endpoints == catalogue.endpoints
    nobody, _ = await store.member_access().of_user(TAG, "nobody")
    assert nobody is None


async def test_every_change_of_rights_counts_for_the_next_call(store: Store) -> None:
    await store.policies.put(POLICIES)
    await store.users.put([user(roles=names("agent"))])
    assert await privileges(store) == {"recordings.view"}
    await store.users.change("kim", lambda one: replace(one, roles=names()))
    assert await privileges(store) == names()
    await store.users.change("kim", lambda one: replace(one, groups=names("agents")))
    assert await privileges(store) == {"recordings.view"}
    await store.policies.put(replace(POLICIES, groups={}))
    assert await privileges(store) == names()
    await store.policies.put(POLICIES)
    await store.users.change("kim", lambda one: replace(one, active=False))
    assert await privileges(store) == names()


async def test_a_change_of_the_catalogue_counts_for_the_next_call(store: Store, raw: Any) -> None:
    await store.users.put([user()])
    empty = await store.access.of_user(TAG, "kim")
    assert empty[1].required(RECORDING) is None
    for privilege in ("one", "two", "one"):
        endpoint = Endpoint(names("GET"), "/api/recordings/*", names(privilege))
        await store.policies.put(Policies(endpoints=(endpoint,)))
        _, catalogue = await store.access.of_user(TAG, "kim")
        assert catalogue.required(RECORDING) == names(privilege)
    await store.policies.put(Policies(unlisted_allowed=True))
    _, catalogue = await store.access.of_user(TAG, "kim")
    assert catalogue.required(RECORDING) == names()
    raw.delete(layout.catalogue(TAG))
    _, catalogue = await store.access.of_user(TAG, "kim")
    assert catalogue.required(RECORDING) is None


async def test_an_unchanged_catalogue_is_compiled_once(store: Store) -> None:
    for policies in (POLICIES, Policies(), POLICIES):
        await store.policies.put(policies)
        _, first = await store.access.of_user(TAG, "kim")
        await store.users.put([user()])
        _, second = await store.access.of_user(TAG, "kim")
        assert second is first


async def test_rights_that_another_client_writes_count_for_the_next_call(store: Store, raw: Any) -> None:
    raw.set(KIM, encode(user(roles=names("agent"))))
    raw.hset(layout.roles(TAG), "agent", '["recordings.view"]')
    assert await privileges(store) == {"recordings.view"}
    raw.hset(layout.roles(TAG), "agent", "[]")
    assert await privileges(store) == names()
    raw.hset(layout.groups(TAG), "agents", '["editor"]')
    raw.hset(layout.roles(TAG), "editor", '["notes.edit"]')
    raw.set(KIM, encode(user(groups=names("agents"))))
    assert await privileges(store) == {"notes.edit"}
    raw.hdel(layout.roles(TAG), "editor")
    assert await privileges(store) == names()
    raw.delete(KIM)
    assert (await store.access.of_user(TAG, "kim"))[0] is None


async def test_the_rights_of_two_tenants_do_not_mix(store: Store, store_url: str) -> None:
    other = Store.at(store_url, Tenant(id="other", tag="0a1"))
    for one, privilege in ((store, "ours"), (other, "theirs")):
        await one.users.put([user(roles=names("agent"))])
        endpoint = Endpoint(names("GET"), f"/{privilege}", names(privilege))
        await one.policies.put(Policies(endpoints=(endpoint,), roles={"agent": names(privilege)}))
    for tag, privilege in ((TAG, "ours"), ("0a1", "theirs"), (TAG, "ours")):
        principal, catalogue = await store.access.of_user(tag, "kim")
        assert principal is not None
        assert principal.privileges == {privilege}
        assert [endpoint.url for endpoint in catalogue.endpoints] == [f"/{privilege}"]
    await other.aclose()


async def test_callers_during_a_change_of_the_catalogue_end_with_the_new_one(store: Store) -> None:
    await store.policies.put(POLICIES)
    await store.users.put([user()])
    await asyncio.gather(
        *(store.access.of_user(TAG, "kim") for _ in range(20)),
        store.policies.put(Policies()),
        *(store.access.of_user(TAG, "kim") for _ in range(20)),
    )
    _, catalogue = await store.access.of_user(TAG, "kim")
    assert catalogue.endpoints == ()


DAMAGED_RIGHTS = {
    "a user that is no JSON": lambda raw: raw.set(KIM, "{"),
    "a user that is empty": lambda raw: raw.set(KIM, ""),
    "a user that is a number": lambda raw: raw.set(KIM, "5"),
    "a user that is null": lambda raw: raw.set(KIM, "null"),
    "a user without an id": lambda raw: raw.set(KIM, '{"name": "Kim", "roles": ["agent"]}'),
    "a user whose roles are no list": lambda raw: raw.set(
        KIM, '{"id": "kim", "name": "K", "roles": "agent"}'
    ),
    "a user whose roles are an object": lambda raw: raw.set(
        KIM, '{"id": "kim", "name": "K", "roles": {"a": 1}}'
    ),
    "a user whose roles are null": lambda raw: raw.set(KIM, '{"id": "kim", "name": "K", "roles": null}'),
    "a user who is active perhaps": lambda raw: raw.set(KIM, '{"id": "kim", "name": "K", "active": "no"}'),
    "a user of another type": lambda raw: (raw.delete(KIM), raw.rpush(KIM, "x")),
    "a role that is no JSON": lambda raw: raw.hset(layout.roles(TAG), "agent", "["),
    "a role that is no list": lambda raw: raw.hset(layout.roles(TAG), "agent", '{"recordings.view": true}'),
    "a role of numbers": lambda raw: raw.hset(layout.roles(TAG), "agent", "[1]"),
    "roles of another type": lambda raw: (raw.delete(layout.roles(TAG)), raw.set(layout.roles(TAG), "x")),
    "a group that is no JSON": lambda raw: raw.hset(layout.groups(TAG), "agents", "["),
    "a group that is no list": lambda raw: raw.hset(layout.groups(TAG), "agents", '"agent"'),
    "a group whose role is no text": lambda raw: (
        raw.hset(layout.groups(TAG), "agents", b'["\xff"]'),
        raw.hset(layout.roles(TAG), b"\xff", "[]"),
    ),
    "groups of another type": lambda raw: (raw.delete(layout.groups(TAG)), raw.set(layout.groups(TAG), "x")),
    "a catalogue that is no JSON": lambda raw: raw.set(layout.catalogue(TAG), "{"),
    "a catalogue with a URL that is none": lambda raw: raw.set(
        layout.catalogue(TAG), '{"endpoints": [{"methods": ["GET"], "url": "api"}]}'
    ),
    "a catalogue that cannot be compiled": lambda raw: raw.set(
        layout.catalogue(TAG),
        json.dumps({"endpoints": [{"methods": ["GET"], "url": url} for url in INCOMPILABLE]}),
    ),
    "a catalogue of another type": lambda raw: (
        raw.delete(layout.catalogue(TAG)),
        raw.rpush(layout.catalogue(TAG), "x"),
    ),
}


@pytest.mark.parametrize("damage", DAMAGED_RIGHTS.values(), ids=DAMAGED_RIGHTS.keys())
async def test_rights_that_cannot_be_read_are_a_fault_of_the_store(
    store: Store, raw: Any, damage: Any
) -> None:
    await store.policies.put(POLICIES)
    await store.users.put([user(roles=names("agent"), groups=names("agents"))])
    assert await privileges(store) == {"recordings.view"}
    damage(raw)
    for _ in range(2):  # a failed reading must not be remembered as a catalogue
        with pytest.raises(StoreUnavailable):
            await store.access.of_user(TAG, "kim")


async def test_a_catalogue_that_is_repaired_is_read_again(store: Store, raw: Any) -> None:
    await store.policies.put(POLICIES)
    await store.users.put([user()])
    good = raw.get(layout.catalogue(TAG))
    raw.set(layout.catalogue(TAG), "{")
    with pytest.raises(StoreUnavailable):
        await store.access.of_user(TAG, "kim")
    raw.set(layout.catalogue(TAG), good)
    _, catalogue = await store.access.of_user(TAG, "kim")
    assert catalogue.endpoints == POLICIES.endpoints
