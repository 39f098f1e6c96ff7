"""``scopegate key rotate``: another secret for a key that exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.keyanswer import (
    KEY_MEMBERS,
    if_match_option,
    print_issued,
)
from scopegate.cli.keyreference import find_key
from scopegate.cli.moments import parse_overlap
from scopegate.cli.options import changes_through_api
from scopegate.cli.output import confirm
from scopegate.cli.secretplace import secret_file_option, secret_place
from scopegate.representations import timestamp

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.cli.invocation import Invocation


@click.command("rotate")
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap",
    default="24h",
    show_default=True,
    help="For how long the old secret stays valid: 0 (not at all) or a period of at most 7d, such as 90m.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask before a secret ends at once.")
@if_match_option
@secret_file_option
@changes_through_api
def rotate(
    invocation: Invocation,
    key_id: str,
    overlap: str,
    etag: str | None,
    secret_file: Path | None,
    *,
    yes: bool,
) -> None:
    """Give a key another secret, shown this once. The old one stays valid for a while.

    Only two secrets of a key are ever valid: rotating again within the overlap ends the oldest at once.
    """
    period = parse_overlap(overlap)
    with secret_place(invocation, secret_file, KEY_MEMBERS) as write_secret:
        with invocation.client() as client:
            from scopegate.client import schemas  # noqa: PLC0415 -- whoever has a client has it

            key = find_key(client, key_id)
            retiring = key.retiring_until
            if not yes and not invocation.dry_run:
                if not period:
                    confirm(f"End the secret of {key.id} ({key.description}) at once?")
                elif retiring is not None:
                    confirm(
                        f"{key.id} ({key.description}) was rotated before, and its secret from before that "
                        f"is valid until {timestamp(retiring)}. End it at once?"
                    )
            rotation = schemas.Rotation(
                overlap_seconds=int(period.total_seconds()),
                drop_retiring=yes or not period or retiring is not None,
            )
            issued = client.rotate_key(key.id, rotation, etag=etag)
        write_secret(issued.secret)
    print_issued(invocation, issued, secret_file)
