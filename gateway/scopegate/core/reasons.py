"""Why a request was allowed or refused: one vocabulary for the API, the CLI, logs and metrics."""

from __future__ import annotations

from enum import StrEnum


class Check(StrEnum):
    """The checks that a request passes, in the order in which they are made.

    A request that one check refuses is not looked at by the later ones.
    """

    REQUEST = "request"
    CREDENTIAL = "credential"
    KEY = "key"
    SCOPE = "scope"
    USER = "user"
    PRIVILEGES = "privileges"


class Reason(StrEnum):
    """The outcome of a decision. The values are stable; new ones may come."""

    ALLOWED = "allowed"

    REQUEST_MALFORMED = "request_malformed"
    HTTP_VERSION_UNSUPPORTED = "http_version_unsupported"
    FRAMING_MALFORMED = "framing_malformed"
    TARGET_TOO_LONG = "target_too_long"
    HEAD_TOO_LARGE = "head_too_large"
    BODY_TOO_LARGE = "body_too_large"
    PATH_MALFORMED = "path_malformed"
    PATH_ILLEGAL_CHARACTER = "path_illegal_character"
    PATH_CONTROL_CHARACTER = "path_control_character"
    PATH_BACKSLASH = "path_backslash"
    PATH_BROKEN_ESCAPE = "path_broken_escape"
    PATH_ENCODED_SLASH = "path_encoded_slash"
    PATH_DOUBLE_ENCODED = "path_double_encoded"
    PATH_INVALID_UTF8 = "path_invalid_utf8"
    PATH_EMPTY_SEGMENT = "path_empty_segment"
    PATH_DOT_SEGMENT = "path_dot_segment"
    QUERY_MALFORMED = "query_malformed"
    HOST_MALFORMED = "host_malformed"
    METHOD_UNSUPPORTED = "method_unsupported"
    PROXY_UNTRUSTED = "proxy_untrusted"
    ORIGINAL_MISSING = "original_missing"
    ORIGINAL_AMBIGUOUS = "original_ambiguous"

    KEY_MISSING = "key_missing"
    KEY_AMBIGUOUS = "key_ambiguous"
    KEY_MALFORMED = "key_malformed"
    KEY_UNKNOWN = "key_unknown"
    KEY_SECRET_WRONG = "key_secret_wrong"  # noqa: S105 -- the name of a reason
    TOO_MANY_FAILURES = "too_many_failures"

    KEY_DELETED = "key_deleted"
    KEY_EXPIRED = "key_expired"
    KEY_DISABLED = "key_disabled"

    URL_NOT_ALLOWED = "url_not_allowed"
    METHOD_NOT_ALLOWED = "method_not_allowed"

    USER_UNKNOWN = "user_unknown"
    USER_INACTIVE = "user_inactive"
    ENDPOINT_UNLISTED = "endpoint_unlisted"
    PRIVILEGE_MISSING = "privilege_missing"

    STORE_UNAVAILABLE = "store_unavailable"
    PRIVILEGES_UNAVAILABLE = "privileges_unavailable"
    MATCHING_FAILED = "matching_failed"
    INTERNAL_ERROR = "internal_error"


_CHECKS: dict[Check, tuple[Reason, ...]] = {
    Check.REQUEST: (
        Reason.REQUEST_MALFORMED,
        Reason.HTTP_VERSION_UNSUPPORTED,
        Reason.FRAMING_MALFORMED,
        Reason.TARGET_TOO_LONG,
        Reason.HEAD_TOO_LARGE,
        Reason.BODY_TOO_LARGE,
        Reason.PATH_MALFORMED,
        Reason.PATH_ILLEGAL_CHARACTER,
        Reason.PATH_CONTROL_CHARACTER,
        Reason.PATH_BACKSLASH,
        Reason.PATH_BROKEN_ESCAPE,
        Reason.PATH_ENCODED_SLASH,
        Reason.PATH_DOUBLE_ENCODED,
        Reason.PATH_INVALID_UTF8,
        Reason.PATH_EMPTY_SEGMENT,
        Reason.PATH_DOT_SEGMENT,
        Reason.QUERY_MALFORMED,
        Reason.HOST_MALFORMED,
        Reason.METHOD_UNSUPPORTED,
        Reason.PROXY_UNTRUSTED,
        Reason.ORIGINAL_MISSING,
        Reason.ORIGINAL_AMBIGUOUS,
    ),
    Check.CREDENTIAL: (
        Reason.KEY_MISSING,
        Reason.KEY_AMBIGUOUS,
        Reason.KEY_MALFORMED,
        Reason.KEY_UNKNOWN,
        Reason.KEY_SECRET_WRONG,
        Reason.TOO_MANY_FAILURES,
    ),
    Check.KEY: (Reason.KEY_DELETED, Reason.KEY_EXPIRED, Reason.KEY_DISABLED),
    Check.SCOPE: (Reason.URL_NOT_ALLOWED, Reason.METHOD_NOT_ALLOWED),
    Check.USER: (Reason.USER_UNKNOWN, Reason.USER_INACTIVE),
    Check.PRIVILEGES: (Reason.ENDPOINT_UNLISTED, Reason.PRIVILEGE_MISSING),
}
_REFUSED_BY = {reason: check for check, reasons in _CHECKS.items() for reason in reasons}


def refused_by(reason: Reason) -> Check | None:
    """The check that refuses with `reason`; None for ``allowed`` and for failures of our own."""
    return _REFUSED_BY.get(reason)


class RequestRefused(Exception):
    """The request cannot be read in one way only, so it is refused before anything is decided."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason
