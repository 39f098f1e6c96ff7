"""``/admin/v1/audit``: who changed what, and whether the log of that is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from scopegate.admin import schemas
from scopegate.admin.listing import cursor_after, place_of, point_on
from scopegate.admin.openapi import documented
from scopegate.admin.visit import ByVisit, Visit
from scopegate.core.administrators import Permission
from scopegate.core.audit import Selection
from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scopegate.commands import Commands

router = APIRouter(prefix="/audit", tags=["audit"])
_LINES = "application/jsonl"
OfLog = Annotated[schemas.AuditLogQuery, Query()]


@router.get("", **documented("List changes", page=True))
async def list_entries(
    by: ByVisit, query: Annotated[schemas.AuditQuery, Query()], request: Request, response: Response
) -> schemas.AuditPage:
    """The entries of the audit log, newest first: a page at a time."""
    commands = await _log(by, query)
    before = place_of(query)
    if before is not None and not isinstance(before, int):
        raise InvalidInput("query:cursor", "This is no cursor.", code="cursor_invalid")
    selection = Selection(key_id=query.key, actor=query.actor, since=query.since, before=before)
    found = await commands.list_audit(selection, query.limit + 1)
    items = found[: query.limit]
    more = len(found) > len(items)
    cursor = cursor_after(query, items[-1]["sequence"]) if more else None
    point_on(request, response, cursor)
    return schemas.AuditPage(items=items, next_cursor=cursor, has_more=more)


@router.get("/verification", **documented("Verify the audit log"))
async def verify(by: ByVisit, query: OfLog) -> schemas.AuditVerification:
    """Whether no entry was changed, removed, added or moved."""
    commands = await _log(by, query)
    verification = await commands.verify_audit()
    broken, newest = verification.broken, verification.reached
    return schemas.AuditVerification(
        whole=broken is None,
        entries=verification.count,
        sequence=newest.sequence,
        hash=newest.hash,
        broken_at=None if broken is None else broken.sequence,
        what=None if broken is None else broken.what,
    )


@router.get("/export", response_class=StreamingResponse, **documented("Export the audit log", lines=_LINES))
async def export(by: ByVisit, query: OfLog) -> StreamingResponse:
    """All entries that are kept with their hashes, one a line, oldest first."""
    commands = await _log(by, query)
    return StreamingResponse(_lines(commands), media_type=_LINES)


async def _log(by: Visit, query: schemas.AuditQuery | schemas.AuditLogQuery) -> Commands:
    if query.system:
        return by.commands_on_system()
    return await by.commands(Permission.READ_AUDIT, query.tenant)


async def _lines(commands: Commands) -> AsyncIterator[bytes]:
    async for line in commands.export_audit():
        yield line + b"\n"
