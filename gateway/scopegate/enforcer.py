"""The one join of facts and rules: what every form of Scopegate asks about a request."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scopegate.core import keys
from scopegate.core.catalogue import Catalogue
from scopegate.core.credentials import DEFAULT_KEY_HEADER, the_key
from scopegate.core.decision import Decision, Scope, decide, proves_secret
from scopegate.core.errors import StoreUnavailable
from scopegate.core.framing import framing_of
from scopegate.core.head import HeadSorter
from scopegate.core.limits import Limits
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.core.request import CanonicalRequest, canonicalize, the_host
from scopegate.store.view import NOT_KNOWN
from scopegate.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scopegate.core.headers import Field
    from scopegate.core.keys import KeyText
    from scopegate.core.principal import Principal
    from scopegate.store.view import NotKnown

log = logging.getLogger("scopegate")

_Asked = tuple[CanonicalRequest, "KeyText", str]  # the last is the digest of the key
Entitlement = tuple["Principal | None", Catalogue]
_NOBODY: Entitlement = (None, Catalogue())
_DEFAULT_LIMITS = Limits()


class AccessSource(Protocol):
    """Where the facts of a decision come from, as they are now."""

    async def scope(self, key: KeyText) -> Scope | None:
        """The compiled record of the key with this id, or None; StoreUnavailable if nobody can tell."""
        ...

    async def of_user(self, tenant_tag: str, user_id: str) -> Entitlement:
        """The user (None if unknown) and the catalogue; StoreUnavailable if nobody can tell."""
        ...

    def known_scope(self, key: KeyText, /) -> Scope | NotKnown | None:
        """What `scope` would return, if that can be told without asking anybody."""
        ...

    def known_user(self, tenant_tag: str, user_id: str, /) -> Entitlement | None:
        """What `of_user` would return, if that can be told without asking anybody, else None."""
        ...


class Verdict(NamedTuple):
    """A decision and the reading of the request that it is about; None where there is no single one."""

    decision: Decision
    request: CanonicalRequest | None = None


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


class Enforcer:
    """Judges requests. Whatever it cannot tell is a refusal.

    Args:
        key_prefix: what the text of our keys begins with.
        key_header: the lower-case name of the field that holds the key.
        pepper: the HMAC key under which digests were made, if any.
        limits: how large a request may be.
        clock: tells the present moment.
    """

    def __init__(
        self,
        *,
        key_prefix: str = keys.DEFAULT_PREFIX,
        key_header: bytes = DEFAULT_KEY_HEADER,
        pepper: bytes | None = None,
        limits: Limits = _DEFAULT_LIMITS,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._key_prefix = key_prefix
        self.key_header = key_header
        self._head = HeadSorter(key_header)
        self._pepper = pepper
        self.limits = limits
        self._clock = clock
        self._throttle = Throttle()

    async def judge(
        self,
        access: AccessSource,
        method: str,
        raw_path: bytes,
        *,
        query: bytes,
        headers: Sequence[Field],
        http_version: str,
    ) -> Verdict:
        """Decide about one request, as it stood on the wire, with the facts that `access` has now."""
        asked = self._read(method, raw_path, query, headers, http_version)
        if isinstance(asked, Verdict):
            return asked
        request, key, digest = asked
        try:
            scope = await access.scope(key)
            user = _user_to_look_up(scope, digest)
            entitlement = None if user is None else await access.of_user(key.tenant_tag, user)
        except StoreUnavailable as unavailable:
            self._warn(unavailable)
            return Verdict(Decision(Reason.STORE_UNAVAILABLE), request)
        return self._decide(asked, scope, entitlement)

    def judge_known(
        self,
        access: AccessSource,
        method: str,
        raw_path: bytes,
        *,
        query: bytes,
        headers: Sequence[Field],
        http_version: str,
    ) -> Verdict | None:
        """What `judge` would say, if `access` knows all the facts, or None if it has to ask for some.

        An exception allows nothing: to whoever calls this, it is a failure of ours.
        """
        asked = self._read(method, raw_path, query, headers, http_version)
        if isinstance(asked, Verdict):
            return asked
        _, key, digest = asked
        scope = access.known_scope(key)
        if scope is NOT_KNOWN:
            return None
        user = _user_to_look_up(scope, digest)
        if user is None:
            return self._decide(asked, scope, None)
        entitlement = access.known_user(key.tenant_tag, user)
        return None if entitlement is None else self._decide(asked, scope, entitlement)

    def _read(
        self, method: str, raw_path: bytes, query: bytes, headers: Sequence[Field], http_version: str
    ) -> _Asked | Verdict:
        """What is asked, or why that is no question that could be answered in one way."""
        try:
            head = self._head.sort(headers)
            framing = framing_of(head.lengths, head.codings, http_version=http_version)
            exceeded = self.limits.exceeded(
                target=len(raw_path) + 1 + len(query) if query else len(raw_path),
                fields=len(headers),
                size=head.size,
                length=framing.length,
            )
            if exceeded is not None:
                return Verdict(Decision(exceeded))
            host = the_host(head.hosts, http_version=http_version)
            request = canonicalize(method, raw_path, query=query, host=host)
            text = the_key(head.keys)
        except RequestRefused as refused:
            return Verdict(Decision(refused.reason))
        key = keys.parse(text, prefix=self._key_prefix)
        if key is None:
            return Verdict(Decision(Reason.KEY_MALFORMED), request)
        return request, key, keys.digest(key, pepper=self._pepper)

    def _decide(self, asked: _Asked, scope: Scope | None, entitlement: Entitlement | None) -> Verdict:
        principal, catalogue = entitlement or _NOBODY
        request, _, digest = asked
        decision = decide(
            request,
            digest=digest,
            scope=scope,
            principal=principal,
            catalogue=catalogue,
            now=self._clock(),
        )
        return tuple.__new__(Verdict, (decision, request))

    def _warn(self, unavailable: StoreUnavailable) -> None:
        unmentioned = self._throttle.due(unavailable.code)
        if unmentioned is not None:
            log.warning(
                "requests are refused, for nobody can tell: %s (%d more before)",
                unavailable.message,
                unmentioned,
            )


def _user_to_look_up(scope: Scope | None, digest: str) -> str | None:
    # Not before the secret is proved: the time that the look-up takes would tell which ids exist.
    if scope is None or scope.record.user is None or not proves_secret(scope.record, digest):
        return None
    return scope.record.user
