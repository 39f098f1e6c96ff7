"""``/admin/v1/session``: a browser signs in with a token, and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from scopegate.admin import schemas
from scopegate.admin.entrance import Entrance
from scopegate.admin.openapi import documented
from scopegate.admin.signin import origin_of
from scopegate.admin.visit import ByVisit
from scopegate.core.admintokens import TokenKind
from scopegate.core.errors import Conflict

PATH = "/session"


def session_routes(entrance: Entrance) -> APIRouter:
    """The routes; the first needs no caller."""
    router = APIRouter(tags=["sessions"])

    @router.post(
        PATH,
        openapi_extra={"security": []},
        **documented("Sign a browser in with a token", 422, answers=201),
    )
    async def sign_in(
        _query: Annotated[schemas.NoQuery, Query()],
        body: schemas.SessionOpening,
        request: Request,
        response: Response,
    ) -> schemas.Session:
        """A session in a cookie, for eight hours, or for as long as the token is good; for our pages only."""
        entrance.cookie.require_ours(request.scope)
        issued = await entrance.authentication.open_session(body.token, origin_of(request.scope))
        entrance.cookie.put(response, issued.secret, expires_at=issued.token.expires_at)
        return schemas.Session(administrator=issued.token.administrator, expires_at=issued.token.expires_at)

    @router.post(f"{PATH}:end", **documented("Sign out", 409, answers=204))
    async def sign_out(by: ByVisit, _query: Annotated[schemas.NoQuery, Query()], response: Response) -> None:
        """The session that was sent is good no longer. A token that is no session is left alone."""
        token = (await by.administration().whoami()).token
        if token is None or token.kind is not TokenKind.SESSION:
            raise Conflict(
                "This is no session.",
                hint="Revoke a token with DELETE /admin/v1/tokens/{token_id}.",
                code="no_session",
            )
        await by.administration().revoke_token(token.id)
        entrance.cookie.remove(response)

    return router
