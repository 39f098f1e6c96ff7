"""What the demo tells: requests to try, with the status that each must get, as things stand."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scopegate.demo import scenario

if TYPE_CHECKING:
    from scopegate.commands import Commands
    from scopegate.settings import Settings


async def tell(commands: Commands, keys: scenario.DemoKeys, settings: Settings) -> list[str]:
    """A shell script: requests with the status that each must get, as things stand."""
    lines = []
    for call in scenario.calls(keys):
        status = await scenario.expected_status(commands, call)
        lines += [f"# {status}: {call.shows}", _curl(call, settings), ""]
    first = scenario.calls(keys)[0]
    maria, _ = await commands.show_user(scenario.MARIA)
    held = scenario.ROLE in maria.roles
    if await scenario.expected_status(commands, first) != (200 if held else 403):
        # Something else than the role decides now: a disabled key, say.
        return lines
    role = f"{_program()} user %s {maria.id} {scenario.ROLE} --data-dir {_quoted(settings.data_dir)}"
    taken = [
        "# Take Maria's role away: it counts from the next request.",
        role % "remove-role",
        "",
        "# 403: Maria lacks the privilege now",
        _curl(first, settings),
        "",
    ]
    given = [
        "# Give Maria the role back.",
        role % "add-role",
        "",
        "# 200: Maria may again",
        _curl(first, settings),
        "",
    ]
    return [*lines, *(taken + given if held else given + taken)]


def _quoted(path: Path) -> str:
    # Whole, for the other terminal may be in another directory.
    return shlex.quote(str(path.resolve()))


def _curl(call: scenario.Call, settings: Settings) -> str:
    key = f" -H 'X-API-Key: {call.key}'" if call.key else ""
    method = "" if call.method == "GET" else f" -X {call.method}"
    return f"curl -i{method}{key} {settings.listen.url}{call.path}"


def _program() -> str:
    """How this program was started, if a shell would not find it by its name."""
    started = Path(sys.argv[0])
    found = shutil.which("scopegate")
    if found is not None and Path(found).resolve() == started.resolve():
        return "scopegate"
    if started.name == "scopegate":
        return _quoted(started)
    return f"{shlex.quote(sys.executable)} -m scopegate"
