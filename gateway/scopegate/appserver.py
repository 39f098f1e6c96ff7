"""Runs an ASGI application of our own, in a process of its own; for what needs no speed."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server as EmbeddedServer

from scopegate.listeners import numeric
from scopegate.logs import LOGGING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from scopegate.asgi import ASGIApp
    from scopegate.settings import Address

_POLL = 0.02  # seconds


def run(
    create_app: Callable[[], ASGIApp],
    address: Address,
    ready: Callable[[], None] = lambda: None,
    *,
    beside: Callable[[], Coroutine[None, None, None]] | None = None,
) -> None:
    """Serve one application until SIGTERM; for what needs no speed. `beside` runs in the same loop."""
    asyncio.run(_serve_in_loop(create_app(), address, ready, beside))


async def _announce(address: Address, ready: Callable[[], None]) -> None:
    """Call `ready` once somebody can connect."""
    while True:
        try:
            _, writer = await asyncio.open_connection(*address.reachable)
        except OSError:
            await asyncio.sleep(_POLL)
        else:
            writer.close()
            ready()
            return


async def _serve_in_loop(
    app: ASGIApp,
    address: Address,
    ready: Callable[[], None],
    beside: Callable[[], Coroutine[None, None, None]] | None,
) -> None:
    server = EmbeddedServer(
        app,
        address=numeric(address.host),
        port=address.port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels.error,
        log_dictconfig=LOGGING,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    others = [asyncio.create_task(_announce(address, ready))]
    if beside is not None:
        others.append(asyncio.create_task(beside()))
    try:
        await server.serve()
    finally:
        for other in others:
            other.cancel()
