"""Tenants: whose keys, users and policies they are, and what is settled for each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 -- msgspec reads the annotation
from typing import TYPE_CHECKING

from scopegate.core.errors import Conflict, InvalidInput, NotFound
from scopegate.core.keys import BASE62, DEFAULT_RULE_METHODS, KEYS_PER_TENANT, TENANT_TAG_LENGTH
from scopegate.core.lines import require_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

SCOPED_API = "scoped_api"
LONGEST_NAME = 100  # characters

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_TAG_ATTEMPTS = 1_000


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant. ``tag`` is the first part of the ids of its keys and names its slot in the store.

    ``name`` is what people call it. ``created_at`` is aware; None for the tenant that always was.
    """

    id: str
    tag: str
    name: str = ""
    created_at: datetime | None = None


DEFAULT_TENANT = Tenant(id="default", tag="000", name="Default")
# Where tenants and administrators themselves are kept, and the log of who changed those. Tags of
# tenants have three characters, so this is the tag of none.
SYSTEM_TENANT = Tenant(id="", tag="system")


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """What is settled for one tenant.

    ``key_limit`` is how many keys it may have (D2), never more than ``key_limit_max``, which a system
    administrator allows. ``rule_methods`` are the methods that its rules may name (D9).
    ``default_lifetime`` is the number of days after which a new key expires that was given no expiry,
    and ``max_lifetime`` the longest time in days; None: keys need not expire.
    """

    key_limit: int = KEYS_PER_TENANT
    key_limit_max: int = KEYS_PER_TENANT
    rule_methods: frozenset[str] = DEFAULT_RULE_METHODS
    default_lifetime: int | None = None
    max_lifetime: int | None = None


DEFAULT_SETTINGS = TenantSettings()


def new_tenant(
    tenant_id: str, name: str, taken: Collection[Tenant], *, now: datetime, choose: Callable[[str], str]
) -> Tenant:
    """A tenant with an id and a tag that none of those has which are `taken`.

    Args:
        tenant_id: 1 to 40 lower-case letters, digits and inner hyphens; it never changes.
        name: what people call it.
        taken: all other tenants; no tag is ever used again, for keys begin with it.
        now: the moment of its creation.
        choose: picks one character of an alphabet, in production at random.

    Raises:
        InvalidInput: the id or the name breaks its rule.
        Conflict: the id is taken, or there are as many tenants as there can be.
    """
    if not _ID.fullmatch(tenant_id):
        raise InvalidInput(
            "id",
            "That cannot be the id of a tenant.",
            hint="Use 1 to 40 lower-case letters, digits and hyphens, such as 'acme'; no hyphen at the ends.",
        )
    require_line("name", name, most=LONGEST_NAME)
    if tenant_id in {one.id for one in taken}:
        raise Conflict(f"There is a tenant {tenant_id!r} already.", hint="Choose another id.")
    tags = {one.tag for one in taken}
    for _ in range(_TAG_ATTEMPTS):
        tag = "".join(choose(BASE62) for _ in range(TENANT_TAG_LENGTH))
        if tag not in tags:
            return Tenant(tenant_id, tag, name, now)
    raise Conflict("No free tag was found for the tenant.", hint="Try again.")


def no_such_tenant(tenant_id: str) -> NotFound:
    """The error for a tenant that does not exist, and for one that the caller may not know of."""
    return NotFound(f"There is no tenant {tenant_id!r}.", hint="List the tenants that you may see.")
