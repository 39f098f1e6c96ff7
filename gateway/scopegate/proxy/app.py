"""The reverse proxy as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import uuid
from typing import TYPE_CHECKING, Literal

from scopegate.core.headers import REQUEST_ID
from scopegate.problems import send_problem
from scopegate.proxy.asgiclient import AsgiClient
from scopegate.proxy.failures import ClientGone, ExchangeFailed
from scopegate.proxy.origin import parse_origin
from scopegate.proxy.pool import Pool
from scopegate.proxy.request import outgoing, received_by_asgi
from scopegate.proxy.timeouts import Timeouts
from scopegate.proxy.websocket import refuse, relay
from scopegate.throttle import Throttle

if TYPE_CHECKING:
    import ssl

    from scopegate.asgi import Receive, Scope, Send

logger = logging.getLogger("scopegate.proxy")

_FIRST_SERVER_ERROR = 500
_PLAIN_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class ReverseProxy:
    """Forwards every HTTP request and every WebSocket to one upstream, byte for byte.

    `upstream` is ``http://host[:port]``, ``https://host[:port]`` or ``unix:/path/to.sock``; anything
    else raises `ValueError`. TLS is verified against the system's trust, or as `ssl_context` says.
    `host_policy` decides whether the upstream sees the client's Host (``preserve``) or its own
    authority (``rewrite``). At most `max_connections` connections are open at a time, and one that
    nobody needs is closed after `idle_expiry` seconds. A WebSocket has a connection of its own, which
    does not count among these.

    The constructor touches neither the network nor an event loop: connections belong to the loop
    that is running when the first request comes.
    """

    def __init__(
        self,
        upstream: str,
        *,
        timeouts: Timeouts | None = None,
        host_policy: Literal["preserve", "rewrite"] = "preserve",
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = 512,
        idle_expiry: float = 30.0,
    ) -> None:
        if host_policy not in {"preserve", "rewrite"}:
            raise ValueError("host_policy must be 'preserve' or 'rewrite'")
        if max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        if not idle_expiry > 0:
            raise ValueError("idle_expiry must be more than 0 seconds")
        self._origin = parse_origin(upstream, ssl_context)
        self._timeouts = timeouts or Timeouts()
        self._preserve_host = host_policy == "preserve"
        self._max_connections = max_connections
        self._idle_expiry = idle_expiry
        self._pool: Pool | None = None
        self._throttle = Throttle()

    def __repr__(self) -> str:
        return f"ReverseProxy({self._origin.name!r})"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        kind = scope["type"]
        if kind == "http":
            await self._forward(scope, receive, send)
        elif kind == "lifespan":
            await self._live(receive, send)
        elif kind == "websocket":
            await self._relay(scope, receive, send)
        else:
            raise RuntimeError("ReverseProxy serves http, websocket and lifespan scopes only")

    async def aclose(self) -> None:
        """Close the connections; those in use follow when their exchanges end.

        A later request opens new ones.
        """
        pool, self._pool = self._pool, None
        if pool is not None and pool.loop is asyncio.get_running_loop():
            await pool.aclose()

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        pool = self._pool
        if pool is None or pool.loop is not asyncio.get_running_loop():
            pool = self._pool = Pool(
                self._origin,
                self._timeouts,
                max_connections=self._max_connections,
                idle_expiry=self._idle_expiry,
            )
        client = None
        try:
            request = outgoing(
                received_by_asgi(scope), self._origin.authority, preserve_host=self._preserve_host
            )
            client = AsgiClient(request, receive, send, pool=pool, idle_timeout=self._timeouts.idle)
            await client.run()
        except ClientGone as failure:
            # Either there is nobody to answer, or the request was broken; the server knows.
            if client is None or not client.answered:
                with contextlib.suppress(OSError):
                    await send_problem(send, failure.problem, request_id(scope))
        except ExchangeFailed as failure:
            self._warn(failure)
            if client is not None and client.answered:
                # An exception is what makes every server cut the client's connection, so that half
                # an answer cannot be taken for a whole one.
                raise
            await send_problem(send, failure.problem, request_id(scope))

    async def _relay(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await relay(
                scope,
                receive,
                send,
                origin=self._origin,
                timeouts=self._timeouts,
                preserve_host=self._preserve_host,
            )
        except ExchangeFailed as failure:
            self._warn(failure)
            await refuse(scope, send, failure.problem, request_id(scope))

    def _warn(self, failure: ExchangeFailed) -> None:
        """Log a failure of the upstream; what the client did wrong is told to the client only."""
        if failure.problem.status < _FIRST_SERVER_ERROR:
            return
        kind = type(failure).__name__
        unmentioned = self._throttle.due(kind)
        if unmentioned is not None:
            logger.warning("upstream %s: %s (%d more before)", self._origin.name, kind, unmentioned)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


def request_id(scope: Scope) -> str:
    """The id that the request has been given, or a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID and _PLAIN_ID.fullmatch(value):
            plain: bytes = value
            return plain.decode("ascii")
    return str(uuid.uuid4())
