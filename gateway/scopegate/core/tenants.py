"""Tenants: whose keys, users and policies they are, and what is settled for each."""

from __future__ import annotations

from dataclasses import dataclass

from scopegate.core.keys import DEFAULT_RULE_METHODS, KEYS_PER_TENANT

SCOPED_API = "scoped_api"


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant. ``tag`` is the first part of the ids of its keys and names its slot in the store."""

    id: str
    tag: str


DEFAULT_TENANT = Tenant(id="default", tag="000")
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
