"""An index finds those whom the search admits, in their order, on whatever page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core import postings, userindex
from scopegate.core.principal import User
from scopegate.core.userindex import IndexBuilder, People, UserIndex
from scopegate.core.usersearch import Condition, Operator, UserField, UserSearch, place_of, words

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from scopegate.core.usersearch import Place

# Few different texts, so that searches find somebody.
TEXTS = st.sampled_from(
    [
        "Maria",
        "MARIA-José Huber",
        "mar",
        "Łukasz Øre",
        "Ana_Berg",
        "李 小龍",
        "straße",
        "a b c",
        "Mári Hub",
        "Ωmega",
    ]
)
IDS = st.sampled_from(["a", "B", "b", "m.huber", "x-1", "x_1", "9", "10", "mar", "~!{}"])
ORGANIZATIONS = st.sampled_from(
    ["", "Sales", "Sales/Vienna", "Sales/Vienna/1", "Salesforce", "Sales-x", "IT"]
)
NAMES = st.frozensets(st.sampled_from(["agents", "Agents", "it", "ägents"]), max_size=3)
EMAILS = st.sampled_from(["", "ana@x.example", "maria.huber@example.com", "MAR@EXAMPLE.com"])
USERS = st.builds(
    User,
    id=IDS,
    name=TEXTS,
    email=EMAILS,
    organization=ORGANIZATIONS,
    active=st.booleans(),
    groups=NAMES,
    roles=NAMES,
    user_name=st.none() | TEXTS,
    external_id=st.none() | EMAILS,
)
DIRECTORIES = st.lists(USERS, max_size=12, unique_by=lambda one: one.id)
VALUES = st.one_of(TEXTS, IDS, EMAILS, ORGANIZATIONS, st.sampled_from(["", "a", "e", "agents", "com", "1"]))
SEARCHES = st.builds(
    UserSearch,
    words=st.one_of(VALUES, st.just("")).map(words),
    organization=st.none() | ORGANIZATIONS | st.sampled_from(["Sales/", "/", "Sal"]),
    group=st.none() | st.sampled_from(["agents", "it", "nobody"]),
    conditions=st.lists(
        st.builds(Condition, st.sampled_from(UserField), st.sampled_from(Operator), VALUES), max_size=2
    ).map(tuple),
    active=st.none() | st.booleans(),
)


def come_to(steps: Generator[None, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def index(people: Iterable[User]) -> UserIndex:
    builder = IndexBuilder()
    for one in people:
        builder.add([one])
    built: UserIndex = come_to(builder.build())
    return built


def expected(people: Iterable[User], search: UserSearch) -> list[Place]:
    return sorted(place_of(one) for one in people if search.admits(one))


def pages(people: People, search: UserSearch, most: int) -> list[Place]:
    found: list[Place] = []
    after = None
    while page := come_to(people.find(search, after=after, most=most)):
        assert len(page) <= most
        found += page
        after = page[-1]
    return found


@pytest.fixture(params=["one step", "many steps"], autouse=True)
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What matters with many people alone has to be met with few as well."""
    if request.param == "many steps":
        for module, name, value in (
            (postings, "AT_A_TIME", 2),
            (userindex, "AT_A_TIME", 2),
            (postings, "_FEW", 1),
            (userindex, "_FEW", 1),
            (userindex, "_REMEMBERED", 1),
        ):
            monkeypatch.setattr(module, name, value)


@given(DIRECTORIES, DIRECTORIES, st.frozensets(IDS, max_size=3), st.lists(SEARCHES, max_size=4))
def test_it_finds_what_the_search_admits(
    before: list[User], changed: list[User], deleted: frozenset[str], searches: list[UserSearch]
) -> None:
    replaced = {**{one.id: one for one in before}, **{one.id: one for one in changed}}
    now = [one for one in replaced.values() if one.id not in deleted]
    recent = [one for one in changed if one.id not in deleted]
    people = People(index(before), index(recent), frozenset({one.id for one in changed} | deleted))
    for search in searches:
        for most in (1, 3, 100):
            assert pages(people, search, most) == expected(now, search)
    for field, values_of in (
        (UserField.GROUP, lambda one: one.groups),
        (UserField.ROLE, lambda one: one.roles),
        (UserField.ORGANIZATION, lambda one: {one.organization}),
    ):
        told = {value: people.count(field, value) for value in people.values(field)}
        everyone = [value for one in now for value in values_of(one)]
        assert told == {value: everyone.count(value) for value in set(everyone)}


@given(DIRECTORIES, SEARCHES, VALUES, IDS)
def test_a_page_begins_behind_any_place(
    users: list[User], search: UserSearch, name: str, user_id: str
) -> None:
    people = People(index(users), index([]), frozenset())
    after = (name.lower(), user_id)
    found = come_to(people.find(search, after=after, most=100))
    assert found == [place for place in expected(users, search) if place > after]


@given(st.lists(st.integers(0, 200)), st.integers(0, 200), st.integers(0, 10))
def test_bits_are_sets_of_rows(rows: list[int], start: int, most: int) -> None:
    bits = postings.bits_of(rows, 201)
    assert postings.first_of(bits, start, most) == sorted({row for row in rows if row >= start})[:most]
    assert bits.bit_count() == len(set(rows))
