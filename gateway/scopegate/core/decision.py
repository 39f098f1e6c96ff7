"""The decision: facts in, a Decision out. Everybody who judges, explains or previews access calls this."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, NamedTuple

from scopegate.core.errors import MatchingFailed
from scopegate.core.keys import DIGEST_LENGTH, KeyRecord, KeyState, KeyType, retiring_at, state
from scopegate.core.reasons import Reason
from scopegate.core.request import METHODS, rule_method
from scopegate.core.wildcard import PatternSet, UrlPattern

if TYPE_CHECKING:
    from datetime import datetime

    from scopegate.core.catalogue import Catalogue
    from scopegate.core.principal import Principal
    from scopegate.core.request import CanonicalRequest


class Decision(NamedTuple):
    """What was decided and why.

    ``record`` is the key that was used, once its secret proved right, else None. ``rule`` is the
    row (from 0) of the first rule that admits the request. ``missing`` names the privileges that
    the user lacks, sorted; they are for the administrator, never for the caller.
    """

    reason: Reason
    record: KeyRecord | None = None
    rule: int | None = None
    missing: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the request may go on."""
        return self.reason is Reason.ALLOWED


class Scope:
    """The rules of one key, compiled: what it opens, before anybody asks who its user is."""

    __slots__ = ("_opened", "_rows", "record")

    def __init__(self, record: KeyRecord) -> None:
        self.record = record
        by_method: dict[str, list[tuple[UrlPattern, int]]] = {}
        for row, rule in enumerate(record.rules):
            by_method.setdefault(rule.method, []).append((UrlPattern.parse(rule.url), row))
        self._rows = {method: PatternSet(patterns) for method, patterns in by_method.items()}
        self._opened = {method: self._rows.get(rule_method(method)) for method in METHODS}

    def admitting_rule(self, request: CanonicalRequest) -> int | None:
        """The first row that admits `request`, or None."""
        rows = self._opened[request.method]
        found = () if rows is None else rows.matching(request.path, request.host)
        return min(found) if found else None

    def opens_with_another_method(self, request: CanonicalRequest) -> bool:
        """Whether some rule admits the URL, but for another method."""
        return any(rows.matching(request.path, request.host) for rows in self._rows.values())


def decide(
    request: CanonicalRequest,
    *,
    digest: str,
    scope: Scope | None,
    principal: Principal | None,
    catalogue: Catalogue,
    now: datetime,
) -> Decision:
    """Decide whether a key opens a request at this moment.

    Args:
        request: the canonical request.
        digest: the digest of the key that the caller presented.
        scope: the compiled record of the key with the presented id, or None if there is none.
        principal: the user whom the key is bound to, as resolved now; None if the key is bound to
            nobody, or to somebody unknown.
        catalogue: the tenant's endpoint catalogue.
        now: the moment of the call, aware.
    """
    usable = usable_scope(scope, digest, now)
    return usable if isinstance(usable, Decision) else decide_in(usable, request, principal, catalogue)


def usable_scope(scope: Scope | None, digest: str, now: datetime) -> Scope | Decision:
    """The first half of `decide`: `scope` itself, if the key is one to use now, or why it is not."""
    if scope is None:
        # In the time that the comparisons with a record's take.
        hmac.compare_digest(digest, _NOBODYS_DIGEST)
        hmac.compare_digest(digest, _NOBODYS_DIGEST)
        return Decision(Reason.KEY_UNKNOWN)
    record = scope.record
    # The first check on purpose: what state the key is in is told to its holder only.
    if not proves_secret(record, digest, now):
        return Decision(Reason.KEY_SECRET_WRONG)
    current = state(record, now)
    if current is not _ACTIVE:
        if current is KeyState.DELETED:
            # It is answered like a key that is unknown, and so in the same time.
            hmac.compare_digest(digest, _NOBODYS_DIGEST)
        return Decision(_REFUSED_STATES[current], record)
    return scope


def decide_in(
    scope: Scope, request: CanonicalRequest, principal: Principal | None, catalogue: Catalogue
) -> Decision:
    """The second half of `decide`: whether a key that is one to use opens this request."""
    try:
        return _decide_in(scope, request, principal, catalogue)
    except MatchingFailed:
        return Decision(Reason.MATCHING_FAILED, scope.record)


def _decide_in(
    scope: Scope, request: CanonicalRequest, principal: Principal | None, catalogue: Catalogue
) -> Decision:
    record = scope.record
    rule: int | None = None
    if record.type is _CUSTOM:
        rule = scope.admitting_rule(request)
        if rule is None:
            other = scope.opens_with_another_method(request)
            return Decision(Reason.METHOD_NOT_ALLOWED if other else Reason.URL_NOT_ALLOWED, record)
    if record.user is None:
        return _allowed(record, rule)
    return _decide_for_user(request, record, rule, principal, catalogue)


def proves_secret(record: KeyRecord, digest: str, now: datetime) -> bool:
    """Whether `digest` is that of a secret which the key has at `now`, compared in constant time."""
    if hmac.compare_digest(digest, record.digest):
        return True
    retiring = retiring_at(record, now)
    if retiring is None:
        # In the time that the other comparison takes: a wrong secret learns nothing of a rotation.
        hmac.compare_digest(digest, _NOBODYS_DIGEST)
        return False
    return hmac.compare_digest(digest, retiring.digest)


def _decide_for_user(
    request: CanonicalRequest,
    record: KeyRecord,
    rule: int | None,
    principal: Principal | None,
    catalogue: Catalogue,
) -> Decision:
    if principal is None or principal.user_id != record.user:
        return Decision(Reason.USER_UNKNOWN, record, rule)
    if not principal.active:
        return Decision(Reason.USER_INACTIVE, record, rule)
    required = catalogue.required(request)
    if required is None:
        return Decision(Reason.ENDPOINT_UNLISTED, record, rule)
    if not required <= principal.privileges:
        return Decision(
            Reason.PRIVILEGE_MISSING, record, rule, tuple(sorted(required - principal.privileges))
        )
    return _allowed(record, rule)


def _allowed(record: KeyRecord, rule: int | None) -> Decision:
    return _new(Decision, (_ALLOWED, record, rule, ()))


_new = tuple.__new__  # half the price of a named tuple's own constructor
# Python 3.11 looks the members of an enumeration up anew each time.
_ACTIVE = KeyState.ACTIVE
_CUSTOM = KeyType.CUSTOM
_ALLOWED = Reason.ALLOWED
_NOBODYS_DIGEST = "-" * DIGEST_LENGTH
_REFUSED_STATES = {
    KeyState.DISABLED: Reason.KEY_DISABLED,
    KeyState.EXPIRED: Reason.KEY_EXPIRED,
    KeyState.DELETED: Reason.KEY_DELETED,
}
