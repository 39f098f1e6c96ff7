"""``/livez`` and ``/readyz``, as orchestrators ask for them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from scopegate.core.errors import StoreUnavailable
from scopegate.problems import Problem, send_problem
from scopegate.requestid import new_request_id
from scopegate.store import Store

if TYPE_CHECKING:
    from scopegate.asgi import Receive, Scope, Send

_NOT_FOUND = Problem(404, "not_found", "There is nothing here", "The control plane has /livez and /readyz.")
_NOT_GET = Problem(
    405, "method_not_supported", "The method is not supported", "Use GET.", ((b"allow", b"GET, HEAD"),)
)
_NOT_READY = Problem(
    503, "store_unavailable", "Not ready", "The key store does not answer.", ((b"retry-after", b"1"),)
)


class ControlPlane:
    """An ASGI application that tells whether this instance lives and whether it can decide.

    ``/livez`` (and its alias ``/healthz``) depends on nothing: a process that is restarted because
    Redis is away helps nobody. ``/readyz`` asks the store.
    """

    def __init__(self, redis_url: str) -> None:
        self._store = Store.at(redis_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope; only ``http`` is known."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"The control plane serves no {scope['type']} scope.")
        if scope["path"] not in {"/livez", "/healthz", "/readyz"}:
            await send_problem(send, _NOT_FOUND, new_request_id())
        elif scope["method"] not in {"GET", "HEAD"}:
            await send_problem(send, _NOT_GET, new_request_id())
        elif scope["path"] == "/readyz" and not await self._ready():
            await send_problem(send, _NOT_READY, new_request_id())
        else:
            await _send_ok(send)

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


async def _send_ok(send: Send) -> None:
    body = json.dumps({"status": "ok"}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-request-id", new_request_id().encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
