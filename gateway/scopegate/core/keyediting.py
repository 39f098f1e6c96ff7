"""What can be changed of a key that exists, and what cannot be changed that way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from scopegate.core.decision import Scope
from scopegate.core.errors import Conflict, InvalidInput, NotFound
from scopegate.core.keys import (
    DEFAULT_RULE_METHODS,
    KeyRecord,
    KeyType,
    Rule,
    require_description,
    require_future_expiry,
    require_rules,
)
from scopegate.core.lifetimes import require_lifetime
from scopegate.core.tenants import DEFAULT_SETTINGS, TenantSettings

if TYPE_CHECKING:
    from datetime import datetime


class KeyChanges(TypedDict, total=False):
    """The fields that get another value; those that are not here keep theirs."""

    description: str
    expires_at: datetime | None
    user: str | None
    enabled: bool


def edited(
    record: KeyRecord, changes: KeyChanges, now: datetime, settings: TenantSettings = DEFAULT_SETTINGS
) -> KeyRecord:
    """`record` with `changes`.

    Raises:
        InvalidInput: a value breaks a rule of the key's type (D5, D6, D7), or the key would live longer
            than `settings` allow.
    """
    if "description" in changes:
        require_description(changes["description"])
    changed = replace(record, **changes)
    if "expires_at" in changes:
        require_future_expiry(changed.expires_at, now)
        require_lifetime(changed.type, changed.expires_at, now, settings)
    return changed


def with_rules(
    record: KeyRecord, added: tuple[Rule, ...], rule_methods: frozenset[str] = DEFAULT_RULE_METHODS
) -> KeyRecord:
    """`record` with more rules, behind those that it has; the new ones may name `rule_methods`.

    Raises:
        InvalidInput: the key is not custom, or could not have been created with all these rules.
    """
    return _with(record, record.rules + added, rule_methods, kept=len(record.rules))


def with_only_rules(
    record: KeyRecord, rules: tuple[Rule, ...], rule_methods: frozenset[str] = DEFAULT_RULE_METHODS
) -> KeyRecord:
    """`record` with `rules` in place of those that it has; they may name `rule_methods`.

    Raises:
        InvalidInput: the key is not custom, or could not have been created with these rules.
    """
    return _with(record, rules, rule_methods, kept=0)


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


def _with(
    record: KeyRecord, rules: tuple[Rule, ...], rule_methods: frozenset[str], *, kept: int
) -> KeyRecord:
    _require_custom(record)
    changed = replace(record, rules=rules)
    require_rules(rules, rule_methods, kept=kept)
    Scope(changed)  # rules that cannot be compiled are refused here, not at every request
    return changed


def _require_custom(record: KeyRecord) -> None:
    if record.type is not KeyType.CUSTOM:
        raise InvalidInput(
            "rules",
            f"A key of type {record.type} has no URL rules.",
            hint="Create a custom key in place of it.",
            code="rules_only_for_custom",
        )
