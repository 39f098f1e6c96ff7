"""The privilege source that is asked over HTTP: the customer's own "what may this user do"."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import httpx

from scopegate.core.breaker import Breaker
from scopegate.core.errors import ConfigurationError, PrivilegesUnavailable
from scopegate.core.loopback import is_loopback
from scopegate.privileges.document import NoSense, read_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from scopegate.metrics import PrivilegeMetrics
    from scopegate.privileges.source import Answer, Inquiry

TIMEOUT = 1.0  # seconds
MAX_AGE = 5.0  # seconds
LARGEST_ANSWER = 65_536  # bytes
AT_ONCE = 64  # questions of one worker that are under way
FAILURES = 5  # in a row, after which it is left alone
PAUSE = 2.0  # seconds, for which it is

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NAMES = frozenset({"tenant", "user"})
_TOKEN = re.compile(r"[!-~]+")
_JSON = re.compile(r"application/([a-z0-9.+-]+\+)?json\s*(;.*)?", re.IGNORECASE | re.DOTALL)
_KNOWN, _UNKNOWN = 200, 404
_FORM = "For example: https://id.example.com/tenants/{tenant}/users/{user}/privileges"


class HttpPrivileges:
    """Ask an HTTP endpoint of your own what a user may do (docs/privilege-sources.md).

    Args:
        url: where, with ``{user}`` and, if there is more than one tenant, ``{tenant}`` in its path or query.
        token: what is sent as ``Authorization: Bearer``, if anything. No API key is ever sent.
        ca: PEM file of the authorities that an https endpoint is verified by; None: the system's.
        timeout: the seconds that it has for an answer, from the connection to its last byte.
        max_age: the seconds for which an answer serves; 0 asks for every request.
        stale_if_error: the seconds for which it serves after that, while there is no other answer.

    Raises:
        ConfigurationError: one of them cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ca: Path | None = None,
        timeout: float = TIMEOUT,
        max_age: float = MAX_AGE,
        stale_if_error: float = 0.0,
    ) -> None:
        secure = _require_url(url)
        self.url = url
        self._token = _require_token(token, url)
        if timeout <= 0:
            raise ConfigurationError("privilege_timeout", "It is a number of seconds, more than 0.")
        for setting, seconds in (
            ("privilege_max_age", max_age),
            ("privilege_stale_if_error", stale_if_error),
        ):
            if not 0 <= seconds < float("inf"):
                raise ConfigurationError(setting, "It is a number of seconds, 0 or more.")
        if ca is not None and not secure:
            raise ConfigurationError(
                "privilege_ca", "It is for TLS, and privilege_url is not https.", hint="Write https://."
            )
        self._tls = _tls_context(ca) if secure else None
        self.timeout = timeout
        self.max_age = max_age
        self.stale_if_error = stale_if_error

    def open(self, metrics: PrivilegeMetrics) -> HttpSource:
        """As `SourceOptions.open`."""
        return HttpSource(self, self._token, self._tls, metrics)


class HttpSource:
    """Asks the endpoint that `options` name; whatever it does not say clearly in time is doubt.

    After `FAILURES` failures in a row it is left alone, but for one question every `PAUSE` seconds.
    """

    name = "http"

    def __init__(
        self,
        options: HttpPrivileges,
        token: str | None,
        tls: ssl.SSLContext | None,
        metrics: PrivilegeMetrics,
        *,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_age = options.max_age
        self.stale_if_error = options.stale_if_error
        self._url = options.url
        self._timeout = options.timeout
        self._tls = tls
        self._headers = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "scopegate",
            **({} if token is None else {"authorization": f"Bearer {token}"}),
        }
        self._metrics = metrics
        self._ticks = ticks
        self._breaker = Breaker(failures=FAILURES, pause=PAUSE)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._kept: httpx.AsyncHTTPTransport | None = None

    def start(self, changed: Callable[[], None]) -> None:  # noqa: ARG002 -- nobody tells us
        """Keep connections open from now on."""
        if self._kept is None:
            self._kept = self._transport(AT_ONCE)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._kept is not None:
            await self._kept.aclose()

    async def ask(self, inquiry: Inquiry) -> Answer | None:
        """As `PrivilegeSource.ask`."""
        url = _filled(self._url, tenant=inquiry.tenant, user=inquiry.user_id)
        if url is None:
            return None
        async with self._slot():
            if not self._breaker.admits(self._ticks()):
                self._metrics.not_asked()
                raise PrivilegesUnavailable(
                    "The privilege source failed several times in a row, so it is left alone for a moment."
                )
            began = self._ticks()
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await self._exchange(url)
            except (TimeoutError, httpx.TransportError, OSError, NoSense) as error:
                now = self._ticks()
                self._breaker.failed(now)
                self._metrics.failed(now - began)
                raise PrivilegesUnavailable(f"The privilege source {self._what_it_did(error)}.") from error
            self._breaker.succeeded()
            self._metrics.answered(self._ticks() - began)
            return answer

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """One of the questions that may be under way; waiting for one has the time of an answer."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._slots.acquire()
        except TimeoutError:
            self._metrics.not_asked()
            raise PrivilegesUnavailable("Too many questions to the privilege source are under way.") from None
        try:
            yield
        finally:
            self._slots.release()

    async def _exchange(self, url: httpx.URL) -> Answer | None:
        if self._kept is None:
            async with self._transport(0) as transport:
                return await self._read(transport, url)
        try:
            return await self._read(self._kept, url)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # It may have closed a connection that was kept; asking once more changes nothing there.
            return await self._read(self._kept, url)

    async def _read(self, transport: httpx.AsyncHTTPTransport, url: httpx.URL) -> Answer | None:
        # Not through httpx.AsyncClient, which keeps cookies, and finds proxies and passwords by itself.
        response = await transport.handle_async_request(httpx.Request("GET", url, headers=self._headers))
        try:
            status = response.status_code
            if status not in {_KNOWN, _UNKNOWN}:
                raise NoSense(f"the status is {status}")
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > LARGEST_ANSWER:
                    raise NoSense(f"it has more than {LARGEST_ANSWER} bytes")
        finally:
            await response.aclose()
        if status == _UNKNOWN:
            return None
        if not _JSON.fullmatch(response.headers.get("content-type", "")):
            raise NoSense("its Content-Type is not application/json")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise NoSense("it is encoded, and nobody asked for that")
        return read_answer(bytes(body))

    def _transport(self, connections: int) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(
            verify=False if self._tls is None else self._tls,
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=connections),
        )

    def _what_it_did(self, error: Exception) -> str:
        match error:
            case NoSense():
                return f"gave an answer without sense: {error}"
            case TimeoutError():
                return f"did not answer within {self._timeout:g} s"
            case httpx.ConnectError():
                return f"cannot be reached: {error}"
            case _:  # whose text may quote what came, which may be what we sent
                return f"did not answer in HTTP ({type(error).__name__})"


def _filled(template: str, *, tenant: str, user: str) -> httpx.URL | None:
    """The URL for one user; None for an id that would lead elsewhere, whose user nobody knows."""
    values = {"tenant": quote(tenant, safe=""), "user": quote(user, safe="")}
    text = _PLACEHOLDER.sub(lambda found: values[found[1]], template)
    if not {".", ".."}.isdisjoint(urlsplit(text).path.split("/")):
        return None
    return httpx.URL(text)


def _require_url(url: str) -> bool:
    """Whether an URL that can be used is https."""

    def refuse(message: str) -> ConfigurationError:
        return ConfigurationError("privilege_url", message, hint=_FORM)

    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise refuse("It is no URL.") from None
    if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc or parts.fragment:
        raise refuse("It is not an http or https URL without a password and a fragment.")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise refuse("It has characters that a URL cannot hold; percent-encode them.")
    named = [found[1] for found in _PLACEHOLDER.finditer(url)]
    if unknown := set(named) - _NAMES:
        raise refuse(f"It has {{{min(unknown)}}} in it, and only {{user}} and {{tenant}} can be filled in.")
    if "user" not in named:
        raise refuse("It does not say where the user's id is to stand: {user}.")
    if "{" in _PLACEHOLDER.sub("", url) or "}" in _PLACEHOLDER.sub("", url):
        raise refuse("A brace in it is not closed.")
    if _PLACEHOLDER.search(parts.netloc):
        raise refuse("Only its path and its query may have {user} and {tenant} in them.")
    if not {".", ".."}.isdisjoint(parts.path.split("/")):
        raise refuse("Its path has dot segments.")
    return parts.scheme == "https"


def _require_token(token: str | None, url: str) -> str | None:
    if token is None:
        return None
    if not _TOKEN.fullmatch(token):
        raise ConfigurationError(
            "privilege_token",
            "It is not visible ASCII without spaces.",
            hint="Give the token alone, without 'Bearer'.",
        )
    if not url.startswith("https:") and not is_loopback(url):
        raise ConfigurationError(
            "privilege_token",
            "It would be sent to another machine without TLS.",
            hint="Let privilege_url begin with https://.",
        )
    return token


def _tls_context(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(
            "privilege_ca", f"{ca} holds no PEM certificate.", hint="Name a file of authorities."
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context
