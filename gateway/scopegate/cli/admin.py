"""``scopegate admin``: who administers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.options import changes_system_through_api, system_through_api
from scopegate.cli.output import confirm, note, print_fields, print_table
from scopegate.cli.verbs import Group
from scopegate.core.administrators import Role

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation
    from scopegate.client import schemas

_ALL = "all"
_role = [role.value.replace("_", "-") for role in Role]
_tenants_help = "A tenant that it is about, or all. Repeatable."


@click.group("admin", cls=Group)
def admin_group() -> None:
    """Look at administrators, and change who administers what."""


@admin_group.command("list")
@system_through_api
def list_administrators(invocation: Invocation) -> None:
    """List administrators, the oldest first."""
    with invocation.client() as client:
        shown = [one.model_dump(mode="json") for one in client.administrators()]
    if not shown:
        note("There are no administrators. Make one with: scopegate admin create")

    def print_rows() -> None:
        if shown:
            print_table(
                ("ID", "NAME", "E-MAIL", "ROLE", "TENANTS", "STATUS"),
                [
                    (one["id"], one["name"], one["email"], _role_of(one), _tenants_of(one), _status(one))
                    for one in shown
                ],
            )

    answer(invocation, shown, print_rows, name="id")


@admin_group.command("show")
@click.argument("administrator_id", metavar="ID")
@system_through_api
def show(invocation: Invocation, administrator_id: str) -> None:
    """Show one administrator."""
    with invocation.client() as client:
        found = client.administrator(administrator_id)
    _print(invocation, found)


@admin_group.command("create")
@click.option("--name", required=True, help="The person's name.")
@click.option("--email", required=True, help="The person's e-mail address.")
@click.option("--role", type=click.Choice(_role), required=True)
@click.option("--about", "tenants", metavar="TENANT", multiple=True, help=_tenants_help)
@changes_system_through_api
def create(invocation: Invocation, name: str, email: str, role: str, tenants: tuple[str, ...]) -> None:
    """Create an administrator, who has no token yet: see 'token create --administrator'."""
    from scopegate.cli.bodies import body  # noqa: PLC0415 -- --help does without the client's parts
    from scopegate.client import schemas  # noqa: PLC0415

    creation = body(
        schemas.AdministratorCreation,
        name=name,
        email=email,
        role=Role(role.replace("-", "_")),
        tenants=_about(tenants),
    )
    with invocation.client() as client:
        created = client.create_administrator(creation)
    _print(invocation, created)


@admin_group.command("edit")
@click.argument("administrator_id", metavar="ID")
@click.option("--name", help="The person's name.")
@click.option("--email", help="The person's e-mail address.")
@click.option("--role", type=click.Choice(_role))
@click.option("--about", "tenants", metavar="TENANT", multiple=True, help=_tenants_help)
@click.option("--active/--inactive", default=None, help="Whether tokens of the administrator are good.")
@changes_system_through_api
def edit(
    invocation: Invocation,
    administrator_id: str,
    name: str | None,
    email: str | None,
    role: str | None,
    tenants: tuple[str, ...],
    *,
    active: bool | None,
) -> None:
    """Change what is named; it counts for the next request with a token of the administrator."""
    given: dict[str, Any] = {"name": name, "email": email, "active": active}
    changes = {member: value for member, value in given.items() if value is not None}
    if role is not None:
        changes["role"] = Role(role.replace("-", "_"))
    if tenants:
        changes["tenants"] = _about(tenants)
    if not changes:
        raise click.UsageError("Name what to change: --name, --email, --role, --about, or --[in]active.")
    from scopegate.cli.bodies import body  # noqa: PLC0415 -- --help does without the client's parts
    from scopegate.client import schemas  # noqa: PLC0415

    with invocation.client() as client:
        edited = client.edit_administrator(administrator_id, body(schemas.AdministratorEdit, **changes))
    _print(invocation, edited)


@admin_group.command("delete")
@click.argument("administrator_id", metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@changes_system_through_api
def delete(invocation: Invocation, administrator_id: str, *, yes: bool) -> None:
    """Delete an administrator for good; all tokens of the administrator are good no longer."""
    with invocation.client() as client:
        found = client.administrator(administrator_id)
        if not yes:
            confirm(f"Delete the administrator {found.name} ({found.email}) for good?")
        client.delete_administrator(found.id)
    answer(
        invocation,
        {"id": found.id, "deleted": True},
        lambda: note(f"Deleted {found.id}: {found.name}"),
        name="id",
    )


def _about(tenants: tuple[str, ...]) -> list[str] | None:
    if not tenants or tenants == (_ALL,):
        return None
    if _ALL in tenants:
        raise click.UsageError("--about all stands alone.")
    return list(tenants)


def _print(invocation: Invocation, administrator: schemas.Administrator) -> None:
    shown = administrator.model_dump(mode="json")
    answer(
        invocation,
        shown,
        lambda: print_fields(
            [
                ("id", shown["id"]),
                ("name", shown["name"]),
                ("e-mail", shown["email"]),
                ("role", _role_of(shown)),
                ("tenants", _tenants_of(shown)),
                ("status", _status(shown)),
                ("created", shown["created_at"]),
            ]
        ),
        name="id",
    )


def _role_of(shown: JsonObject) -> str:
    return str(shown["role"]).replace("_", "-")


def _tenants_of(shown: JsonObject) -> str:
    return _ALL if shown["tenants"] is None else ", ".join(shown["tenants"])


def _status(shown: JsonObject) -> str:
    return "active" if shown["active"] else "inactive"
