"""``/admin/v1/users``: the people of the directory, and finding the one whom a key is to act for (D8)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from scopegate.admin import directoryanswers as answers
from scopegate.admin import directorydocuments as documents
from scopegate.admin import schemas
from scopegate.admin.listing import cursor_after, no_cursor, place_of, point_on
from scopegate.admin.openapi import documented
from scopegate.admin.preconditions import IfMatch, RequiredIfMatch
from scopegate.admin.visit import ByVisit, Visit
from scopegate.commands import Commands
from scopegate.core.administrators import Permission
from scopegate.core.errors import InvalidInput
from scopegate.core.persondocuments import facts_of
from scopegate.core.principal import User
from scopegate.core.usersearch import Condition, Place, UserSearch, words
from scopegate.representations import user_object
from scopegate.store.records import etag

router = APIRouter(tags=["users"])
ForTenant = Annotated[schemas.TenantQuery, Query()]
ForChange = Annotated[schemas.ChangeQuery, Query()]
_NEVER_NULL = ("name", "email", "organization", "active", "groups", "roles")
# An id may have a slash, so it is whatever stands between the two ends of a path.
_USER = "/users/{user_id:path}"


@router.get("/users", **documented("Find users", page=True))
async def find_users(
    by: ByVisit, query: Annotated[schemas.UserQuery, Query()], request: Request, response: Response
) -> schemas.UserPage:
    """The people whom all of the filters admit, by name; without a filter, everybody."""
    commands = await by.commands(Permission.READ_USERS, query.tenant)
    found = await commands.find_users(_search(query), after=_place(query), most=query.limit)
    cursor = None if found.last is None else cursor_after(query, list(found.last))
    point_on(request, response, cursor)
    return schemas.UserPage(
        items=[schemas.User(**user_object(user)) for user in found.users],
        next_cursor=cursor,
        has_more=cursor is not None,
    )


@router.post("/users", **documented("Add a user", 409, 422, etag=True, answers=201))
async def add_user(
    by: ByVisit, query: ForChange, body: documents.PersonCreation, response: Response
) -> schemas.UserWithPrivileges:
    """A person with an id and a user name that nobody else has."""
    commands = await by.commands(Permission.CHANGE_USERS, query.tenant, dry_run=query.dry_run)
    user = User(id=body.id, **facts_of(body.model_dump()))
    return await _shown(response, commands, (await commands.add_user(user))[0])


@router.post("/users:import", **documented("Import users", 422))
async def import_users(
    by: ByVisit, query: ForChange, body: documents.PeopleImport
) -> documents.PeopleImported:
    """Add or change many people in one step; each has its own outcome, and none stands in another's way."""
    commands = await by.commands(Permission.CHANGE_USERS, query.tenant, dry_run=query.dry_run)
    return answers.imported(await commands.import_users(body.users, create_groups=body.create_groups))


@router.post(f"{_USER}:activate", **documented("Activate a user", 412, etag=True))
async def activate_user(
    by: ByVisit, user_id: str, query: ForChange, expected: IfMatch, response: Response
) -> schemas.UserWithPrivileges:
    """Activate a user; keys that are bound to the user work again."""
    return await _set_active(by, user_id, query, expected, response, active=True)


@router.post(f"{_USER}:deactivate", **documented("Deactivate a user", 412, etag=True))
async def deactivate_user(
    by: ByVisit, user_id: str, query: ForChange, expected: IfMatch, response: Response
) -> schemas.UserWithPrivileges:
    """Deactivate a user; keys that are bound to the user stop at once."""
    return await _set_active(by, user_id, query, expected, response, active=False)


@router.post(f"{_USER}/roles:add", **documented("Give a user roles", 412, 422, etag=True))
async def add_roles(
    by: ByVisit,
    user_id: str,
    query: ForChange,
    body: documents.RoleNames,
    expected: IfMatch,
    response: Response,
) -> schemas.UserWithPrivileges:
    """Roles beside those that the user holds; each has to be defined."""
    commands = await by.commands(Permission.CHANGE_USERS, query.tenant, dry_run=query.dry_run)
    user = await commands.add_roles(user_id, body.roles, expected=expected)
    return await _shown(response, commands, user)


@router.post(f"{_USER}/roles:remove", **documented("Take roles from a user", 412, 422, etag=True))
async def remove_roles(
    by: ByVisit,
    user_id: str,
    query: ForChange,
    body: documents.RoleNames,
    expected: IfMatch,
    response: Response,
) -> schemas.UserWithPrivileges:
    """Fewer roles; the next request of a key that is bound to the user sees it."""
    commands = await by.commands(Permission.CHANGE_USERS, query.tenant, dry_run=query.dry_run)
    user = await commands.remove_roles(user_id, body.roles, expected=expected)
    return await _shown(response, commands, user)


@router.get(_USER, **documented("Show a user", etag=True))
async def show_user(
    by: ByVisit, user_id: str, query: ForTenant, response: Response
) -> schemas.UserWithPrivileges:
    """One person, and the privileges that the person has now."""
    commands = await by.commands(Permission.READ_USERS, query.tenant)
    user, principal = await commands.show_user(user_id)
    _tag(response, user)
    return answers.person(user, principal)


@router.patch(_USER, **documented("Edit a user", 409, 412, 422, 428, etag=True))
async def edit_user(
    by: ByVisit,
    user_id: str,
    query: ForChange,
    body: documents.PersonEdit,
    expected: RequiredIfMatch,
    response: Response,
) -> schemas.UserWithPrivileges:
    """Other facts of a person; what is left out stays. The next request sees it."""
    said = body.model_dump(exclude_unset=True)
    for name in _NEVER_NULL:
        if name in said and said[name] is None:
            raise InvalidInput(name, f"{name!r} cannot be null.", hint="Leave it out to keep it.")
    commands = await by.commands(Permission.CHANGE_USERS, query.tenant, dry_run=query.dry_run)
    user, _ = await commands.edit_user(user_id, facts_of(said), expected=expected)
    return await _shown(response, commands, user)


@router.delete(_USER, **documented("Delete a user", 412, answers=204))
async def delete_user(by: ByVisit, user_id: str, query: ForChange, expected: IfMatch) -> None:
    """For good and at once. Keys that are bound to the user open nothing from now on."""
    commands = await by.commands(Permission.CHANGE_USERS, query.tenant, dry_run=query.dry_run)
    await commands.delete_user(user_id, expected=expected)


async def _set_active(
    by: Visit,
    user_id: str,
    query: schemas.ChangeQuery,
    expected: str | None,
    response: Response,
    *,
    active: bool,
) -> schemas.UserWithPrivileges:
    commands = await by.commands(Permission.CHANGE_USERS, query.tenant, dry_run=query.dry_run)
    user = await commands.set_active(user_id, active=active, expected=expected)
    return await _shown(response, commands, user)


async def _shown(response: Response, commands: Commands, user: User) -> schemas.UserWithPrivileges:
    _tag(response, user)
    return answers.person(*await commands.resolved(user))


def _tag(response: Response, user: User) -> None:
    response.headers["ETag"] = f'"{etag(user)}"'


def _search(query: schemas.UserQuery) -> UserSearch:
    try:
        conditions = tuple(map(Condition.parse, query.filter))
    except InvalidInput as error:
        raise InvalidInput("query:filter", error.message, hint=error.hint, code=error.code) from error
    return UserSearch(
        words=words(query.q or ""),
        organization=query.organization,
        group=query.group,
        conditions=conditions,
        active=query.active,
    )


def _place(query: schemas.UserQuery) -> Place | None:
    match place_of(query):
        case None:
            return None
        case [str(name), str(user_id)]:
            return name, user_id
    raise no_cursor()
