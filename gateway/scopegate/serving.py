"""Runs the gateway: the data plane's workers, the control plane and the embedded store."""

from __future__ import annotations

import asyncio
import gc
import logging
import logging.config
import os
import resource
import signal
from contextlib import ExitStack, suppress
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import uvloop

from scopegate.app import create_forward_auth, create_privileges, create_routes
from scopegate.core.errors import ConfigurationError, StoreUnavailable
from scopegate.dataplane import opened_worker
from scopegate.listeners import leave_to_workers, listen, require_free
from scopegate.logs import LOGGING
from scopegate.metrics import MetricsArea
from scopegate.processes import Signals, Task, supervise
from scopegate.store import Store
from scopegate.store.embedded import EmbeddedStore
from scopegate.store.location import locate

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from scopegate.metrics import WorkerMetrics
    from scopegate.settings import Address, Settings
    from scopegate.store.location import Location

log = logging.getLogger("scopegate")

CONTROL_NICENESS = 10
"""By how much the control plane gives way to the data plane where both want a core."""


def serve(settings: Settings, *, prepare: Callable[[Settings], None], ready: Callable[[], None]) -> None:
    """Run the gateway until SIGINT, SIGTERM or the end of its terminal.

    Args:
        settings: how to run.
        prepare: called with the settings in force once the store answers, before anything listens.
        ready: called when the data plane takes requests.

    Raises:
        ConfigurationError: a setting cannot be used.
        StoreUnavailable: Redis does not answer, or the embedded store does not start.
    """
    forwards = _forwards(settings)
    _require_addresses(settings, forwards=forwards)
    _require_extra(settings)
    create_privileges(settings)  # in each process another one, and here to see that it can be
    logging.config.dictConfig(LOGGING)
    _open_many_files()
    with Signals() as signals, ExitStack() as stack:
        look_after: Callable[[], None] = _nothing
        in_force, redis = settings, settings.redis
        if redis is None:
            embedded = stack.enter_context(EmbeddedStore(settings.data_dir))
            in_force, redis = settings.with_redis(embedded.url), locate(embedded.url)
            look_after = partial(_keep_alive, embedded)
        asyncio.run(_check(redis))
        prepare(in_force)
        listeners = listen(settings.listen, settings.workers) if forwards else []
        asked = settings.forward_auth_listen
        area = MetricsArea(len(listeners) + (asked is not None))
        workers = [
            Task(
                f"worker {index}",
                partial(_work, in_force, listener, area, index),
                died=partial(area.worker_restarted, index),
                grace=settings.drain_timeout,
            )
            for index, listener in enumerate(listeners)
        ]
        others = [Task("control plane", partial(_control, redis, settings, area))]
        if asked is not None:
            last = len(listeners)
            answering = partial(_answer_proxies, in_force, asked, area, last)
            others.append(Task("forward auth", answering, died=partial(area.worker_restarted, last)))
        # What exists by now is shared by all processes, as long as no collector touches it.
        gc.collect()
        gc.freeze()
        supervise(
            [*workers, *others],
            signals,
            ready=ready,
            look_after=look_after,
            stopping=partial(leave_to_workers, listeners),
        )


def _forwards(settings: Settings) -> bool:
    """Whether there is a data plane; who only answers other proxies needs no upstream."""
    if settings.forward_auth_listen is not None and settings.upstream is None and not settings.upstreams:
        return False
    create_routes(settings)
    return True


def _require_addresses(settings: Settings, *, forwards: bool) -> None:
    """Make sure that each listener has an address, and one of its own."""
    addresses = {
        "listen": ("the data plane", settings.listen if forwards else None),
        "admin_listen": ("the control plane", settings.admin_listen),
        "forward_auth_listen": ("forward auth", settings.forward_auth_listen),
    }
    taken: dict[Address, str] = {}
    for setting, (name, address) in addresses.items():
        if address is None:
            continue
        require_free(setting, address)
        if address in taken:
            raise ConfigurationError(
                setting,
                f"{name[0].upper()}{name[1:]} cannot listen on {address}: {taken[address]} does.",
                hint="Choose another port.",
            )
        taken[address] = name


def _require_extra(settings: Settings) -> None:
    """Make sure that what signs administrators in at a provider is installed, if there is a provider."""
    if settings.oidc is None:
        return
    if any(find_spec(package) is None for package in ("authlib", "joserfc")):
        raise ConfigurationError(
            "oidc_issuer",
            "Signing in at an OpenID Connect provider needs packages that are not installed.",
            hint="pip install 'scopegate[oidc]'",
        )


def _open_many_files() -> None:
    """Let each process have as many connections as the system lets it: a shell's default is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a system may say "no limit" and have one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _nothing() -> None:
    pass


def _keep_alive(embedded: EmbeddedStore) -> None:
    """Start the embedded store anew if it has died; requests are refused until it is back."""
    try:
        embedded.revive()
    except StoreUnavailable as unavailable:
        log.error("%s %s", unavailable.message, unavailable.hint)  # noqa: TRY400 -- it says all


async def _check(redis: Location) -> None:
    store = Store.at(redis)
    try:
        await store.require_reachable()
        if await store.writes_no_log():
            log.warning(
                "Redis writes no append-only file: if it stops, keys that were disabled or deleted may be "
                "valid again (docs/durability.md)"
            )
    finally:
        await store.aclose()


def _work(
    settings: Settings, listener: socket.socket, area: MetricsArea, index: int, ready: Callable[[], None]
) -> None:
    """Be worker `index` of the data plane until SIGTERM."""
    uvloop.run(_serve_clients(settings, listener, area.worker(index), ready))


async def _serve_clients(
    settings: Settings, listener: socket.socket, metrics: WorkerMetrics, ready: Callable[[], None]
) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with opened_worker(settings, metrics) as worker:
        await worker.serve(listener, ready=ready, stop=stop, grace=settings.drain_timeout)


def _answer_proxies(
    settings: Settings, address: Address, area: MetricsArea, index: int, ready: Callable[[], None]
) -> None:
    """Be what other proxies ask until SIGTERM, with the metrics' slot `index`."""
    from scopegate.appserver import run  # noqa: PLC0415 -- as below

    run(partial(create_forward_auth, settings, area.worker(index)), address, ready)


def _control(redis: Location, settings: Settings, area: MetricsArea, ready: Callable[[], None]) -> None:
    # Only this process needs them, and the others are up sooner without.
    from scopegate.appserver import run  # noqa: PLC0415
    from scopegate.controlplane import create_control_plane, create_sweeper  # noqa: PLC0415

    os.nice(CONTROL_NICENESS)
    run(
        partial(create_control_plane, settings, redis, area),
        settings.admin_listen,
        ready,
        beside=create_sweeper(settings, redis).run,
    )
