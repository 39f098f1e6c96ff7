"""Many keys in one go: changed, exported, imported; and drafts, which are none yet."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from scopegate.admin import schemas
from scopegate.admin.documents import draft_of, imported, outcome, preview
from scopegate.admin.openapi import documented
from scopegate.admin.outermost import REQUEST_ID
from scopegate.admin.visit import ByVisit
from scopegate.core.administrators import Permission

router = APIRouter(tags=["keys"])
ForTenant = Annotated[schemas.TenantQuery, Query()]
ForChange = Annotated[schemas.ChangeQuery, Query()]


@router.post("/keys:preview", **documented("Preview a key", 422))
async def preview_key(by: ByVisit, query: ForTenant, body: schemas.KeyDraft) -> schemas.KeyPreview:
    """All that is wrong with a draft, how its rules are read, and what the key would open; none is made."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    return preview(await commands.preview_key(draft_of(body)))


@router.post("/keys:bulk", **documented("Change many keys", 422))
async def change_keys(
    by: ByVisit, query: ForChange, body: schemas.BulkChange, request: Request
) -> schemas.BulkOutcomes:
    """Enable, disable, extend or delete keys; each has its own outcome, and none stands in another's way."""
    commands = await by.commands(Permission.CHANGE_KEYS, query.tenant, dry_run=query.dry_run)
    found = await commands.change_keys(body.ids, body.action, expires_at=body.expires_at)
    items = [outcome(one, commands.now(), request.scope[REQUEST_ID]) for one in found]
    succeeded = sum(one.ok for one in items)
    return schemas.BulkOutcomes(succeeded=succeeded, failed=len(items) - succeeded, items=items)


@router.get("/keys:export", **documented("Export all keys"))
async def export_keys(by: ByVisit, query: ForTenant) -> schemas.KeyDocuments:
    """All keys as documents, without secrets and digests."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    return schemas.KeyDocuments.model_validate({"keys": await commands.export_keys()})


@router.post("/keys:import", **documented("Import keys", 422))
async def import_keys(
    by: ByVisit, query: ForChange, body: schemas.KeyImport, request: Request
) -> schemas.ImportOutcomes:
    """New keys from documents, with new secrets, which are in this answer only."""
    commands = await by.commands(Permission.CHANGE_KEYS, query.tenant, dry_run=query.dry_run)
    found = await commands.import_keys(body.keys)
    items = [imported(one, commands.now(), request.scope[REQUEST_ID]) for one in found]
    succeeded = sum(one.ok for one in items)
    return schemas.ImportOutcomes(succeeded=succeeded, failed=len(items) - succeeded, items=items)
