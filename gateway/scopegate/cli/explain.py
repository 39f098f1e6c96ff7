"""``scopegate explain``: why a key opens a request, or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.invocation import Invocation, on_instance
from scopegate.cli.output import Exit, print_json, print_table
from scopegate.core.explanation import Outcome
from scopegate.problems import refusal
from scopegate.representations import explanation_object

if TYPE_CHECKING:
    from scopegate.commands import Commands, Explanation

_MARKS = {Outcome.PASSED: "yes", Outcome.FAILED: "NO", Outcome.NOT_NEEDED: "-", Outcome.NOT_REACHED: "-"}


@click.command("explain")
@click.option("--key-id", required=True, metavar="ID", help="The id of the key, or how it begins.")
@click.argument("method")
@click.argument("url")
@on_instance
def explain(
    invocation: Invocation,
    key_id: str,
    method: str,
    url: str,
) -> int:
    """Tell whether a key opens METHOD URL now, and why: the gateway's own decision.

    Ends with 0 if the request is allowed and with 1 if it is refused.
    """

    async def action(commands: Commands) -> Explanation:
        found = await commands.find_key(key_id)
        return await commands.explain(found.id, method, url)

    explanation = invocation.run(action)
    decision = explanation.decision
    if invocation.wants_json:
        print_json(explanation_object(explanation))
    else:
        if decision.allowed:
            click.echo("ALLOWED")
        else:
            click.echo(f"REFUSED with {refusal(decision.reason).status}: {decision.reason}")
        print_table(
            ("CHECK", "OK", "WHY"),
            [
                (step.check.value, _MARKS[step.outcome], step.detail or step.outcome.value)
                for step in explanation.steps
            ],
        )
    return Exit.OK if decision.allowed else Exit.NEGATIVE
