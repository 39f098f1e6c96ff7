"""``scopegate user``: look at users, and change what they may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.invocation import Invocation, changes_instance, on_instance
from scopegate.cli.output import confirm, note, print_fields, print_json, print_table
from scopegate.core.principal import User
from scopegate.representations import user_object

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scopegate.commands import Commands
    from scopegate.core.principal import Principal


@click.group("user")
def user_group() -> None:
    """Look at users, and change what they may do."""


@user_group.command("list")
@on_instance
def list_users(invocation: Invocation) -> None:
    """List all users."""

    async def action(commands: Commands) -> list[User]:
        return await commands.list_users()

    users = invocation.run(action)
    if invocation.wants_json:
        print_json([user_object(user) for user in users])
        return
    if not users:
        note("There are no users. Add one with: scopegate user add ID --name NAME --role ROLE")
        return
    print_table(
        ("ID", "NAME", "ORGANIZATION", "STATUS", "GROUPS", "ROLES"),
        [
            (
                user.id,
                user.name,
                user.organization,
                "active" if user.active else "inactive",
                ", ".join(sorted(user.groups)) or "-",
                ", ".join(sorted(user.roles)) or "-",
            )
            for user in users
        ],
    )


@user_group.command("add")
@click.argument("user_id", metavar="ID")
@click.option("--name", required=True, help="The person's name.")
@click.option("--email", default="", help="The person's e-mail address.")
@click.option("--organization", default="", help="Where the person belongs, such as Sales/Vienna.")
@click.option("--group", "groups", multiple=True, help="A group that the person is in. Repeatable.")
@click.option("--role", "roles", multiple=True, help="A role that the person holds. Repeatable.")
@changes_instance
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
@on_instance
def show(invocation: Invocation, user_id: str) -> None:
    """Show one user and the privileges held now."""
    _print_after(None, invocation, user_id)


@user_group.command("delete")
@click.argument("user_id", metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@changes_instance
def delete(invocation: Invocation, user_id: str, *, yes: bool) -> None:
    """Delete a user; keys that are bound to the user open nothing from now on."""
    if not yes:
        confirm(f"Delete the user {user_id} for good?")

    async def action(commands: Commands) -> None:
        await commands.delete_user(user_id)

    invocation.run(action)
    if invocation.wants_json:
        print_json({"id": user_id, "deleted": True})
    else:
        note(f"Deleted {user_id}.")


@user_group.command("add-role")
@click.argument("user_id", metavar="ID")
@click.argument("role")
@changes_instance
def add_role(invocation: Invocation, user_id: str, role: str) -> None:
    """Give a user a role."""

    async def change(commands: Commands) -> None:
        await commands.add_role(user_id, role)

    _print_after(change, invocation, user_id)


@user_group.command("remove-role")
@click.argument("user_id", metavar="ID")
@click.argument("role")
@changes_instance
def remove_role(invocation: Invocation, user_id: str, role: str) -> None:
    """Take a role from a user; the next request sees it."""

    async def change(commands: Commands) -> None:
        await commands.remove_role(user_id, role)

    _print_after(change, invocation, user_id)


@user_group.command("activate")
@click.argument("user_id", metavar="ID")
@changes_instance
def activate(invocation: Invocation, user_id: str) -> None:
    """Activate a user."""

    async def change(commands: Commands) -> None:
        await commands.set_active(user_id, active=True)

    _print_after(change, invocation, user_id)


@user_group.command("deactivate")
@click.argument("user_id", metavar="ID")
@changes_instance
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
    if invocation.wants_json:
        print_json(user_object(user, principal))
        return
    print_fields(
        [
            ("id", user.id),
            ("name", user.name),
            ("e-mail", user.email or "-"),
            ("organization", user.organization or "-"),
            ("status", "active" if user.active else "inactive"),
            ("groups", ", ".join(sorted(user.groups)) or "-"),
            ("roles", ", ".join(sorted(user.roles)) or "-"),
            ("privileges", ", ".join(sorted(principal.privileges)) or "-"),
        ]
    )
