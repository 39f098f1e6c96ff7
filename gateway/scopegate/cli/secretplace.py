"""Where a secret goes that is shown once."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import Form, no_member
from scopegate.cli.newfile import open_new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scopegate.cli.invocation import Invocation

secret_file_option = click.option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the secret to a new file that only you can read, and do not print it.",
)


@contextmanager
def secret_place(
    invocation: Invocation, path: Path | None, members: Sequence[str]
) -> Iterator[Callable[[str | None], None]]:
    """What writes a secret to a new file at `path`, or nowhere without one.

    The file is made first, for a secret that then cannot be written is lost; it goes again if
    there is no secret in the end. `members` are those that the answer will have: nothing is done if the
    form that is wanted would lose the secret.

    Raises:
        InvalidInput: there is such a file, or it cannot be made.
        UsageError: the secret would be lost.
    """
    _require_shown(invocation, members, elsewhere=path is not None or invocation.dry_run)
    if path is None or invocation.dry_run:
        yield lambda _secret: None
        return
    descriptor = open_new(path, "secret_file")
    written = False

    def write(secret: str | None) -> None:
        nonlocal written
        if secret is not None:
            print(secret, file=file, flush=True)
            written = True

    try:
        with os.fdopen(descriptor, "w") as file:
            yield write
    finally:
        if not written:
            path.unlink()


def _require_shown(invocation: Invocation, members: Sequence[str], *, elsewhere: bool) -> None:
    field = invocation.field
    if field is not None and field not in members:
        raise no_member(field, members)
    hidden = field != "secret" if field is not None else invocation.output == Form.NAME
    if hidden and not elsewhere:
        raise click.UsageError(
            "The secret is shown this once, and this form leaves it out: "
            "add --secret-file, or choose another form."
        )
