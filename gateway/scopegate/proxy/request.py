"""One ASGI request as the bytes that go upstream. Pure: no I/O, no state."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from scopegate.core.headers import end_to_end
from scopegate.proxy.failures import RawPathMissing, RequestNotForwardable

if TYPE_CHECKING:
    from scopegate.asgi import Scope
    from scopegate.core.headers import Field

_DIGITS = b"0123456789"
_MAX_LENGTH_DIGITS = 18  # fits 64 bits, whatever the upstream is written in
_LOWER = b"abcdefghijklmnopqrstuvwxyz"
_NAME_BYTES = _DIGITS + _LOWER + b"!#$%&'*+-.^_`|~"  # RFC 9110 tchar; ASGI names are lower case
_TOKEN_BYTES = _NAME_BYTES + _LOWER.upper()
# A host as RFC 3986 has it, but for the comma, by which two Host fields may have been joined.
_HOST_BYTES = _DIGITS + _LOWER + _LOWER.upper() + b"-._~%!$&'()*+;=:[]"
# What may stand in a request target. The rest would end it (space), split the request (CR, LF),
# cut it short in an upstream written in C (NUL), or vanish on the way (#). Non-ASCII bytes pass: they
# are forwarded as they came, and whoever decides on the path has seen the same bytes.
_PATH_BYTES = bytes(byte for byte in range(0x21, 0x100) if byte not in b"\x7f#?")
_QUERY_BYTES = _PATH_BYTES + b"?"

# RFC 9110 section 9.2.2. What is repeated after a dead connection must do no harm twice.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})


def _spellings(name: bytes) -> list[bytes]:
    """`name` with every choice of ``-`` and ``_``: CGI-style upstreams read them all as one name."""
    first, *others = name.split(b"-")
    return [
        first + b"".join(map(bytes.__add__, dashes, others))
        for dashes in product((b"-", b"_"), repeat=len(others))
    ]


# Fields that are written here, so that what the client sent of them ends here. Expect is not written
# anew: the server in front answers it with 100 as soon as the body is read.
_OURS = frozenset(
    spelling
    for name in (
        b"content-length",
        b"expect",
        b"host",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
    )
    for spelling in _spellings(name)
)


class Body(Enum):
    """How the request body is framed."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNANNOUNCED = "unannounced"  # HTTP/2 and later: only reading it tells


class Outgoing(NamedTuple):
    """A request ready to be written.

    ``head`` lacks the empty line that ends it, so that a framing field can be added to an
    ``UNANNOUNCED`` body. ``length`` is -1 where it is not stated.
    """

    head: bytes
    body: Body
    length: int
    to_head: bool
    idempotent: bool


def outgoing(scope: Scope, authority: bytes, *, preserve_host: bool) -> Outgoing:
    """The request in `scope` for the upstream at `authority`; raises an `ExchangeFailed`.

    Method, path, query and field values pass byte for byte or not at all.
    """
    method: str = scope["method"]
    headers: list[Field] = list(scope["headers"])
    fields = end_to_end(headers)
    lines, hosts, lengths = _sorted_out(fields)
    codings = (
        [] if len(fields) == len(headers) else [v for name, v in headers if name == b"transfer-encoding"]
    )
    body, length = _framing(lengths, codings, scope["http_version"])
    host = _host(hosts) or authority
    _add_forwarded(lines, scope, host, scope["scheme"].encode("latin-1", "replace"))
    if length >= 0:
        lines.append(b"content-length: %d" % length)
    elif body is Body.CHUNKED:
        lines.append(b"transfer-encoding: chunked")
    head = _head(_method(method), _target(scope), host if preserve_host else authority, lines)
    return Outgoing(head, body, length, method == "HEAD", method in _IDEMPOTENT)


def handshake(scope: Scope, authority: bytes, *, preserve_host: bool, key: bytes) -> bytes:
    """The opening handshake (RFC 6455 section 4.1) for the WebSocket in `scope`, complete.

    The client's own ``Sec-WebSocket-*`` fields end here, but for the subprotocols that it offers:
    the two handshakes have keys of their own, and no extension spans both connections.
    """
    lines, hosts, _ = _sorted_out(
        [field for field in end_to_end(list(scope["headers"])) if not is_websocket_field(field[0])]
    )
    host = _host(hosts) or authority
    _add_forwarded(lines, scope, host, b"https" if scope["scheme"] in {"wss", "https"} else b"http")
    lines += [
        b"upgrade: websocket",
        b"connection: Upgrade",
        b"sec-websocket-version: 13",
        b"sec-websocket-key: " + key,
    ]
    offered = [_token(subprotocol) for subprotocol in scope.get("subprotocols", ())]
    if offered:
        lines.append(b"sec-websocket-protocol: " + b", ".join(offered))
    head = _head(b"GET", _target(scope), host if preserve_host else authority, lines)
    return head + b"\r\n"


def is_websocket_field(name: bytes) -> bool:
    """Whether a field belongs to one handshake (RFC 6455 section 11.3), in either spelling."""
    return name.replace(b"_", b"-").startswith(b"sec-websocket-")


def _sorted_out(fields: list[Field]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """The lines to pass on, and the values of Host and of Content-Length."""
    lines = []
    hosts = []
    lengths = []
    for field in fields:
        name = field[0]
        if name not in _OURS:
            if not _is_name(name):
                raise RequestNotForwardable
            lines.append(b": ".join(field))
        elif name == b"host":
            hosts.append(field[1])
        elif name == b"content-length":
            lengths.append(field[1])
    return lines, hosts, lengths


def _add_forwarded(lines: list[bytes], scope: Scope, host: bytes, scheme: bytes) -> None:
    lines.append(b"x-forwarded-host: " + host)
    lines.append(b"x-forwarded-proto: " + scheme)
    client = scope.get("client")
    if client and client[0]:
        lines.append(b"x-forwarded-for: " + client[0].encode("latin-1", "replace"))


def _head(method: bytes, target: bytes, host: bytes, lines: list[bytes]) -> bytes:
    """The head without its last, empty line."""
    head = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\nvia: 1.1 scopegate\r\n" % (
        method,
        target,
        host,
        b"\r\n".join(lines),
    )
    # Every line end in the head is one that was put there on purpose.
    line_ends = len(lines) + 3
    if head.count(b"\r") != line_ends or head.count(b"\n") != line_ends or b"\0" in head:
        raise RequestNotForwardable
    return head


# Clients send few different names and methods.
@lru_cache(maxsize=4_096)
def _is_name(name: bytes) -> bool:
    return bool(name) and not name.translate(None, _NAME_BYTES)


@lru_cache(maxsize=64)
def _method(method: str) -> bytes:
    return _token(method)


def _token(text: str) -> bytes:
    name = text.encode("latin-1", "replace")
    if not name or name.translate(None, _TOKEN_BYTES):
        raise RequestNotForwardable
    return name


def _target(scope: Scope) -> bytes:
    path: bytes | None = scope.get("raw_path")
    query: bytes = scope.get("query_string", b"")
    if not path:
        raise RawPathMissing
    if not path.startswith(b"/") and not (path == b"*" and scope.get("method") == "OPTIONS"):
        raise RequestNotForwardable
    if path.translate(None, _PATH_BYTES) or query.translate(None, _QUERY_BYTES):
        raise RequestNotForwardable
    return b"%b?%b" % (path, query) if query else path


def _host(hosts: list[bytes]) -> bytes:
    """The value of the Host field, empty if there is none."""
    if not hosts:
        return b""
    if len(hosts) > 1 or hosts[0].translate(None, _HOST_BYTES):
        raise RequestNotForwardable
    return hosts[0]


def _framing(lengths: list[bytes], codings: list[bytes], http_version: str) -> tuple[Body, int]:
    """How the body is delimited (RFC 9112 section 6.3), and its length or -1.

    Servers differ in what they let through (one hands over Content-Length beside
    Transfer-Encoding), so nothing is taken on trust.
    """
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise RequestNotForwardable
        return Body.CHUNKED, -1
    if lengths:
        digits = lengths[0]
        if len(lengths) > 1 or not 0 < len(digits) <= _MAX_LENGTH_DIGITS or digits.translate(None, _DIGITS):
            raise RequestNotForwardable
        length = int(digits)
        return (Body.LENGTH if length else Body.NONE), length
    return (Body.NONE if http_version.startswith("1") else Body.UNANNOUNCED), -1
