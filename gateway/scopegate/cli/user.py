"""``scopegate user``: look at users, and change what they may do."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.options import changes_through_api, through_api
from scopegate.cli.output import confirm, note, print_fields, print_table
from scopegate.cli.userimport import import_users
from scopegate.cli.verbs import Group

if TYPE_CHECKING:
    from collections.abc import Callable

    from scopegate.cli.invocation import Invocation
    from scopegate.client import schemas

_LARGEST_PAGE = 500  # people in one request


@click.group("user", cls=Group)
def user_group() -> None:
    """Look at users, and change what they may do."""


user_group.add_command(import_users)
_user_id = click.argument("user_id", metavar="ID")
_if_match = click.option(
    "--if-match",
    "etag",
    metavar="ETAG",
    help="Only if this is still the version of the user, as 'show' tells it.",
)


def _facts(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--family-name", help="The family name alone."),
        click.option("--given-name", help="The given name alone."),
        click.option("--external-id", help="What the provisioning system calls the person."),
        click.option("--user-name", help="What the person signs in with elsewhere, if not the id."),
        click.option("--organization", help="Where the person belongs, such as Sales/Vienna."),
        click.option("--email", help="The person's e-mail address."),
    ):
        command = option(command)
    return command


@user_group.command("list")
@through_api
def list_users(invocation: Invocation) -> None:
    """List all users, by name."""
    with invocation.client() as client:
        shown = [user.model_dump(mode="json") for user in client.users()]
    if not shown:
        note("There are no users. Add one with: scopegate user add ID --name NAME --role ROLE")
    answer(invocation, shown, lambda: print_users(invocation, shown), name="id")


@user_group.command("search")
@click.argument("words", nargs=-1)
@click.option("--org", "organization", help="In this organization, or below it.")
@click.option("--group", help="In this group.")
@click.option(
    "--filter",
    "conditions",
    metavar="FIELD:OP:VALUE",
    multiple=True,
    help="A condition such as email:contains:sales; operators: equals, contains, starts, ends. Repeatable.",
)
@click.option("--active/--inactive", default=None, help="Only people who are, or who are not.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="People at most.")
@through_api
def search(
    invocation: Invocation,
    words: tuple[str, ...],
    organization: str | None,
    group: str | None,
    conditions: tuple[str, ...],
    limit: int,
    *,
    active: bool | None,
) -> None:
    """Find people: each of WORDS begins a word of the name, the e-mail or the id."""
    with invocation.client() as client:
        found = client.users(
            q=" ".join(words) or None,
            organization=organization,
            group=group,
            filter=list(conditions),
            active=active,
            limit=min(limit, _LARGEST_PAGE),
        )
        shown = [user.model_dump(mode="json") for user in itertools.islice(found, limit)]
    if not shown:
        note("Nobody is like that.")
    answer(invocation, shown, lambda: print_users(invocation, shown), name="id")


@user_group.command("add")
@_user_id
@click.option("--name", required=True, help="The person's name.")
@_facts
@click.option("--group", "groups", multiple=True, help="A group that the person is in. Repeatable.")
@click.option("--role", "roles", multiple=True, help="A role that the person holds. Repeatable.")
@changes_through_api
def add(invocation: Invocation, user_id: str, **given: Any) -> None:  # noqa: ANN401 -- the options
    """Add a user."""
    from scopegate.admin import directorydocuments as documents  # noqa: PLC0415 -- --help does without it
    from scopegate.cli.bodies import body  # noqa: PLC0415

    said = {name: value for name, value in given.items() if value not in (None, ())}
    creation = body(documents.PersonCreation, id=user_id, **said)
    with invocation.client() as client:
        user = client.add_user(creation)
    _print_user(invocation, user)


@user_group.command("edit")
@_user_id
@click.option("--name", help="The person's name.")
@_facts
@_if_match
@changes_through_api
def edit(invocation: Invocation, user_id: str, etag: str | None, **given: Any) -> None:  # noqa: ANN401
    """Let a user have other facts. An empty text takes one away; what is not named stays.

    Groups are changed with 'group add-member', roles with 'user add-role'.
    """
    from scopegate.admin import directorydocuments as documents  # noqa: PLC0415 -- as above
    from scopegate.cli.bodies import body  # noqa: PLC0415

    said = {name: value for name, value in given.items() if value is not None}
    if not said:
        raise click.UsageError("Say what is to be different, such as --name.")
    changes = body(documents.PersonEdit, **said)
    with invocation.client() as client:
        user = client.edit_user(user_id, changes, etag=etag)
    _print_user(invocation, user)


@user_group.command("show")
@_user_id
@through_api
def show(invocation: Invocation, user_id: str) -> None:
    """Show one user and the privileges held now."""
    with invocation.client() as client:
        user, etag = client.versioned_user(user_id)
    shown = {**user.model_dump(mode="json"), "etag": etag}
    answer(invocation, shown, lambda: print_fields(_fields(shown)), name="id")


@user_group.command("delete")
@_user_id
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@_if_match
@changes_through_api
def delete(invocation: Invocation, user_id: str, etag: str | None, *, yes: bool) -> None:
    """Delete a user; keys that are bound to the user open nothing from now on."""
    if not yes and not invocation.dry_run:
        confirm(f"Delete the user {user_id} for good?")
    with invocation.client() as client:
        client.delete_user(user_id, etag=etag)
    answer(invocation, {"id": user_id, "deleted": True}, lambda: note(f"Deleted {user_id}."), name="id")


@user_group.command("add-role")
@_user_id
@click.argument("roles", metavar="ROLE...", nargs=-1, required=True)
@changes_through_api
def add_role(invocation: Invocation, user_id: str, roles: tuple[str, ...]) -> None:
    """Give a user a role, or several."""
    with invocation.client() as client:
        user = client.add_roles(user_id, roles)
    _print_user(invocation, user)


@user_group.command("remove-role")
@_user_id
@click.argument("roles", metavar="ROLE...", nargs=-1, required=True)
@changes_through_api
def remove_role(invocation: Invocation, user_id: str, roles: tuple[str, ...]) -> None:
    """Take a role from a user, or several; the next request sees it."""
    with invocation.client() as client:
        user = client.remove_roles(user_id, roles)
    _print_user(invocation, user)


@user_group.command("activate")
@_user_id
@changes_through_api
def activate(invocation: Invocation, user_id: str) -> None:
    """Activate a user."""
    with invocation.client() as client:
        user = client.set_user_active(user_id, active=True)
    _print_user(invocation, user)


@user_group.command("deactivate")
@_user_id
@changes_through_api
def deactivate(invocation: Invocation, user_id: str) -> None:
    """Deactivate a user; the user's keys stop at once."""
    with invocation.client() as client:
        user = client.set_user_active(user_id, active=False)
    _print_user(invocation, user)


def _print_user(invocation: Invocation, user: schemas.UserWithPrivileges) -> None:
    shown = user.model_dump(mode="json")
    answer(invocation, shown, lambda: print_fields(_fields(shown)), name="id")


def print_users(invocation: Invocation, users: list[JsonObject]) -> None:
    """Print people, a line each."""
    if not users:
        return
    more = ("E-MAIL",) if invocation.wants_wide else ()
    print_table(
        ("ID", "NAME", *more, "ORGANIZATION", "STATUS", "GROUPS", "ROLES"),
        [
            (
                user["id"],
                user["name"],
                *((user["email"] or "-",) if more else ()),
                user["organization"],
                _status(user),
                ", ".join(user["groups"]) or "-",
                ", ".join(user["roles"]) or "-",
            )
            for user in users
        ],
    )


_IF_ANY = (
    *(("given name", "given_name"), ("family name", "family_name")),
    *(("user name", "user_name"), ("external id", "external_id")),
)


def _fields(user: JsonObject) -> list[tuple[str, str]]:
    return [
        ("id", user["id"]),
        ("name", user["name"]),
        ("e-mail", user["email"] or "-"),
        *((label, user[name]) for label, name in _IF_ANY if user[name]),
        ("organization", user["organization"] or "-"),
        ("status", _status(user)),
        ("groups", ", ".join(user["groups"]) or "-"),
        ("roles", ", ".join(user["roles"]) or "-"),
        ("privileges", ", ".join(user["privileges"]) or "-"),
    ]


def _status(user: JsonObject) -> str:
    return "active" if user["active"] else "inactive"
