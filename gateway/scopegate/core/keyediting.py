"""What can be changed of a key that exists, and what cannot be changed that way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from scopegate.core.decision import Scope
from scopegate.core.errors import Conflict, InvalidInput, NotFound
from scopegate.core.keys import (
    KeyRecord,
    KeyType,
    Rule,
    require_description,
    require_future_expiry,
    require_rules,
)

if TYPE_CHECKING:
    from datetime import datetime


class KeyChanges(TypedDict, total=False):
    """The fields that get another value; those that are not here keep theirs."""

    description: str
    expires_at: datetime | None
    user: str | None


def edited(record: KeyRecord, changes: KeyChanges, now: datetime) -> KeyRecord:
    """`record` with `changes`.

    Raises:
        InvalidInput: a value breaks a rule of the key's type (D5, D6, D7).
    """
    if "description" in changes:
        require_description(changes["description"])
    changed = replace(record, **changes)
    if "expires_at" in changes:
        require_future_expiry(changed.expires_at, now)
    return changed


def with_rules(record: KeyRecord, added: tuple[Rule, ...]) -> KeyRecord:
    """`record` with more rules, behind those that it has.

    Raises:
        InvalidInput: the key is not custom, or could not have been created with all these rules.
    """
    _require_custom(record)
    changed = replace(record, rules=record.rules + added)
    require_rules(changed.rules)
    Scope(changed)  # rules that cannot be compiled are refused here, not at every request
    return changed


def without_rules(record: KeyRecord, removed: tuple[Rule, ...], *, even_the_last: bool) -> KeyRecord:
    """`record` without some of its rules.

    Args:
        even_the_last: whether it may be left without any, so that it opens nothing.

    Raises:
        InvalidInput: the key is not custom.
        NotFound: it has no such rule.
        Conflict: none would be left, and that is not said to be meant.
    """
    _require_custom(record)
    for rule in removed:
        if rule not in record.rules:
            raise NotFound(
                f"The key {record.id} has no rule {rule.method} {rule.url}.",
                hint=f"See its rules with: scopegate key rules list {record.id}",
            )
    left = tuple(rule for rule in record.rules if rule not in removed)
    if not left and not even_the_last:
        raise Conflict(
            f"Without this rule the key {record.id} opens nothing.",
            hint="Confirm that with --yes, or add another rule first.",
            code="last_rule",
        )
    return replace(record, rules=left)


def rule_in_row(record: KeyRecord, row: int) -> Rule:
    """The rule in a row, counted from 1.

    Raises:
        InvalidInput: the key is not custom.
        NotFound: it has no such row.
    """
    _require_custom(record)
    if not 1 <= row <= len(record.rules):
        raise NotFound(
            f"The key {record.id} has no row {row}; it has {len(record.rules)}.",
            hint=f"See its rules with: scopegate key rules list {record.id}",
        )
    return record.rules[row - 1]


def _require_custom(record: KeyRecord) -> None:
    if record.type is not KeyType.CUSTOM:
        raise InvalidInput(
            "rules",
            f"A key of type {record.type} has no URL rules.",
            hint="Create a custom key in place of it.",
            code="rules_only_for_custom",
        )
