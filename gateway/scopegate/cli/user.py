"""``scopegate user``: look at users, and change what they may do."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.options import changes_store, on_store, through_api
from scopegate.cli.output import confirm, note, print_fields, print_table
from scopegate.cli.verbs import Group
from scopegate.core.principal import User
from scopegate.representations import user_object

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scopegate.cli.invocation import Invocation
    from scopegate.commands import Commands
    from scopegate.core.principal import Principal

_LARGEST_PAGE = 500  # people in one request


@click.group("user", cls=Group)
def user_group() -> None:
    """Look at users, and change what they may do."""


@user_group.command("list")
@on_store
def list_users(invocation: Invocation) -> None:
    """List all users."""

    async def action(commands: Commands) -> list[User]:
        return await commands.list_users()

    users = invocation.run(action)
    if not users:
        note("There are no users. Add one with: scopegate user add ID --name NAME --role ROLE")
    shown = [user_object(user) for user in users]
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
    help="A condition such as email:contains:sales; operators: equals, contains, starts. Repeatable.",
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
@click.argument("user_id", metavar="ID")
@click.option("--name", required=True, help="The person's name.")
@click.option("--email", default="", help="The person's e-mail address.")
@click.option("--organization", default="", help="Where the person belongs, such as Sales/Vienna.")
@click.option("--group", "groups", multiple=True, help="A group that the person is in. Repeatable.")
@click.option("--role", "roles", multiple=True, help="A role that the person holds. Repeatable.")
@changes_store
def add(
    invocation: Invocation,
    user_id: str,
    name: str,
    email: str,
    organization: str,
    groups: tuple[str, ...],
    roles: tuple[str, ...],
) -> None:
    """Add a user."""
    user = User(
        id=user_id,
        name=name,
        email=email,
        organization=organization,
        groups=frozenset(groups),
        roles=frozenset(roles),
    )

    async def change(commands: Commands) -> None:
        await commands.add_user(user)

    _print_after(change, invocation, user_id)


@user_group.command("show")
@click.argument("user_id", metavar="ID")
@on_store
def show(invocation: Invocation, user_id: str) -> None:
    """Show one user and the privileges held now."""
    _print_after(None, invocation, user_id)


@user_group.command("delete")
@click.argument("user_id", metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@changes_store
def delete(invocation: Invocation, user_id: str, *, yes: bool) -> None:
    """Delete a user; keys that are bound to the user open nothing from now on."""
    if not yes:
        confirm(f"Delete the user {user_id} for good?")

    async def action(commands: Commands) -> None:
        await commands.delete_user(user_id)

    invocation.run(action)
    answer(invocation, {"id": user_id, "deleted": True}, lambda: note(f"Deleted {user_id}."), name="id")


@user_group.command("add-role")
@click.argument("user_id", metavar="ID")
@click.argument("role")
@changes_store
def add_role(invocation: Invocation, user_id: str, role: str) -> None:
    """Give a user a role."""

    async def change(commands: Commands) -> None:
        await commands.add_role(user_id, role)

    _print_after(change, invocation, user_id)


@user_group.command("remove-role")
@click.argument("user_id", metavar="ID")
@click.argument("role")
@changes_store
def remove_role(invocation: Invocation, user_id: str, role: str) -> None:
    """Take a role from a user; the next request sees it."""

    async def change(commands: Commands) -> None:
        await commands.remove_role(user_id, role)

    _print_after(change, invocation, user_id)


@user_group.command("activate")
@click.argument("user_id", metavar="ID")
@changes_store
def activate(invocation: Invocation, user_id: str) -> None:
    """Activate a user."""

    async def change(commands: Commands) -> None:
        await commands.set_active(user_id, active=True)

    _print_after(change, invocation, user_id)


@user_group.command("deactivate")
@click.argument("user_id", metavar="ID")
@changes_store
def deactivate(invocation: Invocation, user_id: str) -> None:
    """Deactivate a user; the user's keys stop at once."""

    async def change(commands: Commands) -> None:
        await commands.set_active(user_id, active=False)

    _print_after(change, invocation, user_id)


def _print_after(
    change: Callable[[Commands], Awaitable[None]] | None,
    invocation: Invocation,
    user_id: str,
) -> None:
    async def action(commands: Commands) -> tuple[User, Principal]:
        if change is not None:
            await change(commands)
        return await commands.show_user(user_id)

    user, principal = invocation.run(action)
    shown = user_object(user, principal)
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


def _fields(user: JsonObject) -> list[tuple[str, str]]:
    return [
        ("id", user["id"]),
        ("name", user["name"]),
        ("e-mail", user["email"] or "-"),
        ("organization", user["organization"] or "-"),
        ("status", _status(user)),
        ("groups", ", ".join(user["groups"]) or "-"),
        ("roles", ", ".join(user["roles"]) or "-"),
        ("privileges", ", ".join(user["privileges"]) or "-"),
    ]


def _status(user: JsonObject) -> str:
    return "active" if user["active"] else "inactive"
