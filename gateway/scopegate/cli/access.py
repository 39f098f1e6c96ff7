"""``scopegate access``: which keys reach an endpoint, by which rule and as whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.options import through_api
from scopegate.cli.output import note, print_table

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation


@click.command("access")
@click.argument("method")
@click.argument("url")
@through_api
def access(invocation: Invocation, method: str, url: str) -> None:
    """Tell which keys reach METHOD URL or some of it: by which rule, as whom, and whether now.

    In URL, * stands for any characters, as in a rule.
    """
    with invocation.client() as client:
        shown = [one.model_dump(mode="json") for one in client.access(method, url)]
    answer(invocation, shown, lambda: _print(shown), name="key")


def _print(shown: list[JsonObject]) -> None:
    if not shown:
        note("No key reaches that.")
        return
    print_table(
        ("KEY", "DESCRIPTION", "ROW", "AS", "NOW", "FOR EXAMPLE"),
        [
            (
                one["key"],
                one["description"],
                "-" if one["row"] is None else str(one["row"]),
                "all users" if one["user"] is None else one["user"],
                _now(one),
                "-" if one["request"] is None else f"{one['request']['method']} {one['request']['url']}",
            )
            for one in shown
        ],
    )


def _now(one: JsonObject) -> str:
    if one["allowed"]:
        return "allowed"
    lacking = one["missing_privileges"]
    return f"{one['reason']}, lacks {', '.join(lacking)}" if lacking else one["reason"]
