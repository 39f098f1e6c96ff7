"""``scopegate key``: create, list, show, enable, disable, extend, delete. The other verbs are beside this."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from scopegate.cli.invocation import Invocation, changes_instance, on_instance
from scopegate.cli.keyanswer import ALL_USERS, print_issued, print_key, secret_file_option, secret_place
from scopegate.cli.keyedit import duplicate, edit
from scopegate.cli.keyrotation import rotate
from scopegate.cli.keyrules import rules_group, rules_of
from scopegate.cli.moments import NEVER, parse_expiry
from scopegate.cli.output import confirm, note, print_json, print_table
from scopegate.core.keys import KeyRecord, KeyType
from scopegate.representations import key_object

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.commands import Commands, IssuedKey


@click.group("key")
def key_group() -> None:
    """Create and manage API keys."""


for command in (rotate, edit, duplicate, rules_group):
    key_group.add_command(command)


@key_group.command("create")
@click.option("--type", "key_type", type=click.Choice([kind.value for kind in KeyType]), required=True)
@click.option(
    "--description", required=True, help="What the key is for, e.g. 'Created for Face-to-Face recording'."
)
@click.option(
    "--url", "urls", multiple=True, help="A URL that a custom key opens; * is a wildcard. Repeatable."
)
@click.option("--method", "methods", multiple=True, help="The method for each --url, in the same order.")
@click.option(
    "--user", default=ALL_USERS, show_default=True, help="The id of the one user whom the key acts for."
)
@click.option(
    "--expires", default=NEVER, show_default=True, help="RFC 3339 with offset, or a period: 90d, 12h."
)
@secret_file_option
@changes_instance
def create(
    invocation: Invocation,
    key_type: str,
    description: str,
    urls: tuple[str, ...],
    methods: tuple[str, ...],
    user: str,
    expires: str,
    secret_file: Path | None,
) -> None:
    """Create a key. Its secret is shown this once."""
    rules = rules_of(urls, methods)
    expires_at = parse_expiry(expires, datetime.now(UTC))

    async def action(commands: Commands) -> tuple[IssuedKey, datetime]:
        issued = await commands.create_key(
            key_type=KeyType(key_type),
            description=description,
            expires_at=expires_at,
            user=None if user == ALL_USERS else user,
            rules=rules,
        )
        return issued, commands.now()

    with secret_place(secret_file) as write_secret:
        issued, now = invocation.run(action)
        write_secret(issued.new_secret)
    print_issued(invocation, issued, now, secret_file)


@key_group.command("list")
@on_instance
def list_keys(invocation: Invocation) -> None:
    """List all keys, newest first."""

    async def action(commands: Commands) -> tuple[list[KeyRecord], datetime]:
        return await commands.list_keys(), commands.now()

    records, now = invocation.run(action)
    if invocation.wants_json:
        print_json([key_object(record, now) for record in records])
        return
    if not records:
        note("There are no keys. Create one with: scopegate key create --type external --description '...'")
        return
    shown = [key_object(record, now) for record in records]
    print_table(
        ("ID", "TYPE", "STATE", "USER", "EXPIRES", "RULES", "DESCRIPTION"),
        [
            (
                key["id"],
                key["type"],
                key["state"],
                key["user"] or ALL_USERS,
                key["expires_at"] or NEVER,
                str(len(key["rules"])) if key["type"] == KeyType.CUSTOM else "-",
                key["description"],
            )
            for key in shown
        ],
    )


@key_group.command("show")
@click.argument("key_id", metavar="ID")
@on_instance
def show(invocation: Invocation, key_id: str) -> None:
    """Show one key; ID may be the beginning of an id."""

    async def action(commands: Commands) -> tuple[KeyRecord, datetime]:
        return await commands.find_key(key_id), commands.now()

    record, now = invocation.run(action)
    print_key(invocation, record, now)


@key_group.command("enable")
@click.argument("key_id", metavar="ID")
@changes_instance
def enable(invocation: Invocation, key_id: str) -> None:
    """Enable a key that was disabled."""
    _set_enabled(invocation, key_id, enabled=True)


@key_group.command("disable")
@click.argument("key_id", metavar="ID")
@changes_instance
def disable(invocation: Invocation, key_id: str) -> None:
    """Disable a key at once; it can be enabled again."""
    _set_enabled(invocation, key_id, enabled=False)


@key_group.command("extend")
@click.argument("key_id", metavar="ID")
@click.option("--expires", required=True, help="RFC 3339 with offset, a period (90d, 12h), or never.")
@changes_instance
def extend(invocation: Invocation, key_id: str, expires: str) -> None:
    """Give a key another expiry, also one that expired less than seven days ago."""
    expires_at = parse_expiry(expires, datetime.now(UTC))

    async def action(commands: Commands) -> tuple[KeyRecord, datetime]:
        found = await commands.find_key(key_id)
        return await commands.extend_key(found.id, expires_at), commands.now()

    record, now = invocation.run(action)
    print_key(invocation, record, now)


@key_group.command("delete")
@click.argument("key_id", metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@changes_instance
def delete(invocation: Invocation, key_id: str, *, yes: bool) -> None:
    """Delete a key for good, at once."""

    async def find(commands: Commands) -> KeyRecord:
        return await commands.find_key(key_id)

    found = invocation.run(find)
    if not yes:
        confirm(f"Delete {found.id} ({found.description}) for good?")

    async def action(commands: Commands) -> None:
        await commands.delete_key(found.id)

    invocation.run(action)
    if invocation.wants_json:
        print_json({"id": found.id, "state": "deleted"})
    else:
        note(f"Deleted {found.id}: {found.description}")


def _set_enabled(invocation: Invocation, key_id: str, *, enabled: bool) -> None:
    async def action(commands: Commands) -> tuple[KeyRecord, datetime]:
        found = await commands.find_key(key_id)
        return await commands.set_enabled(found.id, enabled=enabled), commands.now()

    record, now = invocation.run(action)
    print_key(invocation, record, now)
