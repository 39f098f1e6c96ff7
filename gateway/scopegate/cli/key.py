"""``scopegate key``: create, list, show, enable, disable, extend, delete."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopegate.cli.invocation import Invocation, changes_instance, on_instance
from scopegate.cli.moments import parse_moment, parse_period
from scopegate.cli.output import (
    confirm,
    note,
    print_fields,
    print_json,
    print_table,
)
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import KeyRecord, KeyType, Rule
from scopegate.representations import key_object, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scopegate.commands import Commands, IssuedKey

_ALL_USERS = "all"
_NEVER = "never"


@click.group("key")
def key_group() -> None:
    """Create and manage API keys."""


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
    "--user", default=_ALL_USERS, show_default=True, help="The id of the one user whom the key acts for."
)
@click.option(
    "--expires", default=_NEVER, show_default=True, help="RFC 3339 with offset, or a period: 90d, 12h."
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the secret to a new file that only you can read, and do not print it.",
)
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
    rules = _rules(urls, methods)
    expires_at = parse_expiry(expires, datetime.now(UTC))

    async def action(commands: Commands) -> tuple[IssuedKey, datetime]:
        issued = await commands.create_key(
            key_type=KeyType(key_type),
            description=description,
            expires_at=expires_at,
            user=None if user == _ALL_USERS else user,
            rules=rules,
        )
        return issued, commands.now()

    with _secret_file(secret_file) as write_secret:
        issued, now = invocation.run(action)
        write_secret(issued.secret)
    for warning in issued.warnings:
        note(f"warning: {warning}")
    shown_secret = None if secret_file is not None else issued.secret
    if invocation.wants_json:
        print_json({**key_object(issued.record, now), "secret": shown_secret})
        return
    _print_key(issued.record, now, secret=shown_secret)
    note(
        f"The secret is in {secret_file}."
        if secret_file is not None
        else "Copy the secret now. You will not be able to see it again."
    )


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
                key["user"] or _ALL_USERS,
                key["expires_at"] or _NEVER,
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
    _print_changed(invocation, record, now)


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
    _print_changed(invocation, record, now)


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


def parse_expiry(text: str, now: datetime) -> datetime | None:
    """The moment that `text` names: ``never``, a period from `now`, or a date and time with offset.

    Raises:
        InvalidInput: it names none.
    """
    if text == _NEVER:
        return None
    period = parse_period(text)
    if period is not None:
        return (now + period).replace(microsecond=0)
    moment = parse_moment(text)
    if moment is not None:
        return moment
    raise InvalidInput(
        "expires",
        f"{text!r} is not a date and time with an offset.",
        hint="Write 2027-03-31T23:59+02:00, 2027-03-31T21:59Z, a period such as 90d, or never.",
    )


def _rules(urls: Sequence[str], methods: Sequence[str]) -> tuple[Rule, ...]:
    if len(urls) != len(methods):
        raise InvalidInput(
            "method",
            f"There are {len(urls)} --url and {len(methods)} --method.",
            hint="Give each --url its --method, in the same order.",
        )
    return tuple(Rule(method, url) for url, method in zip(urls, methods, strict=True))


def _set_enabled(invocation: Invocation, key_id: str, *, enabled: bool) -> None:
    async def action(commands: Commands) -> tuple[KeyRecord, datetime]:
        found = await commands.find_key(key_id)
        return await commands.set_enabled(found.id, enabled=enabled), commands.now()

    record, now = invocation.run(action)
    _print_changed(invocation, record, now)


def _print_changed(invocation: Invocation, record: KeyRecord, now: datetime) -> None:
    if invocation.wants_json:
        print_json(key_object(record, now))
    else:
        _print_key(record, now)


def _print_key(record: KeyRecord, now: datetime, *, secret: str | None = None) -> None:
    shown = key_object(record, now)
    fields = [
        ("id", record.id),
        ("type", shown["type"]),
        ("state", shown["state"]),
        ("description", record.description),
        ("user", record.user or _ALL_USERS),
        ("created", shown["created_at"]),
        ("expires", shown["expires_at"] or _NEVER),
    ]
    if record.delete_at is not None:
        fields.append(("deleted", timestamp(record.delete_at) or _NEVER))
    fields.extend(
        (f"rule {row}", f"{rule.method} {rule.url}") for row, rule in enumerate(record.rules, start=1)
    )
    if secret is not None:
        fields.append(("secret", secret))
    print_fields(fields)


@contextmanager
def _secret_file(path: Path | None) -> Iterator[Callable[[str], None]]:
    """What writes a secret to a new file at `path`, or nowhere without one.

    The file is made first, for a secret that then cannot be written is lost; it goes again if
    there is no key in the end.

    Raises:
        InvalidInput: there is such a file, or it cannot be made.
    """
    if path is None:
        yield lambda _secret: None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInput(
            "secret_file",
            f"Cannot create {path}: {error.strerror}.",
            hint="Name a file that does not exist yet, in a directory that you may write to.",
        ) from error
    with os.fdopen(descriptor, "w") as file:
        try:
            yield lambda secret: print(secret, file=file)
        except BaseException:
            path.unlink()
            raise
