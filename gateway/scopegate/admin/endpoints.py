"""``/admin/v1/endpoints``: finding what a rule is to open."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from scopegate.admin.endpointdocuments import EndpointPage, EndpointQuery, endpoint_document
from scopegate.admin.listing import page, point_on
from scopegate.admin.openapi import documented
from scopegate.admin.visit import ByVisit
from scopegate.core.administrators import Permission

router = APIRouter(tags=["policies"])


@router.get("/endpoints", **documented("Find endpoints", page=True))
async def find_endpoints(
    by: ByVisit, query: Annotated[EndpointQuery, Query()], request: Request, response: Response
) -> EndpointPage:
    """The endpoints of the catalogue in force that all filters admit, by URL; without a filter, all."""
    commands = await by.commands(Permission.READ_POLICIES, query.tenant)
    found = await commands.find_endpoints(query.q or "", query.method)
    shown, cursor = page(
        found,
        query,
        lambda picked: [picked.endpoint.url, ",".join(sorted(picked.endpoint.methods))],
        descending=False,
    )
    point_on(request, response, cursor)
    items = [endpoint_document(picked) for picked in shown]
    return EndpointPage(items=items, next_cursor=cursor, has_more=cursor is not None)
