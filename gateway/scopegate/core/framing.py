"""How the body of a request is delimited (RFC 9112 section 6), in the only way that is left.

Two readers that end a request at different bytes take the rest for two different requests (request
smuggling), so whatever any of them might read otherwise is refused, never repaired.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from scopegate.core.reasons import Reason, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scopegate.core.headers import Field

CONTENT_LENGTH = b"content-length"
TRANSFER_ENCODING = b"transfer-encoding"
# CGI-style upstreams read these as the names above; nobody sends them for any other reason.
LOOK_ALIKES = frozenset({b"content_length", b"transfer_encoding"})
_DIGITS = b"0123456789"
_MAX_DIGITS = 18  # below 2**63, whatever integer a reader may use


class Body(Enum):
    """How the request body is framed."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNANNOUNCED = "unannounced"  # HTTP/2 and later: only reading it tells


class Framing(NamedTuple):
    """The way in which a body is framed, and its length or -1 where that is not stated."""

    body: Body
    length: int


def body_framing(headers: Sequence[Field], *, http_version: str) -> Framing:
    """How the body behind `headers` is framed.

    Servers differ in what they let through (one hands over Content-Length beside
    Transfer-Encoding), so nothing is taken on trust.

    Raises:
        RequestRefused: two readers could read it differently.
    """
    lengths = []
    codings = []
    for name, value in headers:
        if name == CONTENT_LENGTH:
            lengths.append(value)
        elif name == TRANSFER_ENCODING:
            codings.append(value)
        elif name in LOOK_ALIKES:
            raise RequestRefused(Reason.FRAMING_MALFORMED)
    return framing_of(lengths, codings, http_version=http_version)


def framing_of(lengths: list[bytes], codings: list[bytes], *, http_version: str) -> Framing:
    """As `body_framing`, of the values of Content-Length and Transfer-Encoding."""
    if codings:
        return _coded(lengths, codings, http_version)
    if lengths:
        return _measured(lengths)
    return _NO_BODY if http_version.startswith("1") else _UNANNOUNCED


def _coded(lengths: list[bytes], codings: list[bytes], http_version: str) -> Framing:
    # Section 6.1 for HTTP/1.0, RFC 9113 section 8.2.2 for HTTP/2: no such field in any other version.
    if lengths or len(codings) > 1 or codings[0].lower() != b"chunked" or http_version != "1.1":
        raise RequestRefused(Reason.FRAMING_MALFORMED)
    return _CHUNKED


def _measured(lengths: list[bytes]) -> Framing:
    digits = lengths[0]
    if len(lengths) > 1 or not 0 < len(digits) <= _MAX_DIGITS or digits.translate(None, _DIGITS):
        raise RequestRefused(Reason.FRAMING_MALFORMED)
    length = int(digits)
    return Framing(Body.LENGTH if length else Body.NONE, length)


_NO_BODY = Framing(Body.NONE, -1)
_CHUNKED = Framing(Body.CHUNKED, -1)
_UNANNOUNCED = Framing(Body.UNANNOUNCED, -1)
