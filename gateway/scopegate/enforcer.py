"""The one join of facts and rules: what every form of Scopegate asks about a request."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scopegate.core import keys
from scopegate.core.catalogue import Catalogue
from scopegate.core.credentials import DEFAULT_KEY_HEADER, presented_key
from scopegate.core.decision import Decision, Scope, decide, proves_secret
from scopegate.core.errors import StoreUnavailable
from scopegate.core.framing import body_framing
from scopegate.core.limits import Limits
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.core.request import CanonicalRequest, canonicalize, host_field
from scopegate.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scopegate.core.headers import Field
    from scopegate.core.keys import KeyText
    from scopegate.core.principal import Principal

log = logging.getLogger("scopegate")

_NO_CATALOGUE = Catalogue()
_DEFAULT_LIMITS = Limits()


class AccessSource(Protocol):
    """Where the facts of a decision come from, as they are now."""

    async def scope(self, key: KeyText) -> Scope | None:
        """The compiled record of the key with this id, or None; StoreUnavailable if nobody can tell."""
        ...

    async def of_user(self, tenant_tag: str, user_id: str) -> tuple[Principal | None, Catalogue]:
        """The user (None if unknown) and the catalogue; StoreUnavailable if nobody can tell."""
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
        try:
            framing = body_framing(headers, http_version=http_version)
            target_length = len(raw_path) + 1 + len(query) if query else len(raw_path)
            exceeded = self.limits.exceeded(target_length, headers, length=framing.length)
            if exceeded is not None:
                return Verdict(Decision(exceeded))
            host = host_field(headers, http_version=http_version)
            request = canonicalize(method, raw_path, query=query, host=host)
            text = presented_key(headers, key_header=self.key_header)
        except RequestRefused as refused:
            return Verdict(Decision(refused.reason))
        key = keys.parse(text, prefix=self._key_prefix)
        if key is None:
            return Verdict(Decision(Reason.KEY_MALFORMED), request)
        try:
            return Verdict(await self._decide(access, request, key), request)
        except StoreUnavailable as unavailable:
            self._warn(unavailable)
            return Verdict(Decision(Reason.STORE_UNAVAILABLE), request)

    def _warn(self, unavailable: StoreUnavailable) -> None:
        unmentioned = self._throttle.due(unavailable.code)
        if unmentioned is not None:
            log.warning(
                "requests are refused, for nobody can tell: %s (%d more before)",
                unavailable.message,
                unmentioned,
            )

    async def _decide(self, access: AccessSource, request: CanonicalRequest, key: KeyText) -> Decision:
        digest = keys.digest(key, pepper=self._pepper)
        scope = await access.scope(key)
        principal, catalogue = None, _NO_CATALOGUE
        # Not before the secret is proved: the time that the look-up takes would tell which ids exist.
        if scope is not None and scope.record.user is not None and proves_secret(scope.record, digest):
            principal, catalogue = await access.of_user(key.tenant_tag, scope.record.user)
        return decide(
            request,
            digest=digest,
            scope=scope,
            principal=principal,
            catalogue=catalogue,
            now=self._clock(),
        )
