"""``/admin/v1/drift``: what an API's new operations mean for the keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from scopegate.admin import schemas
from scopegate.admin.driftdocuments import DriftReport, DriftRequest, drift_report, operations_of
from scopegate.admin.openapi import documented
from scopegate.admin.visit import ByVisit
from scopegate.core.administrators import Permission

router = APIRouter(tags=["keys"])


@router.post("/drift", **documented("See what new operations mean for keys", 422))
async def show_drift(
    by: ByVisit, query: Annotated[schemas.TenantQuery, Query()], body: DriftRequest
) -> DriftReport:
    """Which keys cover operations that were added, and whether they open them now; nothing is changed."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    before = None if body.before is None else operations_of("before", body.before)
    found = await commands.drift(operations_of("operations", body.operations), before)
    return drift_report(found, commands.now())
