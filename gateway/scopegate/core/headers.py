"""What header fields may cross the gateway.

Field names are lower case, as ASGI gives them. Names are compared after ``_`` -> ``-``, because
CGI-style upstreams read both spellings as one name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Field = tuple[bytes, bytes]

# RFC 9110 section 7.6.1, with the names that RFC 2616 section 13.5.1 listed and clients still send.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

# A client that nominates one of these in Connection would take from the upstream what it needs to
# read the message (RFC 9110 section 7.6.1: a sender MUST NOT list such fields); the wish is ignored.
# The last two are hop-by-hop by themselves, and the server and the proxy see to them.
_NEVER_NOMINATED = frozenset(
    {b"content-length", b"content-type", b"content-encoding", b"host", b"transfer-encoding", b"upgrade"}
)

IDENTITY_PREFIX = b"x-scopegate-"
_IDENTITY_PREFIXES = (
    IDENTITY_PREFIX,
    b"cf-access-authenticated-",
    b"impersonate-",
    b"ssl-client-",
    b"tailscale-user-",
    b"x-auth-request-",
    b"x-authentik-",
    b"x-goog-authenticated-user-",
    b"x-ms-client-principal",
    b"x-pomerium-claim-",
    b"x-ssl-client-",
    b"x-vouch-",
    b"x-webauth-",
)
KEY_ID = b"x-scopegate-key-id"
TENANT = b"x-scopegate-tenant"
USER = b"x-scopegate-user"
REQUEST_ID = b"x-request-id"

# Identity headers of other gateways, which an upstream that once stood behind one of them trusts.
_FOREIGN_IDENTITY = frozenset(
    {
        b"remote-email",
        b"remote-groups",
        b"remote-name",
        b"remote-user",
        b"x-amzn-oidc-identity",
        b"x-auth-user",
        b"x-auth-username",
        b"x-authenticated-userid",
        b"x-client-cert",
        b"x-consumer-custom-id",
        b"x-consumer-id",
        b"x-consumer-username",
        b"x-credential-identifier",
        b"x-forwarded-email",
        b"x-forwarded-groups",
        b"x-forwarded-preferred-username",
        b"x-forwarded-user",
        b"x-remote-user",
        b"x-user",
        b"x-user-id",
    }
)

# Fields by which a framework behind us takes another method or path than the one authorized
# (CVE-2018-14773 and its kin), and forwarding claims that only a trusted proxy may make.
_REWRITES = frozenset(
    {
        b"forwarded",
        b"x-client-ip",
        b"x-envoy-original-path",
        b"x-forwarded-client-cert",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-method",
        b"x-forwarded-path",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-scheme",
        b"x-forwarded-server",
        b"x-forwarded-ssl",
        b"x-forwarded-uri",
        b"x-forwarded-url",
        b"x-http-destinationurl",
        b"x-http-method",
        b"x-http-method-override",
        b"x-invoke-path",
        b"x-matched-path",
        b"x-method-override",
        b"x-middleware-subrequest",
        b"x-original-host",
        b"x-original-method",
        b"x-original-path",
        b"x-original-uri",
        b"x-original-url",
        b"x-override-url",
        b"x-proxy-url",
        b"x-real-ip",
        b"x-request-uri",
        b"x-request-url",
        b"x-rewrite-url",
        b"x-script-name",
        b"x-waws-unencoded-url",
    }
)

# What was for the server that read the request. Transfer-Encoding alone tells an application something
# of the message: that it has a body.
_FOR_THE_SERVER = HOP_BY_HOP - {b"transfer-encoding"}

_ALWAYS_DROPPED = _FOREIGN_IDENTITY | _REWRITES | _FOR_THE_SERVER | {REQUEST_ID}

_NOTHING: frozenset[bytes] = frozenset()
_LONGEST_REMEMBERED = 64
_REMEMBERED = 4_096


class Passing(dict[bytes, bool]):
    """Whether a field passes, by its name: worked out once for each, as clients send few different ones."""

    __slots__ = ("_passes",)

    def __init__(self, passes: Callable[[bytes], bool]) -> None:
        super().__init__()
        self._passes = passes

    def __missing__(self, name: bytes) -> bool:
        if len(self) >= _REMEMBERED:
            self.clear()
        passes = self[name] = self._passes(name)
        return passes


def nominated_by_connection(headers: Sequence[Field]) -> frozenset[bytes]:
    """The field names that the message's own ``Connection`` fields make hop-by-hop.

    Those that are so anyway, and ``close``, which is no field, are left out.
    """
    values = [value for name, value in headers if name == b"connection"]
    if not values:
        return _NOTHING
    value = values[0] if len(values) == 1 else b",".join(values)
    if len(value) > _LONGEST_REMEMBERED:
        return _nominated.__wrapped__(value)
    return _nominated(value)


@lru_cache(maxsize=1_024)
def _nominated(value: bytes) -> frozenset[bytes]:
    names = {token.strip(b" \t").lower().replace(b"_", b"-") for token in value.split(b",")}
    return frozenset(names - _NEVER_NOMINATED - HOP_BY_HOP - {b"close", b""})


def passing(headers: Sequence[Field], passes: Passing) -> list[Field]:
    """Those of `headers` whose names pass and that ``Connection`` does not nominate."""
    fields = [field for field in headers if passes[field[0]]]
    nominated = nominated_by_connection(headers)
    if nominated:
        return [field for field in fields if field[0].replace(b"_", b"-") not in nominated]
    return fields


def end_to_end(headers: Sequence[Field]) -> list[Field]:
    """`headers` without hop-by-hop fields and without those that ``Connection`` nominates."""
    return passing(headers, _END_TO_END)


def admitted(headers: Sequence[Field], *, credentials: frozenset[bytes]) -> list[Field]:
    """The fields of a client's request that may reach the protected application.

    Dropped are the `credentials` fields, every identity claim in every spelling, fields that make
    an application see another method, path or client than the one authorized, hop-by-hop fields,
    which were for the server, and whatever the client's ``Connection`` nominates, so that nobody
    later applies that wish to *our* headers. Framing (``Content-Length``, ``Transfer-Encoding``)
    stays: it tells whether there is a body.
    """
    return passing(headers, _admitted_with(credentials))


def is_end_to_end(name: bytes) -> bool:
    """Whether a field of this name goes beyond the next hop, as far as its name tells."""
    return name.replace(b"_", b"-") not in HOP_BY_HOP


def is_admitted(name: bytes, credentials: frozenset[bytes]) -> bool:
    """Whether a field of this name may reach the protected application, as far as its name tells."""
    name = name.replace(b"_", b"-")
    return not (
        name in _ALWAYS_DROPPED
        or name.startswith(_IDENTITY_PREFIXES)
        or name in {credential.replace(b"_", b"-") for credential in credentials}
    )


_END_TO_END = Passing(is_end_to_end)


@lru_cache(maxsize=8)
def _admitted_with(credentials: frozenset[bytes]) -> Passing:
    return Passing(lambda name: is_admitted(name, credentials))
