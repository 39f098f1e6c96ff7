"""Why a key opens a request, or not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scopegate.commands.tenant import OnTenant
from scopegate.core.catalogue import Catalogue
from scopegate.core.decision import Decision, Scope, decide
from scopegate.core.errors import InvalidInput, PrivilegesUnavailable
from scopegate.core.explanation import Step, explain
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.core.request import CanonicalRequest, canonicalize

_FULL_URL = re.compile(r"https?://([^/?#]+)(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a key opens a request, or not."""

    decision: Decision
    request: CanonicalRequest | None
    steps: tuple[Step, ...]


class Explaining(OnTenant):
    """Explains the decisions of a tenant."""

    async def explain(self, key_id: str, method: str, url: str) -> Explanation:
        """Why the key opens, or does not open, a request made now; the enforcement's own decision.

        Args:
            key_id: the id of the key; its secret is taken as proved.
            method: the request's method.
            url: a path or a full URL, as a client would send it.
        """
        record = await self._store.keys.get(key_id)
        try:
            request = _request(method, url)
        except RequestRefused as refused:
            decision = Decision(refused.reason)
            return Explanation(decision, None, explain(decision, None))
        principal, catalogue = None, Catalogue()
        if record.user is not None:
            try:
                principal, catalogue = await self.entitlement(record.user)
            except PrivilegesUnavailable as unavailable:
                decision = Decision(Reason.PRIVILEGES_UNAVAILABLE, record)
                return Explanation(decision, request, explain(decision, request, said=unavailable.message))
        decision = decide(
            request,
            digest=record.digest,
            scope=Scope(record),
            principal=principal,
            catalogue=catalogue,
            now=self._clock(),
        )
        testimony = None if principal is None else principal.testimony
        said = "" if testimony is None else testimony.in_words(self._clock())
        return Explanation(decision, request, explain(decision, request, said=said))


def _request(method: str, url: str) -> CanonicalRequest:
    if url.startswith("/"):
        target, host = url, None
    else:
        full = _FULL_URL.fullmatch(url)
        if full is None:
            raise InvalidInput(
                "url", f"{url!r} is not a URL.", hint="Start with / or https://host/.", code="url_invalid"
            )
        host = full[1].encode("utf-8")
        target = full[2] if full[2].startswith("/") else f"/{full[2]}"
    path, _, query = target.partition("?")
    return canonicalize(method, path.encode("utf-8"), query=query.encode("utf-8"), host=host)
