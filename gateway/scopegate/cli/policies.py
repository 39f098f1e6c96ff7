"""``scopegate apply``, ``diff`` and ``test``: policy files into force, compared, and checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import answer
from scopegate.cli.options import changes_store, on_store
from scopegate.cli.output import Exit, note
from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation
    from scopegate.commands import Commands
    from scopegate.core.changes import Change
    from scopegate.policyfiles import LoadedPolicies

_directory = click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))


@click.command("apply")
@_directory
@changes_store
def apply(invocation: Invocation, directory: Path) -> None:
    """Put the policy files of DIRECTORY into force: endpoint catalogue, roles, groups.

    All of it takes effect in one step, for the next request. What the files no longer say is
    removed. Files whose own expectations do not hold are not applied.
    """
    loaded = _load(directory)
    broken = _broken(loaded)
    if broken:
        raise InvalidInput(
            "expectations",
            "\n".join(["The policies break their own expectations; nothing was applied.", *broken]),
            hint="Correct the policies or the expectations.",
            code="expectation_broken",
        )

    async def action(commands: Commands) -> tuple[Change, ...]:
        return await commands.apply_policies(loaded.policies)

    changes = invocation.run(action)
    _print_changes(invocation, changes)
    if not invocation.wants_data:
        note(f"{len(changes)} changes applied." if changes else "Nothing to change.")


@click.command("diff")
@_directory
@on_store
def diff(invocation: Invocation, directory: Path) -> int:
    """Say what applying the policy files of DIRECTORY would change, and change nothing.

    Ends with 0 if nothing would change and with 1 if something would.
    """
    loaded = _load(directory)

    async def action(commands: Commands) -> tuple[Change, ...]:
        return await commands.plan_policies(loaded.policies)

    changes = invocation.run(action)
    _print_changes(invocation, changes)
    return Exit.NEGATIVE if changes else Exit.OK


@click.command("test")
@_directory
def test(directory: Path) -> int:
    """Check the policy files of DIRECTORY and every expectation; needs no running gateway.

    Ends with 0 if all expectations hold and with 1 if one does not.
    """
    loaded = _load(directory)
    broken = _broken(loaded)
    for line in broken:
        click.echo(line)
    note(f"{len(loaded.expectations)} expectations, {len(broken)} broken.")
    return Exit.NEGATIVE if broken else Exit.OK


def _load(directory: Path) -> LoadedPolicies:
    from scopegate import policyfiles  # noqa: PLC0415 -- --help does without YAML

    return policyfiles.load(directory)


def _broken(loaded: LoadedPolicies) -> list[str]:
    return [verdict.describe() for verdict in loaded.verdicts() if not verdict.holds]


def _print_changes(invocation: Invocation, changes: tuple[Change, ...]) -> None:
    def print_lines() -> None:
        for change in changes:
            click.echo(change.describe())

    shown = [{"kind": change.kind.value, "subject": change.subject} for change in changes]
    answer(invocation, shown, print_lines, name="subject")
