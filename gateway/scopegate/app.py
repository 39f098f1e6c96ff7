"""The composition root: settings in, ASGI applications out."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from scopegate.core.errors import ConfigurationError
from scopegate.middleware import AuthorizationMiddleware
from scopegate.proxy import ReverseProxy, Timeouts
from scopegate.proxy.origin import FORMS

if TYPE_CHECKING:
    from scopegate.settings import Settings


def create_gateway(settings: Settings) -> AuthorizationMiddleware:
    """The data plane: authorization around a reverse proxy to ``settings.upstream``.

    With no ``redis_url`` it expects the embedded store of ``data_dir``, which it starts if nobody
    has; `scopegate serve` starts it first, for all of its workers.

    Raises:
        ConfigurationError: there is no upstream, or none like that can be called.
    """
    return AuthorizationMiddleware(
        create_proxy(settings),
        redis_url=None if settings.redis_url is None else settings.redis_url.get_secret_value(),
        data_dir=settings.data_dir if settings.redis_url is None else None,
        key_prefix=settings.key_prefix,
        key_header=settings.key_header,
        pepper=settings.pepper_bytes,
        max_staleness=settings.max_staleness,
    )


def create_proxy(settings: Settings) -> ReverseProxy:
    """The reverse proxy to ``settings.upstream``.

    Raises:
        ConfigurationError: there is no upstream, or none like that can be called.
    """
    if settings.upstream is None:
        raise ConfigurationError(
            "upstream",
            "There is no upstream: the API that is to be protected.",
            hint="For example: scopegate serve --upstream http://127.0.0.1:9000",
        )
    timeouts = Timeouts(
        connect=settings.connect_timeout,
        head=settings.head_timeout,
        idle=settings.idle_timeout,
        pool=settings.pool_timeout,
        total=settings.total_timeout,
    )
    try:
        return ReverseProxy(
            settings.upstream,
            timeouts=timeouts,
            host_policy=settings.upstream_host,
            ssl_context=_upstream_tls(settings),
            max_connections=settings.upstream_connections,
        )
    except ValueError as error:
        what, _, fix = str(error).removeprefix("upstream: ").partition("; ")
        raise ConfigurationError("upstream", _sentence(what), hint=_sentence(fix or FORMS)) from error


def _upstream_tls(settings: Settings) -> ssl.SSLContext | None:
    """How an https upstream is verified, where the settings say more than the system does."""
    if settings.upstream_ca is None and settings.upstream_certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.upstream_ca)
    except ssl.SSLError as error:
        raise ConfigurationError(
            "upstream_ca",
            f"{settings.upstream_ca} holds no PEM certificate.",
            hint="Name a file of authorities.",
        ) from error
    if settings.upstream_certificate is not None:
        try:
            context.load_cert_chain(settings.upstream_certificate)
        except ssl.SSLError as error:
            raise ConfigurationError(
                "upstream_certificate",
                f"{settings.upstream_certificate} holds no PEM certificate with its key.",
                hint="Put both into one file, the certificate first; the key must not need a pass phrase.",
            ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
