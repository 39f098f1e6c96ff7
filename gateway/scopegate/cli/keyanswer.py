"""How commands answer with a key, and where its secret goes."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopegate.cli.moments import NEVER
from scopegate.cli.output import note, print_fields, print_json
from scopegate.core.errors import InvalidInput
from scopegate.representations import key_object, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from scopegate.cli.invocation import Invocation
    from scopegate.commands import EditedKey, IssuedKey
    from scopegate.core.keys import KeyRecord

ALL_USERS = "all"

secret_file_option = click.option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the secret to a new file that only you can read, and do not print it.",
)


def print_key(invocation: Invocation, record: KeyRecord, now: datetime) -> None:
    """Answer with one key."""
    if invocation.wants_json:
        print_json(key_object(record, now))
    else:
        _print_fields(record, now)


def print_edited(invocation: Invocation, edited: EditedKey, now: datetime) -> None:
    """Answer with a key that was changed, and say what is to be said of that."""
    for warning in edited.warnings:
        note(f"warning: {warning}")
    print_key(invocation, edited.record, now)


def print_issued(invocation: Invocation, issued: IssuedKey, now: datetime, secret_file: Path | None) -> None:
    """Answer with a key and its secret, which is shown this once, or not at all if it is in a file."""
    for warning in issued.warnings:
        note(f"warning: {warning}")
    shown_secret = None if secret_file is not None else issued.new_secret
    if invocation.wants_json:
        print_json({**key_object(issued.record, now), "secret": shown_secret})
        return
    _print_fields(issued.record, now, secret=shown_secret)
    note(
        f"The secret is in {secret_file}."
        if secret_file is not None
        else "Copy the secret now. You will not be able to see it again."
    )


def _print_fields(record: KeyRecord, now: datetime, *, secret: str | None = None) -> None:
    shown = key_object(record, now)
    fields = [
        ("id", record.id),
        ("type", shown["type"]),
        ("state", shown["state"]),
        ("description", record.description),
        ("user", record.user or ALL_USERS),
        ("created", shown["created_at"]),
        ("expires", shown["expires_at"] or NEVER),
    ]
    if record.delete_at is not None:
        fields.append(("deleted", timestamp(record.delete_at) or NEVER))
    if shown["retiring_until"] is not None:
        fields.append(("old secret", f"valid until {shown['retiring_until']}"))
    fields.extend(
        (f"rule {row}", f"{rule.method} {rule.url}") for row, rule in enumerate(record.rules, start=1)
    )
    if secret is not None:
        fields.append(("secret", secret))
    print_fields(fields)


@contextmanager
def secret_place(path: Path | None) -> Iterator[Callable[[str], None]]:
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
