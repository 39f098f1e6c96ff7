"""Every way in which an exchange can fail, and what the client is told about it.

A failure may end up in a log or a traceback, so it holds nothing but its kind: no header value, no
request target, nothing else that the client or the upstream sent.
"""

from __future__ import annotations

from typing import ClassVar

from scopegate.core.reasons import Reason
from scopegate.problems import Problem, refusal

MALFORMED_REQUEST = Problem(
    status=400,
    code="malformed_request",
    title="Malformed request",
    detail="The request cannot be forwarded unchanged: its target, fields or framing are not valid.",
)
BODY_LENGTH_MISMATCH = Problem(
    status=400,
    code="body_length_mismatch",
    title="Body length mismatch",
    detail="The request body is not as long as its Content-Length says.",
)
REQUEST_INCOMPLETE = Problem(
    status=400,
    code="request_incomplete",
    title="Request incomplete",
    detail="The request body was cut short or is not valid.",
)
REQUEST_TIMEOUT = Problem(
    status=408,
    code="request_timeout",
    title="Request timeout",
    detail="The rest of the request body did not arrive in time.",
)
RAW_PATH_MISSING = Problem(
    status=500,
    code="raw_path_missing",
    title="Raw path missing",
    detail="The server in front gives no raw request path, so the request cannot be forwarded faithfully.",
)
NO_UPSTREAM = Problem(
    status=404,
    code="no_upstream",
    title="No upstream",
    detail="No upstream serves this host and path.",
)
UPSTREAM_UNREACHABLE = Problem(
    status=502,
    code="upstream_unreachable",
    title="Upstream unreachable",
    detail="No connection to the upstream could be made.",
)
UPSTREAM_PROTOCOL_ERROR = Problem(
    status=502,
    code="upstream_protocol_error",
    title="Upstream protocol error",
    detail="The upstream's answer was incomplete or not valid HTTP.",
)
UPSTREAM_BUSY = Problem(
    status=503,
    code="upstream_busy",
    title="Upstream busy",
    detail="All connections to the upstream are in use.",
    headers=((b"retry-after", b"1"),),
)
UPSTREAM_TIMEOUT = Problem(
    status=504,
    code="upstream_timeout",
    title="Upstream timeout",
    detail="The upstream did not answer in time.",
)


class ExchangeFailed(Exception):
    """One exchange with the upstream came to no good end; ``problem`` is the answer to give."""

    problem: ClassVar[Problem]

    def __init__(self) -> None:
        super().__init__(self.problem.code)


class RequestNotForwardable(ExchangeFailed):
    """The request cannot be written as one HTTP/1.1 message."""

    problem = MALFORMED_REQUEST


class RawPathMissing(ExchangeFailed):
    """The server in front gives no raw_path."""

    problem = RAW_PATH_MISSING


class BodyLengthMismatch(ExchangeFailed):
    """The request body is not as long as its content-length."""

    problem = BODY_LENGTH_MISMATCH


class ClientTooSlow(ExchangeFailed):
    """The request stopped coming, or the answer is not taken."""

    problem = REQUEST_TIMEOUT


class ClientGone(ExchangeFailed):
    """The client left, or sent a body that its server could not read; ASGI does not tell which."""

    problem = REQUEST_INCOMPLETE


class GatewayFailed(ExchangeFailed):
    """A fault of ours."""

    problem = refusal(Reason.INTERNAL_ERROR)


class UpstreamUnreachable(ExchangeFailed):
    """No connection to the upstream."""

    problem = UPSTREAM_UNREACHABLE


class UpstreamProtocolError(ExchangeFailed):
    """The upstream's answer is not valid HTTP/1.1."""

    problem = UPSTREAM_PROTOCOL_ERROR


class UpstreamClosed(ExchangeFailed):
    """The upstream closed the connection before its answer was complete."""

    problem = UPSTREAM_PROTOCOL_ERROR


class UpstreamBusy(ExchangeFailed):
    """No free connection to the upstream."""

    problem = UPSTREAM_BUSY


class UpstreamTimeout(ExchangeFailed):
    """The upstream did not answer in time."""

    problem = UPSTREAM_TIMEOUT
