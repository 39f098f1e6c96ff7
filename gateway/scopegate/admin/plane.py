"""What listens on the control plane's address: the administration API, health and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.admin.api import create_api
from scopegate.admin.gatekeeper import Gatekeeper
from scopegate.admin.outermost import Outermost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scopegate.admin.entrance import Entrance
    from scopegate.admin.health import Health
    from scopegate.admin.visit import Office, Visit
    from scopegate.asgi import ASGIApp, Receive, Scope, Send

_API = "/admin/"


class ControlPlane:
    """An ASGI application: what begins with ``/admin/`` is the API's, all else is `health`'s."""

    def __init__(self, api: ASGIApp, health: Health, office: Office, entrance: Entrance) -> None:
        self._api = api
        self._health = health
        self._office = office
        self._entrance = entrance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope; ``http`` and ``lifespan`` are known."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] != "http":
            raise RuntimeError(f"The control plane serves no {scope['type']} scope.")
        elif scope["path"].startswith(_API):
            await self._api(scope, receive, send)
        else:
            await self._health(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._health.aclose()
        await self._entrance.aclose()
        await self._office.aclose()
        await send({"type": "lifespan.shutdown.complete"})


def guarded_api(identify: Callable[[Scope], Awaitable[Visit]], entrance: Entrance | None = None) -> ASGIApp:
    """The administration API, open to whom `identify` knows."""
    return Outermost(Gatekeeper(create_api(entrance), identify))
