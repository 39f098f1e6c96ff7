"""``scopegate explain``: why a key opens a request, or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import answer
from scopegate.cli.keyreference import find_key
from scopegate.cli.options import through_api
from scopegate.cli.output import Exit, print_line, print_table
from scopegate.core.explanation import Outcome

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation
    from scopegate.client import Client, schemas

_MARKS = {Outcome.PASSED: "yes", Outcome.FAILED: "NO", Outcome.NOT_NEEDED: "-", Outcome.NOT_REACHED: "-"}


@click.command("explain")
@click.option("--key-id", required=True, metavar="ID", help="The id of the key, or how it begins.")
@click.argument("method")
@click.argument("url")
@through_api
def explain(invocation: Invocation, key_id: str, method: str, url: str) -> int:
    """Tell whether a key opens METHOD URL now, and why: the gateway's own decision.

    Ends with 0 if the request is allowed and with 1 if it is refused.
    """
    return answer_explanation(invocation, key_id, method, url)


@click.command("test")
@click.argument("key_id", metavar="ID")
@click.argument("method")
@click.argument("url")
@through_api
def test_key(invocation: Invocation, key_id: str, method: str, url: str) -> int:
    """Tell whether a key opens METHOD URL now, and why, as 'explain' does."""
    return answer_explanation(invocation, key_id, method, url)


def answer_explanation(invocation: Invocation, key_id: str, method: str, url: str) -> Exit:
    """Answer why a key opens a request, or not."""
    with invocation.client() as client:
        explanation = explained(client, key_id, method, url)
    answer(invocation, explanation.model_dump(mode="json", exclude={"status"}), lambda: _print(explanation))
    return Exit.OK if explanation.allowed else Exit.NEGATIVE


def explained(client: Client, key_id: str, method: str, url: str) -> schemas.Explanation:
    """Why the key that is meant opens a request, or not."""
    from scopegate.cli.bodies import body  # noqa: PLC0415 -- whoever has a client has it
    from scopegate.client import schemas  # noqa: PLC0415

    key = find_key(client, key_id)
    return client.explain(body(schemas.ExplanationRequest, key_id=key.id, method=method, url=url))


def _print(explanation: schemas.Explanation) -> None:
    if explanation.allowed:
        print_line("ALLOWED")
    else:
        print_line(f"REFUSED with {explanation.status}: {explanation.reason}")
    print_table(
        ("CHECK", "OK", "WHY"),
        [
            (step.check, _MARKS[Outcome(step.outcome)], step.detail or step.outcome)
            for step in explanation.steps
        ],
    )
