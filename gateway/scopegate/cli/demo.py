"""``scopegate demo``: a sample API, users, policies, keys, the gateway, and requests to try."""

from __future__ import annotations

import sys
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopegate.cli.output import note

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
    # The servers, and what they need, are imported by those commands alone that run one.
    import asyncio  # noqa: PLC0415

    from scopegate import appserver, listeners, policyfiles, processes, serving  # noqa: PLC0415
    from scopegate import settings as configuration  # noqa: PLC0415
    from scopegate.cli.demostory import tell  # noqa: PLC0415
    from scopegate.cli.onstore import operate  # noqa: PLC0415
    from scopegate.demo import scenario  # noqa: PLC0415
    from scopegate.demo.recordings_api import recordings_api  # noqa: PLC0415

    upstream = configuration.parse_address("upstream_listen", upstream_listen)
    settings = configuration.load(
        upstream=upstream.url, listen=listen, admin_listen=admin_listen, data_dir=data_dir
    )
    loaded = policyfiles.load(policies or _sample_policies()).policies
    lines: list[str] = []

    def prepare(in_force: Settings) -> None:
        redis = in_force.redis
        if redis is None:
            raise AssertionError("serve() says where the store is")

        async def story(commands: Commands) -> list[str]:
            keys = await scenario.set_up(commands, loaded, settings.data_dir)
            return await tell(commands, keys, settings)

        lines.extend(asyncio.run(operate(story, redis, in_force)))
        listeners.wait_until_listening(upstream)

    listeners.require_free("upstream_listen", upstream)
    with processes.background(appserver.run, lambda: recordings_api, upstream):
        serving.serve(settings, prepare=prepare, ready=partial(_print_story, lines))


def _sample_policies() -> Path:
    return Path(str(resources.files("scopegate.demo").joinpath("policies")))


def _print_story(lines: list[str]) -> None:
    click.echo("\n".join(lines))
    sys.stdout.flush()
    note("\nThe gateway is running. Paste the lines into another terminal; Ctrl-C stops everything.")
