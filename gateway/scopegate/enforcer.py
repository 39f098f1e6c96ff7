"""The one join of facts and rules: what every form of Scopegate asks about a request."""

from __future__ import annotations

import logging
import secrets
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scopegate.core import keys
from scopegate.core.attempts import DEFAULT_LIMIT, FAILURES, FailureLimit, in_seconds
from scopegate.core.catalogue import Catalogue
from scopegate.core.credentials import DEFAULT_KEY_HEADER, the_key
from scopegate.core.decision import Decision, Scope, decide, decide_in, usable_scope
from scopegate.core.errors import PrivilegesUnavailable, StoreUnavailable
from scopegate.core.framing import framing_of
from scopegate.core.head import HeadSorter
from scopegate.core.limits import Limits
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.core.request import CanonicalRequest, canonical_host, canonicalize, the_host
from scopegate.store.view import NOT_KNOWN
from scopegate.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scopegate.core.headers import Field
    from scopegate.core.keys import KeyRecord, KeyText
    from scopegate.core.principal import Principal
    from scopegate.store.view import NotKnown

log = logging.getLogger("scopegate")

Entitlement = tuple["Principal | None", Catalogue]
_NOBODY: Entitlement = (None, Catalogue())
_DEFAULT_LIMITS = Limits()
_PROVED = 16_384  # keys that are remembered to be right


class AccessSource(Protocol):
    """Where the facts of a decision come from, as they are now."""

    async def scope(self, key: KeyText) -> Scope | None:
        """The compiled record of the key with this id, or None; StoreUnavailable if nobody can tell."""
        ...

    async def of_user(self, tenant_tag: str, user_id: str) -> Entitlement:
        """The user (None if unknown) and the catalogue.

        Raises:
            StoreUnavailable, PrivilegesUnavailable: nobody can tell.
        """
        ...

    def known_scope(self, key: KeyText, /) -> Scope | NotKnown | None:
        """What `scope` would return, if that can be told without asking anybody."""
        ...

    def known_user(self, tenant_tag: str, user_id: str, /) -> Entitlement | None:
        """What `of_user` would return, if that can be told without asking anybody, else None."""
        ...


class Verdict(NamedTuple):
    """A decision and the reading of the request that it is about; None where there is no single one.

    ``retry_after`` is in how many seconds it is worth asking again, where that is known.
    """

    decision: Decision
    request: CanonicalRequest | None = None
    retry_after: int | None = None


class Presented(NamedTuple):
    """What the fields of a request say to whoever decides; the same for every request with the same fields.

    ``refusal`` is why no request with these fields can be decided, if none can. ``host`` is None
    where none was sent. ``key`` is well formed, or ``key_refusal`` says why there is none; it is None
    then, or, where a text that is no key was sent, one that nobody has. ``digest`` is the key's.
    """

    refusal: Reason | None
    host: bytes | None = None
    key: KeyText | None = None
    digest: str = ""
    key_refusal: Reason | None = None


utc_now = partial(datetime.now, UTC)  # the wall clock, aware
_new = tuple.__new__  # half the price of a named tuple's own constructor


class Enforcer:
    """Judges requests. Whatever it cannot tell is a refusal.

    Args:
        key_prefix: what the text of our keys begins with.
        key_header: the lower-case name of the field that holds the key.
        pepper: the HMAC key under which digests were made, if any.
        limits: how large a request may be.
        failure_limit: how many authentications of one origin may fail in a minute; 0 sets no limit.
        clock: tells the present moment.
        ticks: tells the nanoseconds since some moment.
    """

    def __init__(
        self,
        *,
        key_prefix: str = keys.DEFAULT_PREFIX,
        key_header: bytes = DEFAULT_KEY_HEADER,
        pepper: bytes | None = None,
        limits: Limits = _DEFAULT_LIMITS,
        failure_limit: int = DEFAULT_LIMIT,
        clock: Callable[[], datetime] = utc_now,
        ticks: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._key_prefix = key_prefix
        self.key_header = key_header
        self._head = HeadSorter(key_header)
        self._pepper = pepper
        self.limits = limits
        self._clock = clock
        self._ticks = ticks
        self._failures = (
            FailureLimit(failure_limit, secret=secrets.token_bytes(16)) if failure_limit else None
        )
        self._proved: dict[str, None] = {}
        self._throttle = Throttle()

    def read(self, headers: Sequence[Field], *, http_version: str) -> Presented:
        """What the header fields of a request say, as they stood on the wire."""
        try:
            size, hosts, candidates, lengths, codings = self._head.sort(headers)
            framing = framing_of(lengths, codings, http_version=http_version)
            exceeded = self.limits.exceeded(fields=len(headers), size=size, length=framing.length)
            if exceeded is not None:
                return Presented(exceeded)
            host = the_host(hosts, http_version=http_version)
            if host is not None:
                canonical_host(host)
        except RequestRefused as refused:
            return Presented(refused.reason)
        try:
            text = the_key(candidates)
        except RequestRefused as refused:
            return Presented(None, host, key_refusal=refused.reason)
        key = keys.parse(text, prefix=self._key_prefix)
        if key is None:
            return Presented(None, host, *keys.stand_in(text, pepper=self._pepper), Reason.KEY_MALFORMED)
        return _new(Presented, (None, host, key, keys.digest(key, pepper=self._pepper), None))

    async def judge(
        self, access: AccessSource, presented: Presented, method: str, raw_path: bytes, *, query: bytes
    ) -> Verdict:
        """Decide about one request, as it stood on the wire, with the facts that `access` has now."""
        asked = self._question(presented, method, raw_path, query)
        if isinstance(asked, Verdict):
            return asked
        request, key = asked
        digest = presented.digest
        principal, catalogue = _NOBODY
        record: KeyRecord | None = None
        try:
            scope = await access.scope(key)
            # Not before the secret is proved: the time that the look-up takes would tell which ids exist.
            usable = usable_scope(scope, digest, self._clock())
            if isinstance(usable, Decision):
                return _refused(usable, presented, request)
            self._remember(digest)
            record = usable.record
            if record.user is not None:
                principal, catalogue = await access.of_user(key.tenant_tag, record.user)
        except StoreUnavailable as unavailable:
            self._warn(unavailable)
            return _refused(Decision(Reason.STORE_UNAVAILABLE), presented, request)
        except PrivilegesUnavailable as unavailable:
            self._warn(unavailable)
            return _refused(Decision(Reason.PRIVILEGES_UNAVAILABLE, record), presented, request)
        decision = decide(
            request,
            digest=digest,
            scope=scope,
            principal=principal,
            catalogue=catalogue,
            now=self._clock(),
        )
        return Verdict(decision, request)

    def judge_known(
        self, access: AccessSource, presented: Presented, method: str, raw_path: bytes, *, query: bytes
    ) -> Verdict | None:
        """What `judge` would say, if `access` knows all the facts, or None if it has to ask for some.

        An exception allows nothing: to whoever calls this, it is a failure of ours.
        """
        asked = self._question(presented, method, raw_path, query)
        if isinstance(asked, Verdict):
            return asked
        request, key = asked
        scope = access.known_scope(key)
        if scope is NOT_KNOWN:
            return None
        usable = usable_scope(scope, presented.digest, self._clock())
        if isinstance(usable, Decision):
            return _refused(usable, presented, request)
        user = usable.record.user
        # As above: nobody is looked up before the secret is proved.
        entitlement = _NOBODY if user is None else access.known_user(key.tenant_tag, user)
        if entitlement is None:
            return None
        return _new(Verdict, (decide_in(usable, request, *entitlement), request, None))

    def unasked(self, access: AccessSource, presented: Presented, origin: bytes | None) -> Verdict | None:
        """Why `access` is not asked what `judge_known` did not know; None if it is.

        An origin that is over the limit of failures has it asked only about keys that proved right
        before. So its failures cost no look-up, and the right keys of others who share its address
        are good whatever it does.
        """
        if self._failures is None or origin is None:
            return None
        wait = self._failures.wait(origin, self._ticks())
        if not wait or presented.key is None or presented.digest in self._proved:
            return None
        if access.known_scope(presented.key) is not NOT_KNOWN:
            return None  # the secret is proved, and only the user is asked for
        return _too_many(wait)

    def bounded(self, verdict: Verdict, origin: bytes | None) -> Verdict:
        """`verdict`, which counts against `origin` if it is a failure; another one if that is too many."""
        if self._failures is None or origin is None or verdict.decision.reason not in FAILURES:
            return verdict
        wait = self._failures.count(origin, self._ticks())
        return _too_many(wait) if wait else verdict

    def _remember(self, digest: str) -> None:
        """Note that this key is right, or was: it is worth asking for again."""
        if self._failures is not None and digest not in self._proved:
            if len(self._proved) >= _PROVED:
                del self._proved[next(iter(self._proved))]
            self._proved[digest] = None

    def _question(
        self, presented: Presented, method: str, raw_path: bytes, query: bytes
    ) -> tuple[CanonicalRequest, KeyText] | Verdict:
        """What is asked, and with which key; or why that is no question that could be answered."""
        if presented.refusal is not None:
            return Verdict(Decision(presented.refusal))
        if len(raw_path) + (len(query) + 1 if query else 0) > self.limits.target:
            return Verdict(Decision(Reason.TARGET_TOO_LONG))
        try:
            request = canonicalize(method, raw_path, query=query, host=presented.host)
        except RequestRefused as refused:
            return Verdict(Decision(refused.reason))
        if presented.key is None:
            return Verdict(Decision(presented.key_refusal or Reason.KEY_MALFORMED), request)
        return request, presented.key

    def _warn(self, unavailable: StoreUnavailable | PrivilegesUnavailable) -> None:
        unmentioned = self._throttle.due(unavailable.code)
        if unmentioned is not None:
            log.warning(
                "requests are refused, for nobody can tell: %s (%d more before)",
                unavailable.message,
                unmentioned,
            )


def _refused(decision: Decision, presented: Presented, request: CanonicalRequest) -> Verdict:
    """What was found of the key that stood in for a text that is none is not what was wrong with that."""
    refusal = presented.key_refusal
    return Verdict(decision if refusal is None else Decision(refusal), request)


def _too_many(wait: int) -> Verdict:
    return Verdict(Decision(Reason.TOO_MANY_FAILURES), retry_after=in_seconds(wait))
