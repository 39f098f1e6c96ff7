"""What becomes of a request: judged, then forwarded or refused."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from scopegate.core.admission import identity_fields
from scopegate.core.credentials import credential_fields
from scopegate.core.decision import Decision
from scopegate.core.forwarding import TrustedProxies, accepted_request_id, forwarded_fields
from scopegate.core.framing import Body, body_framing
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.core.target import split_target
from scopegate.enforcer import Verdict
from scopegate.problems import refusal
from scopegate.proxy.failures import NO_UPSTREAM, ExchangeFailed, RequestNotForwardable
from scopegate.proxy.request import crossing, fields_of, lines, outgoing, target_of
from scopegate.requestid import new_request_id

if TYPE_CHECKING:
    from scopegate.core.headers import Field
    from scopegate.core.keys import KeyRecord
    from scopegate.enforcer import Enforcer
    from scopegate.metrics import WorkerMetrics
    from scopegate.proxy.request import Fields
    from scopegate.proxy.routes import Routes
    from scopegate.proxy.upstream import Upstream
    from scopegate.server.connection import ClientConnection
    from scopegate.server.reading import Head, Received
    from scopegate.session import StoreSession

log = logging.getLogger("scopegate")

_SCHEME = b"http"  # where TLS ends before us, a trusted proxy says so


class Gateway:
    """Judges each request with what the store says now, and sends it to the upstream that it is for.

    Args:
        enforcer: decides.
        session: the store, open for the running loop.
        routes: which upstream a request goes to.
        trusted: the peers whose word on who calls is taken.
        metrics: where decisions are counted.
    """

    def __init__(
        self,
        enforcer: Enforcer,
        session: StoreSession,
        routes: Routes[Upstream],
        *,
        trusted: TrustedProxies,
        metrics: WorkerMetrics,
    ) -> None:
        self._enforcer = enforcer
        self._session = session
        self._routes = routes
        self._trusted = trusted
        self._metrics = metrics
        self.limits = enforcer.limits

    def serve(self, request: Received, client: ClientConnection) -> None:
        """Have `client` forward `request`, refuse it, or wait until Redis was asked."""
        client.request_id = (
            accepted_request_id(request.head.headers, client.address, self._trusted) or new_request_id()
        )
        try:
            started = time.perf_counter() if self._metrics.timing else 0.0
            path, query = split_target(request.target, request.head.headers)
            verdict = self._enforcer.judge_known(
                self._session.access,
                request.method,
                path,
                query=query,
                headers=request.head.headers,
                http_version=request.head.http_version,
            )
            if verdict is None:
                client.await_verdict(self._serve_later(request, client, path, query))
                return
            if started:
                self._metrics.decision_took(time.perf_counter() - started)
        except RequestRefused as refused:
            verdict, query = Verdict(Decision(refused.reason)), b""
        except Exception:
            log.exception("refused, for the decision failed")
            verdict, query = Verdict(Decision(Reason.INTERNAL_ERROR)), b""
        self._act(verdict, request, client, query)

    async def _serve_later(
        self, request: Received, client: ClientConnection, path: bytes, query: bytes
    ) -> None:
        try:
            verdict = await self._enforcer.judge(
                self._session.access,
                request.method,
                path,
                query=query,
                headers=request.head.headers,
                http_version=request.head.http_version,
            )
        except Exception:
            log.exception("refused, for the decision failed")
            verdict = Verdict(Decision(Reason.INTERNAL_ERROR))
        self._act(verdict, request, client, query)

    def _act(self, verdict: Verdict, request: Received, client: ClientConnection, query: bytes) -> None:
        """Carry the verdict out. Whatever goes wrong before the request is on its way refuses it."""
        decision = verdict.decision
        record = decision.record
        self._metrics.decided(decision.reason, None if record is None else record.type)
        canonical = verdict.request
        if decision.reason is not Reason.ALLOWED or record is None or canonical is None:
            client.refuse(refusal(decision.reason))
            return
        try:
            chosen = self._routes.choose(canonical.host, canonical.path)
            if chosen is None:
                client.refuse(NO_UPSTREAM)
                return
            route, path = chosen
            upstream = route.target
            note = request.head.note
            if not isinstance(note, _Note):
                note = request.head.note = self._note(request.head, client.address, canonical.host)
            fields = note.fields
            if fields.upgrade and (fields.body is not Body.NONE or request.method != "GET"):
                client.fail(RequestNotForwardable())
                return
            if note.record is not record:
                note.record = record
                note.identity = lines(identity_fields(record))
            message = outgoing(
                request.method,
                target_of(request.method, path.encode("ascii"), query),
                fields,
                (upstream.preserve_host and fields.host) or upstream.authority,
                identity=b"%bx-request-id: %b\r\n" % (note.identity, client.request_id.encode("ascii")),
            )
            pool = upstream.pool()
        except ExchangeFailed as failure:
            client.fail(failure)
        except Exception:
            log.exception("refused, for the request could not be forwarded")
            client.refuse(refusal(Reason.INTERNAL_ERROR))
        else:
            client.forward(message, pool, trailers=note.takes_trailers)

    def _note(self, head: Head, client: str | None, canonical_host: str | None) -> _Note:
        received = head.headers
        host = b"" if canonical_host is None else canonical_host.encode("ascii")
        takes_trailers, expects_continue = _wishes(received)
        fields = fields_of(
            crossing(received, credentials=credential_fields(received, key_header=self._enforcer.key_header)),
            host=host,
            framing=body_framing(received, http_version=head.http_version),
            forwarded=forwarded_fields(
                received, client=client, scheme=_SCHEME, host=host, trusted=self._trusted
            ),
            expects_continue=expects_continue and head.http_version == "1.1",
            upgrade=head.upgrade,
            takes_trailers=takes_trailers,
        )
        return _Note(fields, takes_trailers=takes_trailers)


class _Note:
    """What a head comes to; kept with it, as long as the client sends the same again."""

    __slots__ = ("fields", "identity", "record", "takes_trailers")

    def __init__(self, fields: Fields, *, takes_trailers: bool) -> None:
        self.fields = fields
        self.takes_trailers = takes_trailers
        self.record: KeyRecord | None = None
        self.identity = b""  # the lines that say so


def _wishes(headers: list[Field]) -> tuple[bool, bool]:
    """Whether the client takes trailers (RFC 9110 section 10.1.4), and whether it waits for a 100."""
    takes_trailers = expects_continue = False
    for name, value in headers:
        if name == b"te":
            takes_trailers = b"trailers" in value.lower()
        elif name == b"expect":
            expects_continue = value.lower() == b"100-continue"
    return takes_trailers, expects_continue
