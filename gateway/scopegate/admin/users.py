"""``/admin/v1/users``: finding the person whom a key is to act for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from scopegate.admin import schemas
from scopegate.admin.listing import first_of, point_on
from scopegate.admin.openapi import documented
from scopegate.admin.visit import ByVisit
from scopegate.core.administrators import Permission
from scopegate.core.errors import InvalidInput
from scopegate.core.usersearch import Condition, UserSearch, folded, words
from scopegate.representations import user_object

router = APIRouter(prefix="/users", tags=["users"])


@router.get("", **documented("Find users", page=True))
async def find_users(
    by: ByVisit, query: Annotated[schemas.UserQuery, Query()], request: Request, response: Response
) -> schemas.UserPage:
    """The people whom all of the filters admit, by name; without a filter, everybody."""
    try:
        conditions = tuple(map(Condition.parse, query.filter))
    except InvalidInput as error:
        raise InvalidInput("query:filter", error.message, hint=error.hint, code=error.code) from error
    search = UserSearch(
        words=words(query.q or ""),
        organization=query.organization,
        group=query.group,
        conditions=conditions,
        active=query.active,
    )
    commands = await by.commands(Permission.READ_USERS, query.tenant)
    shown, cursor = await first_of(
        ([user for user in users if search.admits(user)] async for users in commands.user_pages()),
        query,
        lambda user: [folded(user.name), user.id],
    )
    point_on(request, response, cursor)
    return schemas.UserPage(
        items=[schemas.User(**user_object(user)) for user in shown],
        next_cursor=cursor,
        has_more=cursor is not None,
    )


@router.get("/{user_id}", **documented("Show a user"))
async def show_user(
    by: ByVisit, user_id: str, query: Annotated[schemas.TenantQuery, Query()]
) -> schemas.UserWithPrivileges:
    """One person, and the privileges that the person has now."""
    commands = await by.commands(Permission.READ_USERS, query.tenant)
    user, principal = await commands.show_user(user_id)
    return schemas.UserWithPrivileges(**user_object(user, principal))
