"""The administration API for whoever may open the store anyway: no token is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.admin.plane import guarded_api
from scopegate.admin.visit import Visit, reason_of
from scopegate.core.administrators import operator

if TYPE_CHECKING:
    from scopegate.admin.visit import Office
    from scopegate.asgi import ASGIApp, Scope


def local_api(office: Office, *, actor: str, origin: str) -> ASGIApp:
    """The API in the name of `actor`, who may do everything; `origin` is where the changes come from."""

    async def identify(scope: Scope) -> Visit:
        return Visit(office, operator(actor), origin, reason_of(scope))

    return guarded_api(identify)
