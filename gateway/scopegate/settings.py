"""One model of all settings: command-line flags, then ``SCOPEGATE_*`` variables, then a YAML file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    InstanceOf,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from scopegate.core.attempts import DEFAULT_LIMIT, HIGHEST_LIMIT
from scopegate.core.audit import DEFAULT_RETENTION
from scopegate.core.errors import ConfigurationError, ScopegateError
from scopegate.core.forwarding import TrustedProxies
from scopegate.core.keys import DEFAULT_PREFIX, require_prefix
from scopegate.core.limits import Limits
from scopegate.core.loopback import is_loopback
from scopegate.core.oidc import DEFAULT_SCOPES, Registration, require_web_url
from scopegate.core.original import Dialect
from scopegate.store.canary import CANARY_INTERVAL, MAX_LAG
from scopegate.store.liveaccess import MAX_STALENESS
from scopegate.store.location import Location, RedisOptions, locate_if_given
from scopegate.usage import USAGE_INTERVAL

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ENV_PREFIX = "SCOPEGATE_"
CONFIG_ENV = "SCOPEGATE_CONFIG"
SHORTEST_PEPPER = 16


class Address(NamedTuple):
    """Where a listener binds."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> Address:
        """The address at which a client on this machine reaches the listener."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 -- a look-up
        return Address(host, self.port)

    @property
    def url(self) -> str:
        """The reachable address as a URL."""
        return f"http://{self.reachable}"


def _parse_address(value: object) -> object:
    if isinstance(value, Address):
        return value
    host, colon, port = str(value).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:  # noqa: PLR2004 -- 16 bits
        raise ValueError(f"{value!r} is not HOST:PORT, such as 127.0.0.1:8080")
    return Address(host, int(port))


def _parse_proxies(value: object) -> object:
    if isinstance(value, str):
        value = [text for text in value.split(",") if text.strip()]
    if isinstance(value, TrustedProxies):
        return value
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("this is no list of addresses and networks, such as 10.0.0.0/8")
    return TrustedProxies.parse(value)


def _require_header_name(name: str) -> str:
    if not name.replace("-", "").isalnum() or not name.isascii():
        raise ValueError(f"{name!r} is not a header name, such as X-API-Key")
    return name


def _require_web_url(text: str) -> str:
    try:
        return require_web_url(text)
    except ScopegateError as error:
        raise ValueError(f"{error.message} {error.hint}") from error


def _require_openid(scopes: str) -> str:
    if "openid" not in scopes.split():
        raise ValueError("the scopes have openid among them, such as: openid email")
    return scopes


def _expand_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{str(path)!r} names a home directory that is not known") from error


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "scopegate"


# NoDecode: the text of the variable is the address, not JSON.
Seconds = Annotated[float, Field(gt=0, le=86_400)]
HostPolicy = Literal["preserve", "rewrite"]
Connections = Annotated[int, Field(ge=1, le=65_536)]
OptionalSeconds = Annotated[float, Field(ge=0, le=86_400)]
WebUrl = Annotated[str, AfterValidator(_require_web_url)]
ListenAddress = Annotated[Address, NoDecode, BeforeValidator(_parse_address)]


def _parse_upstreams(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('this is no JSON, such as [{"url": "http://127.0.0.1:9000"}]') from None


class UpstreamSettings(BaseModel):
    """One of several upstreams: what goes to it, and where it differs from the rest of the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str | None = Field(default=None, description="Where it is, as in `upstream`.")
    urls: tuple[str, ...] = Field(
        default=(), description="Instead of `url`: several places that serve it alike."
    )
    host: str | None = Field(
        default=None, description="Requests for this host alone; without a port, for each of its ports."
    )
    prefix: str = Field(default="", description="Requests for this path alone, and for all that is below it.")
    strip_prefix: bool = Field(
        default=False,
        description="Whether the prefix is taken off the path that is forwarded.",
    )
    host_policy: HostPolicy | None = Field(default=None, description="As `upstream_host`, for this upstream.")
    ca: FilePath | None = Field(default=None, description="As `upstream_ca`, for this upstream.")
    certificate: FilePath | None = Field(
        default=None, description="As `upstream_certificate`, for this upstream."
    )
    connections: Connections | None = Field(
        default=None, description="As `upstream_connections`, for this upstream."
    )
    connect_timeout: Seconds | None = Field(
        default=None, description="As `connect_timeout`, for this upstream."
    )
    head_timeout: Seconds | None = Field(default=None, description="As `head_timeout`, for this upstream.")
    idle_timeout: Seconds | None = Field(default=None, description="As `idle_timeout`, for this upstream.")
    total_timeout: OptionalSeconds | None = Field(
        default=None, description="As `total_timeout`, for this upstream."
    )

    @model_validator(mode="after")
    def _is_somewhere(self) -> UpstreamSettings:
        if (self.url is None) == (not self.urls):
            raise ValueError("an upstream has either a url or a list of urls")
        return self


class Settings(BaseSettings):
    """Everything that an operator can set. Each field's environment variable is ``SCOPEGATE_<NAME>``."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, env_ignore_empty=True, validate_default=True
    )

    upstream: str | None = Field(
        None, description="The API to protect: http://host:port, https://host:port or unix:/path."
    )
    upstreams: Annotated[tuple[UpstreamSettings, ...], NoDecode, BeforeValidator(_parse_upstreams)] = Field(
        (),
        description="Upstreams by host and path prefix (docs/upstreams.md); `upstream` gets the rest.",
    )
    upstream_host: HostPolicy = Field(
        "preserve",
        description="The Host that the upstream sees: the client's (preserve) or its own (rewrite).",
    )
    upstream_ca: FilePath | None = Field(
        None,
        description="PEM file of the authorities that an https upstream is verified by; else the system's.",
    )
    upstream_certificate: FilePath | None = Field(
        None, description="PEM file of a certificate, with its key, to present to an https upstream."
    )
    upstream_connections: Connections = Field(
        512, description="Connections that a worker opens to the upstream at the most."
    )
    connect_timeout: Seconds = Field(5.0, description="Seconds to connect to the upstream.")
    head_timeout: Seconds = Field(60.0, description="Seconds until the upstream begins its answer.")
    idle_timeout: Seconds = Field(60.0, description="Seconds between two pieces of a body, either way.")
    pool_timeout: Seconds = Field(
        5.0, description="Seconds to wait for a connection while all to the upstream are in use."
    )
    total_timeout: OptionalSeconds = Field(
        0.0, description="Seconds for a whole exchange, WebSockets excepted; 0 sets no bound."
    )
    client_head_timeout: Seconds = Field(
        10.0, description="Seconds from the first byte of a request to the end of its head."
    )
    client_idle_timeout: Seconds = Field(
        75.0, description="Seconds that a client's connection may be open without a request."
    )
    drain_timeout: OptionalSeconds = Field(
        10.0, description="Seconds that SIGTERM leaves to exchanges under way."
    )
    max_target: int = Field(
        8_192, ge=256, le=1_048_576, description="Bytes of a request's target at the most, else 414."
    )
    max_head: int = Field(
        32_768,
        ge=1_024,
        le=1_048_576,
        description="Bytes of a request's header fields together at the most, else 431.",
    )
    max_fields: int = Field(
        128, ge=8, le=16_384, description="Header fields of a request at the most, else 431."
    )
    max_body: int = Field(
        1_073_741_824,
        ge=0,
        le=2**53,
        description="Bytes of a request's body at the most, else 413; 0 sets no limit.",
    )
    max_connections: int = Field(
        16_384, ge=1, le=1_048_576, description="Clients' connections that a worker holds at the most."
    )
    trusted_proxies: Annotated[InstanceOf[TrustedProxies], NoDecode, BeforeValidator(_parse_proxies)] = Field(
        TrustedProxies(),
        description="Addresses and networks of proxies in front, whose forwarding claims are believed.",
    )
    failed_auth_limit: int = Field(
        DEFAULT_LIMIT,
        ge=0,
        le=HIGHEST_LIMIT,
        description="Wrong keys a minute from one client address, in each worker, else 429; 0: no limit.",
    )
    listen: ListenAddress = Field(
        Address("127.0.0.1", 8080), description="HOST:PORT of the data plane, where API clients call."
    )
    admin_listen: ListenAddress = Field(
        Address("127.0.0.1", 8081),
        description="HOST:PORT of the control plane (administration API, health, metrics).",
    )
    admin_url: WebUrl | None = Field(
        None,
        description="URL at which people reach the control plane, if a proxy is in front (docs/sign-in.md).",
    )
    forward_auth_listen: ListenAddress | None = Field(
        None, description="HOST:PORT where other proxies ask whether they may forward (docs/forward-auth.md)."
    )
    forward_auth_dialect: Dialect = Field(
        Dialect.FORWARDED,
        description="Whether they set X-Forwarded-Method and -Uri (forwarded) or X-Original-* (original).",
    )
    oidc_issuer: WebUrl | None = Field(
        None, description="OpenID Connect provider at which administrators sign in (docs/sign-in.md)."
    )
    oidc_client_id: str | None = Field(None, description="What we are called there.")
    oidc_client_secret: SecretStr | None = Field(
        None, description="Our secret there, unless we are registered as a public client."
    )
    oidc_scopes: Annotated[str, AfterValidator(_require_openid)] = Field(
        DEFAULT_SCOPES, description="What we ask of it, besides who somebody is."
    )
    oidc_trust_email: bool = Field(
        default=False,
        description="Whether an e-mail address counts of which it does not say whether it is verified.",
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis or Valkey (docs/redis.md has all forms). Without it, an embedded Valkey."
    )
    redis_username: str | None = Field(None, description="Redis user, if the URL names none.")
    redis_password: SecretStr | None = Field(None, description="The Redis user's password, likewise.")
    redis_ca: FilePath | None = Field(
        None,
        description="PEM file of the authorities that rediss servers are verified by; else the system's.",
    )
    redis_certificate: FilePath | None = Field(
        None, description="PEM file of a certificate, with its key, to present to rediss servers."
    )
    redis_sentinel_username: str | None = Field(None, description="User of the Sentinels, if they want one.")
    redis_sentinel_password: SecretStr | None = Field(
        None, description="Password of the Sentinels, if they want one."
    )
    data_dir: Annotated[Path, AfterValidator(_expand_home)] = Field(
        default_factory=_default_data_dir, description="Where the embedded Valkey keeps its data."
    )
    workers: int = Field(1, ge=1, le=256, description="Processes of the data plane.")
    max_staleness: float = Field(
        MAX_STALENESS,
        ge=0,
        le=60,
        description="Seconds for which last known rights count while Redis is lost; 0 reads it each time.",
    )
    canary_interval: float = Field(
        CANARY_INTERVAL,
        ge=0,
        le=3_600,
        description="Seconds between two measurements of how late a worker knows changes; 0 makes none.",
    )
    max_lag: float = Field(
        MAX_LAG,
        gt=0,
        le=60,
        description="Seconds within which workers have to know a change, else this instance is not ready.",
    )
    privilege_source: Literal["directory", "http", "cedar"] = Field(
        "directory",
        description="Who says what users may do: directory, http or cedar (docs/privilege-sources.md).",
    )
    privilege_url: str | None = Field(
        None, description="http: the endpoint that is asked, with {user} and {tenant} to be filled in."
    )
    privilege_token: SecretStr | None = Field(None, description="http: the bearer token that is sent to it.")
    privilege_ca: FilePath | None = Field(
        None, description="http: PEM file of the authorities that it is verified by; else the system's."
    )
    privilege_timeout: Annotated[float, Field(gt=0, le=60)] = Field(
        1.0, description="http: seconds that it has for an answer."
    )
    privilege_max_age: Annotated[float, Field(ge=0, le=3_600)] = Field(
        5.0,
        description="Seconds within which what http or cedar takes away is gone; 0 (http) asks each time.",
    )
    privilege_stale_if_error: Annotated[float, Field(ge=0, le=86_400)] = Field(
        0.0, description="http: seconds for which an answer serves after that, while it does not answer."
    )
    privilege_policies: DirectoryPath | None = Field(
        None, description="cedar: the directory of the policies, in files *.cedar."
    )
    usage_interval: float = Field(
        USAGE_INTERVAL,
        ge=0,
        le=60,
        description="Seconds between two writes of what keys were used for; 0 counts nothing.",
    )
    audit_retention: int = Field(
        DEFAULT_RETENTION,
        ge=1_000,
        le=10_000_000,
        description="Entries that the audit log keeps; the oldest go first.",
    )
    key_prefix: str = Field(DEFAULT_PREFIX, description="What the text of keys begins with.")
    key_header: Annotated[str, AfterValidator(_require_header_name)] = Field(
        "X-API-Key", description="The header that holds the key, beside Authorization: Bearer."
    )
    pepper: SecretStr | None = Field(
        None, description="Secret under which key digests are made (HMAC). Changing it voids all keys."
    )

    @field_validator("key_prefix")
    @classmethod
    def _key_prefix_can_begin_a_key(cls, value: str) -> str:
        try:
            return require_prefix(value)
        except ScopegateError as error:
            raise ValueError(f"{error.message} {error.hint}") from error

    @field_validator("pepper")
    @classmethod
    def _pepper_is_long_enough(cls, value: SecretStr | None, _info: ValidationInfo) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_PEPPER:
            raise ValueError(f"a pepper has at least {SHORTEST_PEPPER} characters")
        return value

    @property
    def pepper_bytes(self) -> bytes | None:
        """The pepper as the key of an HMAC."""
        pepper = _text(self.pepper)
        return None if pepper is None else pepper.encode()

    @property
    def redis_options(self) -> RedisOptions:
        """What is said about Redis beside its URL."""
        return RedisOptions(
            username=self.redis_username,
            password=_text(self.redis_password),
            ca=self.redis_ca,
            certificate=self.redis_certificate,
            sentinel_username=self.redis_sentinel_username,
            sentinel_password=_text(self.redis_sentinel_password),
        )

    @property
    def redis(self) -> Location | None:
        """Where Redis is, or None for the embedded store.

        Raises:
            ConfigurationError: the URL and the settings beside it make no sense together.
        """
        return locate_if_given(_text(self.redis_url), self.redis_options)

    def with_redis(self, url: str) -> Settings:
        """These settings, with the Redis at `url`, which says all about it."""
        return self.model_copy(update={**_NO_REDIS, "redis_url": SecretStr(url)})

    @property
    def public_admin_url(self) -> str:
        """Where people reach the control plane, without a slash at the end."""
        return (self.admin_url or self.admin_listen.url).rstrip("/")

    @property
    def oidc(self) -> Registration | None:
        """What we are for the OpenID Connect provider, or None if there is none.

        Raises:
            ConfigurationError: the provider is not told who we are, or people would be sent back to nowhere.
        """
        if self.oidc_issuer is None:
            return None
        if self.oidc_client_id is None:
            raise ConfigurationError(
                "oidc_client_id",
                "oidc_issuer names a provider, and nothing says what we are called there.",
                hint="Register Scopegate there, and set oidc_client_id (docs/sign-in.md).",
            )
        if self.admin_url is None and not is_loopback(f"http://{self.admin_listen}"):
            raise ConfigurationError(
                "admin_url",
                "The provider sends people back to the control plane, and nothing says where they reach it.",
                hint="Set it to a URL such as https://scopegate.example.com (docs/sign-in.md).",
            )
        return Registration(
            issuer=self.oidc_issuer,
            client_id=self.oidc_client_id,
            client_secret=_text(self.oidc_client_secret),
            scopes=self.oidc_scopes,
            trusts_email=self.oidc_trust_email,
        )

    @property
    def limits(self) -> Limits:
        """How large a request may be."""
        return Limits(target=self.max_target, head=self.max_head, fields=self.max_fields, body=self.max_body)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- pydantic-settings passes it by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the YAML file that ``SCOPEGATE_CONFIG`` names."""
        file = os.environ.get(CONFIG_ENV)
        sources = [init_settings, env_settings]
        if file:
            sources.append(YamlConfigSettingsSource(settings_cls, yaml_file=file))
        return tuple(sources)


_NO_REDIS = {name: None for name in Settings.model_fields if name.startswith("redis_")}


def load(**flags: Any) -> Settings:  # noqa: ANN401 -- validated by the model
    """The settings in force, with `flags` above all else; a flag that is None was not given.

    A flag that names a data directory means the embedded store in it, also where the environment or
    the file names a Redis.

    Raises:
        ConfigurationError: names the first setting that cannot be used, and the fix.
    """
    _require_readable_file()
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise _as_configuration_error(error.errors()[0]) from None
    if "data_dir" in given and "redis_url" not in given:
        return settings.model_copy(update=_NO_REDIS)
    return settings


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _require_readable_file() -> None:
    file = os.environ.get(CONFIG_ENV)
    if not file:
        return
    try:
        content = yaml.safe_load(Path(file).read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(
            "config",
            f"The settings file {file} cannot be read: {_what_is_wrong(error)}.",
            hint="Correct or unset SCOPEGATE_CONFIG.",
        ) from None
    if content is not None and not (
        isinstance(content, dict) and all(isinstance(key, str) for key in content)
    ):
        raise ConfigurationError(
            "config",
            f"The settings file {file} is not a mapping of settings to values.",
            hint="Write one setting a line, such as: workers: 2",
        )


def _what_is_wrong(error: Exception) -> str:
    """The fault and its place, without the line itself, which may hold the pepper."""
    match error:
        case yaml.MarkedYAMLError(problem=str(problem), problem_mark=yaml.Mark(line=line)):
            return f"line {line + 1}: {problem}"
        case OSError(strerror=str(reason)):
            return reason
        case _:
            return type(error).__name__


def parse_address(setting: str, text: str) -> Address:
    """The address that `text` names.

    Raises:
        ConfigurationError: it names none; the error names `setting`.
    """
    try:
        return TypeAdapter(ListenAddress).validate_python(text)
    except ValidationError as error:
        raise ConfigurationError(setting, f"{_message(error.errors()[0])}.") from None


# What pydantic says of Python's types, in the terms of YAML and JSON.
_MESSAGES = {"tuple_type": "Input should be a list", "model_type": "Input should be a mapping"}


def _message(detail: ErrorDetails) -> str:
    message = _MESSAGES.get(detail["type"], detail["msg"]).removeprefix("Value error, ").removesuffix(".")
    return f"{message[0].upper()}{message[1:]}"


def _as_configuration_error(detail: ErrorDetails) -> ConfigurationError:
    model: type[BaseModel] = Settings
    setting = ""
    field = None
    for place in detail["loc"]:
        if isinstance(place, int):
            model = UpstreamSettings
            setting += f"[{place}]"
        else:
            field = model.model_fields.get(place, field)
            setting += f".{place}" if setting else place
    if detail["type"] == "extra_forbidden":
        known = ", ".join(sorted(model.model_fields))
        return ConfigurationError(setting, "There is no such setting.", hint=f"Known are: {known}.")
    hint = field.description if field else None
    return ConfigurationError(setting or "config", f"{_message(detail)}.", hint=hint)
