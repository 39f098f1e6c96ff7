"""AuthorizationMiddleware: puts the decision in front of any ASGI application."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

from scopegate.asgiadmission import AsgiAdmission
from scopegate.core import headers as fields
from scopegate.core.admission import identity_fields
from scopegate.core.attempts import DEFAULT_LIMIT, origin_of
from scopegate.core.credentials import DEFAULT_KEY_HEADER, credential_fields
from scopegate.core.forwarding import TrustedProxies
from scopegate.core.framing import Body, body_framing
from scopegate.core.keys import DEFAULT_PREFIX
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.judge import VERSIONS, Judge, Question
from scopegate.problems import refusal, refuse, send_problem
from scopegate.requestid import new_request_id
from scopegate.store.canary import CANARY_INTERVAL, MAX_LAG
from scopegate.store.liveaccess import MAX_STALENESS
from scopegate.store.location import locate_if_given
from scopegate.usage import USAGE_INTERVAL

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.asgi import ASGIApp, Message, Receive, Scope, Send
    from scopegate.core.limits import Limits
    from scopegate.enforcer import Enforcer, Verdict
    from scopegate.privileges.source import SourceOptions
    from scopegate.store.location import RedisOptions

log = logging.getLogger("scopegate")

_NO_PROXIES = TrustedProxies()  # whose word counts is for the server to know


class AuthorizationMiddleware:
    """An ASGI application that lets through to `app` only what the caller's key opens.

    HTTP requests and WebSocket handshakes are judged alike; a refusal is answered here and `app`
    never hears of it. For an allowed request, ``scope["state"]["scopegate"]`` holds the Decision,
    and the application gets ``X-Scopegate-Key-Id``, ``-Tenant`` and ``-User`` in place of the key.

    Args:
        app: the application to protect.
        redis_url: where the keys are; docs/redis.md has all forms.
        redis_options: what is to be said about Redis beside its URL, such as a password or a CA.
        data_dir: instead of `redis_url`, the data directory of an embedded store, which is started
            if it does not run. Only one process can own it: with several workers use `redis_url`.
        key_prefix: what the text of keys begins with.
        key_header: the header field that holds the key, beside ``Authorization: Bearer``.
        pepper: the HMAC key under which the digests of keys were made, if any.
        limits: how large a request may be, in place of the defaults.
        failed_auth_limit: how many authentications of one client may fail in a minute, by the address
            that the server gives; 0 sets no limit.
        max_staleness: for how many seconds after Redis was lost the last known rights count; 0 reads
            Redis for every request.
        canary_interval: how many seconds after another a record of its own is written to see how soon
            Redis tells of it; 0 writes none.
        max_lag: within how many seconds it has to be told, else the connection is not trusted.
        usage_interval: how many seconds after another it is written what keys were used for; 0 counts
            nothing.
        privileges: which source says what users may do, such as `HttpPrivileges`; None: the directory.

    Raises:
        ConfigurationError: neither or both of `redis_url` and `data_dir`, a URL that is none, or
            seconds that make no sense.
        InvalidInput: a prefix that keys cannot begin with, or a limit that is none.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        redis_url: str | None = None,
        redis_options: RedisOptions | None = None,
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
        privileges: SourceOptions | None = None,
    ) -> None:
        self.app = app
        self._judge = Judge(
            redis=locate_if_given(redis_url, redis_options),
            data_dir=data_dir,
            key_prefix=key_prefix,
            key_header=key_header,
            pepper=pepper,
            limits=limits,
            failed_auth_limit=failed_auth_limit,
            max_staleness=max_staleness,
            canary_interval=canary_interval,
            max_lag=max_lag,
            usage_interval=usage_interval,
            privileges=privileges,
        )
        self._key_header = self._judge.enforcer.key_header
        self._limits = self._judge.enforcer.limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one connection scope, and pass it on or refuse it."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if kind not in {"http", "websocket"}:
            raise RuntimeError(f"Scopegate lets no {kind!r} scope through: it cannot judge it.")
        request_id = new_request_id()
        judge = self._judge
        question = partial(_question, scope)
        changes = judge.changes
        verdict = await judge.verdict(question, partial(_origin, scope))
        record = verdict.decision.record
        if not verdict.decision.allowed or verdict.request is None or record is None:
            problem = refusal(verdict.decision.reason, retry_after=verdict.retry_after)
            await refuse(scope, receive, send, problem, request_id)
            return
        app = self.app
        if kind == "http" and self._may_outgrow_limit(scope):
            app = partial(_bounded, self.app, self._limits, request_id)
        admission = AsgiAdmission(
            app,
            receive,
            send,
            kind=kind,
            request_id=request_id,
            judge=partial(judge.verdict_again, question),
        )
        admitted = self._admitted(scope, verdict, request_id)
        await admission.run(admitted, judge.admissions, record, doubtful=judge.changes != changes)

    async def aclose(self) -> None:
        """Close the connections to the store, and stop the store if it is embedded here.

        The end of the application's lifespan does it; a mounted application has none, so whoever
        mounts one calls this at the end of its own.
        """
        await self._judge.aclose()

    def _may_outgrow_limit(self, scope: Scope) -> bool:
        """Whether the body has a limit, and its length is not known before it has come."""
        if not self._limits.body:
            return False
        framing = body_framing(scope["headers"], http_version=scope.get("http_version", "1.1"))
        return framing.body in {Body.CHUNKED, Body.UNANNOUNCED}

    def _admitted(self, scope: Scope, verdict: Verdict, request_id: str) -> Scope:
        """The scope that the application sees: canonical path, no key, our identity headers."""
        record = verdict.decision.record
        request = verdict.request
        if record is None or request is None:
            raise RuntimeError("an allowed request has a key and one reading")
        received = scope["headers"]
        headers = fields.admitted(
            received, credentials=credential_fields(received, key_header=self._key_header)
        )
        headers.append((fields.REQUEST_ID, request_id.encode("ascii")))
        headers += identity_fields(record)
        return {
            **scope,
            "raw_path": request.path.encode("ascii"),
            "headers": headers,
            "state": {**scope.get("state", {}), "scopegate": verdict.decision},
        }

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_opening() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._judge.open()
            return message

        try:
            await self.app(scope, receive_opening, send)
        finally:
            await self.aclose()


async def _bounded(
    app: ASGIApp, limits: Limits, request_id: str, scope: Scope, receive: Receive, send: Send
) -> None:
    await _BoundedExchange(receive, send, limits, request_id).run(app, scope)


class _BoundedExchange:
    """One request whose body may outgrow its limit, which only reading it tells.

    The application sees a client that has gone then. If it has not begun to answer, the client is
    answered here, and whatever the application still says goes nowhere.
    """

    def __init__(self, receive: Receive, send: Send, limits: Limits, request_id: str) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._request_id = request_id
        self._size = 0
        self._begun = False
        self._refused = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            if not self._refused:
                raise
            log.debug("the application failed after its request was cut off", exc_info=True)

    async def receive(self) -> Message:
        if self._limits.is_too_long(self._size):
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if not self._limits.is_too_long(self._size):
            return message
        if not self._begun:
            self._refused = True
            await send_problem(self._send, refusal(Reason.BODY_TOO_LARGE), self._request_id)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self._begun = True
        if not self._refused:
            await self._send(message)


def _question(scope: Scope, enforcer: Enforcer) -> Question:
    """What is asked about a scope.

    Raises:
        RequestRefused: nothing can be.
    """
    # A server may hand on whatever number stood behind HTTP/, and other versions frame otherwise.
    http_version: str = scope.get("http_version", "1.1")
    if http_version not in VERSIONS:
        raise RequestRefused(Reason.HTTP_VERSION_UNSUPPORTED)
    raw_path = _raw_path(scope)
    if raw_path is None:
        raise RequestRefused(Reason.PATH_MALFORMED)
    # A WebSocket handshake is a GET (RFC 6455 section 4.1), whatever a server took for one.
    method: str = scope["method"] if scope["type"] == "http" else "GET"
    presented = enforcer.read(scope["headers"], http_version=http_version)
    return Question(presented, method, raw_path, scope.get("query_string", b""))


def _origin(scope: Scope) -> bytes | None:
    """Whose failures count together, by the address that the server gives."""
    client = scope.get("client")
    return origin_of((), client=client[0] if client else None, trusted=_NO_PROXIES)


def _raw_path(scope: Scope) -> bytes | None:
    """The path as it stood in the request line, or None where that cannot be told.

    The application routes on ``path``, so a ``path`` that is not the decoded ``raw_path`` (less the
    ``root_path`` that some frameworks cut off) is refused: it would be judged as another request.
    """
    path: str = scope["path"]
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        # Without escapes and spaces there is only one way in which the path can have been spelled.
        return path.encode("ascii") if path.isascii() and "%" not in path and path.isprintable() else None
    decoded = raw.decode("latin-1")
    if "%" in decoded:
        decoded = unquote(decoded, errors="replace")
    if decoded == path:
        return raw
    root: str = scope.get("root_path", "")
    if root and decoded == root + path:
        return raw
    return None
