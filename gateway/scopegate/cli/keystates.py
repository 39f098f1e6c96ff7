"""``scopegate key enable``, ``disable``, ``extend`` and ``delete``, of one key or of several."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import answer
from scopegate.cli.keyanswer import if_match_option, print_changed
from scopegate.cli.keyreference import find_key
from scopegate.cli.moments import parse_expiry
from scopegate.cli.options import changes_through_api
from scopegate.cli.output import Exit, confirm, note
from scopegate.cli.several import change_each
from scopegate.core.bulk import BulkAction

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation

_ids = click.argument("key_ids", metavar="ID...", nargs=-1, required=True)


@click.command("enable")
@_ids
@if_match_option
@changes_through_api
def enable(invocation: Invocation, key_ids: tuple[str, ...], etag: str | None) -> int:
    """Enable keys that were disabled."""
    if _several(key_ids, etag):
        return change_each(invocation, key_ids, BulkAction.ENABLE)
    with invocation.client() as client:
        changed = client.enable_key(find_key(client, key_ids[0]).id, etag=etag)
    print_changed(invocation, changed)
    return Exit.OK


@click.command("disable")
@_ids
@if_match_option
@changes_through_api
def disable(invocation: Invocation, key_ids: tuple[str, ...], etag: str | None) -> int:
    """Disable keys at once; they can be enabled again."""
    if _several(key_ids, etag):
        return change_each(invocation, key_ids, BulkAction.DISABLE)
    with invocation.client() as client:
        changed = client.disable_key(find_key(client, key_ids[0]).id, etag=etag)
    print_changed(invocation, changed)
    return Exit.OK


@click.command("extend")
@_ids
@click.option("--expires", required=True, help="RFC 3339 with offset, a period (90d, 12h), or never.")
@if_match_option
@changes_through_api
def extend(invocation: Invocation, key_ids: tuple[str, ...], expires: str, etag: str | None) -> int:
    """Give keys another expiry, also those that expired less than seven days ago."""
    expires_at = parse_expiry(expires, datetime.now(UTC))
    if _several(key_ids, etag):
        return change_each(invocation, key_ids, BulkAction.EXTEND, expires_at=expires_at)
    with invocation.client() as client:
        from scopegate.client import schemas  # noqa: PLC0415 -- whoever has a client has it

        extension = schemas.Extension(expires_at=expires_at)
        changed = client.extend_key(find_key(client, key_ids[0]).id, extension, etag=etag)
    print_changed(invocation, changed)
    return Exit.OK


@click.command("delete")
@_ids
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@if_match_option
@changes_through_api
def delete(invocation: Invocation, key_ids: tuple[str, ...], etag: str | None, *, yes: bool) -> int:
    """Delete keys for good, at once."""
    asks = not yes and not invocation.dry_run
    if _several(key_ids, etag):
        if asks:
            confirm(f"Delete {len(key_ids)} keys for good?")
        return change_each(invocation, key_ids, BulkAction.DELETE)
    with invocation.client() as client:
        key = find_key(client, key_ids[0])
        if asks:
            confirm(f"Delete {key.id} ({key.description}) for good?")
        client.delete_key(key.id, etag=etag)
    said = "Would delete" if invocation.dry_run else "Deleted"
    answer(
        invocation,
        {"id": key.id, "state": "deleted"},
        lambda: note(f"{said} {key.id}: {key.description}"),
        name="id",
    )
    return Exit.OK


def _several(key_ids: tuple[str, ...], etag: str | None) -> bool:
    if etag is not None and len(key_ids) > 1:
        raise click.UsageError("--if-match is about one key: give one ID.")
    return len(key_ids) > 1
