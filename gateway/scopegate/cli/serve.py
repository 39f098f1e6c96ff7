"""``scopegate serve``: the gateway."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scopegate.cli.output import note
from scopegate.core.admintokens import BOOTSTRAP_LIFETIME
from scopegate.core.errors import StoreUnavailable

if TYPE_CHECKING:
    from scopegate.settings import Settings


@click.command("serve")
@click.option("--upstream", metavar="URL", help="The API to protect.  [env: SCOPEGATE_UPSTREAM]")
@click.option(
    "--listen", metavar="HOST:PORT", help="The data plane [127.0.0.1:8080].  [env: SCOPEGATE_LISTEN]"
)
@click.option(
    "--admin-listen",
    metavar="HOST:PORT",
    help="The control plane [127.0.0.1:8081].  [env: SCOPEGATE_ADMIN_LISTEN]",
)
@click.option(
    "--forward-auth-listen",
    metavar="HOST:PORT",
    help="Where other proxies ask [nowhere].  [env: SCOPEGATE_FORWARD_AUTH_LISTEN]",
)
@click.option("--workers", type=int, help="Processes of the data plane [1].  [env: SCOPEGATE_WORKERS]")
@click.option("--redis-url", metavar="URL", help="Redis or Valkey.  [env: SCOPEGATE_REDIS_URL]")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the embedded Valkey keeps its data, without --redis-url.  [env: SCOPEGATE_DATA_DIR]",
)
def serve(**flags: Any) -> None:  # noqa: ANN401 -- the settings model validates them
    """Run the gateway in front of an API, or for other proxies that ask it, or both.

    Every option is also an environment variable, SCOPEGATE_<OPTION>, or a line of the YAML file
    that SCOPEGATE_CONFIG names.
    """
    # The servers are imported by those commands alone that run one.
    import asyncio  # noqa: PLC0415

    from scopegate import serving  # noqa: PLC0415
    from scopegate import settings as configuration  # noqa: PLC0415

    settings = configuration.load(**flags)
    first_steps: list[str] = []
    serving.serve(
        settings,
        prepare=lambda in_force: first_steps.extend(asyncio.run(_first_steps(in_force))),
        ready=lambda: _announce(settings, first_steps),
    )


async def _first_steps(settings: Settings) -> list[str]:
    """What to tell while there is no administrator. A token is in it, so it goes to no log."""
    from scopegate.administration import offer_bootstrap  # noqa: PLC0415 -- as the servers
    from scopegate.store import Store  # noqa: PLC0415

    redis = settings.redis
    if redis is None:
        raise AssertionError("serve() says where the store is")
    store = Store.at(redis, audit_retention=settings.audit_retention)
    try:
        token = await offer_bootstrap(store, pepper=settings.pepper_bytes)
    except StoreUnavailable as unavailable:
        # A gateway whose Redis user may only read serves all the same.
        return [f"No token for a first administrator was made: {unavailable.message}"]
    finally:
        await store.aclose()
    if token is None:
        return []
    hours = BOOTSTRAP_LIFETIME // timedelta(hours=1)
    return [
        f"There is no administrator yet. Make the first one within {hours} hours, with this token, once:",
        f"  scopegate login --server {settings.admin_listen.url} --bootstrap",
        f"  {token}",
    ]


def _announce(settings: Settings, first_steps: list[str]) -> None:
    store = "Redis" if settings.redis_url else f"an embedded Valkey in {settings.data_dir}"
    places = [url for row in settings.upstreams for url in row.urls or (row.url,)]
    if settings.upstream is not None:
        places.append(settings.upstream)
    if places:
        note(f"Scopegate listens on {settings.listen.url} and forwards to {', '.join(map(str, places))}.")
    if settings.forward_auth_listen is not None:
        note(f"Proxies ask at {settings.forward_auth_listen.url}, {_who_may_ask(settings)}.")
    for line in first_steps:
        note(line)
    note(f"Keys are in {store}. Health: {settings.admin_listen.url}/readyz. Ctrl-C stops it.")


def _who_may_ask(settings: Settings) -> str:
    proxies = ", ".join(map(str, settings.trusted_proxies.networks))
    if not proxies:
        return "and none of them may, until trusted_proxies (SCOPEGATE_TRUSTED_PROXIES) names them"
    return f"from {proxies}, in the dialect {settings.forward_auth_dialect}"
