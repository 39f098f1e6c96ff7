"""The composition root: settings in, ASGI applications out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.core.errors import ConfigurationError
from scopegate.middleware import AuthorizationMiddleware
from scopegate.proxy import ReverseProxy
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
    try:
        return ReverseProxy(settings.upstream)
    except ValueError as error:
        what, _, fix = str(error).removeprefix("upstream: ").partition("; ")
        raise ConfigurationError("upstream", _sentence(what), hint=_sentence(fix or FORMS)) from error


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
