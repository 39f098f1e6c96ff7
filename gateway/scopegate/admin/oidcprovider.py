"""An OpenID Connect provider, as a relying party sees it: discovery, the code flow and ID tokens.

Authlib says what is sent and checks what is claimed; the requests are made here, so that each has a bound
in time and size and none is redirected.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, import_key
from joserfc.jws import JWSRegistry
from pydantic import BaseModel, Field, ValidationError

from scopegate.core.errors import InvalidInput
from scopegate.core.oidc import Claims, ProviderUnavailable, SignInRefused, Subject, require_web_url
from scopegate.core.pkce import challenge_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from scopegate.core.oidc import Registration

T = TypeVar("T", bound=BaseModel)

TIMEOUT = 10.0  # seconds, for one request
LARGEST_ANSWER = 1024 * 1024  # bytes
KNOWN_FOR = 3_600.0  # seconds that what a provider says of itself is believed
LEEWAY = 60  # seconds that its clock may differ from ours
# Signatures by a key that the provider alone has: never "none", and never one that the client secret could
# make as well (RFC 8725 section 3.1).
_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
_NOT_KNOWN_THERE = frozenset({"invalid_client", "unauthorized_client"})
_DISCOVERY = "/.well-known/openid-configuration"


class _Metadata(BaseModel):
    """OpenID Connect Discovery section 3, as far as we need it."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    id_token_signing_alg_values_supported: list[str] = ["RS256"]
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]
    authorization_response_iss_parameter_supported: bool = False


class _KeySet(BaseModel):
    """RFC 7517 section 5."""

    keys_: list[dict[str, Any]] = Field(alias="keys")


class _Tokens(BaseModel):
    """OpenID Connect Core section 3.1.3.3, as far as we need it."""

    id_token: str
    access_token: str


class _Refusal(BaseModel):
    """RFC 6749 section 5.2, as far as we need it."""

    error: str


class Provider:
    """One provider, at which we are registered.

    Args:
        registration: what we are there.
        redirect_uri: where it sends browsers back to, as it is registered there.
        clock: tells the seconds since 1970.
        ticks: tells the seconds since some moment.
    """

    def __init__(
        self,
        registration: Registration,
        redirect_uri: str,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registration = registration
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._ticks = ticks
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT, follow_redirects=False, headers={"Accept": "application/json"}
        )
        self._metadata: tuple[float, _Metadata] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def authorization_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where a browser signs in (OpenID Connect Core section 3.1.2.1, RFC 7636 section 4.3).

        Raises:
            ProviderUnavailable: that is not known.
        """
        metadata = await self._known_metadata()
        return prepare_grant_uri(
            metadata.authorization_endpoint,
            client_id=self._registration.client_id,
            response_type="code",
            redirect_uri=self._redirect_uri,
            scope=self._registration.scopes,
            state=state,
            nonce=nonce,
            code_challenge=challenge_of(verifier),
            code_challenge_method="S256",
        )

    async def claims(self, *, code: str, issuer: str | None, nonce: str, verifier: str) -> Claims:
        """What the provider says of whoever signed in.

        Args:
            code: what it sent the browser back with.
            issuer: who it said it was when it did (RFC 9207), if it said so.
            nonce: what the sign-in was begun with.
            verifier: what the challenge was made of.

        Raises:
            SignInRefused: it takes the code for none of its own, or its ID token is not valid for us.
            ProviderUnavailable: it does not answer.
        """
        metadata = await self._known_metadata()
        if issuer is None and metadata.authorization_response_iss_parameter_supported:
            raise SignInRefused("the provider's answer does not say whose it is")
        if issuer not in {None, metadata.issuer}:
            raise SignInRefused("the answer is another provider's")
        tokens = await self._exchange(metadata, code, verifier)
        try:
            token = await self._verified(metadata, tokens.id_token)
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": metadata.issuer},
                    "aud": {"essential": True, "value": self._registration.client_id},
                    "sub": {"essential": True},
                    "exp": {"essential": True},
                    "nonce": {"essential": True, "value": nonce},
                },
                {
                    "nonce": nonce,
                    "client_id": self._registration.client_id,
                    "access_token": tokens.access_token,
                },
            )
            claims.validate(now=int(self._clock()), leeway=LEEWAY)
        except (JoseError, ValueError, TypeError) as error:
            # Neither the text nor the claims: they say who signs in.
            raise SignInRefused(f"the ID token is not valid ({_named(error)})") from error
        return _claims(metadata.issuer, claims)

    async def _exchange(self, metadata: _Metadata, code: str, verifier: str) -> _Tokens:
        """Have the tokens for a code (OpenID Connect Core section 3.1.3.1)."""
        registration = self._registration
        body = prepare_token_request(
            "authorization_code", code=code, redirect_uri=self._redirect_uri, code_verifier=verifier
        )
        client = ClientAuth(registration.client_id, registration.client_secret, self._way_in(metadata))
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        url, headers, body = client.prepare("POST", metadata.token_endpoint, headers, body)
        answer = await self._ask(self._http.build_request("POST", url, headers=headers, content=body))
        if answer.is_client_error:
            error = _error_of(answer)
            if error in _NOT_KNOWN_THERE:
                raise ProviderUnavailable(f"it does not know us by this client id and secret ({error})")
            raise SignInRefused(f"the provider refuses the code ({error!r})")
        return _read(_Tokens, answer)

    def _way_in(self, metadata: _Metadata) -> str:
        if self._registration.client_secret is None:
            return "none"
        offered = metadata.token_endpoint_auth_methods_supported
        return "client_secret_basic" if "client_secret_basic" in offered else "client_secret_post"

    async def _verified(self, metadata: _Metadata, text: str) -> jwt.Token:
        """The ID token in `text`, whose signature is the provider's; its keys may be new to us."""
        algorithms = sorted(_ALGORITHMS.intersection(metadata.id_token_signing_alg_values_supported))
        if not algorithms:
            raise ProviderUnavailable("it signs ID tokens in no way that we accept")
        registry = JWSRegistry(algorithms=algorithms, strict_check_header=False)
        try:
            return jwt.decode(text, await self._known_keys(metadata), registry=registry)
        except JoseError:
            self._keys = None
            return jwt.decode(text, await self._known_keys(metadata), registry=registry)

    async def _known_metadata(self) -> _Metadata:
        known = self._metadata
        if known is not None and self._ticks() - known[0] < KNOWN_FOR:
            return known[1]
        issuer = self._registration.issuer
        metadata = _read(_Metadata, await self._get(issuer.removesuffix("/") + _DISCOVERY))
        # OpenID Connect Discovery section 4.3: else one provider could answer in the name of another.
        if metadata.issuer != issuer:
            raise ProviderUnavailable(f"it calls itself {metadata.issuer!r}, and oidc_issuer is {issuer!r}")
        for url in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri):
            _require_confidential(url)
        self._metadata = (self._ticks(), metadata)
        return metadata

    async def _known_keys(self, metadata: _Metadata) -> KeySet:
        known = self._keys
        if known is not None and self._ticks() - known[0] < KNOWN_FOR:
            return known[1]
        told = _read(_KeySet, await self._get(metadata.jwks_uri))
        keys = KeySet([key for one in told.keys_ if (key := _readable_key(one)) is not None])
        self._keys = (self._ticks(), keys)
        return keys

    async def _get(self, url: str) -> httpx.Response:
        return await self._ask(self._http.build_request("GET", url))

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        """The answer to a request, read whole.

        Raises:
            ProviderUnavailable: there is none in time, or none of a provider.
        """
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self._http.send(request, stream=True)
                try:
                    content = b""
                    async for piece in answer.aiter_bytes():
                        content += piece
                        if len(content) > LARGEST_ANSWER:
                            raise ProviderUnavailable("its answer is too large")
                finally:
                    await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise ProviderUnavailable(f"{request.url.host}: {_named(error)}") from error
        if answer.status_code >= 500 or answer.is_redirect:  # noqa: PLR2004 -- RFC 9110 section 15.6
            raise ProviderUnavailable(f"{request.url.host} answers {answer.status_code}")
        # It is decoded already.
        return httpx.Response(answer.status_code, content=content, request=request)


def _read(kind: type[T], answer: httpx.Response) -> T:
    if not answer.is_success:
        raise ProviderUnavailable(f"{answer.url.host} answers {answer.status_code}")
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError as error:
        raise ProviderUnavailable(f"{answer.url.host} answers with something else") from error


def _readable_key(told: dict[str, Any]) -> Key | None:
    """A key that signs; None for what is none, or of a kind that we do not know (RFC 7517 section 5)."""
    if told.get("use", "sig") != "sig" or told.get("kty") == "oct":
        return None
    try:
        return import_key(told)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _require_confidential(url: str) -> None:
    try:
        require_web_url(url.partition("?")[0])
    except InvalidInput as error:
        raise ProviderUnavailable(f"it names {url!r}, which is no https URL") from error


def _claims(issuer: str, told: dict[str, Any]) -> Claims:
    subject, email, verified = told["sub"], told.get("email"), told.get("email_verified")
    if not isinstance(subject, str) or not subject:
        raise SignInRefused("the ID token names nobody")
    return Claims(
        Subject(issuer, subject),
        email=email if isinstance(email, str) else None,
        # Anything but a Boolean is a "no": some providers write "false".
        email_verified=None if verified is None else verified is True,
    )


def _error_of(answer: httpx.Response) -> str:
    """The provider's error code (RFC 6749 section 5.2), or else the status."""
    try:
        error = _Refusal.model_validate_json(answer.content).error
    except ValidationError:
        return str(answer.status_code)
    return error[:100]


def _named(error: Exception) -> str:
    claim = getattr(error, "claim", None) or getattr(error, "description", None) or ""
    return f"{type(error).__name__} {claim}".strip()
