"""The canonical request: the one reading of a request that is decided on and forwarded."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from scopegate.core.paths import canonical_path
from scopegate.core.reasons import Reason, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = b"host"

# RFC 9110 section 9.3 and RFC 5789. CONNECT makes a tunnel and TRACE echoes the key, so both are
# refused; an unknown method is refused because nobody can say what it does. Tokens are
# case-sensitive (RFC 9110 section 9.1).
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# RFC 3986 section 3.2.2, without escapes, which no DNS name needs.
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_new = tuple.__new__  # half the price of a named tuple's own constructor
_VERSIONS_WITHOUT_HOST = frozenset({"1.0", "1"})
_NOT_IN_QUERY = re.compile(rb"[\x00-\x20\x7f-\xff#]")


class CanonicalRequest(NamedTuple):
    """Method, host (lower case, with the port if the client sent one; None if it sent none) and path."""

    method: str
    path: str
    host: str | None = None


def rule_method(method: str) -> str:
    """The method that a rule has to name: ``GET`` admits ``HEAD``, which is GET without a body."""
    return "GET" if method == "HEAD" else method


def canonicalize(
    method: str, raw_path: bytes, *, query: bytes = b"", host: bytes | None = None
) -> CanonicalRequest:
    """Read a request line and its Host field in the only way that is left, or refuse.

    Raises:
        RequestRefused: with the reason that names what is wrong.
    """
    if method not in METHODS:
        raise RequestRefused(Reason.METHOD_UNSUPPORTED)
    path = canonical_path(raw_path)
    if query and _NOT_IN_QUERY.search(query):
        raise RequestRefused(Reason.QUERY_MALFORMED)
    return _new(CanonicalRequest, (method, path, None if host is None else canonical_host(host)))


# A gateway has few names, and every request says one of them.
@lru_cache(maxsize=1_024)
def canonical_host(raw: bytes) -> str:
    """The lower-case host, with its port if it has one (RFC 9110 section 7.2).

    Raises:
        RequestRefused: it is no ``uri-host [":" port]``.
    """
    try:
        host = raw.decode("ascii")
    except UnicodeDecodeError:
        raise RequestRefused(Reason.HOST_MALFORMED) from None
    if not _HOST.fullmatch(host):
        raise RequestRefused(Reason.HOST_MALFORMED)
    return host.lower()


def the_host(hosts: Sequence[bytes], *, http_version: str) -> bytes | None:
    """The one ``Host`` of a request; None for an HTTP/1.0 request that has none.

    Args:
        hosts: the values of all fields of this name.
        http_version: the version of HTTP.

    Raises:
        RequestRefused: there are several, or none where one is due (RFC 9112 section 3.2).
    """
    if len(hosts) == 1:
        return hosts[0].strip(b" \t")
    if not hosts and http_version in _VERSIONS_WITHOUT_HOST:
        return None
    raise RequestRefused(Reason.HOST_MALFORMED)
