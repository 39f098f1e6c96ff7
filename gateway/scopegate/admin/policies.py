"""``/admin/v1/policies``: the endpoint catalogue, the roles and the groups of a tenant."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response

from scopegate.admin import schemas
from scopegate.admin.openapi import documented
from scopegate.admin.policydocuments import (
    PoliciesBody,
    PolicyChanges,
    TenantPolicies,
    change_document,
    policies_of,
)
from scopegate.admin.preconditions import RequiredIfMatch
from scopegate.admin.visit import ByVisit
from scopegate.core.administrators import Permission
from scopegate.core.policies import Policies
from scopegate.policywriting import document
from scopegate.store.policies import version

router = APIRouter(prefix="/policies", tags=["policies"])


@router.get("", **documented("Show the policies", etag=True))
async def show_policies(
    by: ByVisit, query: Annotated[schemas.TenantQuery, Query()], response: Response
) -> TenantPolicies:
    """All that is in force, as policy files say it."""
    commands = await by.commands(Permission.READ_POLICIES, query.tenant)
    policies = await commands.show_policies()
    _tag(response, policies)
    return TenantPolicies.model_validate(document(policies))


@router.put("", **documented("Replace the policies", 412, 422, 428, etag=True))
async def replace_policies(
    by: ByVisit,
    query: Annotated[schemas.ChangeQuery, Query()],
    body: PoliciesBody,
    expected: RequiredIfMatch,
    response: Response,
) -> PolicyChanges:
    """All at once, and from the next request on; what the body does not name is removed."""
    commands = await by.commands(Permission.CHANGE_POLICIES, query.tenant, dry_run=query.dry_run)
    desired = await asyncio.to_thread(policies_of, body)  # others are served meanwhile
    applied = await commands.apply_policies(desired, expected=expected)
    _tag(response, applied.policies)
    return PolicyChanges(changes=[change_document(change) for change in applied.changes])


def _tag(response: Response, policies: Policies) -> None:
    response.headers["ETag"] = f'"{version(policies)}"'
