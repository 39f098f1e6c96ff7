"""``/admin/v1/findings`` and ``/admin/v1/access``: what is to be said of keys, and who reaches what."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from scopegate.admin.listing import cursor_after, no_cursor, place_of, point_on
from scopegate.admin.openapi import documented
from scopegate.admin.reviewdocuments import (
    AccessQuery,
    FindingList,
    FindingPage,
    FindingsQuery,
    KeyAccessPage,
    KeyFindingsQuery,
    finding,
    key_access,
)
from scopegate.admin.visit import ByVisit
from scopegate.core.administrators import Permission
from scopegate.core.errors import InvalidInput

router = APIRouter(tags=["review"])


@router.get("/keys/{key_id}/findings", **documented("Review a key"))
async def key_findings(by: ByVisit, key_id: str, query: Annotated[KeyFindingsQuery, Query()]) -> FindingList:
    """Rules that open nothing, nothing more, or what the user cannot use; or more than another key does."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    record = await commands.find_key(key_id)
    other = None if query.compare is None else (await commands.find_key(query.compare)).id
    found = await commands.key_findings(record.id, compare=other, among=query.among)
    return FindingList(items=[finding(one) for one in found])


@router.get("/findings", **documented("Review all keys", page=True))
async def findings(
    by: ByVisit, query: Annotated[FindingsQuery, Query()], request: Request, response: Response
) -> FindingPage:
    """The same of all keys, each by itself: a page at a time."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    found = await commands.findings(
        after=_finding_place(place_of(query)), most=query.limit + 1, codes=query.code
    )
    shown = found[: query.limit]
    cursor = cursor_after(query, shown[-1][0]) if len(found) > len(shown) else None
    point_on(request, response, cursor)
    return FindingPage(
        items=[finding(one) for _, one in shown], next_cursor=cursor, has_more=cursor is not None
    )


@router.get("/access", **documented("Show which keys reach an endpoint", page=True))
async def access(
    by: ByVisit, query: Annotated[AccessQuery, Query()], request: Request, response: Response
) -> KeyAccessPage:
    """Each key that lets in something of an endpoint: by which rule, as whom, and whether it can now."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    after = place_of(query)
    if after is not None and not isinstance(after, str):
        raise no_cursor()
    try:
        found = await commands.who_reaches(query.method, query.url, after=after, most=query.limit + 1)
    except InvalidInput as error:
        raise InvalidInput(f"query:{error.field}", error.message, hint=error.hint, code=error.code) from error
    shown = found[: query.limit]
    cursor = cursor_after(query, shown[-1].record.id) if len(found) > len(shown) else None
    point_on(request, response, cursor)
    return KeyAccessPage(
        items=[key_access(one) for one in shown], next_cursor=cursor, has_more=cursor is not None
    )


def _finding_place(said: Any) -> tuple[str, int] | None:  # noqa: ANN401 -- whatever a cursor says
    match said:
        case None:
            return None
        case [str(key), int(number)]:
            return key, number
    raise no_cursor()
