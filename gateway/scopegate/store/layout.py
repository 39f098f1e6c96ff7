"""The names of everything that Scopegate keeps in Redis; docs/data-model.md describes them.

All names of one tenant share the hash tag ``{<tag>}``, so a Redis Cluster keeps them in one slot
and every change of them is one atomic step.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from scopegate.core.tenants import SYSTEM_TENANT

if TYPE_CHECKING:
    from datetime import date

TENANTS = "sg:{"  # what every name of a tenant begins with
KEY = "key"
USER = "user"
CANARY = "canary"
AUDIT = "audit"
POLICY_KINDS = frozenset({"roles", "groups", "catalogue"})

_SYSTEM = SYSTEM_TENANT.tag
_CANARIES = "sg:canary:"
_NAME = re.compile(r"sg:\{([^{}]*)\}:([a-z]+)(?::(.*))?", re.DOTALL)


class Part(NamedTuple):
    """What a name says: whose it is, of which kind, and the id where the kind has one.

    A canary is no tenant's; its tag is empty.
    """

    tag: str
    kind: str
    id: str


def parse(name: bytes) -> Part | None:
    """What a name of ours says, or None if it is none of ours."""
    text = name.decode("utf-8", "replace")
    if text.startswith(_CANARIES):
        return Part("", CANARY, text.removeprefix(_CANARIES))
    match = _NAME.fullmatch(text)
    return None if match is None else Part(match[1], match[2], match[3] or "")


def key_record(tag: str, key_id: str) -> str:
    """String: one key's record."""
    return f"sg:{{{tag}}}:key:{key_id}"


def key_index(tag: str) -> str:
    """Sorted set: the tenant's key ids, scored by the time of their deletion (ms; +inf: never)."""
    return f"sg:{{{tag}}}:keys"


def expiries(tag: str) -> str:
    """Sorted set: the ids of keys whose expiry is not in the audit log yet, scored by it (ms)."""
    return f"sg:{{{tag}}}:expiries"


def idempotency(tag: str, digest: str) -> str:
    """String: which key got a secret for a request that may be sent again."""
    return f"sg:{{{tag}}}:idempotency:{digest}"


def user_record(tag: str, user_id: str) -> str:
    """String: one user's record."""
    return f"sg:{{{tag}}}:user:{user_id}"


def user_index(tag: str) -> str:
    """Sorted set: the tenant's user ids, all with score 0, so that they are in byte order."""
    return f"sg:{{{tag}}}:users"


def user_names(tag: str) -> str:
    """Hash: what a user signs in with elsewhere, without letter case -> the user's id."""
    return f"sg:{{{tag}}}:usernames"


def group_records(tag: str) -> str:
    """Hash: group id -> the record of a group of the directory."""
    return f"sg:{{{tag}}}:directory:groups"


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


def settings(tag: str) -> str:
    """String: what is settled for the tenant, where it is not what is settled for all."""
    return f"sg:{{{tag}}}:settings"


def audit(tag: str) -> str:
    """List: the lines of the audit log, oldest first."""
    return f"sg:{{{tag}}}:{AUDIT}"


def audit_bounds(tag: str) -> str:
    """String: where the audit log begins and ends."""
    return f"sg:{{{tag}}}:{AUDIT}:bounds"


def tenants() -> str:
    """Hash: tenant id -> the tenant's record; the default tenant is in it only once it is changed."""
    return f"sg:{{{_SYSTEM}}}:tenants"


def administrators() -> str:
    """Hash: administrator id -> the administrator's record."""
    return f"sg:{{{_SYSTEM}}}:administrators"


def admin_token(token_id: str) -> str:
    """String: the record of one token of an administrator."""
    return f"sg:{{{_SYSTEM}}}:token:{token_id}"


def admin_tokens() -> str:
    """Sorted set: the ids of administrators' tokens, scored by the time of their expiry (ms)."""
    return f"sg:{{{_SYSTEM}}}:tokens"


def admin_token_use(token_id: str) -> str:
    """String: when a token was last used (ms).

    It is written often and workers need not know, so it begins as no name does that they are told of.
    """
    return f"sg:used:{{{_SYSTEM}}}:{token_id}"


def bootstrap() -> str:
    """String: the record of the token with which the first system administrator is made."""
    return f"sg:{{{_SYSTEM}}}:bootstrap"


# What is written often must not begin with what workers are told of.


def usage(tag: str, key_id: str, day: date | str) -> str:
    """Hash: ``<hour>:<rule>:<reason>`` -> requests."""
    return f"sg:usage:{{{tag}}}:key:{key_id}:{day}"


def last_uses(tag: str) -> str:
    """Sorted set: key ids, and secrets as ``<key id>:<secret>``, scored by their last use (ms)."""
    return f"sg:usage:{{{tag}}}:last"


def usage_missed(tag: str) -> str:
    """Hash: how many requests were counted for no key, and until when (ms) that happened."""
    return f"sg:usage:{{{tag}}}:missed"


def usage_batch(tag: str, recorder_id: str) -> str:
    """String: the number of the last batch of one recorder."""
    return f"sg:usage:{{{tag}}}:batch:{recorder_id}"


def usage_since() -> str:
    """String: since when (ms) uses are counted."""
    return f"sg:usage:{{{_SYSTEM}}}:since"


def sign_in(digest: str) -> str:
    """String: a sign-in at a provider that was begun, or is to be fetched by a command line."""
    return f"sg:signin:{{{_SYSTEM}}}:{digest}"


def canary(canary_id: str) -> str:
    """String: nothing; that it changes is what it is for."""
    return f"{_CANARIES}{canary_id}"
