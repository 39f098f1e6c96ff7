"""``scopegate flag``: feature flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import answer
from scopegate.cli.options import changes_through_api
from scopegate.cli.output import print_fields

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation


@click.group("flag")
def flag_group() -> None:
    """Look at feature flags, and turn them on and off."""


@flag_group.command("scoped-api")
@click.argument("state", type=click.Choice(["on", "off"]), required=False)
@changes_through_api
def scoped_api(invocation: Invocation, state: str | None) -> None:
    """Whether custom keys can be created and given rules; all keys keep working. Without STATE, tell it."""
    with invocation.client() as client:
        flag = client.scoped_api() if state is None else client.set_scoped_api(on=state == "on")
    answer(
        invocation,
        {"scoped_api": flag.on},
        lambda: print_fields([("scoped-api", "on" if flag.on else "off")]),
    )
