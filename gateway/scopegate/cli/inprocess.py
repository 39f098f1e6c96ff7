"""The administration API in this process, for who may open the store; nothing listens anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import asyncio

    from scopegate.asgi import ASGIApp


class InProcess(httpx.BaseTransport):
    """Sends requests to an ASGI application, in an event loop that lives as long as this does."""

    def __init__(self, app: ASGIApp, runner: asyncio.Runner) -> None:
        self._asgi = httpx.ASGITransport(app, client=("local", 0))
        self._runner = runner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, and read all of its answer."""

        async def send() -> tuple[httpx.Response, bytes]:
            request.stream = httpx.ByteStream(request.read())
            response = await self._asgi.handle_async_request(request)
            return response, await response.aread()

        response, body = self._runner.run(send())
        return httpx.Response(response.status_code, headers=response.headers, content=body)
