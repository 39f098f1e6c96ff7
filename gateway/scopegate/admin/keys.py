"""``/admin/v1/keys``: keys from birth to deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response

from scopegate.admin import schemas
from scopegate.admin.documents import issued_key, key, key_page, rules_of
from scopegate.admin.openapi import documented
from scopegate.admin.visit import ByVisit
from scopegate.core.administrators import Permission
from scopegate.store.records import etag

if TYPE_CHECKING:
    from scopegate.commands import Commands, IssuedKey
    from scopegate.core.keys import KeyRecord

router = APIRouter(prefix="/keys", tags=["keys"])
ForTenant = Annotated[schemas.TenantQuery, Query()]
ForChange = Annotated[schemas.ChangeQuery, Query()]


@router.get("", **documented("List keys"))
async def list_keys(by: ByVisit, query: Annotated[schemas.KeyQuery, Query()]) -> schemas.KeyPage:
    """All keys that count, until they are deleted: a page at a time."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    return key_page(await commands.list_keys(), query, commands.now())


@router.post("", **documented("Create a key", 409, 422, etag=True, answers=201))
async def create_key(
    by: ByVisit, query: ForChange, body: schemas.KeyCreation, response: Response
) -> schemas.IssuedKey:
    """A new key, enabled at once. Its secret is in this answer only."""
    commands = await by.commands(Permission.CHANGE_KEYS, query.tenant, dry_run=query.dry_run)
    issued = await commands.create_key(
        key_type=body.type,
        description=body.description,
        expires_at=body.expires_at,
        user=body.user,
        rules=rules_of(body.rules),
    )
    return _issued(response, issued, commands)


@router.get("/{key_id}", **documented("Show a key", etag=True))
async def show_key(by: ByVisit, key_id: str, query: ForTenant, response: Response) -> schemas.Key:
    """One key; `key_id` may be the beginning of an id that no other key has."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    record = await commands.find_key(key_id)
    _tag(response, record)
    return key(record, commands.now())


def _issued(response: Response, issued: IssuedKey, commands: Commands) -> schemas.IssuedKey:
    _tag(response, issued.record)
    return issued_key(issued.record, commands.now(), secret=issued.secret, warnings=issued.warnings)


def _tag(response: Response, record: KeyRecord) -> None:
    response.headers["ETag"] = f'"{etag(record)}"'
