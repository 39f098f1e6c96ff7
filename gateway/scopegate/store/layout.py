"""The names of everything that Scopegate keeps in Redis; docs/data-model.md describes them.

All names of one tenant share the hash tag ``{<tag>}``, so a Redis Cluster keeps them in one slot
and every change of them is one atomic step.
"""

from __future__ import annotations


def key_record(tag: str, key_id: str) -> str:
    """String: one key's record."""
    return f"sg:{{{tag}}}:key:{key_id}"


def key_index(tag: str) -> str:
    """Sorted set: the tenant's key ids, scored by the time of their deletion (ms; +inf: never)."""
    return f"sg:{{{tag}}}:keys"


def user_record(tag: str, user_id: str) -> str:
    """String: one user's record."""
    return f"sg:{{{tag}}}:user:{user_id}"


def user_index(tag: str) -> str:
    """Sorted set: the tenant's user ids, all with score 0, so that they are in byte order."""
    return f"sg:{{{tag}}}:users"


def roles(tag: str) -> str:
    """Hash: role name -> JSON list of privileges."""
    return f"sg:{{{tag}}}:roles"


def groups(tag: str) -> str:
    """Hash: group name -> JSON list of role names."""
    return f"sg:{{{tag}}}:groups"


def catalogue(tag: str) -> str:
    """String: the endpoint catalogue."""
    return f"sg:{{{tag}}}:catalogue"


def flags(tag: str) -> str:
    """Hash: feature flag -> ``on`` or ``off``."""
    return f"sg:{{{tag}}}:flags"
