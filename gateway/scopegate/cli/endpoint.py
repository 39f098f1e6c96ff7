"""``scopegate endpoint``: the catalogue in force, for whoever writes a rule."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.options import through_api
from scopegate.cli.output import note, print_table

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation

_LARGEST_PAGE = 500  # endpoints in one request
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@click.group("endpoint")
def endpoint_group() -> None:
    """Look at the endpoints of the catalogue."""


@endpoint_group.command("list")
@click.argument("words", nargs=-1)
@click.option(
    "--method", type=click.Choice(_METHODS, case_sensitive=False), help="Only what it can be called with."
)
@click.option("--limit", type=click.IntRange(min=1), help="Endpoints at most.")
@through_api
def list_endpoints(
    invocation: Invocation, words: tuple[str, ...], method: str | None, limit: int | None
) -> None:
    """List the endpoints in force that mention all WORDS, and the rules that open them."""
    with invocation.client() as client:
        page = min(limit or _LARGEST_PAGE, _LARGEST_PAGE)
        found = client.endpoints(q=" ".join(words) or None, method=method, limit=page)
        shown = [one.model_dump(mode="json") for one in itertools.islice(found, limit)]
    if not shown:
        note("There is no such endpoint. Policies are put into force with: scopegate apply DIRECTORY")
    answer(invocation, shown, lambda: _print(shown), name="url")


def _print(shown: list[JsonObject]) -> None:
    if not shown:
        return
    print_table(
        ("METHODS", "URL", "PRIVILEGES", "SUMMARY", "RULES"),
        [
            (
                ", ".join(one["methods"]),
                one["url"],
                ", ".join(one["privileges"]) or "-",
                one["summary"] or "-",
                ", ".join(f"{rule['method']} {rule['url']}" for rule in one["rules"]) or "-",
            )
            for one in shown
        ],
    )
