"""``scopegate review`` and ``scopegate key findings``: what is to be said of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.keyreference import find_key
from scopegate.cli.options import through_api
from scopegate.cli.output import Exit, note, print_table
from scopegate.core.review import Colleagues, FindingCode

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation


@click.command("review")
@click.option(
    "--code",
    "codes",
    multiple=True,
    type=click.Choice([code.value for code in FindingCode if code is not FindingCode.BROADER]),
    help="Only these findings; may be repeated.",
)
@through_api
def review(invocation: Invocation, codes: tuple[str, ...]) -> int:
    """Tell what is to be said of all keys: rules that open nothing, nothing more, or what a user cannot use.

    Ends with 0 if there is nothing and with 1 if there is something.
    """
    with invocation.client() as client:
        found = [one.model_dump(mode="json") for one in client.findings(code=list(codes))]
    return _answer(invocation, found)


@click.command("findings")
@click.argument("key_id", metavar="ID")
@click.option(
    "--compare", metavar="ID", help="Another key: tell also what the first opens and this does not."
)
@click.option(
    "--among",
    type=click.Choice([one.value for one in Colleagues]),
    help="Compare with all other keys of the tenant, or of users of the same organization or groups.",
)
@through_api
def key_findings(invocation: Invocation, key_id: str, compare: str | None, among: str | None) -> int:
    """Tell what is to be said of a key: rules that open nothing, nothing more, or what its user cannot use.

    Ends with 0 if there is nothing and with 1 if there is something.
    """
    with invocation.client() as client:
        key = find_key(client, key_id).id
        other = None if compare is None else find_key(client, compare).id
        found = [one.model_dump(mode="json") for one in client.key_findings(key, compare=other, among=among)]
    return _answer(invocation, found)


def _answer(invocation: Invocation, found: list[JsonObject]) -> Exit:
    answer(invocation, found, lambda: _print(found), name="key")
    return Exit.NEGATIVE if found else Exit.OK


def _print(found: list[JsonObject]) -> None:
    if not found:
        note("Nothing is found.")
        return
    print_table(
        ("KEY", "FINDING", "WHAT", "FOR EXAMPLE"),
        [
            (
                one["key"],
                one["code"],
                one["detail"],
                "-" if one["request"] is None else f"{one['request']['method']} {one['request']['url']}",
            )
            for one in found
        ],
    )
