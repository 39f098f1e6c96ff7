"""``/livez`` and ``/readyz``, as orchestrators ask for them, and ``/metrics`` for Prometheus."""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from typing import TYPE_CHECKING

from scopegate.admin.readiness import assess
from scopegate.core.errors import StoreUnavailable
from scopegate.metrics.exposition import AreaCollector, exposition
from scopegate.metrics.families import CLOCK_SKEW, PROPAGATION_LAG
from scopegate.problems import Problem, send_problem
from scopegate.requestid import new_request_id
from scopegate.store import Store
from scopegate.store.canary import MAX_LAG

if TYPE_CHECKING:
    from scopegate.asgi import Receive, Scope, Send
    from scopegate.metrics import MetricsArea
    from scopegate.store.location import Location

_OK = json.dumps({"status": "ok"}).encode()
_NOT_FOUND = Problem(
    404,
    "not_found",
    "There is nothing here",
    "The control plane has /admin/v1, /livez, /readyz and, beside workers, /metrics.",
)
_NOT_GET = Problem(
    405, "method_not_supported", "The method is not supported", "Use GET.", ((b"allow", b"GET, HEAD"),)
)


class Health:
    """An ASGI application that tells whether this instance lives, whether it can decide, and what it did.

    ``/livez`` (and its alias ``/healthz``) depends on nothing: a process that is restarted because
    Redis is away helps nobody. ``/readyz`` asks the store, and looks at how late the workers know of
    changes; `max_lag` seconds are allowed. ``/metrics`` reads the memory that the workers count in.
    Without such an area there are no metrics, and nothing is known of the workers.
    """

    def __init__(
        self, redis: Location | str, metrics: MetricsArea | None = None, *, max_lag: float = MAX_LAG
    ) -> None:
        self._store = Store.at(redis)
        self._area = metrics
        self._max_lag = max_lag
        self._metrics = None if metrics is None else AreaCollector(metrics, version=version("scopegate"))

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Serve one ``http`` scope."""
        path = scope["path"]
        metrics = self._metrics if path == "/metrics" else None
        if metrics is None and path not in {"/livez", "/healthz", "/readyz"}:
            await send_problem(send, _NOT_FOUND, new_request_id())
        elif scope["method"] not in {"GET", "HEAD"}:
            await send_problem(send, _NOT_GET, new_request_id())
        elif metrics is not None:
            await _send(send, *exposition(metrics, _accept(scope)))
        elif path == "/readyz":
            await self._tell_readiness(send)
        else:
            await _send(send, _OK, "application/json")

    async def _tell_readiness(self, send: Send) -> None:
        answers = await self._store_answers()
        now = time.monotonic()
        area = self._area
        problem, checks = assess(
            store_answers=answers,
            lags=[] if area is None else area.measured(PROPAGATION_LAG, now),
            skews=[] if area is None else area.measured(CLOCK_SKEW, now),
            max_lag=self._max_lag,
        )
        if problem is None:
            body = json.dumps({"status": "ok", "checks": checks}).encode()
            await _send(send, body, "application/json")
        else:
            await send_problem(send, problem, new_request_id(), extensions={"checks": checks})

    async def _store_answers(self) -> bool:
        try:
            await self._store.require_reachable()
        except StoreUnavailable:
            return False
        return True

    async def aclose(self) -> None:
        """Close the connections to the store."""
        await self._store.aclose()


def _accept(scope: Scope) -> str:
    return ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")


async def _send(send: Send, body: bytes, media_type: str) -> None:
    headers = [
        (b"content-type", media_type.encode("latin-1")),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-request-id", new_request_id().encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
