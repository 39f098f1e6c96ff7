"""The reverse proxy as an ASGI application."""

from __future__ import annotations

import contextlib
import logging
import re
import uuid
from typing import TYPE_CHECKING, Literal

from scopegate.core.headers import REQUEST_ID
from scopegate.core.reasons import RequestRefused
from scopegate.core.request import canonical_host
from scopegate.problems import send_problem
from scopegate.proxy.asgiclient import AsgiClient
from scopegate.proxy.failures import (
    NO_UPSTREAM,
    ClientGone,
    ExchangeFailed,
    RawPathMissing,
    RequestNotForwardable,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from scopegate.proxy.origin import parse_origin
from scopegate.proxy.request import outgoing_of_scope
from scopegate.proxy.routes import Route, Routes, UpstreamConfig
from scopegate.proxy.timeouts import Timeouts
from scopegate.proxy.upstream import Upstream
from scopegate.proxy.websocket import refuse, relay
from scopegate.throttle import Throttle

if TYPE_CHECKING:
    import ssl

    from scopegate.asgi import Message, Receive, Scope, Send

logger = logging.getLogger("scopegate.proxy")

_FIRST_SERVER_ERROR = 500
_PLAIN_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RoutedProxy:
    """Forwards every HTTP request and every WebSocket to the upstream that `routes` choose.

    Unless one route gets everything, requests have to be canonical, as `AuthorizationMiddleware`
    makes them; one that no route matches is answered with 404.
    """

    def __init__(self, routes: Routes[Upstream]) -> None:
        self._routes = routes
        self._throttle = Throttle()

    def __repr__(self) -> str:
        names = [repr(route.target.name) for route in self._routes.routes]
        return f"{type(self).__name__}({', '.join(names)})"

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
            raise RuntimeError("The reverse proxy serves http, websocket and lifespan scopes only")

    async def aclose(self) -> None:
        """Close the connections; those in use follow when their exchanges end.

        A later request opens new ones.
        """
        for route in self._routes.routes:
            await route.target.aclose()

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        upstream = client = None
        try:
            chosen = self._choose(scope)
            if chosen is None:
                await send_problem(send, NO_UPSTREAM, request_id(scope))
                return
            upstream, scope = chosen
            request = outgoing_of_scope(scope, upstream.authority, preserve_host=upstream.preserve_host)
            client = AsgiClient(
                request, receive, send, pool=upstream.pool(), idle_timeout=upstream.timeouts.idle
            )
            await client.run()
        except ClientGone as failure:
            # Either there is nobody to answer, or the request was broken; the server knows.
            if client is None or not client.answered:
                with contextlib.suppress(OSError):
                    await send_problem(send, failure.problem, request_id(scope))
        except ExchangeFailed as failure:
            self._warn(upstream, failure)
            if client is not None and client.answered:
                # An exception is what makes every server cut the client's connection, so that half
                # an answer cannot be taken for a whole one.
                raise
            await send_problem(send, failure.problem, request_id(scope))

    async def _relay(self, scope: Scope, receive: Receive, send: Send) -> None:
        upstream = None
        try:
            chosen = self._choose(scope)
            if chosen is None:
                await receive()  # websocket.connect
                await refuse(scope, send, NO_UPSTREAM, request_id(scope))
                return
            upstream, scope = chosen
            await _relay_to(upstream, scope, receive, send)
        except ExchangeFailed as failure:
            self._warn(upstream, failure)
            await refuse(scope, send, failure.problem, request_id(scope))

    def _choose(self, scope: Scope) -> tuple[Upstream, Scope] | None:
        """The upstream for a request, and the request as it is forwarded there; None if none has it."""
        only = self._routes.only
        if only is not None:
            return only.target, scope
        raw_path: bytes | None = scope.get("raw_path")
        if not raw_path:
            raise RawPathMissing
        chosen = self._routes.choose(_host(scope), raw_path.decode("latin-1"))
        if chosen is None:
            return None
        route, path = chosen
        return route.target, {**scope, "raw_path": path.encode("latin-1")}

    def _warn(self, upstream: Upstream | None, failure: ExchangeFailed) -> None:
        """Log a failure of the upstream; what the client did wrong is told to the client only."""
        if failure.problem.status < _FIRST_SERVER_ERROR:
            return
        name = "" if upstream is None else upstream.name
        kind = type(failure).__name__
        unmentioned = self._throttle.due(f"{kind} {name}")
        if unmentioned is not None:
            logger.warning("upstream %s: %s (%d more before)", name, kind, unmentioned)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


class ReverseProxy(RoutedProxy):
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
        origin = parse_origin(upstream, ssl_context)
        config = UpstreamConfig(
            name=origin.name,
            origins=(origin,),
            timeouts=timeouts or Timeouts(),
            preserve_host=host_policy == "preserve",
            max_connections=max_connections,
        )
        self._upstream = Upstream(config, idle_expiry=idle_expiry)
        super().__init__(Routes([Route("upstream", self._upstream)]))


def _host(scope: Scope) -> str | None:
    """The host that the request is for, if it says so."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if not hosts:
        return None
    try:
        (host,) = hosts
        return canonical_host(host.strip(b" \t"))
    except (ValueError, RequestRefused):
        raise RequestNotForwardable from None


async def _relay_to(upstream: Upstream, scope: Scope, receive: Receive, send: Send) -> None:
    """Relay a WebSocket to the first origin that can be reached; as `relay`."""
    pool = upstream.pool()
    places = pool.in_order()
    opening = await receive()  # websocket.connect
    while True:
        place = places.pop(0)
        pool.chosen(place)
        try:
            await relay(
                scope,
                _Replayed(opening, receive),
                send,
                origin=place.origin,
                timeouts=upstream.timeouts,
                preserve_host=upstream.preserve_host,
            )
        except UpstreamUnreachable:
            pool.unreachable(place)
            if not places:
                raise
        except UpstreamTimeout:
            pool.missed(place)
            raise
        else:
            pool.answered(place)
            return


class _Replayed:
    """A `receive` that says `opening` first."""

    def __init__(self, opening: Message, receive: Receive) -> None:
        self._opening: Message | None = opening
        self._receive = receive

    async def __call__(self) -> Message:
        opening, self._opening = self._opening, None
        return await self._receive() if opening is None else opening


def request_id(scope: Scope) -> str:
    """The id that the request has been given, or a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID and _PLAIN_ID.fullmatch(value):
            plain: bytes = value
            return plain.decode("ascii")
    return str(uuid.uuid4())
