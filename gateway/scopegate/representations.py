"""Core values as plain JSON objects: what ``-o json`` prints. No secret is ever among them."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from scopegate.core.keys import KeyRecord, retiring_at, state

if TYPE_CHECKING:
    from datetime import datetime

    from scopegate.commands import Explanation
    from scopegate.core.principal import Principal, User

JsonObject = dict[str, Any]


def timestamp(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with ``Z``, to the second."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key_object(record: KeyRecord, now: datetime) -> JsonObject:
    """One key, with its state at `now` and, if a secret of it is retiring then, until when."""
    retiring = retiring_at(record, now)
    return {
        "id": record.id,
        "type": record.type.value,
        "state": state(record, now).value,
        "description": record.description,
        "user": record.user,
        "created_at": timestamp(record.created_at),
        "expires_at": timestamp(record.expires_at),
        "delete_at": timestamp(record.delete_at),
        "retiring_until": None if retiring is None else timestamp(retiring.until),
        "rules": [{"method": rule.method, "url": rule.url} for rule in record.rules],
    }


def user_object(user: User, principal: Principal | None = None) -> JsonObject:
    """One user, with the privileges held now where they are known."""
    shown: JsonObject = {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "organization": user.organization,
        "active": user.active,
        "groups": sorted(user.groups),
        "roles": sorted(user.roles),
        "user_name": user.user_name,
        "external_id": user.external_id,
        "given_name": user.given_name,
        "family_name": user.family_name,
    }
    if principal is not None:
        shown["privileges"] = sorted(principal.privileges)
    return shown


def explanation_object(explanation: Explanation) -> JsonObject:
    """A decision and the checks that led to it."""
    decision = explanation.decision
    return {
        "allowed": decision.allowed,
        "reason": decision.reason.value,
        "rule": None if decision.rule is None else decision.rule + 1,
        "missing_privileges": list(decision.missing),
        "steps": [
            {"check": step.check.value, "outcome": step.outcome.value, "detail": step.detail}
            for step in explanation.steps
        ],
    }
