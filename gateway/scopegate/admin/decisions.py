"""``/admin/v1/decisions``: why a key opens a request, or not."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from scopegate.admin import schemas
from scopegate.admin.documents import explanation
from scopegate.admin.openapi import documented
from scopegate.admin.visit import ByVisit
from scopegate.core.administrators import Permission

router = APIRouter(tags=["decisions"])


@router.post("/decisions:explain", **documented("Explain a decision", 422))
async def explain(
    by: ByVisit, query: Annotated[schemas.TenantQuery, Query()], body: schemas.ExplanationRequest
) -> schemas.Explanation:
    """What the gateway would decide about a request that is sent now with this key; nothing is sent."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    found = await commands.find_key(body.key_id)
    return explanation(await commands.explain(found.id, body.method, body.url))
