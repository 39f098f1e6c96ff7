"""The request that another proxy asks about, read from the header fields in which it says so.

Such a proxy passes its client's fields on, and a client may have written any of these itself. So what
counts is what the operator says that the proxy sets, whatever else is there; and everybody else who
claims to know the method, the host or the target has to say the same, for an application behind may
believe them.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from scopegate.core.headers import IDENTITY_PREFIX
from scopegate.core.reasons import Reason, RequestRefused
from scopegate.core.request import HOST, the_host
from scopegate.core.target import split_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scopegate.core.headers import Field


class Dialect(StrEnum):
    """In which fields the asking proxy says what its client asked for.

    ``forwarded``: X-Forwarded-Method, X-Forwarded-Uri and X-Forwarded-Host, as Traefik and Caddy set
    them. ``original``: X-Original-Method, and X-Original-URI beside the Host of the request itself, or
    X-Original-URL, a full URL; as one configures nginx, and as its ingress controller does.
    """

    FORWARDED = "forwarded"
    ORIGINAL = "original"


class Original(NamedTuple):
    """The request that is asked about; path and query are neither decoded nor checked."""

    method: bytes
    host: bytes
    path: bytes
    query: bytes


_ORIGINAL_URI = b"x-original-uri"
_ORIGINAL_URL = b"x-original-url"
_METHODS = {Dialect.FORWARDED: b"x-forwarded-method", Dialect.ORIGINAL: b"x-original-method"}
_FORWARDED_HOST = b"x-forwarded-host"
_FORWARDED_URI = b"x-forwarded-uri"

_METHOD_CLAIMS = frozenset(
    {*_METHODS.values(), b"x-http-method", b"x-http-method-override", b"x-method-override"}
)
_HOST_CLAIMS = frozenset({_FORWARDED_HOST, b"x-original-host"})
_TARGET_CLAIMS = frozenset(
    {
        _FORWARDED_URI,
        _ORIGINAL_URI,
        _ORIGINAL_URL,
        b"x-envoy-original-path",
        b"x-forwarded-path",
        b"x-forwarded-url",
        b"x-http-destinationurl",
        b"x-invoke-path",
        b"x-matched-path",
        b"x-original-path",
        b"x-override-url",
        b"x-proxy-url",
        b"x-request-uri",
        b"x-request-url",
        b"x-rewrite-url",
        b"x-waws-unencoded-url",
    }
)
_CLAIMS = _METHOD_CLAIMS | _HOST_CLAIMS | _TARGET_CLAIMS
_URL = re.compile(rb"https?://([^/?#]+)/", re.IGNORECASE)
_ASKING_METHODS = frozenset({"GET", "HEAD"})


def original_request(
    headers: Sequence[Field], *, method: str, http_version: str, dialect: Dialect
) -> Original:
    """The request that is asked about, as the proxy says that its client sent it.

    Args:
        headers: the fields of the asking request, as received.
        method: its method, which has to be GET or HEAD, or the original's.
        http_version: its version of HTTP.
        dialect: which fields the proxy sets.

    Raises:
        RequestRefused: a field that the proxy should have set is not there, or there is more than one
            answer to what its client asked for.
    """
    asking_host = the_host([value for name, value in headers if name == HOST], http_version=http_version)
    claims = _claims(headers)
    original = _as_told(claims, dialect, asking_host)
    _require_agreement(claims, original)
    if method not in _ASKING_METHODS and method.encode("latin-1", "replace") != original.method:
        raise RequestRefused(Reason.ORIGINAL_AMBIGUOUS)
    return original


def fields_of_original(headers: Sequence[Field], original: Original) -> list[Field]:
    """The fields of the original request, as far as they are known: the asking one's, for its own host."""
    return [(HOST, original.host), *[field for field in headers if field[0] != HOST]]


def _claims(headers: Sequence[Field]) -> dict[bytes, list[bytes]]:
    """All values of each field that speaks of the original request.

    An application behind the proxy may read a name with an underscore as the field itself. So there must
    be none, neither of these nor of those that say who calls, which the proxy replaces by ours.
    """
    claims: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in _CLAIMS:
            claims.setdefault(name, []).append(value)
        elif b"_" in name:
            meant = name.replace(b"_", b"-")
            if meant in _CLAIMS or (value and meant.startswith(IDENTITY_PREFIX)):
                raise RequestRefused(Reason.ORIGINAL_AMBIGUOUS)
    return claims


def _as_told(claims: Mapping[bytes, list[bytes]], dialect: Dialect, asking_host: bytes | None) -> Original:
    method = _the_only(claims, _METHODS[dialect])
    if dialect is Dialect.FORWARDED:
        host = _the_only(claims, _FORWARDED_HOST)
        return _original(method, host, _the_only(claims, _FORWARDED_URI))
    if _ORIGINAL_URI in claims:
        if not asking_host:
            raise RequestRefused(Reason.ORIGINAL_MISSING)
        return _original(method, asking_host, _the_only(claims, _ORIGINAL_URI))
    url = _the_only(claims, _ORIGINAL_URL)
    # Who puts a URL together from a Host with a question mark in it makes a query of the whole path.
    found = _URL.match(url)
    if found is None:
        raise RequestRefused(Reason.ORIGINAL_AMBIGUOUS)
    return _original(method, found[1], url)


def _the_only(claims: Mapping[bytes, list[bytes]], name: bytes) -> bytes:
    values = claims.get(name, [])
    if len(values) > 1:
        raise RequestRefused(Reason.ORIGINAL_AMBIGUOUS)
    value = values[0].strip(b" \t") if values else b""
    if not value:
        raise RequestRefused(Reason.ORIGINAL_MISSING)
    return value


def _original(method: bytes, host: bytes, target: bytes) -> Original:
    return Original(method, host, *split_target(target, ((HOST, host),)))


def _require_agreement(claims: Mapping[bytes, list[bytes]], original: Original) -> None:
    for name, values in claims.items():
        for value in values:
            if not _agrees(name, value.strip(b" \t"), original):
                raise RequestRefused(Reason.ORIGINAL_AMBIGUOUS)


def _agrees(name: bytes, claim: bytes, original: Original) -> bool:
    if name in _METHOD_CLAIMS:
        return claim == original.method
    if name in _HOST_CLAIMS:
        return claim.lower() == original.host.lower()
    try:
        return split_target(claim, ((HOST, original.host),)) == (original.path, original.query)
    except RequestRefused:
        return False
