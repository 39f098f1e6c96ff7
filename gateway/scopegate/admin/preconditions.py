"""``If-Match`` (RFC 9110 section 13.1.1): something is changed only if it is what the caller last saw."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header

from scopegate.core.errors import InvalidInput, ScopegateError

ANY = "*"
_STRONG = re.compile(r'"([\x21\x23-\x7e]*)"')
_HINT = 'Send its ETag: If-Match: "...", or If-Match: * for whatever it is now.'


class PreconditionRequired(ScopegateError):
    """A change without ``If-Match``, which could undo another one unseen (RFC 6585 section 3)."""

    code = "if_match_required"


def _expected(if_match: Annotated[str | None, Header()] = None) -> str | None:
    """The version that it has to have, or None where any will do."""
    if if_match is None or if_match.strip() == ANY:
        return None
    match = _STRONG.fullmatch(if_match.strip())
    if match is None:
        raise InvalidInput(
            "header:If-Match", "If-Match is not one strong entity tag.", hint=_HINT, code="if_match_invalid"
        )
    return match[1]


def _expected_for_sure(if_match: Annotated[str | None, Header()] = None) -> str | None:
    if if_match is None:
        raise PreconditionRequired(
            "If-Match is missing, so a change of another administrator could be lost.", hint=_HINT
        )
    return _expected(if_match)


IfMatch = Annotated[str | None, Depends(_expected)]
RequiredIfMatch = Annotated[str | None, Depends(_expected_for_sure)]
