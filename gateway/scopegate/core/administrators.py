"""Administrators: who may do what, for which tenants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 -- msgspec reads the annotation
from enum import StrEnum
from typing import TYPE_CHECKING

from scopegate.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from scopegate.core.lines import require_line
from scopegate.core.oidc import Subject  # noqa: TC001 -- as above
from scopegate.core.tenants import LONGEST_NAME, no_such_tenant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_EMAIL = re.compile(r"[!-?A-~]{1,64}@[!-?A-~]{1,189}")  # visible ASCII with one @ within


class Role(StrEnum):
    """What an administrator is."""

    SYSTEM_ADMINISTRATOR = "system_administrator"
    KEY_ADMINISTRATOR = "key_administrator"
    AUDITOR = "auditor"
    PROVISIONER = "provisioner"


class Permission(StrEnum):
    """What can be permitted. Those of the first group are about one tenant, the others about the system."""

    READ_KEYS = "read_keys"
    CHANGE_KEYS = "change_keys"
    READ_USERS = "read_users"
    CHANGE_USERS = "change_users"
    READ_POLICIES = "read_policies"
    CHANGE_POLICIES = "change_policies"
    READ_SETTINGS = "read_settings"
    CHANGE_SETTINGS = "change_settings"
    CHANGE_LIMITS = "change_limits"
    CHANGE_FLAGS = "change_flags"
    READ_AUDIT = "read_audit"
    PROVISION = "provision"

    MANAGE_TENANTS = "manage_tenants"
    READ_ADMINISTRATORS = "read_administrators"
    MANAGE_ADMINISTRATORS = "manage_administrators"
    READ_SYSTEM_AUDIT = "read_system_audit"


_READING = frozenset(permission for permission in Permission if permission.startswith("read_"))
PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.SYSTEM_ADMINISTRATOR: frozenset(Permission),
    Role.KEY_ADMINISTRATOR: frozenset(
        {
            *(Permission.READ_KEYS, Permission.CHANGE_KEYS),
            *(Permission.READ_USERS, Permission.CHANGE_USERS),
            *(Permission.READ_POLICIES, Permission.CHANGE_POLICIES),
            *(Permission.READ_SETTINGS, Permission.CHANGE_SETTINGS),
            Permission.READ_AUDIT,
        }
    ),
    Role.AUDITOR: _READING,
    Role.PROVISIONER: frozenset({Permission.PROVISION}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Administrator:
    """A person, or a program, that administers. ``tenants`` are those it is about; None stands for all.

    ``subject`` is as whom it signs in at an OpenID Connect provider; None until it has done so once.

    Raises:
        InvalidInput: a system administrator of some tenants only, or a provisioner of several.
    """

    id: str
    name: str
    email: str
    role: Role
    tenants: frozenset[str] | None = None
    active: bool = True
    created_at: datetime
    subject: Subject | None = None

    def __post_init__(self) -> None:
        if self.role is Role.SYSTEM_ADMINISTRATOR and self.tenants is not None:
            raise InvalidInput(
                "tenants",
                "A system administrator administers all tenants.",
                hint=f"Leave the tenants out, or choose the role {Role.KEY_ADMINISTRATOR}.",
            )
        if self.role is Role.PROVISIONER and (self.tenants is None or len(self.tenants) != 1):
            raise InvalidInput(
                "tenants",
                "A provisioner keeps the people of one tenant.",
                hint="Name that tenant; another one has a provisioner of its own.",
            )

    @property
    def rules_the_system(self) -> bool:
        """Whether it can do everything, now."""
        return self.active and self.role is Role.SYSTEM_ADMINISTRATOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks for something, and what that one is at this moment.

    ``actor`` is how the audit log names it. ``administrator`` and ``token`` are ids; both are None for
    the operator of the machine, who needs neither.
    """

    actor: str
    role: Role
    tenants: frozenset[str] | None = None
    administrator: str | None = None
    token: str | None = None

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the role permits."""
        return PERMISSIONS[self.role]

    def sees(self, tenant_id: str) -> bool:
        """Whether the tenant, if it exists, is one of the caller's."""
        return self.tenants is None or tenant_id in self.tenants


def operator(actor: str) -> Caller:
    """Who works on the machine itself, and could write to the store as well."""
    return Caller(actor=actor, role=Role.SYSTEM_ADMINISTRATOR)


def require(caller: Caller, permission: Permission, tenant_id: str | None) -> None:
    """Make sure that `caller` may do this to a tenant, or to the system if `tenant_id` is None.

    Raises:
        NotFound: the tenant is none of the caller's; whether it exists is not told.
        Forbidden: the role does not permit it.
    """
    if tenant_id is not None and not caller.sees(tenant_id):
        raise no_such_tenant(tenant_id)
    if permission not in caller.permissions:
        needed = [role for role in Role if permission in PERMISSIONS[role]]
        raise Forbidden(
            f"The role {caller.role} does not permit this ({permission}).",
            hint=f"It needs the role {' or '.join(needed)}.",
        )
    if tenant_id is None and caller.tenants is not None:
        raise Forbidden(
            "This is about the whole system, and you administer some tenants only.",
            hint="It needs an administrator of all tenants.",
        )


def require_administrator(administrator: Administrator, others: Collection[Administrator]) -> None:
    """Refuse an administrator whom nobody could call, or whom another one could be taken for.

    Raises:
        InvalidInput: the name or the e-mail address breaks its rule, or there is no tenant at all.
        Conflict: the address is another administrator's, or the subject.
    """
    require_line("name", administrator.name, most=LONGEST_NAME)
    if not _EMAIL.fullmatch(administrator.email):
        raise InvalidInput(
            "email", "That is no e-mail address.", hint="Write it without spaces, such as maria@example.com."
        )
    if administrator.tenants is not None and not administrator.tenants:
        raise InvalidInput(
            "tenants",
            "An administrator of no tenant could do nothing.",
            hint="Name at least one tenant, or leave the tenants out for all.",
        )
    address = administrator.email.lower()
    if any(one.email.lower() == address and one.id != administrator.id for one in others):
        raise Conflict(
            f"There is an administrator {administrator.email} already.",
            hint="Change that one, or use another address.",
            code="email_taken",
        )
    if administrator.subject is not None and any(
        one.subject == administrator.subject and one.id != administrator.id for one in others
    ):
        raise Conflict(
            "Another administrator signs in as this subject.",
            hint="Unbind that one first.",
            code="subject_taken",
        )


def require_somebody_left(before: Iterable[Administrator], after: Iterable[Administrator]) -> None:
    """Refuse a change after which nobody could administer the system any more.

    Raises:
        Conflict: the last active system administrator would go.
    """
    if any(one.rules_the_system for one in before) and not any(one.rules_the_system for one in after):
        raise Conflict(
            "This is the last active system administrator.",
            hint="Make another administrator a system administrator first.",
            code="last_system_administrator",
        )


def no_such_administrator(administrator_id: str) -> NotFound:
    """The error that says that there is no administrator with this id."""
    return NotFound(f"There is no administrator {administrator_id!r}.", hint="List the administrators.")
