"""A sample upstream: the API of a call-recording service. It knows nothing of keys."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scopegate.asgi import Receive, Scope, Send

_RESOURCES: dict[str, tuple[dict[str, Any], ...]] = {
    "recordings": (
        {"id": "1", "agent": "tom", "customer": "+43 1 5550101", "seconds": 184},
        {"id": "2", "agent": "tom", "customer": "+43 1 5550102", "seconds": 61},
        {"id": "3", "agent": "maria", "customer": "+43 1 5550103", "seconds": 412},
    ),
    "users": (
        {"id": "ana", "name": "Ana Berg"},
        {"id": "maria", "name": "Maria Huber"},
        {"id": "tom", "name": "Tom Lang"},
    ),
    "reports": ({"id": "1", "title": "Calls per day", "rows": 31},),
}
_PATH = re.compile(r"/api/([a-z]+)(?:/([A-Za-z0-9]+))?")
_WHO = {b"x-scopegate-key-id": "key", b"x-scopegate-tenant": "tenant", b"x-scopegate-user": "user"}


async def recordings_api(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one ASGI scope: collections and items under ``/api``, and ``/api/status``.

    Every answer tells who is calling, as the gateway says in its identity headers.
    """
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    status, answer = _answer(scope["method"], scope["path"])
    caller = {_WHO[name]: value.decode() for name, value in scope["headers"] if name in _WHO}
    body = json.dumps({**answer, "called_by": caller}).encode() + b"\n"
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _answer(method: str, path: str) -> tuple[int, Mapping[str, Any]]:
    if path == "/api/status":
        return 200, {"status": "recording"}
    match = _PATH.fullmatch(path)
    if match is None or match[1] not in _RESOURCES:
        return 404, {"error": "no such resource"}
    return _answer_for(method, _RESOURCES[match[1]], match[2])


def _answer_for(
    method: str, items: tuple[dict[str, Any], ...], item_id: str | None
) -> tuple[int, Mapping[str, Any]]:
    if item_id is None:
        return (201, {"created": str(len(items) + 1)}) if method == "POST" else (200, {"items": items})
    item = next((item for item in items if item["id"] == item_id), None)
    if item is None:
        return 404, {"error": "no such item"}
    return 200, {"updated": item_id} if method == "POST" else {"item": item}
