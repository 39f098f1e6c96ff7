"""``scopegate key rotate``: another secret for a key that exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.invocation import Invocation, changes_instance
from scopegate.cli.keyanswer import print_issued, secret_file_option, secret_place
from scopegate.cli.moments import parse_overlap
from scopegate.cli.output import confirm
from scopegate.core.keys import retiring_at
from scopegate.representations import timestamp

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from scopegate.commands import Commands, IssuedKey
    from scopegate.core.keys import KeyRecord


@click.command("rotate")
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap",
    default="24h",
    show_default=True,
    help="For how long the old secret stays valid: 0 (not at all) or a period of at most 7d, such as 90m.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask before a secret ends at once.")
@secret_file_option
@changes_instance
def rotate(invocation: Invocation, key_id: str, overlap: str, secret_file: Path | None, *, yes: bool) -> None:
    """Give a key another secret, shown this once. The old one stays valid for a while.

    Only two secrets of a key are ever valid: rotating again within the overlap ends the oldest at once.
    """
    period = parse_overlap(overlap)

    async def find(commands: Commands) -> tuple[KeyRecord, datetime]:
        return await commands.find_key(key_id), commands.now()

    found, now = invocation.run(find)
    retiring = retiring_at(found, now)
    if not yes:
        if not period:
            confirm(f"End the secret of {found.id} ({found.description}) at once?")
        elif retiring is not None:
            confirm(
                f"{found.id} ({found.description}) was rotated before, and its secret from before that "
                f"is valid until {timestamp(retiring.until)}. End it at once?"
            )

    async def action(commands: Commands) -> tuple[IssuedKey, datetime]:
        issued = await commands.rotate_key(
            found.id, overlap=period, drop_retiring=yes or not period or retiring is not None
        )
        return issued, commands.now()

    with secret_place(secret_file) as write_secret:
        issued, now = invocation.run(action)
        write_secret(issued.new_secret)
    print_issued(invocation, issued, now, secret_file)
