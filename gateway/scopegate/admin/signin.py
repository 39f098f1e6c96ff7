"""Who sends a request over the network: the administrator whose token, or whose session, it carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.admin.visit import Visit, reason_of
from scopegate.core.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scopegate.admin.entrance import Entrance
    from scopegate.admin.sessioncookie import SessionCookie
    from scopegate.admin.visit import Office
    from scopegate.administration import Authentication
    from scopegate.asgi import Scope

_SCHEME = b"bearer"


def identified(office: Office, entrance: Entrance) -> Callable[[Scope], Awaitable[Visit]]:
    """What tells the caller of a request from its token, or else from the session in its cookie."""

    async def identify(scope: Scope) -> Visit:
        origin = origin_of(scope)
        caller = await entrance.authentication.authenticate(_presented(scope, entrance.cookie), origin)
        return Visit(office, caller, f"api {origin}", reason_of(scope))

    return identify


def identified_by_token(
    office: Office, authentication: Authentication
) -> Callable[[Scope], Awaitable[Visit]]:
    """What tells the caller of a request of a provisioning system, from its token alone."""

    async def identify(scope: Scope) -> Visit:
        origin = origin_of(scope)
        caller = await authentication.authenticate(bearer_token(scope), origin)
        return Visit(office, caller, f"scim {origin}", reason_of(scope))

    return identify


def origin_of(scope: Scope) -> str:
    """The address of whoever sends a request."""
    client = scope.get("client")
    return "unknown" if client is None else str(client[0])


def _presented(scope: Scope, cookie: SessionCookie) -> str:
    """The token of a request (RFC 6750 section 2.1), or the session in its cookie.

    Raises:
        Unauthenticated: it has neither, or several tokens.
        Forbidden: it has a cookie alone, and no page of ours made it.
    """
    said = _authorizations(scope)
    if said:
        return bearer_token(scope)
    session = cookie.token(scope)
    if session is None:
        raise Unauthenticated
    return session


def bearer_token(scope: Scope) -> str:
    """The token of a request (RFC 6750 section 2.1).

    Raises:
        Unauthenticated: it has none, or several.
    """
    said = _authorizations(scope)
    scheme, _, token = said[0].partition(b" ") if len(said) == 1 else (b"", b"", b"")
    if scheme.lower() != _SCHEME:
        raise Unauthenticated
    return token.strip(b" ").decode("latin-1")


def _authorizations(scope: Scope) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == b"authorization"]
