"""Applications behind the middleware: they note what reaches them, in the file that CORPUS_SEEN names.

Run by ``uvicorn --factory wire.guarded:...``, with the store's URL in CORPUS_STORE.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, WebSocket
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute

from scopegate import AuthorizationMiddleware

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from starlette.types import Receive, Scope, Send

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def starlette_app() -> Starlette:
    """All of an application, protected by its outermost middleware."""
    app = Starlette(
        routes=[
            Route("/{rest:path}", _answer, methods=_METHODS),
            WebSocketRoute("/{rest:path}", _greet),
        ],
        middleware=[Middleware(AuthorizationMiddleware, redis_url=os.environ["CORPUS_STORE"])],
    )
    app.router.default = _whatever
    return app


def starlette_mounted() -> Starlette:
    """An application of which a mounted part is protected."""
    return Starlette(routes=[Mount("/m", app=starlette_app())])


def fastapi_app() -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.add_middleware(AuthorizationMiddleware, redis_url=os.environ["CORPUS_STORE"])
    app.api_route("/{rest:path}", methods=_METHODS)(_answer)
    app.websocket("/{rest:path}")(_greet)
    app.router.default = _whatever
    return app


def fastapi_mounted() -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.mount("/m", fastapi_app())
    return app


async def _answer(request: Request) -> Response:
    body = await request.body()
    _note(request.scope, request["method"], body)
    return PlainTextResponse(f"for {request.headers['x-scopegate-key-id']}")


async def _greet(websocket: WebSocket) -> None:
    _note(websocket.scope, "GET", b"")
    await websocket.accept()
    await websocket.close()


async def _whatever(scope: Scope, receive: Receive, send: Send) -> None:
    """What no route takes has come through all the same."""
    if scope["type"] == "http":
        response = await _answer(Request(scope, receive))
        await response(scope, receive, send)
    elif scope["type"] == "websocket":
        await _greet(WebSocket(scope, receive, send))


def _note(scope: MutableMapping[str, Any], method: str, body: bytes) -> None:
    target: bytes = scope["raw_path"]
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    seen = {
        "method": method,
        "target": target.decode("latin-1"),
        "fields": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": body.decode("latin-1"),
    }
    with open(os.environ["CORPUS_SEEN"], "a", encoding="ascii") as file:  # noqa: PTH123 -- for every request
        file.write(json.dumps(seen) + "\n")
