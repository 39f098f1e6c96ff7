"""ForwardAuth: decides for another proxy, which asks about each request before it forwards it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from scopegate.core.admission import identity_fields
from scopegate.core.attempts import DEFAULT_LIMIT, origin_of
from scopegate.core.credentials import DEFAULT_KEY_HEADER
from scopegate.core.errors import ConfigurationError
from scopegate.core.forwarding import TrustedProxies, accepted_request_id
from scopegate.core.framing import CONTENT_LENGTH, TRANSFER_ENCODING
from scopegate.core.headers import USER
from scopegate.core.keys import DEFAULT_PREFIX
from scopegate.core.original import Dialect, fields_of_original, original_request
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.judge import VERSIONS, Judge, Question
from scopegate.problems import DENIAL, refusal, refuse
from scopegate.requestid import new_request_id
from scopegate.store.canary import CANARY_INTERVAL, MAX_LAG
from scopegate.store.liveaccess import MAX_STALENESS
from scopegate.store.location import locate_if_given
from scopegate.usage import USAGE_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from scopegate.asgi import Receive, Scope, Send
    from scopegate.core.headers import Field
    from scopegate.core.keys import KeyRecord
    from scopegate.core.limits import Limits
    from scopegate.enforcer import Enforcer, Verdict
    from scopegate.metrics import PrivilegeMetrics, StoreMetrics
    from scopegate.privileges.source import SourceOptions
    from scopegate.store.location import RedisOptions

_CLOSE = (b"connection", b"close")


class ForwardAuth:
    """An ASGI application that tells another proxy whether it may forward a request.

    The proxy describes the request in header fields and passes its client's own on. The answer is 200
    without a body, with ``X-Scopegate-Key-Id``, ``-Tenant`` and ``-User`` for the proxy to copy, or the
    refusal as every other form of Scopegate gives it. Any path answers. Nobody is answered but
    `trusted_proxies`.

    Args:
        trusted_proxies: addresses and networks of the proxies that may ask, such as ``10.0.0.0/8``.
        dialect: in which fields they describe the request; ``forwarded`` or ``original``.
        redis_url: where the keys are; docs/redis.md has all forms.
        redis_options: what is to be said about Redis beside its URL, such as a password or a CA.
        data_dir: instead of `redis_url`, the data directory of an embedded store, which is started
            if it does not run. Only one process can own it: with several workers use `redis_url`.
        key_prefix: what the text of keys begins with.
        key_header: the header field that holds the key, beside ``Authorization: Bearer``.
        pepper: the HMAC key under which the digests of keys were made, if any.
        limits: how large a request may be, in place of the defaults.
        failed_auth_limit: how many authentications of one client may fail in a minute, by the address
            that the proxies give; 0 sets no limit.
        max_staleness: for how many seconds after Redis was lost the last known rights count; 0 reads
            Redis for every request.
        canary_interval: how many seconds after another a record of its own is written to see how soon
            Redis tells of it; 0 writes none.
        max_lag: within how many seconds it has to be told, else the connection is not trusted.
        usage_interval: how many seconds after another it is written what keys were used for; 0 counts
            nothing.
        metrics: where what concerns the store is counted.
        privileges: which source says what users may do, such as `HttpPrivileges`; None: the directory.
        privilege_metrics: where questions to it are counted.

    Raises:
        ConfigurationError: neither or both of `redis_url` and `data_dir`, a URL or an address that is
            none, or an unknown dialect.
        InvalidInput: a prefix that keys cannot begin with, or a limit that is none.
    """

    def __init__(
        self,
        *,
        trusted_proxies: TrustedProxies | Iterable[str],
        dialect: str = Dialect.FORWARDED,
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
        metrics: StoreMetrics | None = None,
        privileges: SourceOptions | None = None,
        privilege_metrics: PrivilegeMetrics | None = None,
    ) -> None:
        self._trusted = _trusted(trusted_proxies)
        self._dialect = _dialect(dialect)
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
            metrics=metrics,
            privileges=privileges,
            privilege_metrics=privilege_metrics,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one question."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(receive, send)
            return
        if kind not in {"http", "websocket"}:
            raise RuntimeError(f"Scopegate is asked over HTTP, not in a {kind!r} scope.")
        headers: list[Field] = scope["headers"]
        request_id = accepted_request_id(headers, _client(scope), self._trusted) or new_request_id()
        verdict = await self._judge.verdict(partial(self._question, scope), partial(self._origin, scope))
        record = verdict.decision.record
        if not verdict.decision.allowed or record is None:
            await _refuse(scope, receive, send, verdict, request_id)
        elif kind == "http":
            await _allow(send, "http.response", _allowed(record, request_id, scope))
        else:
            await receive()  # websocket.connect
            if DENIAL in scope.get("extensions", {}):
                await _allow(send, DENIAL, _allowed(record, request_id, scope))
            else:
                await send({"type": "websocket.close"})  # there is no way to say 200

    async def aclose(self) -> None:
        """Close the connections to the store, and stop the store if it is embedded here.

        The end of the lifespan does it.
        """
        await self._judge.aclose()

    def _question(self, scope: Scope, enforcer: Enforcer) -> Question:
        """What is asked about the original request.

        Raises:
            RequestRefused: nothing can be, or not by this peer.
        """
        if _client(scope) not in self._trusted:
            raise RequestRefused(Reason.PROXY_UNTRUSTED)
        http_version: str = scope.get("http_version", "1.1")
        if http_version not in VERSIONS:
            raise RequestRefused(Reason.HTTP_VERSION_UNSUPPORTED)
        headers = scope["headers"]
        method: str = scope["method"] if scope["type"] == "http" else "GET"
        original = original_request(headers, method=method, http_version=http_version, dialect=self._dialect)
        presented = enforcer.read(fields_of_original(headers, original), http_version=http_version)
        return Question(presented, original.method.decode("latin-1"), original.path, original.query)

    def _origin(self, scope: Scope) -> bytes | None:
        """Whose failures count together: the client's, by what the proxy says of it."""
        return origin_of(scope["headers"], client=_client(scope), trusted=self._trusted)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._judge.open()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        finally:
            await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})


def _trusted(proxies: TrustedProxies | Iterable[str]) -> TrustedProxies:
    if isinstance(proxies, TrustedProxies):
        return proxies
    if isinstance(proxies, str):
        proxies = (proxies,)
    try:
        return TrustedProxies.parse(proxies)
    except ValueError as error:
        raise ConfigurationError(
            "trusted_proxies", f"{error}.", hint="Name addresses and networks, such as 10.0.0.0/8."
        ) from None


def _dialect(name: str) -> Dialect:
    try:
        return Dialect(name)
    except ValueError:
        raise ConfigurationError(
            "forward_auth_dialect", "There is no such dialect.", hint=f"There are: {', '.join(Dialect)}."
        ) from None


def _client(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


def _allowed(record: KeyRecord, request_id: str, scope: Scope) -> list[Field]:
    identity = identity_fields(record)
    if record.user is None:
        # Some proxies copy what is there and leave the rest as their client wrote it.
        identity.append((USER, b""))
    return [
        (b"content-length", b"0"),
        (b"cache-control", b"no-store"),
        (b"x-request-id", request_id.encode("ascii")),
        *identity,
        *_end_of_connection(scope),
    ]


async def _allow(send: Send, kind: str, fields: list[Field]) -> None:
    await send({"type": f"{kind}.start", "status": 200, "headers": fields})
    await send({"type": f"{kind}.body", "body": b""})


async def _refuse(scope: Scope, receive: Receive, send: Send, verdict: Verdict, request_id: str) -> None:
    problem = refusal(verdict.decision.reason, retry_after=verdict.retry_after)
    ending = _end_of_connection(scope)
    if ending:
        problem = replace(problem, headers=(*problem.headers, *ending))
    await refuse(scope, receive, send, problem, request_id)


def _end_of_connection(scope: Scope) -> list[Field]:
    """Whether no further request can be read from the connection, as an answer over HTTP/1 says it.

    A proxy may pass on how long its client's body is, and not the body. The server would take the next
    question for it.
    """
    announced = any(
        name == TRANSFER_ENCODING or (name == CONTENT_LENGTH and value.strip(b" \t0"))
        for name, value in scope["headers"]
    )
    over_http1 = scope["type"] == "http" and scope.get("http_version", "1.1").startswith("1")
    return [_CLOSE] if announced and over_http1 else []
