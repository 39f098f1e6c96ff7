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
    from collections.abc import Iterable, Sequence

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


class Fields(NamedTuple):
    """What the fields of a request come to on their way to the upstream.

    It is the same for every request with the same fields. ``lines`` are those that are sent, but for
    Host, each with its end. ``host`` is the client's, or empty. ``length`` is -1 where it is not
    stated. ``upgrade``: the request is the opening handshake of a WebSocket. ``takes_trailers``: the
    client will not ignore trailers.
    """

    lines: bytes
    host: bytes
    body: Body
    length: int
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


_new = tuple.__new__  # half the price of a named tuple's own constructor


def crossing(received: Sequence[Field], *, credentials: frozenset[bytes]) -> list[Field]:
    """The fields of a client's request that cross the gateway as they are."""
    return passing(received, _crossing_without(credentials))


def lines(fields: Iterable[Field]) -> bytes:
    """`fields` as they are sent; raises `RequestNotForwardable` if one would be more than a line."""
    rendered = [b"%b: %b\r\n" % field for field in fields]
    block = b"".join(rendered)
    # Every line end is one that was put there on purpose.
    if block.count(b"\r") != len(rendered) or block.count(b"\n") != len(rendered) or b"\0" in block:
        raise RequestNotForwardable
    return block


def fields_of(
    crossing: Iterable[Field],
    *,
    host: bytes,
    framing: Framing,
    forwarded: Iterable[Field],
    expects_continue: bool = False,
    upgrade: bool = False,
    takes_trailers: bool = False,
) -> Fields:
    """What goes upstream of a request's fields; raises `RequestNotForwardable`.

    Args:
        crossing: the fields that cross the gateway as they are.
        host: the client's Host, or empty.
        framing: how the body is delimited.
        forwarded: for whom the request is made.
        expects_continue: whether the client waits for an interim answer before it sends the body.
        upgrade: whether it asks for a WebSocket.
        takes_trailers: whether it will not ignore trailers.
    """
    ours: list[Field] = []
    body, length = framing
    if length >= 0:
        ours.append((b"content-length", b"%d" % length))
    elif body is Body.CHUNKED:
        ours.append((b"transfer-encoding", b"chunked"))
    if expects_continue:
        ours.append((b"expect", b"100-continue"))
    if upgrade:
        ours += [(b"upgrade", b"websocket"), (b"connection", b"Upgrade")]
    elif takes_trailers:
        ours += [(b"te", b"trailers"), (b"connection", b"te")]
    return Fields(lines([*crossing, *forwarded, *ours]), host, body, length, upgrade, takes_trailers)


def fields_of_scope(scope: Scope) -> Fields:
    """What goes upstream of an ASGI scope's fields, whose server answers an ``Expect`` itself.

    What the client may claim, the middleware has seen to.
    """
    headers = scope["headers"]
    try:
        framing = body_framing(headers, http_version=scope["http_version"])
    except RequestRefused:
        raise RequestNotForwardable from None
    return fields_of(
        passing(headers, _CROSSING), host=_host(headers), framing=framing, forwarded=_forwarded(scope)
    )


def outgoing_of_scope(scope: Scope, authority: bytes, *, preserve_host: bool) -> Outgoing:
    """The request in an ASGI scope for the upstream at `authority`; raises an `ExchangeFailed`."""
    path: bytes | None = scope.get("raw_path")
    if not path:
        raise RawPathMissing
    target = target_of(scope["method"], path, scope.get("query_string", b""))
    fields = fields_of_scope(scope)
    return outgoing(scope["method"], target, fields, (preserve_host and fields.host) or authority)


def outgoing(method: str, target: bytes, fields: Fields, host: bytes, *, identity: bytes = b"") -> Outgoing:
    """The request as it is sent; raises `RequestNotForwardable`.

    Args:
        method: as the client sent it.
        target: what `target_of` made of path and query.
        fields: what goes upstream of the client's.
        host: what the upstream is told to be.
        identity: lines about who calls.
    """
    head = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b%bvia: 1.1 scopegate\r\n" % (
        _method(method),
        target,
        host,
        fields.lines,
        identity,
    )
    return _new(
        Outgoing,
        (head, fields.body, fields.length, method == "HEAD", method in _IDEMPOTENT, fields.upgrade),
    )


def handshake(scope: Scope, authority: bytes, *, preserve_host: bool, key: bytes) -> bytes:
    """The opening handshake (RFC 6455 section 4.1) for the WebSocket in `scope`, complete.

    The client's own ``Sec-WebSocket-*`` fields end here, but for the subprotocols that it offers:
    the two handshakes have keys of their own, and no extension spans both connections.
    """
    headers = scope["headers"]
    fields = [field for field in passing(headers, _CROSSING) if not is_websocket_field(field[0])]
    fields += _forwarded(scope)
    fields += [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", key),
    ]
    offered = [_token(subprotocol) for subprotocol in scope.get("subprotocols", ())]
    if offered:
        fields.append((b"sec-websocket-protocol", b", ".join(offered)))
    path: bytes | None = scope.get("raw_path")
    if not path:
        raise RawPathMissing
    target = target_of("GET", path, scope.get("query_string", b""))
    host = (preserve_host and _host(headers)) or authority
    sent = Fields(lines(fields), host, Body.NONE, -1)
    return outgoing("GET", target, sent, host).head + b"\r\n"


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


@lru_cache(maxsize=64)
def _method(method: str) -> bytes:
    return _token(method)


def _token(text: str) -> bytes:
    name = text.encode("latin-1", "replace")
    if not name or name.translate(None, _TOKEN_BYTES):
        raise RequestNotForwardable
    return name


def target_of(method: str, path: bytes, query: bytes) -> bytes:
    """The request target, byte for byte; raises `RequestNotForwardable`."""
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
