"""``/admin/v1/bootstrap``: the first system administrator, made with the token of the first start."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from scopegate.admin import schemas
from scopegate.admin.documents import issued_token
from scopegate.admin.openapi import documented
from scopegate.admin.signin import origin_of
from scopegate.administration import Authentication

PATH = "/bootstrap"


def bootstrap_routes(authentication: Authentication) -> APIRouter:
    """The route, which needs no caller."""
    router = APIRouter(tags=["administrators"])

    @router.post(
        PATH,
        openapi_extra={"security": []},
        **documented("Make the first system administrator", 422, answers=201),
    )
    async def bootstrap(
        _query: Annotated[schemas.NoQuery, Query()], body: schemas.Bootstrap, request: Request
    ) -> schemas.IssuedToken:
        """With the token that the first start printed, once. The new token is in this answer only."""
        origin = origin_of(request.scope)
        issued = await authentication.bootstrap(body.token, name=body.name, email=body.email, origin=origin)
        return issued_token(issued)

    return router
