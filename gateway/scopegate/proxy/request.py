"""A request as the bytes that go upstream. Pure: no I/O, no state."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from scopegate.core.forwarding import TrustedProxies, forwarded_fields
from scopegate.core.framing import Body, Framing, body_framing
from scopegate.core.headers import Passing, is_admitted, is_end_to_end, passing
from scopegate.core.reasons import RequestRefused
from scopegate.proxy.failures import RawPathMissing, RequestNotForwardable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scopegate.asgi import Scope
    from scopegate.core.headers import Field

_DIGITS = b"0123456789"
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


# Fields that are written here, so that what the client sent of them ends here.
_OURS = frozenset(
    spelling
    for name in (
        b"content-length",
        b"expect",
        b"forwarded",
        b"host",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
    )
    for spelling in _spellings(name)
)
_NOBODY = TrustedProxies()


class Admitted(NamedTuple):
    """A request that may be forwarded, whatever server received it.

    ``fields`` are those that reach the upstream, but for the ones that the proxy writes. ``host`` is
    the client's, or empty. ``forwarded`` says for whom the request is made. ``expects_continue``: the
    client waits for an interim answer before it sends the body. ``upgrade``: it is the opening
    handshake of a WebSocket. ``takes_trailers``: the client will not ignore trailers.
    """

    method: str
    path: bytes
    query: bytes
    fields: list[Field]
    host: bytes
    framing: Framing
    forwarded: Sequence[Field] = ()
    expects_continue: bool = False
    upgrade: bool = False
    takes_trailers: bool = False


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
    upgrade: bool


def crossing(received: Sequence[Field], *, credentials: frozenset[bytes]) -> list[Field]:
    """The fields of a client's request that cross the gateway as they are."""
    return passing(received, _crossing_without(credentials))


def received_by_asgi(scope: Scope) -> Admitted:
    """The request in an ASGI scope, whose server answers an ``Expect`` itself.

    What the client may claim, the middleware has seen to.
    """
    path: bytes | None = scope.get("raw_path")
    if not path:
        raise RawPathMissing
    headers = scope["headers"]
    try:
        framing = body_framing(headers, http_version=scope["http_version"])
    except RequestRefused:
        raise RequestNotForwardable from None
    return Admitted(
        scope["method"],
        path,
        scope.get("query_string", b""),
        passing(headers, _CROSSING),
        _host(headers),
        framing,
        _forwarded(scope),
    )


def outgoing(request: Admitted, authority: bytes, *, preserve_host: bool) -> Outgoing:
    """The request for the upstream at `authority`; raises `RequestNotForwardable`.

    Method, path, query and field values pass byte for byte or not at all.
    """
    method = request.method
    body, length = request.framing
    lines = [b": ".join(field) for field in request.fields]
    lines += [b": ".join(field) for field in request.forwarded]
    if length >= 0:
        lines.append(b"content-length: %d" % length)
    elif body is Body.CHUNKED:
        lines.append(b"transfer-encoding: chunked")
    if request.expects_continue:
        lines.append(b"expect: 100-continue")
    if request.upgrade:
        lines += (b"upgrade: websocket", b"connection: Upgrade")
    elif request.takes_trailers:
        lines += (b"te: trailers", b"connection: te")
    head = _head(
        _method(method),
        _target(method, request.path, request.query),
        (preserve_host and request.host) or authority,
        lines,
    )
    return Outgoing(head, body, length, method == "HEAD", method in _IDEMPOTENT, request.upgrade)


def handshake(scope: Scope, authority: bytes, *, preserve_host: bool, key: bytes) -> bytes:
    """The opening handshake (RFC 6455 section 4.1) for the WebSocket in `scope`, complete.

    The client's own ``Sec-WebSocket-*`` fields end here, but for the subprotocols that it offers:
    the two handshakes have keys of their own, and no extension spans both connections.
    """
    headers = scope["headers"]
    lines = [b": ".join(field) for field in passing(headers, _CROSSING) if not is_websocket_field(field[0])]
    lines += [b": ".join(field) for field in _forwarded(scope)]
    lines += [
        b"upgrade: websocket",
        b"connection: Upgrade",
        b"sec-websocket-version: 13",
        b"sec-websocket-key: " + key,
    ]
    offered = [_token(subprotocol) for subprotocol in scope.get("subprotocols", ())]
    if offered:
        lines.append(b"sec-websocket-protocol: " + b", ".join(offered))
    path: bytes | None = scope.get("raw_path")
    if not path:
        raise RawPathMissing
    target = _target("GET", path, scope.get("query_string", b""))
    head = _head(b"GET", target, (preserve_host and _host(headers)) or authority, lines)
    return head + b"\r\n"


def is_websocket_field(name: bytes) -> bool:
    """Whether a field belongs to one handshake (RFC 6455 section 11.3), in either spelling."""
    return name.replace(b"_", b"-").startswith(b"sec-websocket-")


def _crosses(name: bytes) -> bool:
    if not name or name.translate(None, _NAME_BYTES):
        raise RequestNotForwardable
    return is_end_to_end(name) and name not in _OURS


_CROSSING = Passing(_crosses)


@lru_cache(maxsize=8)
def _crossing_without(credentials: frozenset[bytes]) -> Passing:
    return Passing(lambda name: _crosses(name) and is_admitted(name, credentials))


def _forwarded(scope: Scope) -> Sequence[Field]:
    # Whom to trust is for the server in front to know: it says who the client is.
    client = scope.get("client")
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return forwarded_fields(
        (),
        client=client[0] if client and client[0] else None,
        scheme=scope["scheme"].encode("latin-1", "replace"),
        host=hosts[0] if len(hosts) == 1 else b"",
        trusted=_NOBODY,
    )


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


@lru_cache(maxsize=64)
def _method(method: str) -> bytes:
    return _token(method)


def _token(text: str) -> bytes:
    name = text.encode("latin-1", "replace")
    if not name or name.translate(None, _TOKEN_BYTES):
        raise RequestNotForwardable
    return name


def _target(method: str, path: bytes, query: bytes) -> bytes:
    if not path.startswith(b"/") and not (path == b"*" and method == "OPTIONS"):
        raise RequestNotForwardable
    if path.translate(None, _PATH_BYTES) or query.translate(None, _QUERY_BYTES):
        raise RequestNotForwardable
    return b"%b?%b" % (path, query) if query else path


def _host(headers: Sequence[Field]) -> bytes:
    """The value of the Host field, empty if there is none."""
    hosts = [value for name, value in headers if name == b"host"]
    if not hosts:
        return b""
    if len(hosts) > 1 or hosts[0].translate(None, _HOST_BYTES):
        raise RequestNotForwardable
    return hosts[0]
