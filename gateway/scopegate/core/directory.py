"""What may stand in the directory of a tenant (D8), whichever way it comes in."""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from typing import TYPE_CHECKING

from scopegate.core.errors import Conflict, InvalidInput, NotFound
from scopegate.core.lines import require_line
from scopegate.core.policies import require_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from scopegate.core.principal import Group, User

LONGEST_NAME = 200  # characters, of a person or a group
LONGEST_ADDRESS = 254  # characters, of an e-mail address (RFC 5321 section 4.5.3.1.3), and of other ids
LONGEST_ORGANIZATION = 500  # characters
DEEPEST = 10  # levels of organizations
MOST_HELD = 1_000  # groups, and roles, of one person
SEPARATOR = "/"  # between an organization and the one below it


class Put(StrEnum):
    """What became of a person who was to be stored."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


def require_person(user: User) -> User:
    """`user` itself, if the directory takes such a person.

    Raises:
        InvalidInput: on the field that is wrong.
    """
    require_line("name", user.name, most=LONGEST_NAME)
    _require_text("email", user.email, most=LONGEST_ADDRESS)
    if any(map(str.isspace, user.email)):
        raise InvalidInput("email", "The e-mail address has spaces.", hint="Write one address, or none.")
    require_organization(user.organization)
    for field, held in (("groups", user.groups), ("roles", user.roles)):
        _require_held(field, held)
    for field, text, most in (
        ("user_name", user.user_name, LONGEST_ADDRESS),
        ("external_id", user.external_id, LONGEST_ADDRESS),
        ("given_name", user.given_name, LONGEST_NAME),
        ("family_name", user.family_name, LONGEST_NAME),
    ):
        if text is not None:
            require_line(field, text, most=most)
    return user


def require_group(group: Group) -> Group:
    """`group` itself, if the directory takes such a group.

    Raises:
        InvalidInput: on the field that is wrong.
    """
    require_name("id", group.id)
    require_line("name", group.name, most=LONGEST_NAME)
    if group.external_id is not None:
        require_line("external_id", group.external_id, most=LONGEST_ADDRESS)
    return group


def require_organization(path: str) -> str:
    """`path` itself, if it is empty or names an organization, such as ``Sales/Vienna``.

    Raises:
        InvalidInput: on ``organization``.
    """
    _require_text("organization", path, most=LONGEST_ORGANIZATION)
    levels = path.split(SEPARATOR) if path else []
    if len(levels) > DEEPEST:
        raise InvalidInput(
            "organization", f"The organization has {len(levels)} levels; {DEEPEST} are allowed."
        )
    if any(not level or level != level.strip() for level in levels):
        raise InvalidInput(
            "organization",
            f"{path!r} is no path of organizations.",
            hint="Write Sales/Vienna: names between single slashes, without spaces around them.",
        )
    return path


def login_of(user: User) -> str:
    """What the person signs in with elsewhere: the user name, or the id where there is none."""
    return user.id if user.user_name is None else user.user_name


def folded_login(login: str) -> str:
    """What two logins have in common that are the same but for letter case (RFC 7643 section 4.1.1)."""
    return unicodedata.normalize("NFKC", login.casefold()).casefold()


def login_taken(user: User) -> Conflict:
    """The error that says that somebody else signs in with what `user` would."""
    return Conflict(
        f"Somebody else has the user name {login_of(user)!r}.",
        hint="Whatever their letter case, no two people have the same one.",
        code="user_name_taken",
    )


def no_such_user(user_id: str) -> NotFound:
    """The error that says that there is no user with this id."""
    return NotFound(f"There is no user {user_id!r}.", hint="List the users with: scopegate user list")


def no_such_group(group_id: str) -> NotFound:
    """The error that says that there is no group with this id."""
    return NotFound(f"There is no group {group_id!r}.", hint="List the groups with: scopegate group list")


def _require_held(field: str, held: Collection[str]) -> None:
    if len(held) > MOST_HELD:
        raise InvalidInput(field, f"There are {len(held)} {field}; {MOST_HELD} are allowed.")
    for name in sorted(held):
        require_name(field, name)


def _require_text(field: str, text: str, *, most: int) -> None:
    if text:
        require_line(field, text, most=most)
