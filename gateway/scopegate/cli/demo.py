"""``scopegate demo``: a sample API, users, policies, keys, the gateway, and requests to try."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopegate import policyfiles
from scopegate import settings as configuration
from scopegate.cli.invocation import operate
from scopegate.cli.output import note
from scopegate.demo import scenario

if TYPE_CHECKING:
    from scopegate.commands import Commands
    from scopegate.settings import Settings

_DATA_DIR = Path(".scopegate-demo")


@click.command("demo")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=_DATA_DIR,
    show_default=True,
    help="Where the demo keeps its data.",
)
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8080", show_default=True)
@click.option("--admin-listen", metavar="HOST:PORT", default="127.0.0.1:8081", show_default=True)
@click.option(
    "--upstream-listen",
    metavar="HOST:PORT",
    default="127.0.0.1:9000",
    show_default=True,
    help="Where the sample API listens.",
)
@click.option(
    "--policies",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Policy files in place of the sample ones.",
)
def demo(data_dir: Path, listen: str, admin_listen: str, upstream_listen: str, policies: Path | None) -> None:
    """Run a sample API behind the gateway, and print requests to try."""
    upstream = configuration.parse_address("upstream_listen", upstream_listen)
    settings = configuration.load(
        upstream=upstream.url, listen=listen, admin_listen=admin_listen, data_dir=data_dir
    )
    loaded = policyfiles.load(policies or _sample_policies()).policies
    # The servers are imported by those commands alone that run one.
    from scopegate import appserver, listeners, processes, serving  # noqa: PLC0415
    from scopegate.demo.recordings_api import recordings_api  # noqa: PLC0415

    lines: list[str] = []

    def prepare(in_force: Settings) -> None:
        redis = in_force.redis
        if redis is None:
            raise AssertionError("serve() says where the store is")

        async def story(commands: Commands) -> list[str]:
            keys = await scenario.set_up(commands, loaded, settings.data_dir)
            return await _story(commands, keys, settings)

        lines.extend(asyncio.run(operate(story, redis, in_force)))
        listeners.wait_until_listening(upstream)

    listeners.require_free("upstream_listen", upstream)
    with processes.background(appserver.run, lambda: recordings_api, upstream):
        serving.serve(settings, prepare=prepare, ready=partial(_print_story, lines))


def _sample_policies() -> Path:
    return Path(str(resources.files("scopegate.demo").joinpath("policies")))


async def _story(commands: Commands, keys: scenario.DemoKeys, settings: Settings) -> list[str]:
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


def _print_story(lines: list[str]) -> None:
    click.echo("\n".join(lines))
    sys.stdout.flush()
    note("\nThe gateway is running. Paste the lines into another terminal; Ctrl-C stops everything.")


def _program() -> str:
    """How this program was started, if a shell would not find it by its name."""
    started = Path(sys.argv[0])
    found = shutil.which("scopegate")
    if found is not None and Path(found).resolve() == started.resolve():
        return "scopegate"
    if started.name == "scopegate":
        return _quoted(started)
    return f"{shlex.quote(sys.executable)} -m scopegate"
