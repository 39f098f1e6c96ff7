"""Errors as RFC 9457 problem details of the administration API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from scopegate.admin.line import Busy
from scopegate.admin.preconditions import PreconditionRequired
from scopegate.core.errors import (
    Conflict,
    FeatureDisabled,
    Forbidden,
    InvalidInput,
    KeyLimitReached,
    NotFound,
    PrivilegesUnavailable,
    ScopegateError,
    StaleVersion,
    StoreUnavailable,
    TooManyFailures,
    Unauthenticated,
)
from scopegate.core.oidc import ProviderUnavailable, SignInRefused, SignInStale
from scopegate.problems import Headers, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

_STATUSES: tuple[tuple[type[ScopegateError], int, str], ...] = (
    (NotFound, 404, "There is no such thing"),
    (InvalidInput, 422, "A value is not valid"),
    (Conflict, 409, "The present state does not admit this"),
    (StaleVersion, 412, "It is not what it was"),
    (FeatureDisabled, 403, "The feature is off"),
    (Forbidden, 403, "This is not permitted"),
    (Unauthenticated, 401, "A valid token is needed"),
    (TooManyFailures, 429, "Too many from this address"),
    (SignInStale, 400, "This sign-in is over"),
    (SignInRefused, 403, "You cannot sign in"),
    (ProviderUnavailable, 503, "The provider does not answer"),
    (PreconditionRequired, 428, "A precondition is required"),
    (StoreUnavailable, 503, "The key store does not answer"),
    (PrivilegesUnavailable, 503, "What says what users may do does not answer"),
    (Busy, 503, "The administration API is busy"),
)
_RETRY = ((b"retry-after", b"1"),)
# RFC 6750 section 3.1
_CHALLENGE = ((b"www-authenticate", b'Bearer realm="scopegate administration", error="invalid_token"'),)
_ROW = re.compile(r"\[(\d+)\]")

FAILED = Problem(500, "internal_error", "The server failed", "Tell its operator the request id.")
NO_JSON = Problem(400, "json_invalid", "The body is not JSON", "Send one JSON object (RFC 8259).")
_NOT_CALLED_JSON = Problem(
    415, "media_type_not_supported", "The body is not JSON", "Send it with Content-Type: application/json."
)
TOO_LARGE = Problem(413, "body_too_large", "The request body is too large", "Send less in one request.")


def problem_of(error: ScopegateError, *, has_body: bool = True) -> tuple[Problem, dict[str, Any]]:
    """The answer to what went wrong, and its further members; a request without a body has no field in it."""
    status, title = next(
        ((status, title) for kind, status, title in _STATUSES if isinstance(error, kind)), (500, FAILED.title)
    )
    members: dict[str, Any] = {} if error.hint is None else {"hint": error.hint}
    elsewhere = isinstance(error, InvalidInput) and ":" in error.field and not error.field.startswith("/")
    if isinstance(error, InvalidInput) and (elsewhere or not has_body):
        pointer = error.field if elsewhere else f"request:{error.field}"
        return Problem(400, error.code, "The request is not valid", error.message), members | {
            "errors": [_field(pointer, error.code, error.message)]
        }
    if isinstance(error, InvalidInput):
        members["errors"] = [_field(pointer_to(error.field), error.code, error.message)]
    if isinstance(error, KeyLimitReached):
        members |= {"limit": error.limit, "used": error.used}
        if error.quota is not None:
            members |= {
                "by_type": error.quota.by_type,
                "by_state": error.quota.by_state,
                "reclaimable": error.quota.reclaimable,
            }
    return Problem(status, error.code, title, error.message, _headers(error)), members


def _headers(error: ScopegateError) -> Headers:
    match error:
        case StoreUnavailable() | PrivilegesUnavailable() | ProviderUnavailable() | Busy():
            return _RETRY
        case TooManyFailures():
            return ((b"retry-after", b"%d" % error.retry_after),)
        case Unauthenticated():
            return _CHALLENGE
        case _:
            return ()


def problem_of_request(errors: Sequence[ErrorDetails]) -> tuple[Problem, dict[str, Any]]:
    """The answer to a request whose body, query or header fields are not what the API takes."""
    found = [(str(error["loc"][0]), error["loc"][1:], error) for error in errors]
    if any(error["type"] == "json_invalid" for _, _, error in found):
        return NO_JSON, {}
    if any(isinstance(error["input"], bytes) for _, _, error in found):  # only JSON is read
        return _NOT_CALLED_JSON, {}
    elsewhere = [
        _field(f"{place}:{'.'.join(map(str, path))}", _code(error), _sentence(error))
        for place, path, error in found
        if place != "body"
    ]
    if elsewhere:
        return (
            Problem(400, elsewhere[0]["code"], "The request is not valid", elsewhere[0]["detail"]),
            {"errors": elsewhere},
        )
    fields = [
        _field("".join(f"/{part}" for part in path), _code(error), _sentence(error))
        for _, path, error in found
    ]
    first = fields[0]
    detail = f"{first['pointer'] or 'The body'}: {first['detail']}"
    return Problem(422, first["code"], "A value is not valid", detail), {"errors": fields}


def pointer_to(field: str) -> str:
    """The JSON Pointer (RFC 6901) to a field of ours, in which rows count from 1: ``rules[2].url``.

    A field that is a pointer already stays as it is.
    """
    if field.startswith("/"):
        return field
    indexed = _ROW.sub(lambda match: f"/{int(match[1]) - 1}", field)
    return "/" + indexed.replace(".", "/")


def _field(pointer: str, code: str, detail: str) -> dict[str, Any]:
    return {"pointer": pointer, "code": code, "detail": detail}


def _code(error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "unknown" if error["loc"][0] == "body" else "parameter_unknown"
        case "missing":
            return "required"
        case _:
            return "invalid"


def _sentence(error: ErrorDetails) -> str:
    name = error["loc"][-1]
    match error["type"]:
        case "extra_forbidden":
            return f"There is no {name!r} here."
        case "missing":
            return f"{name!r} is missing." if len(error["loc"]) > 1 else "A body is missing."
        case "value_error":
            return f"{name!r} has to be {error['ctx']['error']}."
        case _:
            return f"{name!r}: {error['msg']}."
