"""The composition root: settings in, ASGI applications out."""

from __future__ import annotations

import ssl
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from scopegate.core.errors import ConfigurationError
from scopegate.forwardauth import ForwardAuth
from scopegate.metrics import PrivilegeMetrics
from scopegate.middleware import AuthorizationMiddleware
from scopegate.privileges.sourced import SourcedAccess
from scopegate.proxy import Timeouts
from scopegate.proxy.app import RoutedProxy
from scopegate.proxy.origin import FORMS, parse_origin
from scopegate.proxy.routes import Route, Routes, UpstreamConfig
from scopegate.proxy.upstream import upstreams
from scopegate.settings import UpstreamSettings, load

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.metrics import WorkerMetrics
    from scopegate.privileges.source import SourceOptions
    from scopegate.proxy.origin import Origin
    from scopegate.settings import Settings
    from scopegate.store import Store


_OF_ONE_SOURCE = {
    "privilege_url": "http",
    "privilege_token": "http",
    "privilege_ca": "http",
    "privilege_stale_if_error": "http",
    "privilege_policies": "cedar",
}


def create_gateway(settings: Settings) -> AuthorizationMiddleware:
    """The data plane: authorization around a reverse proxy to the upstreams of the settings.

    With no ``redis_url`` it expects the embedded store of ``data_dir``, which it starts if nobody
    has; `scopegate serve` starts it first, for all of its workers.

    Raises:
        ConfigurationError: there is no upstream, or none like that can be called.
    """
    return AuthorizationMiddleware(
        create_proxy(settings),
        redis_url=None if settings.redis_url is None else settings.redis_url.get_secret_value(),
        redis_options=settings.redis_options,
        data_dir=settings.data_dir if settings.redis_url is None else None,
        key_prefix=settings.key_prefix,
        key_header=settings.key_header,
        pepper=settings.pepper_bytes,
        max_staleness=settings.max_staleness,
        canary_interval=settings.canary_interval,
        max_lag=settings.max_lag,
        usage_interval=settings.usage_interval,
        limits=settings.limits,
        failed_auth_limit=settings.failed_auth_limit,
        privileges=create_privileges(settings),
    )


def gateway() -> AuthorizationMiddleware:
    """`create_gateway` with the settings in force: what an ASGI server calls as a factory.

    Raises:
        ConfigurationError: as `create_gateway`, or a setting cannot be used.
    """
    return create_gateway(load())


def create_forward_auth(settings: Settings, metrics: WorkerMetrics | None = None) -> ForwardAuth:
    """What answers other proxies that ask about their requests, by the settings.

    What concerns the store and a privilege source is counted in `metrics`.

    With no ``redis_url`` the store is embedded, as `create_gateway` has it.

    Raises:
        ConfigurationError: as `create_privileges`.
    """
    return ForwardAuth(
        trusted_proxies=settings.trusted_proxies,
        dialect=settings.forward_auth_dialect,
        redis_url=None if settings.redis_url is None else settings.redis_url.get_secret_value(),
        redis_options=settings.redis_options,
        data_dir=settings.data_dir if settings.redis_url is None else None,
        key_prefix=settings.key_prefix,
        key_header=settings.key_header,
        pepper=settings.pepper_bytes,
        max_staleness=settings.max_staleness,
        canary_interval=settings.canary_interval,
        max_lag=settings.max_lag,
        usage_interval=settings.usage_interval,
        metrics=None if metrics is None else metrics.store,
        privileges=create_privileges(settings),
        privilege_metrics=None if metrics is None else metrics.privileges,
        limits=settings.limits,
        failed_auth_limit=settings.failed_auth_limit,
    )


def forward_auth() -> ForwardAuth:
    """`create_forward_auth` with the settings in force: what an ASGI server calls as a factory.

    Raises:
        ConfigurationError: a setting cannot be used.
    """
    return create_forward_auth(load())


def create_privileges(settings: Settings) -> SourceOptions | None:
    """Which source says what users may do, in place of the directory; None if it is the directory.

    Raises:
        ConfigurationError: it cannot be asked, or a setting is for another source.
    """
    source = settings.privilege_source
    for setting, of in _OF_ONE_SOURCE.items():
        if getattr(settings, setting) and source != of:
            raise ConfigurationError(
                setting,
                f"It is for the privilege source {of}, and privilege_source is {source}.",
                hint=f"Set privilege_source to {of}, or leave it out.",
            )
    match source:
        case "http":
            return _http_privileges(settings)
        case "cedar":
            return _cedar_privileges(settings)
        case "directory":
            return None


def create_sourced_access(settings: Settings, store: Store) -> SourcedAccess | None:
    """What says to administrators what users may do, in place of the directory of `store`, if anything does.

    Raises:
        ConfigurationError: as `create_privileges`.
    """
    privileges = create_privileges(settings)
    if privileges is None:
        return None
    return SourcedAccess(store.member_access(), privileges.open(PrivilegeMetrics.apart()))


# What only the sources use that are used, is loaded only there.


def _http_privileges(settings: Settings) -> SourceOptions:
    from scopegate.privileges.http import HttpPrivileges  # noqa: PLC0415

    if settings.privilege_url is None:
        raise ConfigurationError(
            "privilege_url",
            "privilege_source is http, and nothing says where to ask.",
            hint="For example: https://id.example.com/users/{user}/privileges",
        )
    token = settings.privilege_token
    return HttpPrivileges(
        settings.privilege_url,
        token=None if token is None else token.get_secret_value(),
        ca=settings.privilege_ca,
        timeout=settings.privilege_timeout,
        max_age=settings.privilege_max_age,
        stale_if_error=settings.privilege_stale_if_error,
    )


def _cedar_privileges(settings: Settings) -> SourceOptions:
    if settings.privilege_policies is None:
        raise ConfigurationError(
            "privilege_policies",
            "privilege_source is cedar, and nothing says where the policies are.",
            hint="Name a directory of Cedar policies, in files *.cedar.",
        )
    if find_spec("cedarpy") is None:
        raise ConfigurationError(
            "privilege_source",
            "Cedar policies need a package that is not installed.",
            hint="pip install 'scopegate[cedar]'",
        )
    from scopegate.privileges.cedar import CedarPrivileges  # noqa: PLC0415

    return CedarPrivileges(settings.privilege_policies, max_age=settings.privilege_max_age)


def create_proxy(settings: Settings) -> RoutedProxy:
    """The reverse proxy to the upstreams that the settings name.

    Raises:
        ConfigurationError: as `create_routes`.
    """
    return RoutedProxy(upstreams(create_routes(settings)))


def create_routes(settings: Settings) -> Routes[UpstreamConfig]:
    """Which upstream each request goes to, and how that is called.

    Raises:
        ConfigurationError: there is no upstream, one cannot be called, or two get the same requests.
    """
    rows = [(f"upstreams[{index}]", row) for index, row in enumerate(settings.upstreams)]
    tls = _UpstreamTls(settings)
    routes = [
        Route(
            name,
            _upstream(name, row, settings, tls),
            host=row.host,
            prefix=row.prefix,
            strip=row.strip_prefix,
        )
        for name, row in rows
    ]
    if settings.upstream is not None:
        rest = UpstreamSettings(url=settings.upstream)
        routes.append(Route("upstream", _upstream("upstream", rest, settings, tls)))
    if not routes:
        raise ConfigurationError(
            "upstream",
            "There is no upstream: the API that is to be protected.",
            hint="For example: scopegate serve --upstream http://127.0.0.1:9000",
        )
    tls.require_use()
    return Routes(routes)


def _upstream(name: str, row: UpstreamSettings, settings: Settings, tls: _UpstreamTls) -> UpstreamConfig:
    if row.urls:
        urls = {f"{name}.urls[{index}]": url for index, url in enumerate(row.urls)}
    else:
        urls = {name if name == "upstream" else f"{name}.url": str(row.url)}
    origins: dict[str, Origin] = {}
    for setting, url in urls.items():
        origin = _origin(setting, url, tls.context(name, row) if url.startswith("https:") else None)
        if origin.name in origins:
            raise ConfigurationError(setting, f"{origin.name} is named twice.", hint="Remove one of them.")
        origins[origin.name] = origin
    own_tls = next((place for place in ("ca", "certificate") if getattr(row, place) is not None), None)
    if own_tls and not all(origin.tls for origin in origins.values()):
        raise ConfigurationError(
            f"{name}.{own_tls}", "It is for TLS, and not all URLs here are https.", hint="Write https://."
        )
    return UpstreamConfig(
        name=", ".join(origins),
        origins=tuple(origins.values()),
        timeouts=Timeouts(
            connect=_first(row.connect_timeout, settings.connect_timeout),
            head=_first(row.head_timeout, settings.head_timeout),
            idle=_first(row.idle_timeout, settings.idle_timeout),
            pool=settings.pool_timeout,
            total=_first(row.total_timeout, settings.total_timeout),
        ),
        preserve_host=(row.host_policy or settings.upstream_host) == "preserve",
        max_connections=row.connections or settings.upstream_connections,
    )


def _first(own: float | None, common: float) -> float:
    return common if own is None else own


def _origin(setting: str, url: str, tls: ssl.SSLContext | None) -> Origin:
    try:
        return parse_origin(url, tls)
    except ValueError as error:
        what, _, fix = str(error).removeprefix("upstream: ").partition("; ")
        raise ConfigurationError(setting, _sentence(what), hint=_sentence(fix or FORMS)) from error


class _UpstreamTls:
    """How https upstreams are verified: by the system's trust, where the settings say no more."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._contexts: dict[tuple[Path | None, Path | None], ssl.SSLContext] = {}

    def context(self, name: str, row: UpstreamSettings) -> ssl.SSLContext:
        """The context for one upstream; upstreams with the same files share it."""
        ca = _file(name, "ca", row.ca, self._settings.upstream_ca)
        certificate = _file(name, "certificate", row.certificate, self._settings.upstream_certificate)
        key = (ca.path, certificate.path)
        if key not in self._contexts:
            self._contexts[key] = _tls_context(ca, certificate)
        return self._contexts[key]

    def require_use(self) -> None:
        """Make sure that files for TLS are not named in vain."""
        for setting in ("upstream_ca", "upstream_certificate"):
            if getattr(self._settings, setting) is not None and not self._contexts:
                raise ConfigurationError(
                    setting,
                    "It is for TLS, and no upstream is https.",
                    hint="Write https://, or leave it out.",
                )


class _File(NamedTuple):
    """A file and the setting that names it."""

    setting: str
    path: Path | None


def _file(name: str, place: str, own: Path | None, common: Path | None) -> _File:
    return _File(f"upstream_{place}", common) if own is None else _File(f"{name}.{place}", own)


def _tls_context(ca: _File, certificate: _File) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca.path)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(
            ca.setting, f"{ca.path} holds no PEM certificate.", hint="Name a file of authorities."
        ) from error
    if certificate.path is not None:
        try:
            context.load_cert_chain(certificate.path)
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(
                certificate.setting,
                f"{certificate.path} holds no PEM certificate with its key.",
                hint="Put both into one file, the certificate first; the key must not need a pass phrase.",
            ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
