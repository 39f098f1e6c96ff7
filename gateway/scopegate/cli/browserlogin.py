"""Signing in with a browser: the command line waits for it on this machine (RFC 8252 section 7.3)."""

from __future__ import annotations

import hmac
import secrets
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from scopegate.cli.output import NotSignedIn, note
from scopegate.core.pkce import challenge_of

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 300.0  # seconds for a person to sign in
_CONNECTION = 5.0  # seconds that whoever connects may take to say what it wants
_BITS = 32  # bytes of each secret
_PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Scopegate</title></head>
<body><p>Go back to the command line; this page can be closed.</p></body></html>
"""


class SignInFailed(NotSignedIn):
    """Nobody signed in with the browser."""

    code = "sign_in_failed"


def sign_in_with_browser(
    server: str,
    *,
    show: Callable[[str], object] | None = None,
    wait: float = WAIT,
) -> str:
    """The text of a session of whoever signs in with the browser.

    Args:
        server: the URL of the control plane.
        show: opens a URL; otherwise the person's browser does. They are told the URL in any case.
        wait: for how many seconds to wait for the person.

    Raises:
        SignInFailed: nobody did in time, or nobody whom the control plane lets in.
        ApiError: the control plane has no provider, or refuses the session.
        ServerUnreachable: it does not answer.
    """
    # Only who signs in like this needs it.
    from scopegate.client import Client, schemas  # noqa: PLC0415

    verifier, state = secrets.token_urlsafe(_BITS), secrets.token_urlsafe(_BITS)
    with Client(server) as client, _Listener(state) as listener:
        if not client.has_provider():
            raise SignInFailed(
                "This control plane has no OpenID Connect provider.", hint="Sign in with a token instead."
            )
        query = {"port": listener.server_port, "state": state, "code_challenge": challenge_of(verifier)}
        url = f"{server.rstrip('/')}/admin/v1/oidc/login?{urlencode(query)}"
        note(f"Sign in with a browser on this machine:\n  {url}")
        # A browser in the terminal is there until it is left, and has to be answered before.
        Thread(target=show or _open_browser, args=(url,), daemon=True).start()
        told = listener.wait_for_answer(wait)
        if "code" not in told:
            raise SignInFailed(
                f"The control plane signs nobody in ({told.get('error', 'no reason given')[:100]}).",
                hint="Its log says why.",
            )
        redemption = schemas.OidcRedemption(code=told["code"][:200], code_verifier=verifier)
        issued = client.fetch_session(redemption)
    if issued.secret is None:
        raise SignInFailed("The control plane did not say what the session is.", hint="Begin again.")
    return issued.secret


def _open_browser(url: str) -> None:
    import webbrowser  # noqa: PLC0415 -- as above

    with suppress(webbrowser.Error):
        webbrowser.open(url)


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
