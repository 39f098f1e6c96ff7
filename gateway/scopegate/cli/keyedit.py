"""``scopegate key edit`` and ``duplicate``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from scopegate.cli.invocation import Invocation, changes_instance
from scopegate.cli.keyanswer import ALL_USERS, print_edited, print_issued, secret_file_option, secret_place
from scopegate.cli.moments import parse_expiry

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.commands import Commands, EditedKey, IssuedKey
    from scopegate.core.keyediting import KeyChanges


@click.command("edit")
@click.argument("key_id", metavar="ID")
@click.option("--description", help="What the key is for.")
@click.option("--expires", help="RFC 3339 with offset, a period (90d, 12h), or never.")
@click.option("--user", help="The id of the one user whom the key acts for, or all.")
@changes_instance
def edit(
    invocation: Invocation, key_id: str, description: str | None, expires: str | None, user: str | None
) -> None:
    """Give a key another description, expiry or user; the next request sees it."""
    changes: KeyChanges = {}
    if description is not None:
        changes["description"] = description
    if expires is not None:
        changes["expires_at"] = parse_expiry(expires, datetime.now(UTC))
    if user is not None:
        changes["user"] = None if user == ALL_USERS else user
    if not changes:
        raise click.UsageError("Name what to change: --description, --expires or --user.")

    async def action(commands: Commands) -> tuple[EditedKey, datetime]:
        found = await commands.find_key(key_id)
        return await commands.edit_key(found.id, **changes), commands.now()

    print_edited(invocation, *invocation.run(action))


@click.command("duplicate")
@click.argument("key_id", metavar="ID")
@click.option("--description", required=True, help="What the new key is for.")
@secret_file_option
@changes_instance
def duplicate(invocation: Invocation, key_id: str, description: str, secret_file: Path | None) -> None:
    """Create a key of the same type, user, rules and expiry. Its secret is shown this once."""

    async def action(commands: Commands) -> tuple[IssuedKey, datetime]:
        found = await commands.find_key(key_id)
        return await commands.duplicate_key(found.id, description=description), commands.now()

    with secret_place(secret_file) as write_secret:
        issued, now = invocation.run(action)
        write_secret(issued.new_secret)
    print_issued(invocation, issued, now, secret_file)
