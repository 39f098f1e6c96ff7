"""``scopegate key edit`` and ``duplicate``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from scopegate.cli.keyanswer import (
    ALL_USERS,
    KEY_MEMBERS,
    if_match_option,
    print_changed,
    print_issued,
)
from scopegate.cli.keyreference import find_key
from scopegate.cli.moments import parse_expiry
from scopegate.cli.options import changes_through_api
from scopegate.cli.secretplace import secret_file_option, secret_place

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.cli.invocation import Invocation


@click.command("edit")
@click.argument("key_id", metavar="ID")
@click.option("--description", help="What the key is for.")
@click.option("--expires", help="RFC 3339 with offset, a period (90d, 12h), or never.")
@click.option("--user", help="The id of the one user whom the key acts for, or all.")
@if_match_option
@changes_through_api
def edit(
    invocation: Invocation,
    key_id: str,
    description: str | None,
    expires: str | None,
    user: str | None,
    etag: str | None,
) -> None:
    """Give a key another description, expiry or user; the next request sees it."""
    changes: dict[str, Any] = {}
    if description is not None:
        changes["description"] = description
    if expires is not None:
        changes["expires_at"] = parse_expiry(expires, datetime.now(UTC))
    if user is not None:
        changes["user"] = None if user == ALL_USERS else user
    if not changes:
        raise click.UsageError("Name what to change: --description, --expires or --user.")
    from scopegate.cli.bodies import body  # noqa: PLC0415 -- --help does without the client's parts
    from scopegate.client import schemas  # noqa: PLC0415

    changed = body(schemas.KeyEdit, **changes)
    with invocation.client() as client:
        edited = client.edit_key(find_key(client, key_id).id, changed, etag=etag)
    print_changed(invocation, edited)


@click.command("duplicate")
@click.argument("key_id", metavar="ID")
@click.option("--description", required=True, help="What the new key is for.")
@secret_file_option
@changes_through_api
def duplicate(invocation: Invocation, key_id: str, description: str, secret_file: Path | None) -> None:
    """Create a key of the same type, user, rules and expiry. Its secret is shown this once."""
    with secret_place(invocation, secret_file, KEY_MEMBERS) as write_secret:
        with invocation.client() as client:
            from scopegate.client import schemas  # noqa: PLC0415 -- whoever has a client has it

            duplication = schemas.Duplication(description=description)
            issued = client.duplicate_key(find_key(client, key_id).id, duplication)
        write_secret(issued.secret)
    print_issued(invocation, issued, secret_file)
