"""The error tree: what a caller did wrong, what stands in the way, what we could not tell.

Every error has one sentence for people and, where there is one, a ``hint`` that names the fix.
Transports map the *class* to a status or an exit code; nobody matches on the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scopegate.core.quota import Quota


class ScopegateError(Exception):
    """Base of all errors that Scopegate raises on purpose.

    ``code`` is the stable slug that the HTTP API and ``-o json`` show.
    """

    code = "error"

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class InvalidInput(ScopegateError):
    """A value that breaks a rule of the domain; ``field`` names it."""

    code = "invalid"

    def __init__(self, field: str, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message, hint=hint, code=code)
        self.field = field


class NotFound(ScopegateError):
    """The named thing does not exist (for this tenant)."""

    code = "not_found"


class Conflict(ScopegateError):
    """The request is sound, but the present state does not admit it."""

    code = "conflict"


class KeyLimitReached(Conflict):
    """The tenant has as many keys as it may have (D2). ``quota`` says which they are, if that is known."""

    code = "key_limit_reached"

    def __init__(self, *, limit: int, used: int, quota: Quota | None = None) -> None:
        super().__init__(
            f"This tenant has {used} of {limit} keys." if quota is None else quota.sentence,
            hint="Delete a key first; expired keys count until they are deleted.",
        )
        self.limit = limit
        self.used = used
        self.quota = quota


class StaleVersion(ScopegateError):
    """The change was meant for another version of the thing than the one that is there."""

    code = "etag_mismatch"


class FeatureDisabled(ScopegateError):
    """A feature flag that the operation needs is off (rule D4)."""

    code = "feature_disabled"


class Forbidden(ScopegateError):
    """The caller is known, but has no right to do this."""

    code = "forbidden"


class Unauthenticated(ScopegateError):
    """Nobody can tell who calls: the one answer to every token that is not valid, for whatever reason."""

    code = "token_invalid"

    def __init__(self) -> None:
        super().__init__(
            "The token is not valid.",
            hint="It may be mistyped, revoked or expired, or its administrator inactive: use another token.",
        )


class TooManyFailures(ScopegateError):
    """Too many tokens of one origin were not valid; it is worth trying again in ``retry_after`` seconds."""

    code = "too_many_failures"

    def __init__(
        self, retry_after: int, message: str = "Too many tokens from this address were not valid."
    ) -> None:
        super().__init__(message, hint=f"Try again in {retry_after} seconds.")
        self.retry_after = retry_after


class ConfigurationError(ScopegateError):
    """A setting with which the program refuses to start; ``setting`` names it for the operator."""

    code = "configuration_invalid"

    def __init__(self, setting: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.setting = setting


class StoreUnavailable(ScopegateError):
    """Redis did not answer, or not with sense: nobody can tell, so nothing is allowed."""

    code = "store_unavailable"


class UnreadableRecord(StoreUnavailable):
    """Redis answered, but what it holds means nothing to us: nobody can tell, so nothing is allowed."""

    code = "record_unreadable"


class PrivilegesUnavailable(ScopegateError):
    """A privilege source did not say what a user may do: nobody can tell, so nothing is allowed."""

    code = "privileges_unavailable"


class MatchingFailed(ScopegateError):
    """Patterns could not be matched within their memory bound, so nobody can tell what applies."""

    code = "matching_failed"
