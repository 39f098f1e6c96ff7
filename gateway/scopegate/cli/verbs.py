"""Groups of commands whose verbs have a second name where another program taught people that one."""

from __future__ import annotations

from typing import ClassVar

import click


class Group(click.Group):
    """A group that knows ``get`` for ``show``, and ``rm`` for ``delete`` or ``remove``."""

    _OTHERWISE: ClassVar = {"get": ("show",), "rm": ("delete", "remove")}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command with this name, or with the one that it stands for here."""
        for name in (cmd_name, *self._OTHERWISE.get(cmd_name, ())):
            found = super().get_command(ctx, name)
            if found is not None:
                return found
        return None
