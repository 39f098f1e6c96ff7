"""Users, groups and roles, and the privileges that a user has at this moment."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scopegate.core.errors import InvalidInput
from scopegate.core.keys import WRITTEN_IF_ANY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

Privileges = frozenset[str]
NO_PRIVILEGES: Privileges = frozenset()

# The id goes to the upstream in a header field, so it is visible ASCII (RFC 9110 section 5.5).
_USER_ID = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person of the directory.

    ``organization`` is a path such as ``Sales/Vienna``; ``groups`` are ids. The id never changes.
    ``user_name`` is what the person signs in with elsewhere, unique whatever its letter case, where it is
    not the id; ``external_id`` is what the provisioning system calls the person. They, and the parts of
    the name, are None where nobody has told them.
    """

    id: str
    name: str
    email: str = ""
    organization: str = ""
    active: bool = True
    groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    user_name: str | None = field(default=None, metadata=WRITTEN_IF_ANY)
    external_id: str | None = field(default=None, metadata=WRITTEN_IF_ANY)
    given_name: str | None = field(default=None, metadata=WRITTEN_IF_ANY)
    family_name: str | None = field(default=None, metadata=WRITTEN_IF_ANY)

    def __post_init__(self) -> None:
        if not _USER_ID.fullmatch(self.id):
            raise InvalidInput(
                "id",
                f"{self.id!r} cannot be a user's id.",
                hint="Use 1 to 200 visible ASCII characters without spaces.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of the directory. Policies say by its id which roles its members hold; the id never changes.

    ``external_id`` is what the provisioning system calls it.
    """

    id: str
    name: str
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class Testimony:
    """Which source, in place of the directory, said what a user may do, and when it was asked."""

    source: str
    asked_at: datetime

    def in_words(self, now: datetime) -> str:
        """Who said so, and how old that is at `now`."""
        age = max((now - self.asked_at).total_seconds(), 0.0)
        return f"the source {self.source} said so {age:.1f} s ago"


@dataclass(frozen=True, slots=True)
class Principal:
    """A user with the privileges held now, however they were resolved.

    ``testimony`` is who said so, where it was not the directory. Two that may do the same are equal, whoever
    said so, and when.
    """

    user_id: str
    active: bool
    privileges: Privileges
    testimony: Testimony | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(Principal):
    """A principal as the directory resolves it, with its record there and all roles that are held."""

    user: User
    roles: frozenset[str]


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
    held = _held(user, groups)
    return Principal(user.id, active=True, privileges=_given(held, roles))


def resolve_member(
    user: User, *, roles: Mapping[str, Privileges], groups: Mapping[str, frozenset[str]]
) -> Member:
    """As `resolve`, and what it was resolved from, for whoever resolves it in another way."""
    held = _held(user, groups)
    return Member(
        user.id,
        active=user.active,
        privileges=_given(held, roles) if user.active else NO_PRIVILEGES,
        user=user,
        roles=held,
    )


def _held(user: User, groups: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return user.roles.union(*(groups.get(group, frozenset()) for group in user.groups))


def _given(held: frozenset[str], roles: Mapping[str, Privileges]) -> Privileges:
    return NO_PRIVILEGES.union(*(roles.get(role, NO_PRIVILEGES) for role in held))
