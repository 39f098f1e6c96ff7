"""``/admin/v1/keys``: keys from birth to deletion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from scopegate.admin import schemas
from scopegate.admin.documents import (
    changed_key,
    issued_key,
    key_details,
    key_page,
    key_usage,
    rules_of,
)
from scopegate.admin.idempotency import Once
from scopegate.admin.listing import point_on
from scopegate.admin.openapi import documented
from scopegate.admin.preconditions import IfMatch, RequiredIfMatch
from scopegate.admin.visit import ByVisit, Visit
from scopegate.commands import Commands, IssuedKey
from scopegate.core.administrators import Permission
from scopegate.core.errors import InvalidInput
from scopegate.core.keyediting import KeyChanges
from scopegate.core.keys import KeyRecord
from scopegate.core.lifetimes import NOT_GIVEN
from scopegate.store.records import etag

router = APIRouter(prefix="/keys", tags=["keys"])
_USUAL_PERIOD = timedelta(days=29)
ForTenant = Annotated[schemas.TenantQuery, Query()]
ForChange = Annotated[schemas.ChangeQuery, Query()]


@router.get("", **documented("List keys", page=True))
async def list_keys(
    by: ByVisit, query: Annotated[schemas.KeyQuery, Query()], request: Request, response: Response
) -> schemas.KeyPage:
    """All keys that count, until they are deleted: a page at a time."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    records = await commands.list_keys()
    page = key_page(records, await commands.last_uses(records), query, commands.now())
    point_on(request, response, page.next_cursor)
    return page


@router.post("", **documented("Create a key", 409, 422, etag=True, answers=201, repeats=schemas.IssuedKey))
async def create_key(
    by: ByVisit, query: ForChange, body: schemas.KeyCreation, once: Once, response: Response
) -> schemas.IssuedKey:
    """A new key, enabled at once. Its secret is in this answer only."""
    commands = await by.commands(Permission.CHANGE_KEYS, query.tenant, dry_run=query.dry_run)
    issued = await commands.create_key(
        key_type=body.type,
        description=body.description,
        expires_at=body.expires_at if "expires_at" in body.model_fields_set else NOT_GIVEN,
        user=body.user,
        rules=rules_of(body.rules),
        idempotency=once.of(by.caller, "create_key", body),
    )
    return _issued(response, issued, commands)


@router.get("/{key_id}", **documented("Show a key", etag=True))
async def show_key(by: ByVisit, key_id: str, query: ForTenant, response: Response) -> schemas.KeyDetails:
    """One key; `key_id` may be the beginning of an id that no other key has."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    record = await commands.find_key(key_id)
    use = (await commands.last_uses([record]))[record.id]
    _tag(response, record)
    return key_details(record, commands.now(), use)


@router.get("/{key_id}/usage", **documented("Show what a key was used for"))
async def show_usage(
    by: ByVisit, key_id: str, query: Annotated[schemas.UsageQuery, Query()]
) -> schemas.KeyUsage:
    """What came of the requests with a key, by day or hour, by rule and by reason; at most a minute late."""
    commands = await by.commands(Permission.READ_KEYS, query.tenant)
    last = query.last or commands.now().date()
    first = query.first or last - _USUAL_PERIOD
    return key_usage(*await commands.key_usage(key_id, first, last), by_hour=query.by == "hour")


@router.patch("/{key_id}", **documented("Edit a key", 409, 412, 422, 428, etag=True))
async def edit_key(
    by: ByVisit,
    key_id: str,
    query: ForChange,
    body: schemas.KeyEdit,
    expected: RequiredIfMatch,
    response: Response,
) -> schemas.ChangedKey:
    """Another description, expiry or user, enabled or not; what is left out stays. Requests see it."""
    commands = await by.commands(Permission.CHANGE_KEYS, query.tenant, dry_run=query.dry_run)
    edited = await commands.edit_key(key_id, expected=expected, **_changes(body))
    return _changed(response, commands, edited.record, edited.warnings)


@router.delete("/{key_id}", **documented("Delete a key", 412, answers=204))
async def delete_key(by: ByVisit, key_id: str, query: ForChange, expected: IfMatch) -> None:
    """For good and at once. Its place among the tenant's keys is free."""
    commands = await by.commands(Permission.CHANGE_KEYS, query.tenant, dry_run=query.dry_run)
    await commands.delete_key(key_id, expected=expected)


@router.post("/{key_id}:enable", **documented("Enable a key", 412, etag=True))
async def enable_key(
    by: ByVisit, key_id: str, query: ForChange, expected: IfMatch, response: Response
) -> schemas.ChangedKey:
    """Enable a key that was disabled."""
    return await _set_enabled(by, key_id, query, expected, response, enabled=True)


@router.post("/{key_id}:disable", **documented("Disable a key", 412, etag=True))
async def disable_key(
    by: ByVisit, key_id: str, query: ForChange, expected: IfMatch, response: Response
) -> schemas.ChangedKey:
    """Disable a key at once; it can be enabled again."""
    return await _set_enabled(by, key_id, query, expected, response, enabled=False)


@router.post("/{key_id}:extend", **documented("Extend a key", 409, 412, 422, etag=True))
async def extend_key(
    by: ByVisit,
    key_id: str,
    query: ForChange,
    body: schemas.Extension,
    expected: IfMatch,
    response: Response,
) -> schemas.ChangedKey:
    """Another expiry, also for a key that expired less than seven days ago."""
    commands = await by.commands(Permission.CHANGE_KEYS, query.tenant, dry_run=query.dry_run)
    record = await commands.extend_key(key_id, body.expires_at, expected=expected)
    return _changed(response, commands, record)


@router.post("/{key_id}:rotate", **documented("Rotate a key's secret", 409, 412, 422, etag=True))
async def rotate_key(
    by: ByVisit,
    key_id: str,
    query: ForChange,
    body: schemas.Rotation,
    expected: IfMatch,
    once: Once,
    response: Response,
) -> schemas.IssuedKey:
    """A new secret, which is in this answer only. The one that the key had stays valid for a while."""
    commands = await by.commands(Permission.CHANGE_KEYS, query.tenant, dry_run=query.dry_run)
    issued = await commands.rotate_key(
        key_id,
        overlap=timedelta(seconds=body.overlap_seconds),
        drop_retiring=body.drop_retiring,
        expected=expected,
        idempotency=once.of(by.caller, f"rotate_key {key_id}", body),
    )
    return _issued(response, issued, commands)


@router.post(
    "/{key_id}:duplicate",
    **documented("Duplicate a key", 409, 422, etag=True, answers=201, repeats=schemas.IssuedKey),
)
async def duplicate_key(
    by: ByVisit, key_id: str, query: ForChange, body: schemas.Duplication, once: Once, response: Response
) -> schemas.IssuedKey:
    """A new key of the same type, with the same user, rules and expiry, and a secret of its own."""
    commands = await by.commands(Permission.CHANGE_KEYS, query.tenant, dry_run=query.dry_run)
    issued = await commands.duplicate_key(
        key_id,
        description=body.description,
        idempotency=once.of(by.caller, f"duplicate_key {key_id}", body),
    )
    return _issued(response, issued, commands)


@router.put("/{key_id}/rules", **documented("Replace a key's rules", 409, 412, 422, 428, etag=True))
async def set_rules(
    by: ByVisit,
    key_id: str,
    query: ForChange,
    body: schemas.RulesBody,
    expected: RequiredIfMatch,
    response: Response,
) -> schemas.ChangedKey:
    """Other rules for a custom key; requests see them at once."""
    commands = await by.commands(Permission.CHANGE_KEYS, query.tenant, dry_run=query.dry_run)
    edited = await commands.set_rules(key_id, rules_of(body.rules), expected=expected)
    return _changed(response, commands, edited.record, edited.warnings)


@router.post("/{key_id}/rules:add", **documented("Add rules to a key", 409, 412, 422, etag=True))
async def add_rules(
    by: ByVisit,
    key_id: str,
    query: ForChange,
    body: schemas.RulesBody,
    expected: IfMatch,
    response: Response,
) -> schemas.ChangedKey:
    """More rules for a custom key, behind those that it has."""
    commands = await by.commands(Permission.CHANGE_KEYS, query.tenant, dry_run=query.dry_run)
    edited = await commands.add_rules(key_id, rules_of(body.rules), expected=expected)
    return _changed(response, commands, edited.record, edited.warnings)


@router.post("/{key_id}/rules:remove", **documented("Remove rules from a key", 409, 412, 422, etag=True))
async def remove_rules(
    by: ByVisit,
    key_id: str,
    query: ForChange,
    body: schemas.RulesRemoval,
    expected: IfMatch,
    response: Response,
) -> schemas.ChangedKey:
    """Fewer rules for a custom key, also while Scoped API is off. Without any it opens nothing."""
    commands = await by.commands(Permission.CHANGE_KEYS, query.tenant, dry_run=query.dry_run)
    edited = await commands.remove_rules(
        key_id, rules_of(body.rules), even_the_last=body.even_the_last, expected=expected
    )
    return _changed(response, commands, edited.record, edited.warnings)


async def _set_enabled(
    by: Visit,
    key_id: str,
    query: schemas.ChangeQuery,
    expected: str | None,
    response: Response,
    *,
    enabled: bool,
) -> schemas.ChangedKey:
    commands = await by.commands(Permission.CHANGE_KEYS, query.tenant, dry_run=query.dry_run)
    record = await commands.set_enabled(key_id, enabled=enabled, expected=expected)
    return _changed(response, commands, record)


def _changes(body: schemas.KeyEdit) -> KeyChanges:
    """What is said, which may be null only where that means something."""
    changes: KeyChanges = {}
    for name in ("description", "enabled"):
        if name in body.model_fields_set and getattr(body, name) is None:
            raise InvalidInput(name, f"{name!r} cannot be null.", hint="Leave it out to keep it.")
    if body.description is not None:
        changes["description"] = body.description
    if body.enabled is not None:
        changes["enabled"] = body.enabled
    if "expires_at" in body.model_fields_set:
        changes["expires_at"] = body.expires_at
    if "user" in body.model_fields_set:
        changes["user"] = body.user
    return changes


def _changed(
    response: Response, commands: Commands, record: KeyRecord, warnings: Sequence[str] = ()
) -> schemas.ChangedKey:
    _tag(response, record)
    return changed_key(record, commands.now(), warnings)


def _issued(response: Response, issued: IssuedKey, commands: Commands) -> schemas.IssuedKey:
    _tag(response, issued.record)
    if issued.replayed:
        response.status_code = 200
        response.headers["Idempotency-Replayed"] = "true"
    return issued_key(issued, commands.now())


def _tag(response: Response, record: KeyRecord) -> None:
    response.headers["ETag"] = f'"{etag(record)}"'
