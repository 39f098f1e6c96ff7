"""``/admin/v1/flags``: feature flags of a tenant."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from scopegate.admin import schemas
from scopegate.admin.openapi import documented
from scopegate.admin.visit import ByVisit
from scopegate.core.administrators import Permission
from scopegate.core.tenants import SCOPED_API

router = APIRouter(prefix="/flags", tags=["flags"])
_SCOPED_API = "/scoped-api"


@router.get(_SCOPED_API, **documented("Show the Scoped API flag"))
async def show_flag(by: ByVisit, query: Annotated[schemas.TenantQuery, Query()]) -> schemas.Flag:
    """Whether custom keys can be created and given rules; custom keys that exist keep working."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    return schemas.Flag(name=SCOPED_API, on=await commands.scoped_api())


@router.put(_SCOPED_API, **documented("Turn the Scoped API flag on or off", 422))
async def set_flag(
    by: ByVisit, query: Annotated[schemas.ChangeQuery, Query()], body: schemas.FlagBody
) -> schemas.Flag:
    """Only a system administrator can."""
    commands = await by.commands(Permission.CHANGE_FLAGS, query.tenant, dry_run=query.dry_run)
    await commands.set_scoped_api(on=body.on)
    return schemas.Flag(name=SCOPED_API, on=body.on)
