"""``scopegate flag``: feature flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.invocation import Invocation, changes_instance
from scopegate.cli.output import print_fields, print_json

if TYPE_CHECKING:
    from scopegate.commands import Commands


@click.group("flag")
def flag_group() -> None:
    """Look at feature flags, and turn them on and off."""


@flag_group.command("scoped-api")
@click.argument("state", type=click.Choice(["on", "off"]), required=False)
@changes_instance
def scoped_api(invocation: Invocation, state: str | None) -> None:
    """Whether custom keys can be created and given rules; all keys keep working. Without STATE, tell it."""

    async def action(commands: Commands) -> bool:
        if state is not None:
            await commands.set_scoped_api(on=state == "on")
        return await commands.scoped_api()

    on = invocation.run(action)
    if invocation.wants_json:
        print_json({"scoped_api": on})
    else:
        print_fields([("scoped-api", "on" if on else "off")])
