"""``scopegate completion`` and ``version``."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from scopegate.cli.answers import answer
from scopegate.cli.options import without_instance
from scopegate.cli.output import print_line

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation

_PROGRAM = "scopegate"
_VARIABLE = "_SCOPEGATE_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands and options: eval "$(scopegate completion bash)"."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is not known.")
    click.echo(kind(context.find_root().command, {}, _PROGRAM, _VARIABLE).source())


@click.command("version")
@without_instance
def version_command(invocation: Invocation) -> None:
    """Print the version of this program."""
    told = version("scopegate")
    answer(invocation, {"version": told}, lambda: print_line(f"scopegate {told}"), name="version")
