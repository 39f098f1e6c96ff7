"""``/admin/v1/administrators`` and their tokens: who may use this API."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Query

from scopegate.admin import schemas
from scopegate.admin.documents import administrator, identity, issued_token, token
from scopegate.admin.openapi import documented
from scopegate.admin.visit import ByVisit
from scopegate.administration import AdministratorChanges
from scopegate.core.errors import InvalidInput
from scopegate.core.oidc import Subject

router = APIRouter(tags=["administrators"])
_CAN_BE_NULL = frozenset({"tenants", "subject"})
ForSystem = Annotated[schemas.NoQuery, Query()]
ForSystemChange = Annotated[schemas.SystemChangeQuery, Query()]


@router.get("/whoami", **documented("Tell who the caller is"))
async def whoami(by: ByVisit, _query: ForSystem) -> schemas.Identity:
    """The administrator whose token was sent, and what that one may do now."""
    return identity(await by.administration().whoami())


@router.get("/administrators", **documented("List administrators"))
async def list_administrators(by: ByVisit, _query: ForSystem) -> schemas.AdministratorList:
    """All administrators, the oldest first."""
    found = await by.administration().list_administrators()
    return schemas.AdministratorList(items=list(map(administrator, found)))


@router.post("/administrators", **documented("Create an administrator", 409, 422, answers=201))
async def create_administrator(
    by: ByVisit, query: ForSystemChange, body: schemas.AdministratorCreation
) -> schemas.Administrator:
    """An administrator without a token; give one with `POST /admin/v1/tokens`."""
    created = await by.administration(dry_run=query.dry_run).create_administrator(
        name=body.name,
        email=body.email,
        role=body.role,
        tenants=None if body.tenants is None else frozenset(body.tenants),
    )
    return administrator(created)


@router.get("/administrators/{administrator_id}", **documented("Show an administrator"))
async def show_administrator(by: ByVisit, administrator_id: str, _query: ForSystem) -> schemas.Administrator:
    """One administrator; everybody may look at themselves."""
    return administrator(await by.administration().find_administrator(administrator_id))


@router.patch("/administrators/{administrator_id}", **documented("Edit an administrator", 409, 422))
async def edit_administrator(
    by: ByVisit, administrator_id: str, query: ForSystemChange, body: schemas.AdministratorEdit
) -> schemas.Administrator:
    """Other facts; they count for the next request with a token of this administrator."""
    changed = await by.administration(dry_run=query.dry_run).change_administrator(
        administrator_id, **_changes(body)
    )
    return administrator(changed)


@router.delete(
    "/administrators/{administrator_id}", **documented("Delete an administrator", 409, answers=204)
)
async def delete_administrator(by: ByVisit, administrator_id: str, query: ForSystemChange) -> None:
    """An administrator goes, whose tokens are good no longer; the last system administrator stays."""
    await by.administration(dry_run=query.dry_run).delete_administrator(administrator_id)


@router.get("/tokens", **documented("List tokens"))
async def list_tokens(by: ByVisit, query: Annotated[schemas.TokenQuery, Query()]) -> schemas.TokenList:
    """The tokens and sessions of the caller, or of another administrator."""
    found = await by.administration().list_tokens(query.administrator)
    return schemas.TokenList(items=[token(one.token, one.last_used_at) for one in found])


@router.post("/tokens", **documented("Create a token", 422, answers=201))
async def create_token(
    by: ByVisit, query: ForSystemChange, body: schemas.TokenCreation
) -> schemas.IssuedToken:
    """A token for the caller, or for another administrator. Its text is in this answer only."""
    issued = await by.administration(dry_run=query.dry_run).create_token(
        description=body.description, expires_at=body.expires_at, administrator_id=body.administrator
    )
    return issued_token(issued, made=not query.dry_run)


@router.delete("/tokens/{token_id}", **documented("Revoke a token", answers=204))
async def revoke_token(by: ByVisit, token_id: str, query: ForSystemChange) -> None:
    """A token or a session is good no longer, nor is any session that was opened with it."""
    await by.administration(dry_run=query.dry_run).revoke_token(token_id)


def _changes(body: schemas.AdministratorEdit) -> AdministratorChanges:
    """What is said, which may be null only where that means something."""
    said = body.model_dump(exclude_unset=True)
    for name, value in said.items():
        if value is None and name not in _CAN_BE_NULL:
            raise InvalidInput(name, f"{name!r} cannot be null.", hint="Leave it out to keep it.")
    if said.get("tenants") is not None:
        said["tenants"] = frozenset(said["tenants"])
    if said.get("subject") is not None:
        said["subject"] = Subject(**said["subject"])
    return cast("AdministratorChanges", said)
