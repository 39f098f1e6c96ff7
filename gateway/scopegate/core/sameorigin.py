"""Whether a request that a browser sends was made by a page of ours, and where it may be led afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection

    from scopegate.core.headers import Field

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1, as far as we serve them
_OURS = frozenset({b"same-origin", b"none"})
LONGEST_PATH = 2_000  # characters


def is_ours(headers: Collection[Field], *, public_host: str) -> bool:
    """Whether it was a page of ours, or the person at the browser, who made the request.

    A browser says so in ``Sec-Fetch-Site`` (W3C Fetch Metadata), which no page can set. One that is too
    old for that names the page's origin (RFC 6454), whose host has to be the one that the request is for,
    or `public_host`, where a proxy in front asks for another. What says neither, or anything twice, is not
    ours: that is no browser, and has no business with a cookie.
    """
    sites = [value for name, value in headers if name == b"sec-fetch-site"]
    if sites:
        return len(sites) == 1 and sites[0] in _OURS
    origins = [value for name, value in headers if name == b"origin"]
    hosts = [value for name, value in headers if name == b"host"]
    if len(origins) != 1 or len(hosts) != 1:
        return False
    scheme, separator, host = origins[0].decode("latin-1").lower().partition("://")
    if scheme not in {"http", "https"} or not separator:
        return False
    return host in {hosts[0].decode("latin-1").lower(), public_host.lower()}


def is_own_path(text: str) -> bool:
    """Whether a browser that is led to `text` stays with us.

    Browsers read a backslash as a slash and drop tabs and line breaks (WHATWG URL), so what has any of
    those is refused, as is what begins with two slashes: the name of another host would follow.
    """
    if not text.startswith("/") or len(text) > LONGEST_PATH or not text.isascii() or not text.isprintable():
        return False
    if text.startswith("//") or "\\" in text or " " in text:
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return not parts.scheme and not parts.netloc
