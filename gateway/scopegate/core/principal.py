"""Users, groups and roles, and the privileges that a user has at this moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Privileges = frozenset[str]
NO_PRIVILEGES: Privileges = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person of the directory. ``organization`` is a path such as ``Sales/Vienna``."""

    id: str
    name: str
    email: str = ""
    organization: str = ""
    active: bool = True
    groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Principal:
    """A user with the privileges held now, however they were resolved."""

    user_id: str
    active: bool
    privileges: Privileges


def resolve(
    user: User, *, roles: Mapping[str, Privileges], groups: Mapping[str, frozenset[str]]
) -> Principal:
    """The principal that `user` is: the union over the roles held directly and through groups.

    An inactive user has no privileges. A role or group that nobody defined gives none.

    Args:
        user: the person.
        roles: role name -> its privileges.
        groups: group name -> the roles that its members hold.
    """
    if not user.active:
        return Principal(user.id, active=False, privileges=NO_PRIVILEGES)
    held = user.roles.union(*(groups.get(group, frozenset()) for group in user.groups))
    privileges = NO_PRIVILEGES.union(*(roles.get(role, NO_PRIVILEGES) for role in held))
    return Principal(user.id, active=True, privileges=privileges)
