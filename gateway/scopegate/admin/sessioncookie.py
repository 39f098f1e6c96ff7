"""The cookie that holds a session of an administrator, and who may use it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scopegate.core.errors import Forbidden
from scopegate.core.sameorigin import SAFE_METHODS, is_ours

if TYPE_CHECKING:
    from datetime import datetime

    from fastapi import Response

    from scopegate.asgi import Scope
    from scopegate.core.headers import Field


class SessionCookie:
    """Sets, reads and removes the cookie.

    Where people come by https, its name has the prefix ``__Host-`` (RFC 6265bis section 4.1.3.2): no other
    host, and nobody who can change plain http on the way, can set one in its place.

    Args:
        public_url: where people reach the control plane.
    """

    def __init__(self, public_url: str) -> None:
        parts = urlsplit(public_url)
        self._secure = parts.scheme == "https"
        self._host = parts.netloc
        self.name = self._named("scopegate")
        self._sign_in = self._named("scopegate-signin")

    def token(self, scope: Scope) -> str | None:
        """The session that a request presents, or None.

        Raises:
            Forbidden: the request would change something, and no page of ours made it.
        """
        found = _cookie(scope["headers"], self.name)
        if found is not None and scope["method"] not in SAFE_METHODS:
            self.require_ours(scope)
        return found

    def require_ours(self, scope: Scope) -> None:
        """Make sure that a page of ours made a request.

        Raises:
            Forbidden: another one did, or nobody can tell.
        """
        if not is_ours(scope["headers"], public_host=self._host):
            raise Forbidden(
                "The request was made by a page of another site.",
                hint="Send Authorization: Bearer instead of a cookie, or set admin_url to where people come.",
                code="cross_site",
            )

    def put(self, response: Response, token: str, *, expires_at: datetime) -> None:
        """Have the browser keep a session for as long as that is good, and tell no page of it."""
        response.set_cookie(
            self.name, token, expires=expires_at, secure=self._secure, httponly=True, samesite="strict"
        )

    def remove(self, response: Response) -> None:
        """Have the browser forget the session."""
        response.delete_cookie(self.name, secure=self._secure, httponly=True, samesite="strict")

    def begun(self, scope: Scope) -> str | None:
        """The secret that the browser was given when it began a sign-in, or None."""
        return _cookie(scope["headers"], self._sign_in)

    def begin(self, response: Response, secret: str, *, seconds: int) -> None:
        """Give the browser a secret for the sign-in that it begins.

        It comes back when the provider sends the browser here, which is another site's doing: so, "lax".
        """
        response.set_cookie(
            self._sign_in, secret, max_age=seconds, secure=self._secure, httponly=True, samesite="lax"
        )

    def end(self, response: Response) -> None:
        """Take back that secret."""
        response.delete_cookie(self._sign_in, secure=self._secure, httponly=True, samesite="lax")

    def _named(self, name: str) -> str:
        return f"__Host-{name}" if self._secure else name


def _cookie(headers: list[Field], name: str) -> str | None:
    """The cookie of this name (RFC 6265 section 5.4); None if there is none, or more than one."""
    pairs = [
        pair.strip().partition("=")
        for field, value in headers
        if field == b"cookie"
        for pair in value.decode("latin-1").split(";")
    ]
    found = [value for found, _, value in pairs if found == name]
    return found[0] if len(found) == 1 else None
