"""Where a request carries its key, and that it carries exactly one."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from scopegate.core.reasons import Reason, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scopegate.core.headers import Field

DEFAULT_KEY_HEADER = b"x-api-key"
AUTHORIZATION = b"authorization"
_BEARER_SCHEME = b"bearer"
_BEARER = _BEARER_SCHEME + b" "
_WHITESPACE = b" \t"  # RFC 9110 section 5.6.3; bytes.strip() without it would eat more


def bearer_token(authorization: bytes) -> bytes | None:
    """The token in the value of an ``Authorization`` field (RFC 6750 section 2.1), if it is a bearer's."""
    value = authorization.strip(_WHITESPACE)
    return value[7:] if authorization.lstrip(_WHITESPACE)[:7].lower() == _BEARER else None


def the_key(candidates: Sequence[bytes]) -> str:
    """The text that a request presents as its key, not yet looked at.

    It stands in the field for keys or is a bearer token, never in the query, which ends up in logs
    and histories.

    Args:
        candidates: the values of all fields that could hold it.

    Raises:
        RequestRefused: no key, or more than one field that could hold it. Which of two keys counts
            would be for each reader of the request to guess, so neither does.
    """
    if not candidates:
        raise RequestRefused(Reason.KEY_MISSING)
    if len(candidates) > 1:
        raise RequestRefused(Reason.KEY_AMBIGUOUS)
    return candidates[0].strip(_WHITESPACE).decode("latin-1")


def credential_fields(
    headers: Iterable[Field], *, key_header: bytes = DEFAULT_KEY_HEADER
) -> frozenset[bytes]:
    """The names of the fields that must not reach the application, for they may hold a key.

    An ``Authorization`` of another scheme than Bearer is the application's own and stays.
    """
    for name, value in headers:
        if name == AUTHORIZATION and value.lstrip(_WHITESPACE)[:6].lower() == _BEARER_SCHEME:
            return _with_authorization(key_header)
    return _alone(key_header)


@lru_cache(maxsize=8)
def _alone(key_header: bytes) -> frozenset[bytes]:
    return frozenset({key_header})


@lru_cache(maxsize=8)
def _with_authorization(key_header: bytes) -> frozenset[bytes]:
    return frozenset({key_header, AUTHORIZATION})
