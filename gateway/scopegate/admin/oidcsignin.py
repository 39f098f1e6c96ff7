"""How an administrator signs in at an OpenID Connect provider, in a browser or for a command line.

What has to be known until the browser is back lies in the store, not in a cookie: so any control plane
can finish what another one began, nothing has to be signed by a key that all of them share, and each
sign-in is finished once. The browser gets a secret of its own, so that nobody can have another's browser
finish a sign-in that they began.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from scopegate.administration.authentication import source_of
from scopegate.administration.recognition import recognised
from scopegate.core.attempts import FailureLimit, in_seconds
from scopegate.core.errors import NotFound, TooManyFailures, Unauthenticated
from scopegate.core.oidc import ProviderUnavailable, SignInRefused, SignInStale
from scopegate.core.pkce import meets
from scopegate.store.signins import BegunSignIn, CommandLine, Handover

if TYPE_CHECKING:
    from scopegate.admin.oidcprovider import Provider
    from scopegate.administration import Authentication, IssuedToken
    from scopegate.core.administrators import Administrator
    from scopegate.core.oidc import Claims
    from scopegate.store import Store

log = logging.getLogger("scopegate.administration")

BEGUN_A_MINUTE = 60  # from one address; each of them is remembered for ten minutes
_BITS = 32  # bytes of each secret


class Answer(NamedTuple):
    """What the provider sends a browser back with (RFC 6749 section 4.1.2, RFC 9207)."""

    code: str | None
    issuer: str | None
    error: str | None


class OidcSignIn:
    """Sign-ins at one provider; one for each process, as it counts those that are begun.

    Args:
        provider: where administrators sign in.
        store: where administrators are kept, and sign-ins that are under way.
        authentication: opens sessions.
        trusts_email: as `Registration` has it.
    """

    def __init__(
        self, provider: Provider, store: Store, authentication: Authentication, *, trusts_email: bool
    ) -> None:
        self._provider = provider
        self._store = store
        self._authentication = authentication
        self._trusts_email = trusts_email
        self._begun = FailureLimit(BEGUN_A_MINUTE, secret=secrets.token_bytes(16))

    async def aclose(self) -> None:
        """Close the connections to the provider."""
        await self._provider.aclose()

    async def begin(
        self, origin: str, *, goes_to: str | None = None, command_line: CommandLine | None = None
    ) -> tuple[str, str]:
        """Where a browser is to go to sign in, and the secret that it has to come back with.

        Raises:
            TooManyFailures: too many were begun from this address.
            ProviderUnavailable, StoreUnavailable: it cannot be begun.
        """
        wait = self._begun.count(source_of(origin), time.monotonic_ns())
        if wait:
            raise TooManyFailures(in_seconds(wait), "Too many sign-ins were begun from this address.")
        state, browser, nonce, verifier = (secrets.token_urlsafe(_BITS) for _ in range(4))
        try:
            url = await self._provider.authorization_url(state=state, nonce=nonce, verifier=verifier)
        except ProviderUnavailable as error:
            log.error("nobody can sign in: %s", error.reason)  # noqa: TRY400 -- it says all
            raise
        begun = BegunSignIn(
            nonce=nonce,
            verifier=verifier,
            browser=_digest(browser),
            goes_to=goes_to,
            command_line=command_line,
        )
        await self._store.system.sign_ins.begin(state, begun)
        return url, browser

    async def resume(self, state: str | None, browser: str | None) -> BegunSignIn:
        """The sign-in that a browser comes back with; it is over with that.

        Raises:
            SignInStale: it is none that is under way, or was begun in another browser.
        """
        begun = None if state is None else await self._store.system.sign_ins.take(state)
        if begun is None or not hmac.compare_digest(begun.browser, _digest(browser or "")):
            raise SignInStale
        return begun

    async def administrator(self, begun: BegunSignIn, answer: Answer, origin: str) -> Administrator:
        """Who it is that signed in.

        Raises:
            SignInRefused: nobody whom we let in.
            ProviderUnavailable, StoreUnavailable: nobody can tell.
        """
        try:
            claims = await self._claims(begun, answer)
            return await recognised(
                self._store, claims, trusts_email=self._trusts_email, origin=f"oidc {origin}"
            )
        except SignInRefused as error:
            log.warning("a sign-in is refused: %s", error.reason)
            raise
        except ProviderUnavailable as error:
            log.error("nobody can sign in: %s", error.reason)  # noqa: TRY400 -- it says all
            raise

    async def _claims(self, begun: BegunSignIn, answer: Answer) -> Claims:
        if answer.code is None:
            # The error may be anything that whoever holds the browser chose.
            raise SignInRefused(f"the provider signs nobody in ({(answer.error or '')[:100]!r})")
        return await self._provider.claims(
            code=answer.code, issuer=answer.issuer, nonce=begun.nonce, verifier=begun.verifier
        )

    async def session(self, administrator: Administrator, origin: str) -> IssuedToken:
        """A session for whoever signed in."""
        return await self._authentication.open_session_of(administrator, origin)

    async def hand_over(self, administrator: Administrator, command_line: CommandLine) -> str:
        """Where the browser is to go so that the command line learns of the sign-in."""
        code = secrets.token_urlsafe(_BITS)
        await self._store.system.sign_ins.hand_over(
            code, Handover(administrator=administrator.id, challenge=command_line.challenge)
        )
        return loopback_url(command_line, code=code)

    async def redeem(self, code: str, verifier: str, origin: str) -> IssuedToken:
        """A session for the command line that waited for this code.

        Raises:
            Unauthenticated: nobody is to be had for it any more, or not for this verifier.
        """
        handover = await self._store.system.sign_ins.redeem(code)
        if handover is None or not meets(verifier, handover.challenge):
            raise Unauthenticated
        try:
            administrator = await self._store.system.administrators.get(handover.administrator)
        except NotFound as error:
            raise Unauthenticated from error
        return await self.session(administrator, origin)


def loopback_url(command_line: CommandLine, **parameters: str) -> str:
    """Where a command line listens (RFC 8252 section 7.3): always this machine, whoever asks."""
    query = urlencode({**parameters, "state": command_line.state})
    return f"http://127.0.0.1:{command_line.port}/?{query}"


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
