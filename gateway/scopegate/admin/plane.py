"""What listens on the control plane's address: the administration API, SCIM, health and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.admin.api import create_api
from scopegate.admin.gatekeeper import Gatekeeper
from scopegate.admin.line import Line
from scopegate.admin.outermost import Outermost
from scopegate.admin.scim.api import PREFIX, ScimApi
from scopegate.admin.scim.messages import told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scopegate.admin.entrance import Entrance
    from scopegate.admin.health import Health
    from scopegate.admin.visit import Office, Visit
    from scopegate.asgi import ASGIApp, Receive, Scope, Send

_API = "/admin/"
_PROVISIONING_AT_A_TIME = 4  # requests, so that a bulk of them holds up no administrator


class ControlPlane:
    """An ASGI application: ``/admin/`` is the API's, ``/scim/v2`` is `scim`'s, all else is `health`'s."""

    def __init__(
        self, api: ASGIApp, scim: ASGIApp, health: Health, office: Office, entrance: Entrance
    ) -> None:
        self._api = api
        self._scim = scim
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
        elif f"{scope['path']}/".startswith(f"{PREFIX}/"):
            await self._scim(scope, receive, send)
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


def scim_api(identify: Callable[[Scope], Awaitable[Visit]], public_url: str) -> ASGIApp:
    """SCIM, open to the provisioners whom `identify` knows; they reach us at `public_url`."""
    return Outermost(ScimApi(identify, public_url), Line(at_a_time=_PROVISIONING_AT_A_TIME), told)
