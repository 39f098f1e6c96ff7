"""``scopegate group``, ``role`` and ``org``: what people of the directory belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.options import changes_through_api, through_api
from scopegate.cli.output import confirm, note, print_fields, print_table
from scopegate.cli.verbs import Group
from scopegate.core.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scopegate.admin.directorydocuments import DirectoryGroup
    from scopegate.cli.invocation import Invocation

_group_id = click.argument("group_id", metavar="ID")
_users = click.argument("users", metavar="USER...", nargs=-1, required=True)
_PIECE = 1_000  # users in one request


@click.group("group", cls=Group)
def group_group() -> None:
    """Look at groups, and change who is in them."""


@group_group.command("list")
@click.option("-q", "--query", help="Only groups with this in their id or name.")
@through_api
def list_groups(invocation: Invocation, query: str | None) -> None:
    """List the groups of the directory and of the policies."""
    with invocation.client() as client:
        shown = [one.model_dump(mode="json") for one in client.groups(q=query)]
    if not shown:
        note("There are no groups. Add one with: scopegate group add ID --name NAME")
    answer(invocation, shown, lambda: _print_groups(shown), name="id")


@group_group.command("show")
@_group_id
@through_api
def show(invocation: Invocation, group_id: str) -> None:
    """Show one group. Its members: scopegate user search --group ID."""
    with invocation.client() as client:
        group = client.group(group_id)
    _print_group(invocation, group)


@group_group.command("add")
@_group_id
@click.option("--name", help="What people call it; otherwise its id.")
@click.option("--external-id", help="What the provisioning system calls it.")
@changes_through_api
def add(invocation: Invocation, group_id: str, name: str | None, external_id: str | None) -> None:
    """Add a group to the directory. What its members hold is said by its id in the policies."""
    from scopegate.admin import directorydocuments as documents  # noqa: PLC0415 -- --help does without it
    from scopegate.cli.bodies import body  # noqa: PLC0415

    creation = body(documents.GroupCreation, id=group_id, name=name, external_id=external_id)
    with invocation.client() as client:
        group = client.add_group(creation)
    _print_group(invocation, group)


@group_group.command("delete")
@_group_id
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@changes_through_api
def delete(invocation: Invocation, group_id: str, *, yes: bool) -> None:
    """Let all members leave a group, and delete it."""
    if not yes and not invocation.dry_run:
        confirm(f"Take everybody out of the group {group_id}, and delete it for good?")
    with invocation.client() as client:
        client.delete_group(group_id)
    answer(invocation, {"id": group_id, "deleted": True}, lambda: note(f"Deleted {group_id}."), name="id")


@group_group.command("add-member")
@_group_id
@_users
@changes_through_api
def add_member(invocation: Invocation, group_id: str, users: tuple[str, ...]) -> None:
    """Let users be in a group; the next request sees it."""
    with invocation.client() as client:
        *before, last = _pieces(users)
        for piece in before:
            client.change_members(group_id, add=piece)
        group = client.change_members(group_id, add=last)
    _print_group(invocation, group)


@group_group.command("remove-member")
@_group_id
@_users
@changes_through_api
def remove_member(invocation: Invocation, group_id: str, users: tuple[str, ...]) -> None:
    """Let users be in a group no longer; the next request sees it."""
    with invocation.client() as client:
        *before, last = _pieces(users)
        for piece in before:
            client.change_members(group_id, remove=piece)
        group = client.change_members(group_id, remove=last)
    _print_group(invocation, group)


@click.group("role", cls=Group)
def role_group() -> None:
    """Look at roles, which policies define."""


@role_group.command("list")
@through_api
def list_roles(invocation: Invocation) -> None:
    """List the roles, and how many people hold each directly."""
    shown = _roles(invocation)
    if not shown:
        note("There are no roles. Define them in policy files, and apply these.")
    answer(
        invocation,
        shown,
        lambda: (
            print_table(
                ("NAME", "PEOPLE", "GROUPS", "PRIVILEGES"),
                [
                    (
                        one["name"],
                        str(one["people"]),
                        ", ".join(one["groups"]) or "-",
                        ", ".join(one["privileges"]) or "-",
                    )
                    for one in shown
                ],
            )
            if shown
            else None
        ),
        name="name",
    )


@role_group.command("show")
@click.argument("name")
@through_api
def show_role(invocation: Invocation, name: str) -> None:
    """Show one role."""
    shown = next((one for one in _roles(invocation) if one["name"] == name), None)
    if shown is None:
        raise NotFound(f"There is no role {name!r}.", hint="List the roles with: scopegate role list")
    fields = [
        ("name", name),
        ("people", str(shown["people"])),
        ("groups", ", ".join(shown["groups"]) or "-"),
        ("privileges", ", ".join(shown["privileges"]) or "-"),
    ]
    answer(invocation, shown, lambda: print_fields(fields), name="name")


@click.group("org", cls=Group)
def organization_group() -> None:
    """Look at the tree of organizations."""


@organization_group.command("list")
@click.argument("parent", required=False)
@through_api
def list_organizations(invocation: Invocation, parent: str | None) -> None:
    """List the organizations right below PARENT, or at the top, with how many people each has."""
    with invocation.client() as client:
        shown = [one.model_dump(mode="json") for one in client.organizations(parent)]
    if not shown:
        note("There are no organizations." if parent is None else f"There are none below {parent}.")
    answer(
        invocation,
        shown,
        lambda: (
            print_table(
                ("PATH", "PEOPLE", "BELOW IT"),
                [(one["path"], str(one["people"]), "more" if one["is_parent"] else "-") for one in shown],
            )
            if shown
            else None
        ),
        name="path",
    )


def _pieces(users: Sequence[str]) -> list[Sequence[str]]:
    return [users[start : start + _PIECE] for start in range(0, len(users), _PIECE)]


def _roles(invocation: Invocation) -> list[JsonObject]:
    with invocation.client() as client:
        return [one.model_dump(mode="json") for one in client.roles()]


def _print_group(invocation: Invocation, group: DirectoryGroup) -> None:
    shown = group.model_dump(mode="json")
    fields = [
        ("id", shown["id"]),
        ("name", shown["name"]),
        ("external id", shown["external_id"] or "-"),
        ("known to", _known_to(shown)),
        ("roles", ", ".join(shown["roles"]) or "-"),
        ("members", str(shown["members"])),
    ]
    answer(invocation, shown, lambda: print_fields(fields), name="id")


def _print_groups(groups: list[JsonObject]) -> None:
    if groups:
        print_table(
            ("ID", "NAME", "MEMBERS", "ROLES", "KNOWN TO"),
            [
                (one["id"], one["name"], str(one["members"]), ", ".join(one["roles"]) or "-", _known_to(one))
                for one in groups
            ],
        )


def _known_to(group: JsonObject) -> str:
    places = (("directory", group["in_directory"]), ("policies", group["in_policies"]))
    return ", ".join(place for place, is_there in places if is_there)
