"""What may stand in the directory."""

from __future__ import annotations

from typing import Any

import pytest

from scopegate.core.directory import folded_login, require_group, require_person
from scopegate.core.errors import InvalidInput
from scopegate.core.principal import Group, User

MANY = frozenset(f"g{number}" for number in range(1_001))


def person(**facts: Any) -> User:
    return User(**{"id": "kim", "name": "Kim", **facts})


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"name": "Ægir Þór 海 O'Brien-Núñez"},
        {"email": "kim@example.com", "organization": "Sales/Vienna/Team 1", "user_name": "Kim Ω"},
        {"organization": "/".join("abcdefghij"), "groups": frozenset({"a:b._-"})},
    ],
)
def test_people_are_taken(facts: dict[str, Any]) -> None:
    assert require_person(person(**facts)) == person(**facts)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("name", ""),
        ("name", " "),
        ("name", "x" * 201),
        ("name", "Kim\nLou"),
        ("name", "Kim\u202euoL"),
        ("email", "a b@example.com"),
        ("email", " "),
        ("email", "x" * 255),
        ("organization", "Sales//Vienna"),
        ("organization", "/Sales"),
        ("organization", "Sales/"),
        ("organization", "Sales/ Vienna"),
        ("organization", " "),
        ("organization", "Sales/\tVienna"),
        ("organization", "/".join("abcdefghijk")),
        ("organization", "x" * 501),
        ("groups", MANY),
        ("groups", frozenset({""})),
        ("roles", MANY),
        ("roles", frozenset({"two words"})),
        ("user_name", ""),
        ("user_name", "x" * 255),
        ("external_id", "a\0b"),
        ("given_name", "x" * 201),
        ("family_name", "\n"),
    ],
)
def test_what_is_wrong_is_named(field: str, wrong: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        require_person(person(**{field: wrong}))
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("field", "group"),
    [
        ("id", Group(id="two words", name="x")),
        ("id", Group(id="", name="x")),
        ("name", Group(id="a", name="")),
        ("external_id", Group(id="a", name="x", external_id="\n")),
    ],
)
def test_what_is_wrong_with_a_group_is_named(field: str, group: Group) -> None:
    assert require_group(Group(id="a.b", name="A b")) == Group(id="a.b", name="A b")
    with pytest.raises(InvalidInput) as refused:
        require_group(group)
    assert refused.value.field == field


@pytest.mark.parametrize(("one", "other"), [("Kim", "kIM"), ("STRASSE", "straße"), ("K", "k"), ("é", "É")])
def test_logins_are_the_same_whatever_their_letter_case(one: str, other: str) -> None:
    assert folded_login(one) == folded_login(other)
    assert folded_login("kim") != folded_login("kím")
