"""What a SCIM client did wrong, in the words of RFC 7644 section 3.12."""

from __future__ import annotations

from enum import StrEnum

from scopegate.core.errors import ScopegateError


class ScimType(StrEnum):
    """The kinds of error that a client can tell apart (RFC 7644 table 9), as far as they happen here."""

    INVALID_FILTER = "invalidFilter"
    UNIQUENESS = "uniqueness"
    MUTABILITY = "mutability"
    INVALID_SYNTAX = "invalidSyntax"
    INVALID_PATH = "invalidPath"
    NO_TARGET = "noTarget"
    INVALID_VALUE = "invalidValue"


class ScimRefused(ScopegateError):
    """A request that cannot be granted as it stands: 400, with the kind of error."""

    code = "scim_refused"

    def __init__(self, scim_type: ScimType, message: str) -> None:
        super().__init__(message)
        self.scim_type = scim_type
