"""Where the store is: what the Redis URL and the settings beside it say, as one value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from scopegate.core.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

FORMS = (
    "Use redis://host:6379/0, unix:///path/to/socket, redis+sentinel://host,host,host/service or "
    "redis+cluster://host,host; rediss:// in place of redis:// is TLS."
)
_PORT = 6379
_SENTINEL_PORT = 26379
_HIGHEST_PORT = 65_535
# One of several hosts: a name, an IPv4 address, or an IPv6 address in brackets; then its port.
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")


class Kind(StrEnum):
    """What decides which server is the right one."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class Address(NamedTuple):
    """A host and a port."""

    host: str
    port: int


class Socket(NamedTuple):
    """The path of a Unix socket."""

    path: str


Server = Address | Socket


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are to a server; without a name, the server's default user."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return self.username is not None or self.password is not None


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """What is said about Redis beside its URL; each is the setting ``redis_<name>``.

    ``username`` and ``password`` may stand in the URL too, but not two different ones. ``ca`` is a PEM
    file of the authorities that the servers are verified by, in place of the system's, and
    ``certificate`` a PEM file of a certificate, with its key, to present to them.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    def given(self) -> list[str]:
        """The settings that say something."""
        return [f"redis_{name}" for name in self.__slots__ if getattr(self, name) is not None]


@dataclass(frozen=True, slots=True)
class Tls:
    """How the servers are verified, and what we present to them."""

    ca: Path | None = None
    certificate: Path | None = None


@dataclass(frozen=True, slots=True)
class Location:
    """Where the store is. ``servers`` are the server itself, the Sentinels, or some of a cluster."""

    kind: Kind
    servers: tuple[Server, ...]
    database: int = 0
    service: str = ""
    credentials: Credentials = Credentials()
    sentinel_credentials: Credentials = Credentials()
    tls: Tls | None = None


_NOTHING_MORE = RedisOptions()


def locate_if_given(url: str | None, options: RedisOptions | None) -> Location | None:
    """As `locate`; None without a URL, which is an error where there are options for it."""
    options = options or _NOTHING_MORE
    if url is not None:
        return locate(url, options)
    for setting in options.given():
        raise ConfigurationError(
            setting, "There is no redis_url that it belongs to.", hint="Set redis_url, or leave it out."
        )
    return None


def locate(url: str, options: RedisOptions = _NOTHING_MORE) -> Location:
    """What `url` and `options` say together.

    Raises:
        ConfigurationError: one of them makes no sense, is missing or is given in vain. It names the
            setting, and quotes neither the URL nor a password.
    """
    split = _split(url)
    if split is None:
        _refuse("The Redis URL cannot be read.")
    parts, query = split
    transport, _, kind = parts.scheme.partition("+")
    if transport not in {"redis", "rediss", "unix"} or (kind and transport == "unix"):
        _refuse("The Redis URL has an unknown scheme.")
    if kind not in {"", Kind.SENTINEL, Kind.CLUSTER} or parts.scheme.endswith("+"):
        _refuse("The Redis URL has an unknown scheme.")
    if parts.fragment or url.endswith("#"):
        _refuse("The Redis URL ends in a #fragment, which means nothing.")
    location = _of_kind(Kind(kind or Kind.SERVER), transport, parts, query)
    return _with_options(location, parts, options, tls=transport == "rediss")


def _split(url: str) -> tuple[SplitResult, list[tuple[str, str]]] | None:
    try:
        parts = urlsplit(url)
        return parts, parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:  # its text quotes the URL, which may mean a part of the password
        return None


def _of_kind(kind: Kind, transport: str, parts: SplitResult, query: list[tuple[str, str]]) -> Location:
    if transport == "unix":
        return Location(kind, (_socket(parts),), database=_database_option(query))
    if kind is Kind.SENTINEL:
        service, _, number = parts.path.removeprefix("/").partition("/")
        if not service:
            _refuse("The Redis URL names no service.", hint="Write redis+sentinel://host,host,host/service.")
        return Location(
            kind,
            _hosts(parts, _SENTINEL_PORT),
            database=_database(number) if number else _database_option(query),
            service=unquote(service),
        )
    path = parts.path.removeprefix("/")
    database = _database(path) if path else _database_option(query)
    if path and query:
        _refuse("The Redis URL names two databases.", hint="Leave one out.")
    hosts = _hosts(parts, _PORT)
    if kind is Kind.CLUSTER and database:
        _refuse("A Redis Cluster has database 0 alone.", hint="Leave the database out.")
    if kind is Kind.SERVER and len(hosts) > 1:
        _refuse(
            "The Redis URL names several hosts.",
            hint="Say what they are: redis+sentinel://host,host,host/service or redis+cluster://host,host.",
        )
    return Location(kind, hosts, database=database)


def _with_options(location: Location, parts: SplitResult, options: RedisOptions, *, tls: bool) -> Location:
    if not tls and (options.ca or options.certificate):
        raise ConfigurationError(
            "redis_ca" if options.ca else "redis_certificate",
            "It is for TLS, and the Redis URL is not.",
            hint="Write rediss:// in redis_url, or leave it out.",
        )
    sentinel = Credentials(options.sentinel_username, options.sentinel_password)
    if sentinel and location.kind is not Kind.SENTINEL:
        raise ConfigurationError(
            "redis_sentinel_username" if sentinel.username is not None else "redis_sentinel_password",
            "It is for Sentinels, and the Redis URL names none.",
            hint="Write redis+sentinel:// in redis_url, or leave it out.",
        )
    username, password = _user_info(parts)
    return Location(
        location.kind,
        location.servers,
        database=location.database,
        service=location.service,
        credentials=Credentials(
            _one_of("redis_username", "user", username, options.username),
            _one_of("redis_password", "password", password, options.password),
        ),
        sentinel_credentials=sentinel,
        tls=Tls(options.ca, options.certificate) if tls else None,
    )


def _one_of(setting: str, what: str, in_url: str | None, in_setting: str | None) -> str | None:
    if in_url is not None and in_setting is not None and in_url != in_setting:
        raise ConfigurationError(
            setting, f"The Redis URL has another {what}.", hint="Give it in one place, not in both."
        )
    return in_setting if in_url is None else in_url


def _user_info(parts: SplitResult) -> tuple[str | None, str | None]:
    before, at, _ = parts.netloc.rpartition("@")
    if not at:
        return None, None
    username, _, password = before.partition(":")
    return unquote(username) or None, unquote(password) or None


def _hosts(parts: SplitResult, port: int) -> tuple[Address, ...]:
    listed = parts.netloc.rpartition("@")[2]
    if not listed:
        return (Address("localhost", port),)
    hosts = tuple(_address(text, port) for text in listed.split(","))
    if len(set(hosts)) < len(hosts):
        _refuse("The Redis URL names a host twice.", hint="Name each once.")
    return hosts


def _address(text: str, port: int) -> Address:
    found = _HOST.fullmatch(text) if text.isascii() else None
    if found is None or not 1 <= int(found[3] or port) <= _HIGHEST_PORT:
        _refuse("The Redis URL names a host or port that is none.")
    return Address(found[1] or found[2], int(found[3] or port))


def _socket(parts: SplitResult) -> Socket:
    if parts.netloc.rpartition("@")[2] or not parts.path.startswith("/") or parts.path == "/":
        _refuse("The Redis URL names no socket.", hint="Write unix:///path/to/socket.")
    return Socket(unquote(parts.path))


def _database_option(query: list[tuple[str, str]]) -> int:
    if [name for name, _ in query] not in ([], ["db"]):
        _refuse(
            "The Redis URL has options that are not known.",
            hint="Only ?db=NUMBER is; see redis_username, redis_password, redis_ca, redis_certificate.",
        )
    return _database(query[0][1]) if query else 0


def _database(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text):
        _refuse("The Redis URL names a database that is no number.")
    return int(text)


def _refuse(
    what: str, *, hint: str = f"{FORMS} Percent-encode / ? # @ in the user and the password."
) -> NoReturn:
    raise ConfigurationError("redis_url", what, hint=hint)
