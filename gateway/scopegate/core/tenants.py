"""Tenants: whose keys, users and policies they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant. ``tag`` is the first part of the ids of its keys and names its slot in the store."""

    id: str
    tag: str


DEFAULT_TENANT = Tenant(id="default", tag="000")
SCOPED_API = "scoped_api"
