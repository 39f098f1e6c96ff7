"""``scopegate apply``: policy files into force."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopegate import policyfiles
from scopegate.cli.invocation import Invocation, on_instance
from scopegate.cli.output import note, print_json

if TYPE_CHECKING:
    from scopegate.commands import Commands
    from scopegate.core.changes import Change


@click.command("apply")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@on_instance
def apply(invocation: Invocation, directory: Path, *, dry_run: bool) -> None:
    """Put the policy files of DIRECTORY into force: endpoint catalogue, roles, groups.

    All of it takes effect in one step, for the next request. What the files no longer say is
    removed.
    """
    policies = policyfiles.load(directory).policies

    async def action(commands: Commands) -> tuple[Change, ...]:
        if dry_run:
            return await commands.plan_policies(policies)
        return await commands.apply_policies(policies)

    changes = invocation.run(action)
    if invocation.wants_json:
        print_json(
            {
                "applied": not dry_run,
                "changes": [{"kind": change.kind.value, "subject": change.subject} for change in changes],
            }
        )
        return
    for change in changes:
        click.echo(change.describe())
    if not changes:
        note("Nothing to change.")
    elif dry_run:
        note(f"{len(changes)} changes; nothing was applied (--dry-run).")
    else:
        note(f"{len(changes)} changes applied.")
