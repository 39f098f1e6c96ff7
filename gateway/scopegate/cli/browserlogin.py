"""Signing in with a browser: the command line waits for it on this machine (RFC 8252 section 7.3)."""

from __future__ import annotations

import hmac
import secrets
import time
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from scopegate.cli.output import note
from scopegate.core.errors import ScopegateError
from scopegate.core.loopback import is_loopback
from scopegate.core.pkce import challenge_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

WAIT = 300.0  # seconds for a person to sign in
_TIMEOUT = 30.0  # seconds for one request
_CONNECTION = 5.0  # seconds that whoever connects may take to say what it wants
_BITS = 32  # bytes of each secret
_PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Scopegate</title></head>
<body><p>Go back to the command line; this page can be closed.</p></body></html>
"""


class SignInFailed(ScopegateError):
    """Nobody signed in with the browser."""

    code = "sign_in_failed"


def sign_in_with_browser(
    server: str,
    *,
    show: Callable[[str], object] = webbrowser.open,
    wait: float = WAIT,
) -> str:
    """The text of a session of whoever signs in with the browser.

    Args:
        server: the URL of the control plane.
        show: opens a URL in a browser; whatever it does, the person is told the URL as well.
        wait: for how many seconds to wait for the person.

    Raises:
        SignInFailed: nobody did in time, or nobody whom the control plane lets in.
        ApiError: the control plane has no provider, or refuses the session.
        ServerUnreachable: it does not answer.
    """
    base = server.rstrip("/") + "/admin/v1/oidc"
    if not _ask(server, "GET", base).json()["configured"]:
        raise SignInFailed(
            "This control plane has no OpenID Connect provider.", hint="Sign in with a token instead."
        )
    verifier, state = secrets.token_urlsafe(_BITS), secrets.token_urlsafe(_BITS)
    with _Listener(state) as listener:
        query = {"port": listener.server_port, "state": state, "code_challenge": challenge_of(verifier)}
        url = f"{base}/login?{urlencode(query)}"
        note(f"Sign in with a browser on this machine:\n  {url}")
        show(url)
        told = listener.wait_for_answer(wait)
    if "code" not in told:
        raise SignInFailed(
            f"The control plane signs nobody in ({told.get('error', 'no reason given')[:100]}).",
            hint="Its log says why.",
        )
    fetched = _ask(server, "POST", f"{base}/token", json={"code": told["code"], "code_verifier": verifier})
    secret: str = fetched.json()["secret"]
    return secret


class _Listener(HTTPServer):
    """Waits on the loopback interface, where no other machine can connect, for the browser to come back.

    Others on this machine can: what they say does not count unless they know the state, and the code that
    they might see is worth nothing without the verifier.
    """

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = state
        self.answer: dict[str, str] | None = None

    def wait_for_answer(self, seconds: float) -> dict[str, str]:
        """What the browser comes back with."""
        until = time.monotonic() + seconds
        while self.answer is None:
            self.timeout = until - time.monotonic()
            if self.timeout <= 0:
                raise SignInFailed("Nobody signed in in time.", hint="Begin again: scopegate login")
            self.handle_request()
        return self.answer


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    timeout = _CONNECTION

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        said = {name: values[0] for name, values in parse_qs(parts.query).items() if len(values) == 1}
        known = hmac.compare_digest(said.get("state", "").encode(), self.server.state.encode())
        if parts.path != "/" or not known:
            self.send_error(404)
            return
        self.server.answer = said
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(_PAGE)))
        self.send_header("Content-Security-Policy", "default-src 'none'")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(_PAGE)

    def log_message(self, *_: object) -> None:
        """Say nothing: the code is in what would be said."""


def _ask(server: str, method: str, url: str, *, json: dict[str, str] | None = None) -> httpx.Response:
    # Only who signs in like this needs them.
    import httpx  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    from scopegate.client import ApiError, ServerUnreachable, schemas  # noqa: PLC0415

    try:
        answer = httpx.request(method, url, json=json, timeout=_TIMEOUT, trust_env=not is_loopback(server))
        if answer.is_success and answer.headers.get("content-type", "").startswith("application/json"):
            return answer
        problem = schemas.ProblemDetails.model_validate_json(answer.content)
    except (httpx.HTTPError, httpx.InvalidURL, ValidationError) as error:
        raise ServerUnreachable(
            f"{server} does not answer as a control plane does.", hint="Check its address, and that it runs."
        ) from error
    raise ApiError(problem)
