"""What can be settled for a tenant, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from scopegate.core.errors import InvalidInput
from scopegate.core.policies import UNLISTED, unlisted_word
from scopegate.core.request import METHODS
from scopegate.core.tenants import DEFAULT_SETTINGS, TenantSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

HIGHEST_KEY_LIMIT = 100_000
LONGEST_LIFETIME = 36_500  # days
LIMITS = frozenset({"key_limit_max", "rule_methods"})  # what a system administrator alone changes

_UNLISTED_FIELD = "unlisted_endpoints"
_LIFETIMES = frozenset({"default_lifetime", "max_lifetime"})
_KNOWN = (*(one.name for one in fields(TenantSettings)), _UNLISTED_FIELD)


@dataclass(frozen=True, slots=True)
class Settled:
    """All that is settled for a tenant: its settings, and whether unlisted endpoints are open (D10)."""

    settings: TenantSettings = DEFAULT_SETTINGS
    unlisted_allowed: bool = False

    @property
    def unlisted_endpoints(self) -> str:
        """As policy files say it: ``deny`` or ``allow``."""
        return unlisted_word(allowed=self.unlisted_allowed)


def settle(present: Settled, changes: Mapping[str, Any]) -> Settled:
    """`present` with other values for the fields that `changes` names, which come from outside.

    The fields are those of `TenantSettings`, with a list of texts for the methods, and
    ``unlisted_endpoints``.

    Raises:
        InvalidInput: there is no such field, a value breaks its rule, or two do not go together.
    """
    for field in changes:
        if field not in _KNOWN:
            raise InvalidInput(field, "There is no such setting.", hint=f"Known are: {', '.join(_KNOWN)}.")
    values = {field: _read(field, value) for field, value in changes.items()}
    unlisted_allowed = values.pop(_UNLISTED_FIELD, present.unlisted_allowed)
    settings = replace(present.settings, **values)
    _require_consistent(settings)
    return Settled(settings, unlisted_allowed)


def changes_limits(before: Settled, after: Settled) -> bool:
    """Whether they differ in what a system administrator alone may change."""
    return any(getattr(before.settings, field) != getattr(after.settings, field) for field in LIMITS)


def _read(field: str, value: object) -> Any:  # noqa: ANN401 -- each field has its type
    if field == _UNLISTED_FIELD:
        if not isinstance(value, str) or value not in UNLISTED:
            raise InvalidInput(
                field, "Endpoints that are not listed are denied or allowed.", hint="Write deny or allow."
            )
        return UNLISTED[value]
    if field == "rule_methods":
        return _methods(value)
    if field in _LIFETIMES:
        return (
            None if value is None else _number(field, value, LONGEST_LIFETIME, " days, or null for no bound")
        )
    return _number(field, value, HIGHEST_KEY_LIMIT, "")


def _number(field: str, value: object, most: int, unit: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidInput(
            field, f"The value of {field} is out of bounds.", hint=f"Write a number from 1 to {most}{unit}."
        )
    return value


def _methods(value: object) -> frozenset[str]:
    hint = f"Choose from {', '.join(sorted(METHODS))}."
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise InvalidInput("rule_methods", "The methods are no list.", hint=hint)
    if not value:
        raise InvalidInput("rule_methods", "Without any method, no rule could be written.", hint=hint)
    for method in value:
        if not isinstance(method, str) or method not in METHODS:
            raise InvalidInput("rule_methods", f"{method!r} is no method that a rule can name.", hint=hint)
    return frozenset(value)


def _require_consistent(settings: TenantSettings) -> None:
    if settings.key_limit > settings.key_limit_max:
        raise InvalidInput(
            "key_limit",
            f"The limit of {settings.key_limit} keys is above the {settings.key_limit_max} that are allowed.",
            hint="Choose a lower limit, or have a system administrator raise key_limit_max.",
            code="key_limit_too_high",
        )
    default, longest = settings.default_lifetime, settings.max_lifetime
    if default is not None and longest is not None and default > longest:
        raise InvalidInput(
            "default_lifetime",
            f"The default lifetime of {default} days is longer than the longest, {longest} days.",
            hint="Shorten it, or raise max_lifetime.",
        )
