"""Patches of SCIM users, as RFC 7644 has them and as identity providers write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.scim.attributes import ENTERPRISE_SCHEMA, GROUP, USER, USER_SCHEMA
from scopegate.core.scim.groups import member_changes
from scopegate.core.scim.patching import MOST_OPERATIONS, PATCH_SCHEMA, patched, read_patch
from scopegate.core.scim.refusals import ScimRefused, ScimType

ANA: dict[str, Any] = {
    "schemas": [USER_SCHEMA],
    "id": "ana",
    "userName": "ana@x.example",
    "displayName": "Ana Ström",
    "name": {"formatted": "Ana Ström", "familyName": "Ström", "givenName": "Ana"},
    "active": True,
    "emails": [{"value": "ana@x.example", "type": "work", "primary": True}],
    "roles": [{"value": "auditor"}, {"value": "editor"}],
    ENTERPRISE_SCHEMA: {"organization": "Sales"},
}


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    """`ANA` with these operations done."""
    body = {"schemas": [PATCH_SCHEMA], "Operations": list(operations)}
    return patched(ANA, read_patch(USER, body))


def refusal(*operations: Any) -> ScimType:
    """Why these are not done."""
    before = repr(ANA)
    with pytest.raises(ScimRefused) as refused:
        patch(*operations)
    assert repr(ANA) == before
    return refused.value.scim_type


@pytest.mark.parametrize(
    ("operation", "changed"),
    [
        ({"op": "replace", "path": "displayName", "value": "A"}, {"displayName": "A"}),
        ({"op": "add", "path": "displayname", "value": "A"}, {"displayName": "A"}),
        ({"op": "replace", "path": f"{USER_SCHEMA}:displayName", "value": "A"}, {"displayName": "A"}),
        ({"op": "Replace", "path": "active", "value": "False"}, {"active": False}),
        ({"op": "replace", "value": {"active": False, "id": "other"}}, {"active": False}),
        ({"op": "replace", "path": "externalId", "value": "x"}, {"externalId": "x"}),
        (
            {"op": "add", "path": "name", "value": {"givenName": "Anna", "middleName": "M"}},
            {"name": {"formatted": "Ana Ström", "familyName": "Ström", "givenName": "Anna"}},
        ),
        (
            {"op": "replace", "path": "name", "value": {"givenName": "Anna"}},
            {"name": {"formatted": "Ana Ström", "familyName": "Ström", "givenName": "Anna"}},
        ),
        (
            {"op": "remove", "path": "name.familyName"},
            {"name": {"formatted": "Ana Ström", "givenName": "Ana"}},
        ),
        (
            {"op": "Add", "value": {"name.givenName": "Anna", f"{ENTERPRISE_SCHEMA}:organization": "Ops"}},
            {
                "name": {"formatted": "Ana Ström", "familyName": "Ström", "givenName": "Anna"},
                ENTERPRISE_SCHEMA: {"organization": "Ops"},
            },
        ),
        (
            {"op": "add", "value": {ENTERPRISE_SCHEMA: {"organization": "Ops", "department": "7"}}},
            {ENTERPRISE_SCHEMA: {"organization": "Ops"}},
        ),
        (
            {"op": "replace", "path": ENTERPRISE_SCHEMA, "value": {"organization": "Ops"}},
            {ENTERPRISE_SCHEMA: {"organization": "Ops"}},
        ),
        (
            {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "a@y.example"},
            {"emails": [{"value": "a@y.example", "type": "work", "primary": True}]},
        ),
        (
            {"op": "replace", "path": "emails.value", "value": "a@y.example"},
            {"emails": [{"value": "a@y.example", "type": "work", "primary": True}]},
        ),
        (
            {"op": "replace", "path": 'emails[type eq "work"]', "value": {"value": "a@y.example"}},
            {"emails": [{"value": "a@y.example"}]},
        ),
        (
            {"op": "add", "path": 'emails[type eq "work"]', "value": {"value": "a@y.example"}},
            {"emails": [{"value": "a@y.example", "type": "work", "primary": True}]},
        ),
        (
            {"op": "add", "path": "emails", "value": [{"value": "a@y.example", "primary": True}]},
            {
                "emails": [
                    {"value": "ana@x.example", "type": "work", "primary": False},
                    {"value": "a@y.example", "primary": True},
                ]
            },
        ),
        (
            {"op": "Add", "path": 'emails[type eq "home"].value', "value": "h@y.example"},
            {"emails": [*ANA["emails"], {"type": "home", "value": "h@y.example"}]},
        ),
        ({"op": "add", "path": "roles", "value": [{"value": "editor"}]}, {}),
        ({"op": "add", "path": "roles", "value": "boss"}, {"roles": [*ANA["roles"], {"value": "boss"}]}),
        ({"op": "replace", "path": "roles", "value": [{"value": "boss"}]}, {"roles": [{"value": "boss"}]}),
        ({"op": "remove", "path": 'roles[value eq "editor"]'}, {"roles": [{"value": "auditor"}]}),
        ({"op": "remove", "path": 'roles[value eq "nobody"]'}, {}),
        (
            {"op": "Remove", "path": "roles", "value": [{"value": "editor"}]},
            {"roles": [{"value": "auditor"}]},
        ),
        # What is not kept tells none of them from the others.
        (
            {"op": "Replace", "path": 'roles[primary eq "True"].value', "value": "boss"},
            {"roles": [{"value": "boss"}, {"value": "boss"}]},
        ),
        (
            {"op": "Add", "path": 'roles[primary eq "True"].value', "value": "boss"},
            {"roles": [*ANA["roles"], {"value": "boss"}]},
        ),
        ({"op": "add", "path": "title", "value": "Boss"}, {}),
        ({"op": "Add", "path": 'addresses[type eq "work"].formatted', "value": "Street 1"}, {}),
        ({"op": "replace", "path": 'phoneNumbers[type eq "mobile"].value', "value": "1"}, {}),
        ({"op": "add", "path": f"{ENTERPRISE_SCHEMA}:department", "value": "7"}, {}),
        ({"op": "add", "path": f"{ENTERPRISE_SCHEMA}:manager", "value": "bo"}, {}),
        ({"op": "replace", "path": "name.honorificPrefix", "value": "Dr"}, {}),
        ({"op": "replace", "value": {"schemas": [USER_SCHEMA], "meta": {}, "groups": []}}, {}),
    ],
)
def test_an_operation_changes_what_it_names_and_nothing_else(
    operation: dict[str, Any], changed: dict[str, Any]
) -> None:
    assert patch(operation) == {**ANA, **changed}


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        ("name", "name"),
        ("emails", "emails"),
        ('emails[type eq "work"]', "emails"),
        ("roles", "roles"),
        ('roles[primary eq "True"]', "roles"),
        ('roles[primary eq "True"].value', "roles"),
        (f"{ENTERPRISE_SCHEMA}:organization", ENTERPRISE_SCHEMA),
        (ENTERPRISE_SCHEMA, ENTERPRISE_SCHEMA),
    ],
)
def test_what_is_removed_is_gone(path: str, gone: str) -> None:
    left = {name: value for name, value in ANA.items() if name != gone}
    assert patch({"op": "remove", "path": path}) == left
    if path == gone and gone != ENTERPRISE_SCHEMA:
        assert patch({"op": "replace", "path": path, "value": None}) == left


@pytest.mark.parametrize(
    ("operation", "scim_type"),
    [
        ({"op": "remove"}, ScimType.NO_TARGET),
        ({"op": "remove", "path": "userName"}, ScimType.MUTABILITY),
        ({"op": "remove", "path": "active"}, ScimType.MUTABILITY),
        ({"op": "replace", "path": "id", "value": "x"}, ScimType.MUTABILITY),
        ({"op": "add", "path": "groups", "value": [{"value": "x"}]}, ScimType.MUTABILITY),
        ({"op": "remove", "path": 'groups[value eq "x"]'}, ScimType.MUTABILITY),
        ({"op": "replace", "path": "meta.version", "value": "x"}, ScimType.MUTABILITY),
        ({"op": "remove", "path": USER_SCHEMA}, ScimType.MUTABILITY),
        ({"op": "add", "path": "shoeSize", "value": 44}, ScimType.INVALID_PATH),
        ({"op": "add", "path": "name.shoeSize", "value": 44}, ScimType.INVALID_PATH),
        ({"op": "add", "path": 'emails[type eq "work"', "value": "x"}, ScimType.INVALID_PATH),
        ({"op": "add", "path": "urn:example:User:x", "value": "x"}, ScimType.INVALID_PATH),
        ({"op": "add", "path": 5, "value": "x"}, ScimType.INVALID_PATH),
        ({"op": "add", "value": {"shoeSize": 44}}, ScimType.INVALID_PATH),
        ({"op": "add", "value": "x"}, ScimType.INVALID_VALUE),
        ({"op": "replace", "path": "active", "value": "maybe"}, ScimType.INVALID_VALUE),
        ({"op": "replace", "path": "displayName", "value": 5}, ScimType.INVALID_VALUE),
        ({"op": "replace", "path": "name", "value": "Ana"}, ScimType.INVALID_VALUE),
        ({"op": "replace", "path": 'roles[value sw "x"].value', "value": "y"}, ScimType.NO_TARGET),
        ({"op": "move", "path": "displayName", "value": "x"}, ScimType.INVALID_SYNTAX),
        ({"path": "displayName", "value": "x"}, ScimType.INVALID_SYNTAX),
        ("add", ScimType.INVALID_SYNTAX),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_else_is_done(operation: Any, scim_type: ScimType) -> None:
    fine = {"op": "replace", "path": "displayName", "value": "A"}
    assert refusal(fine, operation) is scim_type


@pytest.mark.parametrize(
    "body",
    [
        {"schemas": [PATCH_SCHEMA]},
        {"schemas": [PATCH_SCHEMA], "Operations": []},
        {"schemas": [PATCH_SCHEMA], "Operations": {}},
        {"schemas": [USER_SCHEMA], "Operations": [{"op": "remove", "path": "roles"}]},
        {"Operations": [{"op": "remove", "path": "roles"}]},
        {
            "schemas": [PATCH_SCHEMA],
            "Operations": [{"op": "remove", "path": "roles"}] * (MOST_OPERATIONS + 1),
        },
    ],
)
def test_what_is_no_patch_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ScimRefused) as refused:
        read_patch(USER, body)
    assert refused.value.scim_type is ScimType.INVALID_SYNTAX


_roles = st.lists(st.sampled_from("abcdef"), unique=True, max_size=4)


@given(_roles, st.sampled_from("uvwxyz"))
def test_adding_and_then_removing_changes_nothing(before: list[str], role: str) -> None:
    document = {**ANA, "roles": [{"value": one} for one in before]} if before else {**ANA}
    if not before:
        del document["roles"]
    operations = [
        {"op": "add", "path": "roles", "value": [{"value": role}]},
        {"op": "remove", "path": f'roles[value eq "{role}"]'},
    ]
    body = {"schemas": [PATCH_SCHEMA], "Operations": operations}
    assert patched(document, read_patch(USER, body)) == document


_operations = st.one_of(
    st.builds(
        lambda op, name, value: {"op": op, "path": name, "value": value},
        st.sampled_from(["add", "Replace"]),
        st.sampled_from(["userName", "displayName", "externalId", "name.givenName", "name.formatted"]),
        st.text(min_size=1, max_size=5),
    ),
    st.builds(
        lambda op, value: {"op": op, "value": {"active": value}},
        st.sampled_from(["add", "replace"]),
        st.booleans(),
    ),
    st.builds(lambda name: {"op": "remove", "path": name}, st.sampled_from(["name", "emails", "roles"])),
    st.builds(
        lambda op, role: {"op": op, "path": "roles", "value": [{"value": role}]},
        st.sampled_from(["add", "replace", "remove"]),
        st.sampled_from(["editor", "boss"]),
    ),
)


@given(st.lists(_operations, min_size=1, max_size=5))
def test_a_patch_never_loses_what_it_does_not_name(operations: list[dict[str, Any]]) -> None:
    named = {
        name.split(".")[0]
        for one in operations
        for name in ([one["path"]] if "path" in one else one["value"])
    }
    after = patch(*operations)
    assert {name: value for name, value in after.items() if name not in named} == {
        name: value for name, value in ANA.items() if name not in named
    }


# The members of a group are changed without being known.

_ids = st.lists(st.sampled_from("abcdef"), unique=True, max_size=3)
_on_members = st.one_of(
    st.builds(
        lambda op, ids: {"op": op, "path": "members", "value": [{"value": one} for one in ids]},
        st.sampled_from(["add", "replace", "Remove"]),
        _ids,
    ),
    st.builds(lambda one: {"op": "remove", "path": f'members[value eq "{one}"]'}, st.sampled_from("abcdef")),
    st.just({"op": "remove", "path": "members"}),
)


@given(st.lists(_on_members, min_size=1, max_size=6), st.sets(st.sampled_from("abcdef")))
def test_changes_of_members_are_what_the_patch_of_a_whole_group_is(
    operations: list[dict[str, Any]], before: set[str]
) -> None:
    read = read_patch(GROUP, {"schemas": [PATCH_SCHEMA], "Operations": operations})
    whole = patched({"members": [{"value": one} for one in sorted(before)]}, read)
    changes = member_changes(read)
    made = ((set() if changes.replaced else before) | changes.added) - changes.removed
    assert made == {one["value"] for one in whole.get("members", [])}


@pytest.mark.parametrize(
    ("operation", "scim_type"),
    [
        ({"op": "add", "path": "members", "value": [{"display": "Ana"}]}, ScimType.INVALID_VALUE),
        (
            {"op": "add", "path": "members", "value": [{"value": "g", "type": "Group"}]},
            ScimType.INVALID_VALUE,
        ),
        ({"op": "replace", "path": 'members[value eq "a"]', "value": {"value": "b"}}, ScimType.MUTABILITY),
        ({"op": "replace", "path": "members.value", "value": "b"}, ScimType.MUTABILITY),
        ({"op": "remove", "path": 'members[value sw "a"]'}, ScimType.INVALID_FILTER),
    ],
)
def test_members_are_people_who_come_and_go(operation: dict[str, Any], scim_type: ScimType) -> None:
    read = read_patch(GROUP, {"schemas": [PATCH_SCHEMA], "Operations": [operation]})
    with pytest.raises(ScimRefused) as refused:
        member_changes(read)
    assert refused.value.scim_type is scim_type


def test_several_members_go_at_once() -> None:
    operation = {"op": "remove", "path": 'members[value eq "a" or value eq "b"]'}
    read = read_patch(GROUP, {"schemas": [PATCH_SCHEMA], "Operations": [operation]})
    assert member_changes(read).removed == {"a", "b"}
