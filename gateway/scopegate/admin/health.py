"""``/livez`` and ``/readyz``, as orchestrators ask for them, and ``/metrics`` for Prometheus."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING

from scopegate.core.errors import StoreUnavailable
from scopegate.metrics.exposition import AreaCollector, exposition
from scopegate.problems import Problem, send_problem
from scopegate.requestid import new_request_id
from scopegate.store import Store

if TYPE_CHECKING:
    from scopegate.asgi import Receive, Scope, Send
    from scopegate.metrics import MetricsArea

_OK = json.dumps({"status": "ok"}).encode()
_NOT_FOUND = Problem(
    404,
    "not_found",
    "There is nothing here",
    "The control plane has /livez, /readyz and, beside workers, /metrics.",
)
_NOT_GET = Problem(
    405, "method_not_supported", "The method is not supported", "Use GET.", ((b"allow", b"GET, HEAD"),)
)
_NOT_READY = Problem(
    503, "store_unavailable", "Not ready", "The key store does not answer.", ((b"retry-after", b"1"),)
)


class ControlPlane:
    """An ASGI application that tells whether this instance lives, whether it can decide, and what it did.

    ``/livez`` (and its alias ``/healthz``) depends on nothing: a process that is restarted because
    Redis is away helps nobody. ``/readyz`` asks the store. ``/metrics`` reads the memory that the
    workers count in, where there is such an area.
    """

    def __init__(self, redis_url: str, metrics: MetricsArea | None = None) -> None:
        self._store = Store.at(redis_url)
        self._metrics = None if metrics is None else AreaCollector(metrics, version=version("scopegate"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope; only ``http`` is known."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"The control plane serves no {scope['type']} scope.")
        path = scope["path"]
        metrics = self._metrics if path == "/metrics" else None
        if metrics is None and path not in {"/livez", "/healthz", "/readyz"}:
            await send_problem(send, _NOT_FOUND, new_request_id())
        elif scope["method"] not in {"GET", "HEAD"}:
            await send_problem(send, _NOT_GET, new_request_id())
        elif metrics is not None:
            await _send(send, *exposition(metrics, _accept(scope)))
        elif path == "/readyz" and not await self._ready():
            await send_problem(send, _NOT_READY, new_request_id())
        else:
            await _send(send, _OK, "application/json")

    async def _ready(self) -> bool:
        try:
            await self._store.require_reachable()
        except StoreUnavailable:
            return False
        return True

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._store.aclose()
        await send({"type": "lifespan.shutdown.complete"})


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
