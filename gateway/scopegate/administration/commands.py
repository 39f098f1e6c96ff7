"""What a caller can do to tenants, administrators and tokens; each operation asks what that one may."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from scopegate.administration.issuing import IssuedToken, Issuer
from scopegate.core.administrators import Administrator, Permission, Role, require
from scopegate.core.admintokens import no_such_token
from scopegate.core.errors import InvalidInput
from scopegate.core.lines import require_line
from scopegate.core.settling import Settled, changes_limits, settle
from scopegate.core.tenants import LONGEST_NAME, Tenant, new_tenant, no_such_tenant
from scopegate.enforcer import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from scopegate.core.administrators import Caller
    from scopegate.core.admintokens import AdminToken
    from scopegate.core.oidc import Subject
    from scopegate.store import Store
    from scopegate.store.admintokens import UsedToken
    from scopegate.store.tenants import CountedTenant

__all__ = ["Administration", "AdministratorChanges", "Identity", "IssuedToken"]


class AdministratorChanges(TypedDict, total=False):
    """The fields that get another value; those that are not here keep theirs."""

    name: str
    email: str
    role: Role
    tenants: frozenset[str] | None
    active: bool
    subject: Subject | None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a caller is. The operator of the machine is no administrator, and presents no token."""

    caller: Caller
    administrator: Administrator | None
    token: AdminToken | None


class Administration:
    """The operations on the system, for one caller.

    Args:
        store: where everything is kept; its author should be this caller.
        caller: who asks.
        pepper: the HMAC key under which digests are made, if any.
        clock: tells the present moment.
        choose: picks a character at random.
    """

    def __init__(
        self,
        store: Store,
        caller: Caller,
        *,
        pepper: bytes | None = None,
        clock: Callable[[], datetime] = utc_now,
        choose: Callable[[str], str] = secrets.choice,
    ) -> None:
        self._store = store
        self._system = store.system
        self._caller = caller
        self._clock = clock
        self._choose = choose
        self._issuer = Issuer(pepper=pepper, choose=choose)

    async def whoami(self) -> Identity:
        """Who the caller is."""
        caller = self._caller
        return Identity(
            caller,
            None
            if caller.administrator is None
            else await self._system.administrators.get(caller.administrator),
            None if caller.token is None else await self._system.tokens.find(caller.token),
        )

    # Tenants

    async def list_tenants(self) -> list[CountedTenant]:
        """The caller's tenants, by id, each with how many keys it has."""
        tenants = [one for one in await self._system.tenants.all() if self._caller.sees(one.id)]
        return await self._system.tenants.count(tenants, now=self._clock())

    async def find_tenant(self, tenant_id: str) -> Tenant:
        """One of the caller's tenants.

        Raises:
            NotFound: there is no such tenant, or it is none of the caller's.
        """
        if not self._caller.sees(tenant_id):
            raise no_such_tenant(tenant_id)
        return await self._system.tenants.get(tenant_id)

    async def count_tenant(self, tenant_id: str) -> CountedTenant:
        """As `find_tenant`, with how many keys it has."""
        tenant = await self.find_tenant(tenant_id)
        (counted,) = await self._system.tenants.count([tenant], now=self._clock())
        return counted

    async def create_tenant(self, tenant_id: str, *, name: str | None = None) -> Tenant:
        """Create a tenant, ready for keys at once; without a name it is called by its id.

        Raises:
            Forbidden: the caller is no system administrator.
            InvalidInput: the id or the name breaks its rule.
            Conflict: the id is taken.
        """
        require(self._caller, Permission.MANAGE_TENANTS, None)
        now = self._clock()
        called = tenant_id if name is None else name
        return await self._system.tenants.create(
            lambda taken: new_tenant(tenant_id, called, taken, now=now, choose=self._choose)
        )

    async def rename_tenant(self, tenant_id: str, name: str) -> Tenant:
        """Call a tenant otherwise; its id stays.

        Raises:
            Forbidden: the caller is no system administrator.
            NotFound: there is no such tenant.
            InvalidInput: the name breaks its rule.
        """
        require(self._caller, Permission.MANAGE_TENANTS, None)
        require_line("name", name, most=LONGEST_NAME)
        return await self._system.tenants.change(tenant_id, lambda tenant: replace(tenant, name=name))

    async def settings(self, tenant_id: str) -> Settled:
        """What is settled for a tenant.

        Raises:
            NotFound: there is no such tenant, or it is none of the caller's.
        """
        require(self._caller, Permission.READ_SETTINGS, tenant_id)
        tenant = await self._system.tenants.get(tenant_id)
        return await self._store.of(tenant).settings.settled()

    async def change_settings(self, tenant_id: str, changes: Mapping[str, Any]) -> Settled:
        """Settle other values for the fields that `changes` names, as `settle` reads them.

        Raises:
            NotFound: there is no such tenant, or it is none of the caller's.
            Forbidden: the caller may not change settings, or not these.
            InvalidInput: there is no such field, or a value breaks its rule.
        """
        require(self._caller, Permission.CHANGE_SETTINGS, tenant_id)
        tenant = await self._system.tenants.get(tenant_id)

        def edit(present: Settled) -> Settled:
            edited = settle(present, changes)
            if changes_limits(present, edited):
                require(self._caller, Permission.CHANGE_LIMITS, tenant_id)
            return edited

        return await self._store.of(tenant).settings.change(edit)

    # Administrators

    async def list_administrators(self) -> list[Administrator]:
        """Every administrator, the oldest first."""
        require(self._caller, Permission.READ_ADMINISTRATORS, None)
        return await self._system.administrators.all()

    async def find_administrator(self, administrator_id: str) -> Administrator:
        """One administrator; everybody may look at themselves.

        Raises:
            NotFound: there is none with this id.
        """
        if administrator_id != self._caller.administrator:
            require(self._caller, Permission.READ_ADMINISTRATORS, None)
        return await self._system.administrators.get(administrator_id)

    async def create_administrator(
        self, *, name: str, email: str, role: Role, tenants: frozenset[str] | None = None
    ) -> Administrator:
        """Create an administrator, active, without any token.

        Raises:
            Forbidden: the caller is no system administrator.
            InvalidInput: a value breaks its rule, or there is no such tenant.
            Conflict: the e-mail address is another administrator's.
        """
        require(self._caller, Permission.MANAGE_ADMINISTRATORS, None)
        await self._require_tenants(tenants)
        administrator = Administrator(
            id=self._issuer.administrator_id(),
            name=name,
            email=email,
            role=role,
            tenants=tenants,
            created_at=self._clock(),
        )
        await self._system.administrators.create(administrator)
        return administrator

    async def change_administrator(
        self, administrator_id: str, **changes: Unpack[AdministratorChanges]
    ) -> Administrator:
        """Give an administrator other facts, which count for the next call that presents a token of theirs.

        Raises:
            Forbidden: the caller is no system administrator.
            NotFound: there is none with this id.
            InvalidInput: a value breaks its rule, or there is no such tenant.
            Conflict: the e-mail address is another's, or the last active system administrator would go.
        """
        require(self._caller, Permission.MANAGE_ADMINISTRATORS, None)
        await self._require_tenants(changes.get("tenants"))
        return await self._system.administrators.change(
            administrator_id, lambda administrator: replace(administrator, **changes)
        )

    async def delete_administrator(self, administrator_id: str) -> None:
        """Delete an administrator, whose tokens are good no longer.

        Raises:
            Forbidden: the caller is no system administrator.
            NotFound: there is none with this id.
            Conflict: it is the last active system administrator.
        """
        require(self._caller, Permission.MANAGE_ADMINISTRATORS, None)
        await self._system.administrators.delete(administrator_id)

    async def _require_tenants(self, tenants: frozenset[str] | None) -> None:
        if not tenants:
            return
        unknown = sorted(tenants - {one.id for one in await self._system.tenants.all()})
        if unknown:
            raise InvalidInput(
                "tenants",
                f"There is no tenant {unknown[0]!r}.",
                hint="Create the tenant first, or correct its id.",
                code="tenant_not_found",
            )

    # Tokens

    async def list_tokens(self, administrator_id: str | None = None) -> list[UsedToken]:
        """The tokens and sessions of an administrator, or of the caller; the oldest first.

        Raises:
            Forbidden: they are another's, and the caller may not read about administrators.
        """
        owner = self._owner(administrator_id, Permission.READ_ADMINISTRATORS)
        tokens = await self._system.tokens.all(now=self._clock())
        return [one for one in tokens if one.token.administrator == owner]

    async def create_token(
        self,
        *,
        description: str,
        expires_at: datetime | None = None,
        administrator_id: str | None = None,
    ) -> IssuedToken:
        """Create a token for an administrator, or for the caller; without an expiry it has 90 days.

        Raises:
            Forbidden: it is for another, and the caller is no system administrator.
            NotFound: there is no such administrator.
            InvalidInput: the description or the expiry breaks its rule.
        """
        owner = self._owner(administrator_id, Permission.MANAGE_ADMINISTRATORS)
        issued = self._issuer.token(owner, description=description, expires_at=expires_at, now=self._clock())
        await self._system.tokens.create(issued.token)
        return issued

    async def revoke_token(self, token_id: str) -> None:
        """Revoke a token or a session; it is good no longer, and no session is that was opened with it.

        Raises:
            NotFound: there is no such token, or it is another's and the caller no system administrator.
        """
        token = await self._system.tokens.find(token_id)
        if token is None or not self._may_revoke(token):
            raise no_such_token(token_id)
        await self._system.tokens.revoke(token_id)

    def _may_revoke(self, token: AdminToken) -> bool:
        own = token.administrator == self._caller.administrator
        return own or Permission.MANAGE_ADMINISTRATORS in self._caller.permissions

    def _owner(self, administrator_id: str | None, permission: Permission) -> str:
        if administrator_id is None or administrator_id == self._caller.administrator:
            if self._caller.administrator is None:
                raise InvalidInput(
                    "administrator", "Whose token is meant?", hint="Name the administrator by id."
                )
            return self._caller.administrator
        require(self._caller, permission, None)
        return administrator_id
