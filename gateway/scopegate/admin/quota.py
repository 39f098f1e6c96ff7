"""``/admin/v1/quota``: how many keys a tenant has of those that it may have."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from scopegate.admin import schemas
from scopegate.admin.documents import quota
from scopegate.admin.openapi import documented
from scopegate.admin.visit import ByVisit
from scopegate.core.administrators import Permission

router = APIRouter(tags=["keys"])


@router.get("/quota", **documented("Show how many keys there are"))
async def show_quota(by: ByVisit, query: Annotated[schemas.TenantQuery, Query()]) -> schemas.Quota:
    """How many of the keys that the tenant may have there are, and what they are."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    return quota(await commands.quota())
