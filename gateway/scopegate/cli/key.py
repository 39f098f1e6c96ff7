"""``scopegate key``: create, list, show. The other verbs are beside this."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.explain import test_key
from scopegate.cli.keyanswer import (
    ALL_USERS,
    KEY_MEMBERS,
    key_object,
    last_use,
    print_issued,
    print_key,
)
from scopegate.cli.keyedit import duplicate, edit
from scopegate.cli.keymany import export_keys, import_keys
from scopegate.cli.keynumbers import quota, usage
from scopegate.cli.keypreview import preview
from scopegate.cli.keyreference import find_key
from scopegate.cli.keyrotation import rotate
from scopegate.cli.keyrules import rule_options, rules_group, rules_of
from scopegate.cli.keystates import delete, disable, enable, extend
from scopegate.cli.moments import NEVER, parse_days, parse_expiry
from scopegate.cli.options import changes_through_api, through_api
from scopegate.cli.output import note, print_table
from scopegate.cli.review import key_findings
from scopegate.cli.secretplace import secret_file_option, secret_place
from scopegate.cli.verbs import Group
from scopegate.core.keys import KeyState, KeyType

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.cli.invocation import Invocation

SORTS = tuple(
    f"{order}{member}"
    for member in ("created_at", "expires_at", "description", "last_used")
    for order in ("", "-")
)


@click.group("key", cls=Group)
def key_group() -> None:
    """Create and manage API keys."""


for command in (
    *(edit, enable, disable, extend, rotate, duplicate, delete, rules_group),
    *(test_key, preview, key_findings, usage, quota, export_keys, import_keys),
):
    key_group.add_command(command)


@key_group.command("create")
@click.option("--type", "key_type", type=click.Choice([kind.value for kind in KeyType]), required=True)
@click.option(
    "--description", required=True, help="What the key is for, e.g. 'Created for Face-to-Face recording'."
)
@rule_options
@click.option(
    "--user", default=ALL_USERS, show_default=True, help="The id of the one user whom the key acts for."
)
@click.option(
    "--expires", help="RFC 3339 with offset, a period (90d, 12h), or never; otherwise the tenant's default."
)
@click.option(
    "--idempotency-key",
    metavar="TEXT",
    help="Of several creations with the same TEXT within a day, make one.",
)
@secret_file_option
@changes_through_api
def create(
    invocation: Invocation,
    key_type: str,
    description: str,
    allowed: tuple[str, ...],
    urls: tuple[str, ...],
    methods: tuple[str, ...],
    user: str,
    expires: str | None,
    idempotency_key: str | None,
    secret_file: Path | None,
) -> None:
    """Create a key. Its secret is shown this once."""
    expiry = {} if expires is None else {"expires_at": parse_expiry(expires, datetime.now(UTC))}
    with secret_place(invocation, secret_file, KEY_MEMBERS) as write_secret:
        from scopegate.cli.bodies import body  # noqa: PLC0415 -- --help does without the client's parts
        from scopegate.client import schemas  # noqa: PLC0415

        creation = body(
            schemas.KeyCreation,
            type=KeyType(key_type),
            description=description,
            user=None if user == ALL_USERS else user,
            rules=rules_of(allowed, urls, methods),
            **expiry,
        )
        with invocation.client() as client:
            issued = client.create_key(creation, idempotency_key=idempotency_key)
        write_secret(issued.secret)
    print_issued(invocation, issued, secret_file)


@key_group.command("list")
@click.option("--type", "types", type=click.Choice([kind.value for kind in KeyType]), multiple=True)
@click.option(
    "--state",
    "states",
    type=click.Choice([state.value for state in KeyState if state is not KeyState.DELETED]),
    multiple=True,
)
@click.option("--user", help="Only keys of this user.")
@click.option("--q", "words", metavar="TEXT", help="Only keys with this in their id or description.")
@click.option("--idle", metavar="PERIOD", help="Only keys that were not used for so long, for sure: 90d.")
@click.option(
    "--sort", type=click.Choice(SORTS), default="-created_at", show_default=True, help="-: the largest first."
)
@through_api
def list_keys(
    invocation: Invocation,
    types: tuple[str, ...],
    states: tuple[str, ...],
    user: str | None,
    words: str | None,
    idle: str | None,
    sort: str,
) -> None:
    """List keys, newest first; those that all of the filters admit."""
    days = None if idle is None else parse_days(idle)
    with invocation.client() as client:
        keys = [
            key_object(key)
            for key in client.keys(
                type=list(types), state=list(states), user=user, q=words, idle=days, sort=sort
            )
        ]
    if not keys:
        note(
            "There is no such key."
            if types or states or user or words or idle
            else "There are no keys. "
            "Create one with: scopegate key create --type external --description '...'"
        )
    answer(invocation, keys, lambda: _print_table(invocation, keys), name="id")


@key_group.command("show")
@click.argument("key_id", metavar="ID")
@through_api
def show(invocation: Invocation, key_id: str) -> None:
    """Show one key; ID may be the beginning of an id, or a description."""
    with invocation.client() as client:
        key, etag = client.versioned_key(find_key(client, key_id).id)
    print_key(invocation, key, etag=etag)


def _print_table(invocation: Invocation, keys: list[JsonObject]) -> None:
    if not keys:
        return
    more = ("CREATED", "OLD SECRET UNTIL") if invocation.wants_wide else ()
    print_table(
        ("ID", "TYPE", "STATE", "USER", "EXPIRES", "LAST USED", "RULES", *more, "DESCRIPTION"),
        [
            (
                key["id"],
                key["type"],
                key["state"],
                key["user"] or ALL_USERS,
                key["expires_at"] or NEVER,
                last_use(key["last_used"]),
                str(len(key["rules"])) if key["type"] == KeyType.CUSTOM else "-",
                *((key["created_at"], key["retiring_until"] or "-") if more else ()),
                key["description"],
            )
            for key in keys
        ],
    )
