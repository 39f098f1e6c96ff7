"""Effective privileges: the union over roles held directly and through groups, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.strategies import Directory, directories
from scopegate.core.errors import InvalidInput
from scopegate.core.principal import Principal, User, resolve, resolve_member

ROLES = {
    "reader": frozenset({"read"}),
    "writer": frozenset({"read", "write"}),
    "idle": frozenset[str](),
}
GROUPS = {
    "staff": frozenset({"reader"}),
    "editors": frozenset({"reader", "writer"}),
    "ghosts": frozenset({"undefined"}),
    "nobody": frozenset[str](),
}


@pytest.mark.parametrize(
    ("roles", "groups", "privileges"),
    [
        ((), (), ()),
        (("reader",), (), ("read",)),
        (("writer",), (), ("read", "write")),
        (("idle",), (), ()),
        ((), ("staff",), ("read",)),
        ((), ("editors",), ("read", "write")),
        ((), ("nobody",), ()),
        (("reader",), ("editors",), ("read", "write")),
        (("idle",), ("staff", "nobody"), ("read",)),
        (("undefined",), (), ()),
        ((), ("undefined",), ()),
        ((), ("ghosts",), ()),
        (("undefined", "reader"), ("ghosts", "undefined"), ("read",)),
        (("staff",), (), ()),
        ((), ("writer",), ()),
        (("Reader", "reader "), (), ()),
    ],
)
def test_a_user_has_the_privileges_of_all_roles_held_directly_or_through_groups(
    roles: tuple[str, ...], groups: tuple[str, ...], privileges: tuple[str, ...]
) -> None:
    user = User(id="kim", name="Kim", roles=frozenset(roles), groups=frozenset(groups))
    assert resolve(user, roles=ROLES, groups=GROUPS) == Principal(
        "kim", active=True, privileges=frozenset(privileges)
    )


def test_an_inactive_user_has_none() -> None:
    user = User(id="kim", name="Kim", active=False, roles=frozenset({"writer"}), groups=frozenset({"staff"}))
    assert resolve(user, roles=ROLES, groups=GROUPS) == Principal("kim", active=False, privileges=frozenset())


@pytest.mark.parametrize("user_id", ["kim", "kim@example.org", "S-1-5-21/7", "!~", "x" * 200])
def test_a_user_id_is_visible_ascii(user_id: str) -> None:
    assert User(id=user_id, name="Kim").id == user_id


@pytest.mark.parametrize("user_id", ["", "a b", "kim\n", "kim\r\nX-Admin: 1", "é", "\x00", "x" * 201])
def test_an_id_that_no_header_field_can_carry_is_refused(user_id: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        User(id=user_id, name="Kim")
    assert refused.value.field == "id"
    assert refused.value.hint


@given(directories())
def test_the_privileges_are_those_of_some_role_that_is_held(directory: Directory) -> None:
    held = set(directory.user.roles)
    for group in directory.user.groups:
        held |= directory.groups.get(group, frozenset())
    expected = {
        privilege for role, granted in directory.roles.items() if role in held for privilege in granted
    }
    assert directory.principal.privileges == (expected if directory.user.active else set())


@given(directories(), st.data())
def test_one_more_role_or_group_never_takes_a_privilege_away(
    directory: Directory, data: st.DataObject
) -> None:
    more = directory.with_user(
        roles=directory.user.roles | {data.draw(st.sampled_from(sorted(directory.roles) or ["none"]))},
        groups=directory.user.groups | {data.draw(st.sampled_from(sorted(directory.groups) or ["none"]))},
    )
    assert directory.principal.privileges <= more.principal.privileges


@given(directories())
def test_deactivating_takes_every_privilege_away(directory: Directory) -> None:
    assert directory.with_user(active=False).principal.privileges == frozenset()


@given(directories())
def test_a_member_may_do_what_the_same_user_may(directory: Directory) -> None:
    user, roles, groups = directory.user, directory.roles, directory.groups
    member = resolve_member(user, roles=roles, groups=groups)
    principal = resolve(user, roles=roles, groups=groups)
    assert (member.user_id, member.active, member.privileges) == (
        principal.user_id,
        principal.active,
        principal.privileges,
    )
    assert member.user is user
    assert member.roles == user.roles.union(*(groups.get(group, frozenset()) for group in user.groups))
