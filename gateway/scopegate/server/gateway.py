"""What becomes of a request: judged, then forwarded or refused."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from scopegate.core.admission import identity_fields
from scopegate.core.attempts import FAILURES, origin_of
from scopegate.core.credentials import credential_fields
from scopegate.core.decision import Decision
from scopegate.core.forwarding import TrustedProxies, accepted_request_id, forwarded_fields
from scopegate.core.framing import Body, body_framing
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.core.target import split_target
from scopegate.enforcer import Presented, Verdict
from scopegate.problems import refusal
from scopegate.proxy.failures import NO_UPSTREAM, ExchangeFailed, RequestNotForwardable
from scopegate.proxy.request import crossing, fields_of, lines, outgoing
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

_ALLOWED = Reason.ALLOWED  # Python 3.11 looks the members of an enumeration up anew each time
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
        self._count_use = session.count_use
        self._metrics = metrics
        self.limits = enforcer.limits

    def upstream_connections(self) -> int:
        """How many connections to all upstreams are open now."""
        return sum(route.target.connections() for route in self._routes.routes)

    def serve(self, request: Received, client: ClientConnection) -> None:
        """Have `client` forward `request`, refuse it, or wait until Redis was asked."""
        note, query = _UNREAD, b""
        verdict: Verdict | None
        try:
            started = time.perf_counter() if self._metrics.timing else 0.0
            note = self._note(request.head, client.address)
            client.request_id = note.request_id or new_request_id()
            path, query = split_target(request.target, request.head.headers)
            verdict = self._enforcer.judge_known(
                self._session.access, note.presented, request.method, path, query=query
            )
            if verdict is None:
                origin = self._origin(request, client)
                verdict = self._enforcer.unasked(self._session.access, note.presented, origin)
                if verdict is None:
                    client.await_verdict(self._serve_later(request, client, note, path, query))
                    return
            if started:
                self._metrics.decision_took(time.perf_counter() - started)
        except RequestRefused as refused:
            verdict = Verdict(Decision(refused.reason))
        except Exception:
            log.exception("refused, for the decision failed")
            verdict = Verdict(Decision(Reason.INTERNAL_ERROR))
        self._act(verdict, request, client, note, query)

    async def _serve_later(
        self, request: Received, client: ClientConnection, note: _Note, path: bytes, query: bytes
    ) -> None:
        admissions = self._session.admissions
        changes = admissions.changes
        verdict = await self._ask(note, request, path, query)
        self._act(verdict, request, client, note, query)
        if admissions.changes != changes:
            # What was read may have been overtaken by a change that was told before this was followed.
            admissions.doubt(client)

    async def review(self, client: ClientConnection, *, last: bool) -> bool:
        """As `Handler.review`."""
        request = client.current
        if request is None:
            return True
        note = self._note(request.head, client.address)
        path, query = split_target(request.target, request.head.headers)
        verdict = await self._ask(note, request, path, query)
        if client.current is not request or not client.running:
            return True
        reason, record, *_ = verdict.decision
        if reason is _ALLOWED and record is not None:
            self._follow(client, record)
            return True
        if reason is Reason.STORE_UNAVAILABLE and not last:
            return False
        self._metrics.withdrew(reason)
        client.withdraw(refusal(reason))
        return True

    def forget(self, client: ClientConnection) -> None:
        """As `Handler.forget`."""
        if client.record is not None:
            client.record = None
            self._session.admissions.forget(client)

    def _follow(self, client: ClientConnection, record: KeyRecord) -> None:
        client.record = record
        self._session.admissions.follow(client, record)

    async def _ask(self, note: _Note, request: Received, path: bytes, query: bytes) -> Verdict:
        try:
            return await self._enforcer.judge(
                self._session.access, note.presented, request.method, path, query=query
            )
        except Exception:
            log.exception("refused, for the decision failed")
            return Verdict(Decision(Reason.INTERNAL_ERROR))

    def _act(
        self, verdict: Verdict, request: Received, client: ClientConnection, note: _Note, query: bytes
    ) -> None:
        """Carry the verdict out. Whatever goes wrong before the request is on its way refuses it."""
        decision = verdict.decision
        record = decision.record
        canonical = verdict.request
        self._count_use(decision, note.presented.digest)
        if decision.reason is not _ALLOWED or record is None or canonical is None:
            self._refuse(verdict, request, client)
            return
        self._metrics.decided(decision.reason, record.type)
        try:
            chosen = self._routes.choose(canonical.host, canonical.path)
            if chosen is None:
                client.refuse(NO_UPSTREAM)
                return
            route, path = chosen
            upstream = route.target
            fields = note.fields
            if fields is None:
                fields = note.fields = self._fields(request.head, client.address, note.presented.host or b"")
            if fields.upgrade and (fields.body is not Body.NONE or request.method != "GET"):
                client.fail(RequestNotForwardable())
                return
            if client.record is not record:
                self._follow(client, record)
            if note.record is not record:
                note.record = record
                note.identity = lines(identity_fields(record))
            message = outgoing(
                request.method,
                # Both were read in one way only, so nothing in them could end the line.
                b"%b?%b" % (path.encode("ascii"), query) if query else path.encode("ascii"),
                fields,
                (upstream.preserve_host and fields.host) or upstream.authority,
                identity=b"%bx-request-id: %b\r\n" % (note.identity, client.request_id.encode("ascii")),
            )
            pool = upstream.opened or upstream.pool()
        except ExchangeFailed as failure:
            client.fail(failure)
        except Exception:
            log.exception("refused, for the request could not be forwarded")
            client.refuse(refusal(Reason.INTERNAL_ERROR))
        else:
            client.forward(message, pool, takes_trailers=fields.takes_trailers)

    def _refuse(self, verdict: Verdict, request: Received, client: ClientConnection) -> None:
        try:
            if verdict.decision.reason in FAILURES:
                verdict = self._enforcer.bounded(verdict, self._origin(request, client))
        except Exception:
            log.exception("refused, and the failure was not counted")
        reason, record, *_ = verdict.decision
        self._metrics.decided(reason, None if record is None else record.type)
        client.refuse(refusal(reason, retry_after=verdict.retry_after))

    def _origin(self, request: Received, client: ClientConnection) -> bytes | None:
        return origin_of(request.head.headers, client=client.address, trusted=self._trusted)

    def _note(self, head: Head, client: str | None) -> _Note:
        note = head.note
        if not isinstance(note, _Note):
            presented = self._enforcer.read(head.headers, http_version=head.http_version)
            request_id = accepted_request_id(head.headers, client, self._trusted)
            note = head.note = _Note(presented, request_id)
        return note

    def _fields(self, head: Head, client: str | None, host: bytes) -> Fields:
        received = head.headers
        takes_trailers, expects_continue = _wishes(received)
        return fields_of(
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


class _Note:
    """What the fields of a request come to; kept for as long as the client sends the same again."""

    __slots__ = ("fields", "identity", "presented", "record", "request_id")

    def __init__(self, presented: Presented, request_id: str | None = None) -> None:
        self.presented = presented
        self.request_id = request_id  # that a trusted peer gave
        self.fields: Fields | None = None
        self.record: KeyRecord | None = None  # of the key that the fields were last allowed with
        self.identity = b""  # the lines that say so


_UNREAD = _Note(Presented(Reason.INTERNAL_ERROR))


def _wishes(headers: list[Field]) -> tuple[bool, bool]:
    """Whether the client takes trailers, and whether it waits for a 100.

    The former it says of this connection, so ``Connection`` has to name it (RFC 9110 section 10.1.4).
    """
    takes_trailers = names_te = expects_continue = False
    for name, value in headers:
        if name == b"te":
            takes_trailers = b"trailers" in value.lower()
        elif name == b"connection":
            names_te = names_te or b"te" in map(_option, value.split(b","))
        elif name == b"expect":
            expects_continue = value.lower() == b"100-continue"
    return takes_trailers and names_te, expects_continue


def _option(member: bytes) -> bytes:
    return member.strip(b" \t").lower()
