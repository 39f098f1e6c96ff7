from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.errors import InvalidInput
from scopegate.core.principal import User
from scopegate.core.usersearch import Condition, UserSearch, folded, words

MARIA = User(
    id="m.huber",
    name="Huber, Maria-José",
    email="maria.huber@example.com",
    organization="Sales/Vienna",
    groups=frozenset({"Agents"}),
    roles=frozenset({"supervisor"}),
    external_id="CN=Maria",
)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("", True),
        ("hub", True),
        ("HUB", True),
        ("jose", True),
        ("José hub", True),
        ("maria example", True),
        ("m huber", True),
        ("uber", False),
        ("maria tom", False),
    ],
)
def test_every_word_begins_a_word_of_name_email_or_id(typed: str, *, found: bool) -> None:
    assert UserSearch(words=words(typed)).admits(MARIA) is found


@pytest.mark.parametrize(
    ("organization", "found"),
    [("Sales", True), ("Sales/", True), ("Sales/Vienna", True), ("Sales/Vien", False), ("Support", False)],
)
def test_an_organization_has_its_subtree(organization: str, *, found: bool) -> None:
    assert UserSearch(organization=organization).admits(MARIA) is found


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("email:contains:EXAMPLE", True),
        ("email:starts:example", False),
        ("id:equals:m.huber", True),
        ("name:contains:jose", True),
        ("group:equals:agents", True),
        ("group:equals:agent", False),
        ("role:starts:super", True),
        ("organization:equals:sales/vienna", True),
        ("name:contains:a:b", False),
        ("email:ends:EXAMPLE.COM", True),
        ("email:ends:example", False),
        ("user_name:starts:maria", False),
        ("external_id:equals:cn=maria", True),
    ],
)
def test_conditions(condition: str, *, found: bool) -> None:
    assert UserSearch(conditions=(Condition.parse(condition),)).admits(MARIA) is found


@pytest.mark.parametrize("text", ["", "email", "email:contains", "phone:equals:1", "email:matches:x"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Condition.parse(text)
    assert "field:operator:value" in str(caught.value.hint)


def test_all_that_is_said_has_to_hold() -> None:
    both = UserSearch(words=("maria",), group="Agents", active=True)
    assert both.admits(MARIA)
    assert not UserSearch(words=("maria",), group="QA").admits(MARIA)
    assert not UserSearch(words=("maria",), active=False).admits(MARIA)


@given(st.text())
def test_a_text_is_folded_as_its_decomposition_without_marks(text: str) -> None:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(one for one in decomposed if not unicodedata.combining(one)).casefold()
    assert folded(text) == folded(plain)


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert folded(folded(text)) == folded(text)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("lodz", "Łódź"),
        ("soren", "Søren"),
        ("strasse", "STRAẞE"),
        ("aegir thor", "Ægir Þór"),
        ("dorde", "Đorđe"),
        ("istanbul", "İSTANBUL"),
        ("isik", "\N{LATIN SMALL LETTER DOTLESS I}ş\N{LATIN SMALL LETTER DOTLESS I}k"),
        ("nguyen", "Nguyễn"),
        ("oeuvre", "Œuvre"),
        ("ἀθηνα", "ΑΘΗΝΆ"),
        ("ёлка", "ЕЛКА"),
        ("王", "王芳"),
        ("\N{FULLWIDTH LATIN SMALL LETTER M}aria", "maria"),
    ],
)
def test_letters_are_found_by_those_that_people_take_for_them(typed: str, name: str) -> None:
    person = User(id="x", name=name)
    assert UserSearch(words=words(typed)).admits(person)
    assert UserSearch(conditions=(Condition.parse(f"name:starts:{typed.split(maxsplit=1)[0]}"),)).admits(
        person
    )


@pytest.mark.parametrize("typed", ["maria.huber@example.com", "m.huber", "M.Huber", "@example", "huber@"])
def test_addresses_and_ids_are_found_as_they_are_written(typed: str) -> None:
    assert UserSearch(words=words(typed)).admits(MARIA)
