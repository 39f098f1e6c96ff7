"""``/admin/v1/oidc``: administrators sign in at an OpenID Connect provider."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from scopegate.admin import pages, schemas
from scopegate.admin.documents import issued_token
from scopegate.admin.entrance import Entrance
from scopegate.admin.oidcsignin import Answer, OidcSignIn, loopback_url
from scopegate.admin.openapi import documented
from scopegate.admin.outermost import REQUEST_ID
from scopegate.admin.sessioncookie import SessionCookie
from scopegate.admin.signin import origin_of
from scopegate.core.administrators import Administrator
from scopegate.core.errors import InvalidInput, NotFound, ScopegateError
from scopegate.core.pkce import is_challenge
from scopegate.core.sameorigin import is_own_path
from scopegate.store.signins import SIGN_IN_LIFETIME, BegunSignIn, CommandLine

PATH = "/oidc"
CALLBACK = f"/admin/v1{PATH}/callback"
_ANYBODY = {"security": list[str]()}
ForAll = Annotated[schemas.NoQuery, Query()]


def oidc_routes(entrance: Entrance) -> APIRouter:
    """The routes, which need no caller."""
    router = APIRouter(prefix=PATH, tags=["sessions"])

    @router.get("", openapi_extra=_ANYBODY, **documented("Tell whether there is a provider"))
    async def status(_query: ForAll) -> schemas.OidcStatus:
        """Whether administrators can sign in at an OpenID Connect provider."""
        return schemas.OidcStatus(configured=entrance.oidc is not None)

    @router.get(
        "/login",
        openapi_extra=_ANYBODY,
        response_class=RedirectResponse,
        **documented("Begin to sign in at the provider", answers=303),
    )
    async def login(query: Annotated[schemas.OidcLogin, Query()], request: Request) -> Response:
        """A browser is led to the provider, and afterwards to a path here, or to a command line's port."""
        goes_to, command_line = _way_on(query)
        oidc, cookie = _required(entrance), entrance.cookie
        try:
            url, secret = await oidc.begin(
                origin_of(request.scope), goes_to=goes_to, command_line=command_line
            )
        except ScopegateError as error:
            return pages.refusal(error, request.scope[REQUEST_ID])
        response = RedirectResponse(url, 303)
        cookie.begin(response, secret, seconds=int(SIGN_IN_LIFETIME.total_seconds()))
        return response

    @router.get(
        "/callback",
        openapi_extra=_ANYBODY,
        response_class=HTMLResponse,
        **documented("Finish to sign in"),
    )
    async def callback(request: Request) -> Response:
        """Where the provider sends the browser back to; it may say more than we read."""
        oidc, cookie = _required(entrance), entrance.cookie
        try:
            begun = await oidc.resume(_once(request, "state"), cookie.begun(request.scope))
        except ScopegateError as error:
            return pages.refusal(error, request.scope[REQUEST_ID])
        answer = Answer(*(_once(request, name) for name in ("code", "iss", "error")))
        try:
            administrator = await oidc.administrator(begun, answer, origin_of(request.scope))
            response = await _finished(oidc, cookie, begun, administrator, origin_of(request.scope))
        except ScopegateError as error:
            response = _refused(begun, error, request)
        cookie.end(response)
        return response

    @router.post("/token", openapi_extra=_ANYBODY, **documented("Fetch the session of a command line", 422))
    async def fetch(_query: ForAll, body: schemas.OidcRedemption, request: Request) -> schemas.IssuedToken:
        """The session of whoever signed in for it, once and within a minute, for whoever has the verifier."""
        issued = await _required(entrance).redeem(body.code, body.code_verifier, origin_of(request.scope))
        return issued_token(issued)

    return router


def _required(entrance: Entrance) -> OidcSignIn:
    if entrance.oidc is None:
        raise NotFound(
            "No OpenID Connect provider is set up here.",
            hint="Set oidc_issuer and oidc_client_id, or sign in with a token.",
            code="oidc_not_configured",
        )
    return entrance.oidc


def _way_on(query: schemas.OidcLogin) -> tuple[str | None, CommandLine | None]:
    """Where a browser is led to afterwards: nowhere but here, or to its own machine."""
    if query.return_to is not None and not is_own_path(query.return_to):
        raise InvalidInput(
            "query:return_to", "That is no path of this server.", hint="Such as /console/keys."
        )
    said = (query.port, query.state, query.code_challenge)
    if said == (None, None, None):
        return query.return_to, None
    if query.port is None or query.state is None or query.code_challenge is None or query.return_to:
        raise InvalidInput(
            "query:port", "A command line names port, state and code_challenge, and no return_to."
        )
    if not is_challenge(query.code_challenge):
        raise InvalidInput("query:code_challenge", "That is no S256 challenge (RFC 7636).")
    return None, CommandLine(port=query.port, state=query.state, challenge=query.code_challenge)


async def _finished(
    oidc: OidcSignIn, cookie: SessionCookie, begun: BegunSignIn, administrator: Administrator, origin: str
) -> Response:
    if begun.command_line is not None:
        return RedirectResponse(await oidc.hand_over(administrator, begun.command_line), 303)
    issued = await oidc.session(administrator, origin)
    response = pages.notice(
        "You are signed in", f"You are {administrator.name} ({administrator.email}).", goes_to=begun.goes_to
    )
    cookie.put(response, issued.secret, expires_at=issued.token.expires_at)
    return response


def _refused(begun: BegunSignIn, error: ScopegateError, request: Request) -> Response:
    if begun.command_line is not None:
        return RedirectResponse(loopback_url(begun.command_line, error=error.code), 303)
    return pages.refusal(error, request.scope[REQUEST_ID])


def _once(request: Request, name: str) -> str | None:
    """A parameter of the query; None if it is not there, or more than once (RFC 6749 section 3.1)."""
    said = request.query_params.getlist(name)
    return said[0] if len(said) == 1 else None
