"""A search sees every change that was made before it, whichever process made it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scopegate.core.errors import NotFound, StoreUnavailable
from scopegate.core.principal import Group, User
from scopegate.core.tenants import Tenant
from scopegate.core.usersearch import UserSearch, place_of, words
from scopegate.store import Store, layout, usersearch
from store.facts import TAG, each, key, names, user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EVERYBODY = UserSearch()


@pytest.fixture
async def other(store_url: str) -> AsyncIterator[Store]:
    """The same store as another process sees it."""
    opened = Store.at(store_url)
    yield opened
    await opened.aclose()


async def ids(store: Store, search: UserSearch = EVERYBODY, most: int = 100) -> list[str]:
    return [one.id for one in (await store.people.find(search, most=most)).users]


async def test_people_are_found_by_name_a_page_at_a_time(store: Store) -> None:
    people = [user("1", name="Zoë"), user("2", name="ana"), user("3", name="Ana"), user("4", name="Łukasz")]
    await store.users.put(people)
    first = await store.people.find(EVERYBODY, most=3)
    assert [one.id for one in first.users] == ["2", "3", "4"]
    assert first.last == place_of(people[3])
    second = await store.people.find(EVERYBODY, after=first.last, most=3)
    assert ([one.id for one in second.users], second.last) == (["1"], None)
    assert (await store.people.find(UserSearch(words=("nobody",)), most=3)).users == ()


async def test_each_kind_of_change_is_seen_at_once(store: Store, other: Store) -> None:
    assert await ids(store) == []
    lang = UserSearch(words=words("lang"))
    await other.users.add(user("tom", name="Tom Lang"))
    assert await ids(store, lang) == ["tom"]
    await other.users.put([user("zoe", name="Zoe Lang"), user("kim", name="Kim")])
    assert await ids(store, lang) == ["tom", "zoe"]
    await other.users.put_each(each(user("kim", name="Kim Lang")))
    assert await ids(store, lang) == ["kim", "tom", "zoe"]
    await other.users.change("tom", lambda one: replace(one, name="Tom Kurz"))
    assert await ids(store, lang) == ["kim", "zoe"]
    await other.groups.add(Group(id="it", name="IT"))
    await other.groups.set_members("it", add=["zoe"])
    assert await ids(store, UserSearch(group="it")) == ["zoe"]
    await other.users.delete("zoe")
    assert await ids(store, lang) == ["kim"]
    await other.groups.set_members("it", add=["kim"])
    await other.groups.delete("it")
    assert await ids(store, UserSearch(group="it")) == []
    assert await ids(store) == await ids(other) == ["kim", "tom"]


async def test_other_changes_cost_nothing_and_do_not_hide_any(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usersearch, "_ENTRIES", 2)
    await store.users.add(user("kim"))
    assert await ids(store) == ["kim"]
    made = await store.people.people()
    for number in range(5):
        await store.keys.create(key(number), now=key().created_at)
    assert await store.people.people() is made
    await store.users.add(user("lou"))
    for number in range(5):
        await store.keys.delete(key(number).id)
    assert await ids(store) == ["kim", "lou"]


async def test_after_many_changes_the_index_is_made_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usersearch, "MOST_RECENT", 3)
    monkeypatch.setattr(usersearch, "PAGE", 2)
    assert await ids(store) == []
    for number in range(10):
        await store.users.add(user(f"{number}"))
        assert len(await ids(store)) == number + 1
    await store.users.put_each(each(*(user(f"a{number}") for number in range(10))))
    assert len(await ids(store)) == 20
    people = await store.people.people()
    assert (len(people.settled), people.changed) == (20, frozenset())


async def test_where_the_log_no_longer_tells_the_index_is_made_anew(store_url: str, raw: Any) -> None:
    store = Store.at(store_url, audit_retention=2)
    await store.users.add(user("kim"))
    assert await ids(store) == ["kim"]
    for number in range(5):
        await store.users.add(user(f"{number}"))
    assert len(await ids(store)) == 6
    raw.delete(layout.audit(TAG), layout.audit_bounds(TAG))
    await store.users.delete("kim")
    assert len(await ids(store)) == 5
    raw.rpush(layout.audit(TAG), "no entry")
    await store.users.add(user("lou"))
    raw.lset(layout.audit(TAG), -1, "no entry")
    assert len(await ids(store)) == 6
    await store.aclose()


async def test_many_who_ask_at_the_same_time_have_one_index_made(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0
    begin = usersearch.UserLookup._begin

    async def counted(self: Any, kept: Any) -> None:
        nonlocal made
        made += 1
        await begin(self, kept)

    monkeypatch.setattr(usersearch.UserLookup, "_begin", counted)
    await store.users.put([user(f"{number}") for number in range(20)])
    found = await asyncio.gather(*(ids(store.of(store.tenant)) for _ in range(10)))
    assert [len(one) for one in found] == [20] * 10
    assert made == 1


async def test_tenants_have_indexes_of_their_own_and_few_are_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usersearch, "MOST_KEPT", 5)
    tenants = [store.of(Tenant(id=f"t{number}", tag=f"0a{number}")) for number in range(4)]
    for number, tenant in enumerate(tenants):
        await tenant.users.put([user(f"{number}-{one}") for one in range(3)])
    for _ in range(2):
        for number, tenant in enumerate(tenants):
            assert await ids(tenant) == [f"{number}-{one}" for one in range(3)]
    assert len(store._indexes._kept) == 2


async def test_whoever_cannot_be_read_is_a_fault_of_the_store(store: Store, raw: Any) -> None:
    await store.users.put([user("kim"), user("lou")])
    raw.set(layout.user_record(TAG, "kim"), "{")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await ids(store)
    await store.users.delete("kim")
    assert await ids(store) == ["lou"]


async def test_whoever_is_changed_in_this_moment_is_shown_only_if_still_meant(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.users.put([user("kim", groups=names("it")), user("lou", groups=names("it"))])
    some = type(store.users).some

    async def late(self: Any, asked: Any) -> Any:
        monkeypatch.undo()
        await self.change("kim", lambda one: replace(one, groups=names()))
        return await some(self, asked)

    await store.people.people()
    monkeypatch.setattr(type(store.users), "some", late)
    assert await ids(store, UserSearch(group="it")) == ["lou"]


NAMES = st.sampled_from(["Ana Berg", "Anna", "Łukasz", "Maria", "Mario"])
IDS = st.sampled_from("abcdef")
PEOPLE = st.builds(User, id=IDS, name=NAMES, groups=st.frozensets(st.sampled_from(["x", "y"])))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(PEOPLE, max_size=4, unique_by=lambda one: one.id)),
        st.tuples(st.just("each"), st.lists(PEOPLE, max_size=4, unique_by=lambda one: one.id)),
        st.tuples(st.just("delete"), IDS),
        st.tuples(st.just("join"), st.lists(IDS, max_size=3, unique=True)),
        st.tuples(st.just("leave"), st.lists(IDS, max_size=3, unique=True)),
        st.tuples(st.just("search"), st.sampled_from(["", "an", "mar", "l"])),
    ),
    max_size=12,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
async def test_whatever_is_done_a_search_finds_what_a_look_at_everybody_does(
    store: Store, raw: Any, steps: list[tuple[str, Any]]
) -> None:
    raw.flushall()
    store._indexes._kept.clear()
    await store.groups.add(Group(id="x", name="X"))
    writer = store.of(store.tenant)
    for step, what in (*steps, ("search", "")):
        try:
            match step:
                case "put":
                    await writer.users.put(what)
                case "each":
                    await writer.users.put_each(each(*what))
                case "delete":
                    await writer.users.delete(what)
                case "join":
                    await writer.groups.set_members("x", add=what)
                case "leave":
                    await writer.groups.set_members("x", remove=what)
                case "search":
                    for search in (UserSearch(words=words(what)), UserSearch(group="x")):
                        everybody = await writer.users.all()
                        places = sorted(place_of(one) for one in everybody if search.admits(one))
                        assert await ids(store, search) == [user_id for _, user_id in places]
        except NotFound:
            pass
