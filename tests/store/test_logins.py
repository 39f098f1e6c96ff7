"""No two people have the same user name, whichever way they come in."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.core.audit import parse
from scopegate.core.errors import Conflict
from scopegate.store import Store, layout
from store.facts import TAG, each, user

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scopegate.core.principal import User

NAMES = layout.user_names(TAG)
WAYS: dict[str, Callable[[Store, User], Awaitable[object]]] = {
    "add": lambda store, one: store.users.add(one),
    "put": lambda store, one: store.users.put([one]),
    "put each": lambda store, one: only(store.users.put_each(each(one))),
}


async def only(outcomes: Awaitable[dict[str, Any]]) -> object:
    [outcome] = (await outcomes).values()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def found(store: Store, name: str) -> str | None:
    one = await store.users.by_user_name(name)
    return None if one is None else one.id


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_a_user_name_is_taken_whatever_its_letter_case(
    store: Store, way: Callable[[Store, User], Awaitable[object]]
) -> None:
    await way(store, user("1", user_name="Straße@Example.com"))
    with pytest.raises(Conflict) as refused:
        await way(store, user("2", user_name="STRASSE@example.com"))
    assert refused.value.code == "user_name_taken"
    assert [one.id for one in await store.users.all()] == ["1"]
    assert await found(store, "strasse@EXAMPLE.com") == "1"


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_an_id_is_a_user_name_where_there_is_none(
    store: Store, way: Callable[[Store, User], Awaitable[object]]
) -> None:
    await way(store, user("kim"))
    await way(store, user("1", user_name="lou"))
    for taken in (user("2", user_name="KIM"), user("lou")):
        with pytest.raises(Conflict):
            await way(store, taken)
    assert [await found(store, name) for name in ("Kim", "Lou", "nobody")] == ["kim", "1", None]


async def test_ids_that_differ_by_letter_case_are_different_people(store: Store) -> None:
    await store.users.put([user("b"), user("B")])
    assert [await found(store, name) for name in "bB"] == ["b", "B"]
    await store.users.delete("b")
    assert await found(store, "B") == "B"


async def test_who_is_called_otherwise_gives_the_name_back(store: Store, raw: Any) -> None:
    await store.users.put([user("1", user_name="kim"), user("2", user_name="lou")])
    with pytest.raises(Conflict):
        await store.users.change("2", lambda one: replace(one, user_name="Kim"))
    await store.users.change("1", lambda one: replace(one, user_name="max"))
    await store.users.change("2", lambda one: replace(one, user_name="Kim"))
    assert [await found(store, name) for name in ("kim", "lou", "max")] == ["2", None, "1"]
    await store.users.put([user("1"), user("2")])
    assert raw.hgetall(NAMES) == {b"1": b"1", b"2": b"2"}


async def test_who_is_deleted_gives_the_name_back(store: Store, raw: Any) -> None:
    await store.users.add(user("1", user_name="Kim"))
    await store.users.delete("1")
    assert raw.hgetall(NAMES) == {}
    await store.users.add(user("2", user_name="kim"))
    assert await found(store, "KIM") == "2"


async def test_a_place_that_nobody_has_any_more_is_free(store: Store, raw: Any) -> None:
    await store.users.add(user("1", user_name="kim"))
    raw.delete(layout.user_record(TAG, "1"))  # by hand
    assert await found(store, "kim") is None
    await store.users.add(user("2", user_name="kim"))
    assert await found(store, "kim") == "2"
    raw.hset(NAMES, "lou", "2")
    assert await found(store, "lou") is None
    await store.users.add(user("3", user_name="lou"))


async def test_a_name_of_somebody_who_cannot_be_read_is_not_given_away(store: Store, raw: Any) -> None:
    await store.users.add(user("1", user_name="kim"))
    raw.set(layout.user_record(TAG, "1"), "{")
    with pytest.raises(Conflict):
        await store.users.add(user("2", user_name="kim"))
    await store.users.delete("1")
    await store.users.add(user("2", user_name="kim"))


async def test_of_many_at_the_same_time_one_gets_the_name(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.users.add(user(f"{number}", user_name="kim")) for number in range(10)),
        return_exceptions=True,
    )
    assert Counter(map(type, outcomes)) == {Conflict: 9, type(None): 1}


async def test_of_many_in_one_step_each_stands_or_falls_alone(store: Store) -> None:
    await store.users.put([user("a"), user("b", user_name="bee"), user("c", organization="IT")])
    people = [
        user("a"),
        user("b", user_name="Bea"),
        user("c", organization="Sales"),
        user("d", user_name="bee"),
        user("e", user_name="BEA"),
        user("f"),
    ]

    def refuse(before: User | None) -> User:
        assert before is not None
        assert before.organization == "IT"
        raise Conflict("Not that one.")

    outcomes = await store.users.put_each(each(*people) | {"c": refuse})
    assert {name: one if isinstance(one, str) else type(one) for name, one in outcomes.items()} == {
        "a": "unchanged",
        "b": "changed",
        "c": Conflict,
        "d": "added",
        "e": Conflict,
        "f": "added",
    }
    assert [one.id for one in await store.users.all()] == ["a", "b", "c", "d", "f"]
    assert (await store.users.get("c")).organization == "IT"


async def test_one_entry_tells_of_many_and_who_got_which_rights(store: Store) -> None:
    await store.users.put([user("a", roles=frozenset({"agent"}))])
    await store.users.put_each(each(user("a", organization="IT"), user("b", groups=frozenset({"agents"}))))
    await store.users.put_each(each(user("a", organization="IT")))
    [line] = [line async for line in store.audit.backwards()][:1]
    told = parse(line)
    assert (told["action"], told["target"]) == ("user.import", {"kind": "users", "id": ""})
    assert told["changed"] == {
        "a": {
            "before": {"organization": "", "roles": ["agent"]},
            "after": {"organization": "IT", "roles": []},
        },
        "b": {"before": None, "after": {"active": True, "groups": ["agents"], "roles": []}},
    }
    assert (await store.audit.verify()).count == 2
