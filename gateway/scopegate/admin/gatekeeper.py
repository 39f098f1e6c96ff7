"""Who comes in: every request of the administration API has a caller, but for the few that need none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.admin.visit import VISIT
from scopegate.core.administrators import Role
from scopegate.core.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scopegate.admin.visit import Visit
    from scopegate.asgi import ASGIApp, Receive, Scope, Send

# The paths that anybody may call.
PUBLIC = frozenset(
    f"/admin/v1/{path}"
    for path in (
        *("openapi.json", "reference", "reference.css"),
        *("bootstrap", "session", "oidc", "oidc/login", "oidc/callback", "oidc/token"),
    )
)

# What is open to programs that only provision: who they are.
_OF_PROVISIONERS = frozenset({"/admin/v1/whoami", "/admin/v1/session:end"})


class Gatekeeper:
    """Lets a request into `app` if `identify` knows who sends it, and notes who that is.

    Args:
        app: the administration API.
        identify: tells who sends a request, or raises.
    """

    def __init__(self, app: ASGIApp, identify: Callable[[Scope], Awaitable[Visit]]) -> None:
        self._app = app
        self._identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ``http`` scope."""
        if scope["path"] not in PUBLIC:
            visit = await self._identify(scope)
            if visit.caller.role is Role.PROVISIONER and scope["path"] not in _OF_PROVISIONERS:
                raise Forbidden(
                    f"The role {Role.PROVISIONER} is for SCIM alone.",
                    hint="Send the token to /scim/v2; this needs another administrator.",
                )
            scope[VISIT] = visit
        await self._app(scope, receive, send)
