"""What can be settled for a tenant, and within which bounds."""

from __future__ import annotations

from typing import Any

import pytest

from scopegate.core.errors import InvalidInput
from scopegate.core.settling import Settled, changes_limits, settle
from scopegate.core.tenants import TenantSettings

METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]


def raised(*, unlisted_allowed: bool = True, **changes: Any) -> Settled:
    fields: dict[str, Any] = {"key_limit": 500, "key_limit_max": 1_000}
    return Settled(TenantSettings(**(fields | changes)), unlisted_allowed=unlisted_allowed)


RAISED = raised()
ACCEPTED: dict[str, tuple[dict[str, Any], Settled]] = {
    "nothing": ({}, RAISED),
    "the lowest limit": ({"key_limit": 1}, raised(key_limit=1)),
    "the limit that is allowed": ({"key_limit": 1_000}, raised(key_limit=1_000)),
    "the highest limits": (
        {"key_limit": 100_000, "key_limit_max": 100_000},
        raised(key_limit=100_000, key_limit_max=100_000),
    ),
    "all methods": ({"rule_methods": METHODS}, raised(rule_methods=frozenset(METHODS))),
    "lifetimes": (
        {"default_lifetime": 1, "max_lifetime": 36_500},
        raised(default_lifetime=1, max_lifetime=36_500),
    ),
    "a default that is the longest": (
        {"default_lifetime": 30, "max_lifetime": 30},
        raised(default_lifetime=30, max_lifetime=30),
    ),
    "no lifetimes": ({"default_lifetime": None, "max_lifetime": None}, RAISED),
    "unlisted endpoints": ({"unlisted_endpoints": "deny"}, raised(unlisted_allowed=False)),
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown field": ({"quota": 3}, "quota"),
    "the name of the record's own field": ({"unlisted_allowed": True}, "unlisted_allowed"),
    "no key at all": ({"key_limit": 0}, "key_limit"),
    "a limit above what is allowed": ({"key_limit": 1_001}, "key_limit"),
    "an allowed limit below the present one": ({"key_limit_max": 499}, "key_limit"),
    "an allowed limit above the highest": ({"key_limit_max": 100_001}, "key_limit_max"),
    "a limit that is a flag": ({"key_limit": True}, "key_limit"),
    "a limit that is a text": ({"key_limit": "300"}, "key_limit"),
    "a limit that is no whole number": ({"key_limit": 1.5}, "key_limit"),
    "no limit": ({"key_limit": None}, "key_limit"),
    "no method": ({"rule_methods": []}, "rule_methods"),
    "a method that tunnels": ({"rule_methods": ["GET", "CONNECT"]}, "rule_methods"),
    "a method that echoes": ({"rule_methods": ["TRACE"]}, "rule_methods"),
    "a method in small letters": ({"rule_methods": ["get"]}, "rule_methods"),
    "methods that are a text": ({"rule_methods": "GET"}, "rule_methods"),
    "a method that is no text": ({"rule_methods": [{}]}, "rule_methods"),
    "no methods": ({"rule_methods": None}, "rule_methods"),
    "no lifetime": ({"max_lifetime": 0}, "max_lifetime"),
    "a lifetime that is too long": ({"default_lifetime": 36_501}, "default_lifetime"),
    "a default above the longest": ({"default_lifetime": 31, "max_lifetime": 30}, "default_lifetime"),
    "another word for unlisted endpoints": ({"unlisted_endpoints": "yes"}, "unlisted_endpoints"),
    "a flag for unlisted endpoints": ({"unlisted_endpoints": True}, "unlisted_endpoints"),
}


@pytest.mark.parametrize(("changes", "after"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_is_within_bounds_is_settled(changes: dict[str, Any], after: Settled) -> None:
    assert settle(RAISED, changes) == after


@pytest.mark.parametrize(("changes", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_is_refused_by_its_name_with_the_fix(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        settle(RAISED, changes)
    assert refused.value.field == field
    assert refused.value.hint


@pytest.mark.parametrize(
    ("changes", "limits"),
    [
        ({"key_limit": 1, "default_lifetime": 3, "max_lifetime": 9, "unlisted_endpoints": "deny"}, False),
        ({"key_limit_max": 1_000, "rule_methods": ["POST", "GET"]}, False),  # as they are
        ({"key_limit_max": 2_000}, True),
        ({"rule_methods": ["GET"]}, True),
    ],
)
def test_two_settings_are_a_system_administrators(changes: dict[str, Any], *, limits: bool) -> None:
    assert changes_limits(RAISED, settle(RAISED, changes)) is limits
