"""Who comes in: every request of the administration API has a caller, but for the few that need none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.admin.visit import VISIT

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
            scope[VISIT] = await self._identify(scope)
        await self._app(scope, receive, send)
