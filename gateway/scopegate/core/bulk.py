"""What can be done to many keys in one go."""

from __future__ import annotations

from enum import StrEnum


class BulkAction(StrEnum):
    """What can be done to many keys in one go."""

    ENABLE = "enable"
    DISABLE = "disable"
    EXTEND = "extend"
    DELETE = "delete"
