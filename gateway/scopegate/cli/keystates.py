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
from scopegate.cli.several import Outcome, each_of, report_each

if TYPE_CHECKING:
    from collections.abc import Callable

    from scopegate.cli.invocation import Invocation
    from scopegate.client import Client, schemas

_ids = click.argument("key_ids", metavar="ID...", nargs=-1, required=True)


@click.command("enable")
@_ids
@if_match_option
@changes_through_api
def enable(invocation: Invocation, key_ids: tuple[str, ...], etag: str | None) -> int:
    """Enable keys that were disabled."""

    def change(client: Client, key: schemas.Key) -> schemas.ChangedKey:
        return client.enable_key(key.id, etag=etag)

    return _change(invocation, key_ids, change, etag=etag)


@click.command("disable")
@_ids
@if_match_option
@changes_through_api
def disable(invocation: Invocation, key_ids: tuple[str, ...], etag: str | None) -> int:
    """Disable keys at once; they can be enabled again."""

    def change(client: Client, key: schemas.Key) -> schemas.ChangedKey:
        return client.disable_key(key.id, etag=etag)

    return _change(invocation, key_ids, change, etag=etag)


@click.command("extend")
@_ids
@click.option("--expires", required=True, help="RFC 3339 with offset, a period (90d, 12h), or never.")
@if_match_option
@changes_through_api
def extend(invocation: Invocation, key_ids: tuple[str, ...], expires: str, etag: str | None) -> int:
    """Give keys another expiry, also those that expired less than seven days ago."""
    expires_at = parse_expiry(expires, datetime.now(UTC))

    def change(client: Client, key: schemas.Key) -> schemas.ChangedKey:
        from scopegate.client import schemas  # noqa: PLC0415 -- whoever has a client has it

        return client.extend_key(key.id, schemas.Extension(expires_at=expires_at), etag=etag)

    return _change(invocation, key_ids, change, etag=etag)


@click.command("delete")
@_ids
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@if_match_option
@changes_through_api
def delete(invocation: Invocation, key_ids: tuple[str, ...], etag: str | None, *, yes: bool) -> int:
    """Delete keys for good, at once."""
    _require_one(key_ids, etag)

    def remove(client: Client, key: schemas.Key) -> Outcome:
        client.delete_key(key.id, etag=etag)
        return Outcome(key.id, "deleted")

    if len(key_ids) > 1:
        if not yes and not invocation.dry_run:
            confirm(f"Delete {len(key_ids)} keys for good?")
        with invocation.client() as client:
            outcomes = each_of(key_ids, lambda one: remove(client, find_key(client, one)), "Deleting")
        return report_each(invocation, outcomes)
    with invocation.client() as client:
        key = find_key(client, key_ids[0])
        if not yes and not invocation.dry_run:
            confirm(f"Delete {key.id} ({key.description}) for good?")
        remove(client, key)
    said = "Would delete" if invocation.dry_run else "Deleted"
    answer(
        invocation,
        {"id": key.id, "state": "deleted"},
        lambda: note(f"{said} {key.id}: {key.description}"),
        name="id",
    )
    return Exit.OK


def _change(
    invocation: Invocation,
    key_ids: tuple[str, ...],
    change: Callable[[Client, schemas.Key], schemas.ChangedKey],
    *,
    etag: str | None,
) -> int:
    _require_one(key_ids, etag)
    if len(key_ids) == 1:
        with invocation.client() as client:
            changed = change(client, find_key(client, key_ids[0]))
        print_changed(invocation, changed)
        return Exit.OK

    def act(reference: str) -> Outcome:
        key = change(client, find_key(client, reference))
        return Outcome(key.id, key.state)

    with invocation.client() as client:
        outcomes = each_of(key_ids, act, "Changing")
    return report_each(invocation, outcomes)


def _require_one(key_ids: tuple[str, ...], etag: str | None) -> None:
    if etag is not None and len(key_ids) > 1:
        raise click.UsageError("--if-match is about one key: give one ID.")
