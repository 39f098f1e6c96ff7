"""The store of the running event loop and the rules, joined: a verdict for each request of an ASGI server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from scopegate.core.attempts import DEFAULT_LIMIT
from scopegate.core.credentials import DEFAULT_KEY_HEADER
from scopegate.core.decision import Decision
from scopegate.core.keys import DEFAULT_PREFIX, require_prefix
from scopegate.core.limits import Limits
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.enforcer import Enforcer, Presented, Verdict
from scopegate.session import StoreSession
from scopegate.store.canary import CANARY_INTERVAL, MAX_LAG
from scopegate.store.liveaccess import MAX_STALENESS
from scopegate.usage import USAGE_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scopegate.admissions import Admissions
    from scopegate.metrics import PrivilegeMetrics, StoreMetrics
    from scopegate.privileges.source import SourceOptions
    from scopegate.store.location import Location

log = logging.getLogger("scopegate")

VERSIONS = frozenset({"1.0", "1", "1.1", "2", "3"})  # of HTTP in ASGI; "1" is how granian says 1.0


class Question(NamedTuple):
    """What is asked about a request, as it stood on the wire."""

    presented: Presented
    method: str
    raw_path: bytes
    query: bytes


class Judge:
    """Judges requests with what the store says now. What it cannot tell, or what fails, is a refusal.

    Args:
        redis: where the keys are.
        data_dir: instead of `redis`, the data directory of an embedded store.
        key_prefix: what the text of keys begins with.
        key_header: the header field that holds the key, beside ``Authorization: Bearer``.
        pepper: the HMAC key under which the digests of keys were made, if any.
        limits: how large a request may be, in place of the defaults.
        failed_auth_limit: how many authentications of one origin may fail in a minute; 0 sets no limit.
        max_staleness, canary_interval, max_lag, usage_interval, metrics, privileges, privilege_metrics: as
            `StoreSession` has them.

    Raises:
        ConfigurationError: as `StoreSession`.
        InvalidInput: a prefix that keys cannot begin with, or a limit that is none.
    """

    def __init__(
        self,
        *,
        redis: Location | None = None,
        data_dir: Path | None = None,
        key_prefix: str = DEFAULT_PREFIX,
        key_header: str = DEFAULT_KEY_HEADER.decode(),
        pepper: bytes | None = None,
        limits: Limits | None = None,
        failed_auth_limit: int = DEFAULT_LIMIT,
        max_staleness: float = MAX_STALENESS,
        canary_interval: float = CANARY_INTERVAL,
        max_lag: float = MAX_LAG,
        usage_interval: float = USAGE_INTERVAL,
        metrics: StoreMetrics | None = None,
        privileges: SourceOptions | None = None,
        privilege_metrics: PrivilegeMetrics | None = None,
    ) -> None:
        self._session = StoreSession(
            redis=redis,
            data_dir=data_dir,
            max_staleness=max_staleness,
            canary_interval=canary_interval,
            max_lag=max_lag,
            usage_interval=usage_interval,
            metrics=metrics,
            privileges=privileges,
            privilege_metrics=privilege_metrics,
        )
        self.enforcer = Enforcer(
            key_prefix=require_prefix(key_prefix),
            key_header=key_header.lower().encode("ascii"),
            pepper=pepper,
            limits=limits or Limits(),
            failure_limit=failed_auth_limit,
        )

    @property
    def admissions(self) -> Admissions:
        """What was let in, while it goes on; as `StoreSession.admissions`."""
        return self._session.admissions

    @property
    def changes(self) -> int:
        """How many changes the store has told; who judges while it grows may have judged too early."""
        return self._session.changes

    async def open(self) -> None:
        """Connect for the running loop; as `StoreSession.open`."""
        await self._session.open()

    async def aclose(self) -> None:
        """Close the connections to the store, and stop the store if it is embedded here."""
        await self._session.aclose()

    async def verdict(
        self, question: Callable[[Enforcer], Question], origin: Callable[[], bytes | None]
    ) -> Verdict:
        """What becomes of one request.

        Args:
            question: reads the request; its `RequestRefused` refuses it.
            origin: whose failures count together with those of this request.
        """
        try:
            session, enforcer = self._session, self.enforcer
            if not session.is_open():
                await session.open_for_request()
            presented, method, raw_path, query = question(enforcer)
            access = session.access
            verdict = enforcer.judge_known(access, presented, method, raw_path, query=query)
            if verdict is None:
                verdict = enforcer.unasked(access, presented, origin())
            if verdict is None:
                verdict = await enforcer.judge(access, presented, method, raw_path, query=query)
            session.count_use(verdict.decision, presented.digest)
            return verdict if verdict.decision.allowed else enforcer.bounded(verdict, origin())
        except RequestRefused as refused:
            return Verdict(Decision(refused.reason))
        except Exception:
            log.exception("refused, for the decision failed")
            return Verdict(Decision(Reason.INTERNAL_ERROR))

    async def verdict_again(self, question: Callable[[Enforcer], Question]) -> Verdict:
        """What would become of a request that was let in; nothing is counted."""
        try:
            presented, method, raw_path, query = question(self.enforcer)
            return await self.enforcer.judge(self._session.access, presented, method, raw_path, query=query)
        except RequestRefused as refused:
            return Verdict(Decision(refused.reason))
        except Exception:
            log.exception("refused, for the decision failed")
            return Verdict(Decision(Reason.INTERNAL_ERROR))
