"""``/admin/v1/tenants``: tenants, and what is settled for each."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from scopegate.admin import schemas
from scopegate.admin.documents import settings, tenant
from scopegate.admin.openapi import documented
from scopegate.admin.visit import ByVisit

router = APIRouter(prefix="/tenants", tags=["tenants"])
ForSystem = Annotated[schemas.NoQuery, Query()]
ForSystemChange = Annotated[schemas.SystemChangeQuery, Query()]


@router.get("", **documented("List tenants"))
async def list_tenants(by: ByVisit, _query: ForSystem) -> schemas.TenantList:
    """All tenants that the caller may know of, by id."""
    found = await by.administration().list_tenants()
    return schemas.TenantList(items=[tenant(one.tenant, keys=one.keys) for one in found])


@router.post("", **documented("Create a tenant", 409, 422, answers=201))
async def create_tenant(by: ByVisit, query: ForSystemChange, body: schemas.TenantCreation) -> schemas.Tenant:
    """A tenant that is ready for keys at once. Only a system administrator can."""
    return tenant(
        await by.administration(dry_run=query.dry_run).create_tenant(body.id, name=body.name), keys=0
    )


@router.get("/{tenant_id}", **documented("Show a tenant"))
async def show_tenant(by: ByVisit, tenant_id: str, _query: ForSystem) -> schemas.Tenant:
    """One tenant."""
    found = await by.administration().count_tenant(tenant_id)
    return tenant(found.tenant, keys=found.keys)


@router.patch("/{tenant_id}", **documented("Rename a tenant", 422))
async def rename_tenant(
    by: ByVisit, tenant_id: str, query: ForSystemChange, body: schemas.TenantNaming
) -> schemas.Tenant:
    """Call a tenant otherwise; its id stays. Only a system administrator can."""
    await by.administration(dry_run=query.dry_run).rename_tenant(tenant_id, body.name)
    found = await by.administration(dry_run=query.dry_run).count_tenant(tenant_id)
    return tenant(found.tenant, keys=found.keys)


@router.get("/{tenant_id}/settings", **documented("Show a tenant's settings"))
async def show_settings(by: ByVisit, tenant_id: str, _query: ForSystem) -> schemas.TenantSettings:
    """How many keys the tenant may have, which methods its rules may name, and how long its keys live."""
    return settings(await by.administration().settings(tenant_id))


@router.patch("/{tenant_id}/settings", **documented("Change a tenant's settings", 409, 422))
async def change_settings(
    by: ByVisit, tenant_id: str, query: ForSystemChange, body: schemas.SettingsBody
) -> schemas.TenantSettings:
    """`key_limit_max` and `rule_methods` are for system administrators. Keys that exist stay as they are."""
    changes = body.model_dump(exclude_unset=True)
    return settings(await by.administration(dry_run=query.dry_run).change_settings(tenant_id, changes))
