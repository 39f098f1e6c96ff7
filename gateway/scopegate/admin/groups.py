"""``/admin/v1/groups``, ``/roles`` and ``/organizations``: what people of the directory belong to."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from scopegate.admin import directoryanswers as answers
from scopegate.admin import directorydocuments as documents
from scopegate.admin import schemas
from scopegate.admin.listing import page, point_on
from scopegate.admin.openapi import documented
from scopegate.admin.preconditions import IfMatch, RequiredIfMatch
from scopegate.admin.visit import ByVisit
from scopegate.commands.groups import GroupFacts, KnownGroup
from scopegate.core.administrators import Permission
from scopegate.core.errors import InvalidInput
from scopegate.core.principal import Group
from scopegate.core.usersearch import folded
from scopegate.store.records import etag

router = APIRouter(tags=["users"])
ForTenant = Annotated[schemas.TenantQuery, Query()]
ForChange = Annotated[schemas.ChangeQuery, Query()]


@router.get("/groups", **documented("List groups", page=True))
async def list_groups(
    by: ByVisit, query: Annotated[documents.GroupQuery, Query()], request: Request, response: Response
) -> documents.DirectoryGroupPage:
    """The groups of the directory and of the policies, by id: a page at a time."""
    commands = await by.commands(Permission.READ_USERS, query.tenant)
    wanted = folded(query.q or "")
    admitted = [
        group
        for group in await commands.list_groups()
        if wanted in folded(group.id) or wanted in folded(group.name)
    ]
    shown, cursor = page(admitted, query, lambda group: [group.id], descending=False)
    point_on(request, response, cursor)
    return documents.DirectoryGroupPage(
        items=[answers.group(one) for one in shown], next_cursor=cursor, has_more=cursor is not None
    )


@router.post("/groups", **documented("Add a group", 409, 422, etag=True, answers=201))
async def add_group(
    by: ByVisit, query: ForChange, body: documents.GroupCreation, response: Response
) -> documents.DirectoryGroup:
    """A group of the directory, which nobody is in yet unless policies had it before."""
    commands = await by.commands(Permission.CHANGE_USERS, query.tenant, dry_run=query.dry_run)
    name = body.id if body.name is None else body.name
    group = Group(id=body.id, name=name, external_id=body.external_id or None)
    return _shown(response, await commands.add_group(group))


@router.get("/groups/{group_id}", **documented("Show a group", etag=True))
async def show_group(
    by: ByVisit, group_id: str, query: ForTenant, response: Response
) -> documents.DirectoryGroup:
    """One group. Its members are found with `GET /users?group=`."""
    commands = await by.commands(Permission.READ_USERS, query.tenant)
    return _shown(response, await commands.show_group(group_id))


@router.patch("/groups/{group_id}", **documented("Edit a group", 412, 422, 428, etag=True))
async def edit_group(
    by: ByVisit,
    group_id: str,
    query: ForChange,
    body: documents.GroupEdit,
    expected: RequiredIfMatch,
    response: Response,
) -> documents.DirectoryGroup:
    """Call a group of the directory otherwise; its id stays."""
    commands = await by.commands(Permission.CHANGE_USERS, query.tenant, dry_run=query.dry_run)
    facts: GroupFacts = {}
    if "name" in body.model_fields_set:
        if body.name is None:
            raise InvalidInput("name", "'name' cannot be null.", hint="Leave it out to keep it.")
        facts["name"] = body.name
    if "external_id" in body.model_fields_set:
        facts["external_id"] = body.external_id or None
    return _shown(response, await commands.edit_group(group_id, facts, expected=expected))


@router.delete("/groups/{group_id}", **documented("Delete a group", 409, 412, answers=204))
async def delete_group(by: ByVisit, group_id: str, query: ForChange, expected: IfMatch) -> None:
    """All members leave it, then it goes. What it gave them they have no longer."""
    commands = await by.commands(Permission.CHANGE_USERS, query.tenant, dry_run=query.dry_run)
    await commands.remove_group(group_id, expected=expected)


@router.post("/groups/{group_id}/members", **documented("Change who is in a group", 422, etag=True))
async def change_members(
    by: ByVisit, group_id: str, query: ForChange, body: documents.MembersChange, response: Response
) -> documents.DirectoryGroup:
    """Users come to be in a group, and others are in it no longer; requests see it at once."""
    commands = await by.commands(Permission.CHANGE_USERS, query.tenant, dry_run=query.dry_run)
    return _shown(response, await commands.change_members(group_id, add=body.add, remove=body.remove))


@router.get("/roles", **documented("List roles"))
async def list_roles(by: ByVisit, query: ForTenant) -> documents.DirectoryRoleList:
    """All roles of the policies, and what they give."""
    commands = await by.commands(Permission.READ_POLICIES, query.tenant)
    return documents.DirectoryRoleList(items=[answers.role(one) for one in await commands.list_roles()])


@router.get("/organizations", **documented("List organizations"))
async def list_organizations(
    by: ByVisit, query: Annotated[documents.OrganizationQuery, Query()]
) -> documents.OrganizationList:
    """The organizations of one level, each with how many people are in it or below it."""
    commands = await by.commands(Permission.READ_USERS, query.tenant)
    found = await commands.organizations(query.parent)
    return documents.OrganizationList(items=[answers.organization(one) for one in found])


def _shown(response: Response, group: KnownGroup) -> documents.DirectoryGroup:
    if group.record is not None:
        response.headers["ETag"] = f'"{etag(group.record)}"'
    return answers.group(group)
