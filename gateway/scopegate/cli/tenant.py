"""``scopegate tenant``: tenants, and what is settled for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.moments import NEVER
from scopegate.cli.options import changes_system_through_api, system_through_api
from scopegate.cli.output import print_fields, print_table
from scopegate.cli.verbs import Group
from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation
    from scopegate.client import schemas


@click.group("tenant", cls=Group)
def tenant_group() -> None:
    """Look at tenants, create them, and settle what holds for them."""


@tenant_group.command("list")
@system_through_api
def list_tenants(invocation: Invocation) -> None:
    """List the tenants that you may know of."""
    with invocation.client() as client:
        shown = [tenant.model_dump(mode="json") for tenant in client.tenants()]
    answer(
        invocation,
        shown,
        lambda: print_table(
            ("ID", "NAME", "TAG", "KEYS", "CREATED"),
            [
                (one["id"], one["name"], one["tag"], str(one["keys"]), one["created_at"] or "-")
                for one in shown
            ],
        ),
        name="id",
    )


@tenant_group.command("show")
@click.argument("tenant_id", metavar="ID")
@system_through_api
def show(invocation: Invocation, tenant_id: str) -> None:
    """Show one tenant."""
    with invocation.client() as client:
        tenant = client.named_tenant(tenant_id)
    _print_tenant(invocation, tenant)


@tenant_group.command("create")
@click.argument("tenant_id", metavar="ID")
@click.option("--name", help="What people call it; otherwise its id.")
@changes_system_through_api
def create(invocation: Invocation, tenant_id: str, name: str | None) -> None:
    """Create a tenant, ready for keys at once. Its id never changes."""
    from scopegate.cli.bodies import body  # noqa: PLC0415 -- --help does without the client's parts
    from scopegate.client import schemas  # noqa: PLC0415

    creation = body(schemas.TenantCreation, id=tenant_id, name=name)
    with invocation.client() as client:
        tenant = client.create_tenant(creation)
    _print_tenant(invocation, tenant)


@tenant_group.command("rename")
@click.argument("tenant_id", metavar="ID")
@click.argument("name")
@changes_system_through_api
def rename(invocation: Invocation, tenant_id: str, name: str) -> None:
    """Call a tenant otherwise; its id stays."""
    from scopegate.cli.bodies import body  # noqa: PLC0415 -- as above
    from scopegate.client import schemas  # noqa: PLC0415

    naming = body(schemas.TenantNaming, name=name)
    with invocation.client() as client:
        tenant = client.rename_tenant(tenant_id, naming)
    _print_tenant(invocation, tenant)


@tenant_group.command("settings")
@click.argument("tenant_id", metavar="ID")
@click.option("--key-limit", type=int, help="How many keys the tenant may have.")
@click.option("--key-limit-max", type=int, help="How high --key-limit may be. For system administrators.")
@click.option(
    "--rule-methods",
    metavar="LIST",
    help="Methods of rules, such as GET,POST. For system administrators.",
)
@click.option("--default-lifetime", metavar="DAYS", help="When a key without an expiry expires, or never.")
@click.option("--max-lifetime", metavar="DAYS", help="The longest time until a key expires, or never.")
@click.option(
    "--unlisted-endpoints",
    type=click.Choice(["deny", "allow"]),
    help="What becomes of endpoints that the catalogue does not list.",
)
@changes_system_through_api
def settings(invocation: Invocation, tenant_id: str, **given: Any) -> None:  # noqa: ANN401 -- the options
    """Show what is settled for a tenant, or settle what is named; keys that exist stay as they are."""
    changes = {name: value for name, value in given.items() if value is not None}
    for name in ("default_lifetime", "max_lifetime"):
        if name in changes:
            changes[name] = _days(name, changes[name])
    if "rule_methods" in changes:
        changes["rule_methods"] = [one.strip() for one in changes["rule_methods"].split(",")]
    with invocation.client() as client:
        if changes:
            from scopegate.cli.bodies import body  # noqa: PLC0415 -- whoever has a client has it
            from scopegate.client import schemas  # noqa: PLC0415

            settled = client.change_settings(tenant_id, body(schemas.SettingsBody, **changes))
        else:
            settled = client.tenant_settings(tenant_id)
    shown = settled.model_dump(mode="json")
    answer(invocation, shown, lambda: _print_settings(shown))


def _days(name: str, text: str) -> int | None:
    if text == NEVER:
        return None
    if not text.isascii() or not text.isdigit():
        raise InvalidInput(name, f"{text!r} is not a number of days.", hint="Write 90, or never.")
    return int(text)


def _print_tenant(invocation: Invocation, tenant: schemas.Tenant) -> None:
    shown = tenant.model_dump(mode="json")
    answer(
        invocation,
        shown,
        lambda: print_fields(
            [
                ("id", shown["id"]),
                ("name", shown["name"]),
                ("tag", shown["tag"]),
                ("keys", str(shown["keys"])),
                ("created", shown["created_at"] or "-"),
            ]
        ),
        name="id",
    )


def _print_settings(shown: JsonObject) -> None:
    print_fields(
        [
            ("key limit", f"{shown['key_limit']} (at most {shown['key_limit_max']})"),
            ("rule methods", ", ".join(shown["rule_methods"])),
            ("default lifetime", _lifetime(shown["default_lifetime"])),
            ("max lifetime", _lifetime(shown["max_lifetime"])),
            ("unlisted endpoints", shown["unlisted_endpoints"]),
        ]
    )


def _lifetime(days: int | None) -> str:
    return NEVER if days is None else f"{days} days"
