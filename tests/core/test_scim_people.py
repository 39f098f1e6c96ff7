"""People and groups of the directory as SCIM resources, and back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.errors import InvalidInput
from scopegate.core.principal import Group, User
from scopegate.core.scim.attributes import ENTERPRISE_SCHEMA, GROUP, KINDS, USER, USER_SCHEMA, Attribute, Type
from scopegate.core.scim.discovery import schemas
from scopegate.core.scim.grammar import parse_filter
from scopegate.core.scim.groups import group_document, group_of, id_for
from scopegate.core.scim.matching import fits
from scopegate.core.scim.narrowing import search_for
from scopegate.core.scim.people import ids_for, shown_name_follows, user_document, user_of
from scopegate.core.scim.reading import read_resource
from scopegate.core.scim.refusals import ScimRefused, ScimType
from scopegate.core.scim.selection import Selection
from scopegate.core.usersearch import Condition, UserField, UserSearch
from scopegate.core.usersearch import Operator as Meets

BASE = "https://admin.example/scim/v2"
QUALITY = Group(id="quality", name="Quality")
ANA = User(
    id="ana",
    name="Ana Ström",
    email="ana@x.example",
    organization="Sales/Vienna",
    groups=frozenset({"quality", "of-policies-only"}),
    roles=frozenset({"editor", "auditor"}),
    user_name="ana@x.example",
    external_id="X-1",
    given_name="Ana",
    family_name="Ström",
)


def sent(**attributes: Any) -> dict[str, Any]:
    """A user that a client sends, as it is read."""
    return read_resource(USER, {"schemas": [USER_SCHEMA], "userName": "ana", **attributes})


def test_a_person_is_written_with_all_that_is_kept() -> None:
    assert user_document(ANA, {"quality": QUALITY}, BASE) == {
        "schemas": [USER_SCHEMA, ENTERPRISE_SCHEMA],
        "id": "ana",
        "externalId": "X-1",
        "userName": "ana@x.example",
        "displayName": "Ana Ström",
        "name": {"formatted": "Ana Ström", "familyName": "Ström", "givenName": "Ana"},
        "active": True,
        "emails": [{"value": "ana@x.example", "type": "work", "primary": True}],
        "groups": [
            {"value": "quality", "$ref": f"{BASE}/Groups/quality", "display": "Quality", "type": "direct"}
        ],
        "roles": [{"value": "auditor"}, {"value": "editor"}],
        ENTERPRISE_SCHEMA: {"organization": "Sales/Vienna"},
        "meta": {"resourceType": "User", "location": f"{BASE}/Users/ana"},
    }


def test_what_is_not_there_is_not_written() -> None:
    assert user_document(User(id="a/bc", name="A"), {}, BASE) == {
        "schemas": [USER_SCHEMA],
        "id": "a/bc",
        "userName": "a/bc",
        "displayName": "A",
        "active": True,
        "meta": {"resourceType": "User", "location": f"{BASE}/Users/a%2Fbc"},
    }


_lines = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)
_perhaps = st.none() | _lines
_users = st.builds(
    User,
    id=st.just("ana"),
    name=_lines,
    email=st.sampled_from(["", "a@x.example"]),
    organization=st.sampled_from(["", "Sales", "Sales/Vienna"]),
    active=st.booleans(),
    groups=st.frozensets(st.sampled_from(["quality", "agents"])),
    roles=st.frozensets(st.sampled_from(["editor", "auditor"])),
    user_name=_perhaps.filter(lambda name: name != "ana"),
    external_id=_perhaps,
    given_name=_perhaps,
    family_name=_perhaps,
)


@given(_users)
def test_what_is_written_says_everything(user: User) -> None:
    document = user_document(user, {"quality": QUALITY}, BASE)
    assert user_of(document, user.id, user) == user
    assert user_of(read_resource(USER, document), user.id, user) == user


_values = _lines | st.sampled_from(["", "a", "A@X", "quality", "EDITOR", "Sales", "sales/v", "ana"])
_parts = st.one_of(
    st.builds(
        lambda name, operator, value: f"{name} {operator} {json.dumps(value)}",
        st.sampled_from(
            [
                *("externalId", "displayName", "emails", "emails.value", "groups.value", "roles", "userName"),
                *(f"{ENTERPRISE_SCHEMA}:organization", 'emails[type eq "work"].value', "name.givenName"),
            ]
        ),
        st.sampled_from(["eq", "ne", "co", "sw", "ew", "gt"]),
        _values,
    ),
    st.sampled_from(["active eq true", "active ne true", 'active eq "false"', "emails pr", "not (id pr)"]),
)


@given(_users, st.lists(_parts, min_size=1, max_size=3), st.sampled_from([" and ", " or "]))
def test_a_search_of_the_directory_admits_all_who_fit(user: User, parts: list[str], joined: str) -> None:
    condition = parse_filter(joined.join(parts), [USER])
    search = search_for(condition)
    if search is not None and fits(condition, user_document(user, {"quality": QUALITY}, BASE)):
        assert search.admits(user)


def test_what_an_index_knows_is_asked_of_it() -> None:
    text = 'emails[type eq "work" and value sw "a"] and active eq false and externalId eq "X" and id pr'
    assert search_for(parse_filter(text, [USER])) == UserSearch(
        conditions=(
            Condition(UserField.EMAIL, Meets.STARTS, "a"),
            Condition(UserField.EXTERNAL_ID, Meets.EQUALS, "X"),
        ),
        active=False,
    )


@pytest.mark.parametrize(
    "text", ['externalId eq "X" or active eq true', 'userName co "a"', "not (active eq true)"]
)
def test_what_no_index_knows_is_not(text: str) -> None:
    assert search_for(parse_filter(text, [USER])) is None


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, {"name": "ana", "user_name": "ana"}),
        ({"displayName": "A", "name": {"formatted": "F"}}, {"name": "A"}),
        ({"name": {"formatted": "F", "givenName": "G"}}, {"name": "F", "given_name": "G"}),
        ({"name": {"familyName": "B", "givenName": "G"}}, {"name": "G B"}),
        ({"NAME": {"FAMILYNAME": "B"}, "DisplayName": ""}, {"name": "B", "family_name": "B"}),
        ({"emails": [{"value": "h@x.example", "type": "home"}]}, {"email": "h@x.example"}),
        (
            {"emails": [{"value": "h@x.example"}, {"value": "w@x.example", "type": "Work"}]},
            {"email": "w@x.example"},
        ),
        (
            {"emails": [{"value": "w@x.example", "type": "work"}, {"value": "p@x.example", "primary": True}]},
            {"email": "p@x.example"},
        ),
        ({"emails": [{"type": "work"}]}, {"email": ""}),
        ({"emails": None}, {"email": ""}),
        ({"active": False}, {"active": False}),
        ({"active": "False"}, {"active": False}),
        ({"externalId": ""}, {"external_id": None}),
        ({"roles": [{"value": "editor", "primary": True}]}, {"roles": frozenset({"editor"})}),
        ({"roles": ["editor"]}, {"roles": frozenset({"editor"})}),
        (
            {ENTERPRISE_SCHEMA: {"organization": "Sales", "manager": {"value": "x"}}},
            {"organization": "Sales"},
        ),
        ({"groups": [{"value": "quality"}], "id": "other", "meta": {}}, {"groups": frozenset()}),
        ({"title": "Boss", "urn:example:2.0:User": {"x": 1}, "password": "secret"}, {}),
    ],
)
def test_a_person_is_read_from_what_clients_send(
    attributes: dict[str, Any], expected: dict[str, Any]
) -> None:
    user = user_of(sent(**attributes), "0001")
    assert {name: getattr(user, name) for name in expected} == expected
    assert user.user_name == "ana"
    assert "secret" not in repr(user)


def test_a_request_that_does_not_speak_of_activity_or_groups_changes_neither() -> None:
    away = replace(ANA, active=False)
    assert user_of(sent(), "ana", away) == User(id="ana", name="ana", active=False, groups=ANA.groups)


def test_the_user_name_is_not_kept_where_it_is_the_id() -> None:
    assert user_of(sent(), "ana").user_name is None


@pytest.mark.parametrize(
    "attributes",
    [
        {"userName": ""},
        {"userName": None},
        {"userName": 5},
        {"name": "Ana"},
        {"active": "yes"},
        {"emails": [5]},
        {ENTERPRISE_SCHEMA: "Sales"},
    ],
)
def test_a_value_of_another_type_is_refused(attributes: dict[str, Any]) -> None:
    with pytest.raises(ScimRefused) as refused:
        user_of(sent(**attributes), "0001")
    assert refused.value.scim_type is ScimType.INVALID_VALUE


@pytest.mark.parametrize(
    ("attributes", "field"),
    [
        ({"displayName": "A\nB"}, "name"),
        ({"displayName": "A" * 201}, "name"),
        ({"emails": [{"value": "a b"}]}, "email"),
        ({"roles": [{"value": "a b"}]}, "roles"),
        ({ENTERPRISE_SCHEMA: {"organization": "/Sales"}}, "organization"),
        ({"userName": "a\tb", "displayName": "A"}, "user_name"),
    ],
)
def test_the_bounds_of_the_directory_hold(attributes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        user_of(sent(**attributes), "0001")
    assert refused.value.field == field


def test_a_resource_says_what_it_is_and_each_attribute_once() -> None:
    for body in (
        {"userName": "a"},
        {"schemas": [ENTERPRISE_SCHEMA], "userName": "a"},
        {"schemas": USER_SCHEMA, "userName": "a"},
        {"schemas": [USER_SCHEMA], "userName": "a", "USERNAME": "b"},
    ):
        with pytest.raises(ScimRefused) as refused:
            read_resource(USER, body)
        assert refused.value.scim_type is ScimType.INVALID_SYNTAX
    assert read_resource(USER, {"schemas": [USER_SCHEMA.upper()], "userName": "a"}) == {"userName": "a"}


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"name": {"formatted": "F"}}, "F"),
        ({"name": {"formatted": "F"}, "displayName": "D"}, "D"),
        ({"name": {"formatted": "Ana Ström", "givenName": "G", "familyName": "Ström"}}, "G Ström"),
        ({"name": {"formatted": "Ana Ström", "givenName": "G"}, "displayName": "D"}, "D"),
        ({"name": {}}, "Ana Ström"),
        ({"active": False}, "Ana Ström"),
    ],
)
def test_the_name_that_is_shown_follows_the_others(changes: dict[str, Any], shown: str) -> None:
    before = user_document(ANA, {}, BASE)
    assert shown_name_follows(before, {**before, **changes})["displayName"] == shown


def test_a_name_that_was_chosen_does_not_follow_the_parts() -> None:
    before = user_document(replace(ANA, name="Annie"), {}, BASE)
    after = {**before, "name": {**before["name"], "givenName": "G"}}
    assert shown_name_follows(before, after)["displayName"] == "Annie"


def test_a_formatted_name_is_the_one_that_is_shown_where_there_was_none() -> None:
    before = user_document(User(id="bo", name="Bo"), {}, BASE)
    assert shown_name_follows(before, {**before, "name": {"formatted": "Bo"}})["displayName"] == "Bo"
    assert shown_name_follows(before, {**before, "name": {"formatted": "B."}})["displayName"] == "B."


@pytest.mark.parametrize(
    ("user_name", "external_id", "ids"),
    [
        ("ana@x.example", "X-1", ["ana@x.example", "X-1"]),
        ("Ana+1~x_y.z-", None, ["Ana+1~x_y.z-"]),
        ("Ana Ström", "X-1", ["X-1"]),
        ("a/b", "..", []),
        (".search", "-x", []),
        ("DOMAIN\\ana", None, []),
    ],
)
def test_an_id_is_what_people_know_where_it_can_stand_in_a_url(
    user_name: str, external_id: str | None, ids: list[str]
) -> None:
    assert list(ids_for(sent(userName=user_name, externalId=external_id))) == ids


@pytest.mark.parametrize(
    ("name", "taken", "in_policies", "expected"),
    [
        ("Quality", (), (), "quality"),
        ("Qualité & Co.", (), (), "qualite-co"),
        ("Quality", (), ("Quality", "quality"), "Quality"),
        ("QA Team", (), ("QA.Team",), "QA.Team"),
        ("Quality", ("quality",), (), "quality-2"),
        ("Quality", ("quality", "quality-2"), ("quality-3",), "quality-4"),
        ("日本", (), (), "group"),
        ("日本", ("group",), (), "group-2"),
        ("x" * 300, (), (), "x" * 90),
        ("x" * 300, ("x" * 90,), (), "x" * 90 + "-2"),
    ],
)
def test_a_group_gets_the_id_by_which_policies_know_it(
    name: str, taken: tuple[str, ...], in_policies: tuple[str, ...], expected: str
) -> None:
    found = id_for(name, taken=taken, in_policies=in_policies)
    assert found == expected
    group_of({"displayName": "G"}, found)


def test_a_group_is_written_with_its_members_where_they_are_wanted() -> None:
    group = replace(QUALITY, external_id="X")
    document = group_document(group, ["ana"], BASE)
    assert document["members"] == [{"value": "ana", "$ref": f"{BASE}/Users/ana", "type": "User"}]
    assert group_of(document, "quality") == group
    assert "members" not in group_document(group, None, BASE)
    assert "members" not in group_document(group, [], BASE)
    with pytest.raises(ScimRefused):
        group_of({"displayName": ""}, "quality")


FULL = user_document(ANA, {"quality": QUALITY}, BASE)


@pytest.mark.parametrize(
    ("wanted", "unwanted", "names"),
    [
        (None, None, set(FULL)),
        (["userName"], None, {"userName"}),
        (["USERNAME", "emails.value", "nothing", "title"], None, {"userName", "emails"}),
        ([f"{USER_SCHEMA}:active"], None, {"active"}),
        ([f"{ENTERPRISE_SCHEMA}:organization"], None, {ENTERPRISE_SCHEMA}),
        ([ENTERPRISE_SCHEMA.upper()], None, {ENTERPRISE_SCHEMA}),
        (None, ["groups", "meta", "roles", "id"], set(FULL) - {"groups", "meta", "roles"}),
        (None, [ENTERPRISE_SCHEMA], set(FULL) - {ENTERPRISE_SCHEMA}),
        (None, ["name.familyName"], set(FULL)),
    ],
)
def test_an_answer_has_the_attributes_that_are_wanted(
    wanted: list[str] | None, unwanted: list[str] | None, names: set[str]
) -> None:
    assert set(Selection.of(wanted, unwanted).apply(USER, FULL)) == names | {"schemas", "id"}


def test_a_part_of_an_attribute_can_be_wanted_or_unwanted() -> None:
    def name(wanted: list[str] | None, unwanted: list[str] | None) -> Any:
        return Selection.of(wanted, unwanted).apply(USER, FULL).get("name")

    assert name(["name.givenName"], None) == {"givenName": "Ana"}
    assert name(["name.givenName", "name"], None) == FULL["name"]
    assert name(None, ["name.givenName", "name.formatted"]) == {"familyName": "Ström"}
    assert name(None, ["name.givenName", "name.formatted", "name.familyName"]) is None


def test_the_primary_mark_is_told_on_request() -> None:
    def emails(*wanted: str) -> Any:
        return Selection.of(wanted, None).apply(USER, FULL)["emails"]

    assert emails("emails") == [{"value": "ana@x.example", "type": "work"}]
    assert emails("emails.primary") == [{"primary": True}]


def test_attributes_are_wanted_or_unwanted_and_not_both() -> None:
    with pytest.raises(ScimRefused):
        Selection.of(["id"], ["id"])


def test_members_need_not_be_known_where_they_are_not_wanted() -> None:
    assert Selection().includes(GROUP, "members")
    assert Selection.of(["members.value"], None).includes(GROUP, "members")
    assert Selection.of(None, ["members.type"]).includes(GROUP, "members")
    assert not Selection.of(["displayName"], None).includes(GROUP, "members")
    assert not Selection.of(None, ["MEMBERS"]).includes(GROUP, "members")


def test_the_schemas_are_those_of_what_is_kept() -> None:
    told = {schema["id"]: schema for schema in schemas(BASE, ["editor"])}
    for kind in KINDS:
        assert _names(told[kind.schema]) == {
            name for name in _paths(kind.attributes) if name.split(".")[0] not in {"id", "externalId", "meta"}
        }
    assert _names(told[ENTERPRISE_SCHEMA]) == {"organization"}
    roles = next(one for one in told[USER_SCHEMA]["attributes"] if one["name"] == "roles")
    assert roles["subAttributes"][0]["canonicalValues"] == ["editor"]


def _names(schema: dict[str, Any]) -> set[str]:
    found = set()
    for one in schema["attributes"]:
        found |= {one["name"], *(f"{one['name']}.{sub['name']}" for sub in one.get("subAttributes", ()))}
    return found


def _paths(attributes: tuple[Attribute, ...]) -> set[str]:
    found = {one.name for one in attributes}
    for one in attributes:
        assert bool(one.subs) is (one.type is Type.COMPLEX)
        found |= {f"{one.name}.{sub.name}" for sub in one.subs}
    return found
