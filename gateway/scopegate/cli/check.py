"""``scopegate check``: may this key send this request? For scripts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import answer
from scopegate.cli.explain import explained
from scopegate.cli.options import through_api
from scopegate.cli.output import Exit, print_line
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import BASE62, ID_LENGTH

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation

_PARTS = 3  # prefix, id, secret


@click.command("check")
@click.argument("method")
@click.argument("url")
@click.option("--key", "key_id", metavar="ID", help="The id of the key, how it begins, or its description.")
@click.option("--key-stdin", is_flag=True, help="Read the text of the key from stdin; only its id is used.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit code says it.")
@through_api
def check(
    invocation: Invocation, method: str, url: str, key_id: str | None, *, key_stdin: bool, quiet: bool
) -> int:
    """Tell whether a key opens METHOD URL now; ends with 0 if it does and with 1 if not.

    The secret of a key on stdin is not looked at: it goes nowhere. A key that was copied wrongly can be
    allowed here and refused by the gateway.
    """
    if (key_id is None) is not key_stdin:
        raise click.UsageError("Name the key: with --key, or with --key-stdin.")
    if key_stdin and invocation.token_stdin:
        raise click.UsageError("Only one of --key-stdin and --token-stdin can read stdin.")
    meant = _id_on_stdin() if key_id is None else key_id
    with invocation.client() as client:
        explanation = explained(client, meant, method, url)
    if not quiet:
        said = "allowed" if explanation.allowed else f"refused: {explanation.reason}"
        answer(
            invocation,
            {"allowed": explanation.allowed, "reason": explanation.reason},
            lambda: print_line(said),
            name="reason",
        )
    return Exit.OK if explanation.allowed else Exit.NEGATIVE


def _id_on_stdin() -> str:
    parts = sys.stdin.readline().strip().split("_")
    if len(parts) != _PARTS or len(parts[1]) != ID_LENGTH or not set(parts[1]) <= set(BASE62):
        # What was given is a secret, or part of one.
        raise InvalidInput("key", "There is no API key on stdin.", hint="Pass the whole text of a key.")
    return parts[1]
