"""Connections to Redis or Valkey, and their errors turned into ours."""

from __future__ import annotations

import ssl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as LostConnection,
)
from redis.exceptions import (
    TimeoutError as NoAnswer,
)

from scopegate.core.errors import ConfigurationError, StoreUnavailable
from scopegate.store.location import Address, Credentials, Kind, Location, Server
from scopegate.store.topology import Unserved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from redis.asyncio.connection import AbstractConnection

CONNECT_TIMEOUT = 2.0  # seconds
COMMAND_TIMEOUT = 2.0  # seconds
ASK_TIMEOUT = 0.5  # seconds, to connect to whoever is asked who is in charge, and again for the answer
CONNECTIONS = 50  # more callers than this wait for one another, no longer than a command may take
# ROLE would do, but not every managed offering has it.
ROLE_QUESTION = ("INFO", "replication")
PROOF = 1.0  # seconds after which a connection's server has to show anew that it is up to date
_CONNECTIONS_TO_ASK = 2
_OLDEST_REDIS = 7

# What a write to a connection that has just been closed raises under uvloop is a RuntimeError.
LOST = (LostConnection, NoAnswer, RuntimeError)


class IsOutdated(LostConnection):
    """The server is a replica that may be behind, by seconds or by days."""


class Connector:
    """Makes clients for servers of one location; they connect at their first command.

    Raises:
        ConfigurationError: a file for TLS cannot be used.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._tls = None if location.tls is None else _tls_context(location.tls.ca, location.tls.certificate)

    def client(self, server: Server) -> Redis:
        """For the store itself: at most `CONNECTIONS`, and none to a server that may be out of date."""
        location = self._location
        return Redis.from_pool(
            _CurrentPool(
                require_current=self.require_current,
                max_connections=CONNECTIONS,
                db=location.database,
                **self._arguments(server, location.credentials),
            )
        )

    def asking(self, server: Server) -> Redis:
        """For asking a node of a cluster, of whatever role, for the map of the slots."""
        return self._asking(server, self._location.credentials)

    def asking_sentinel(self, server: Server) -> Redis:
        """For asking a Sentinel for the master."""
        return self._asking(server, self._location.sentinel_credentials)

    async def require_current(self, connection: AbstractConnection) -> None:
        """Make sure that the server is up to date.

        Raises:
            IsOutdated: it may not be.
            RedisError: it does not tell.
        """
        await connection.send_command(*ROLE_QUESTION, check_health=False)
        if not self.tells_current(await connection.read_response()):
            raise IsOutdated("this server is a replica")

    def tells_current(self, answer: object) -> bool:
        """Whether this answers `ROLE_QUESTION` with: up to date.

        A primary is. A replica is while it has its primary, for whoever names it by a URL of its own;
        Sentinels and clusters tell where the primary is.
        """
        said = answer.split() if isinstance(answer, bytes) else []
        if b"role:master" in said:
            return True
        return self._location.kind is Kind.SERVER and b"master_link_status:up" in said

    def _asking(self, server: Server, credentials: Credentials) -> Redis:
        arguments: dict[str, Any] = {
            **self._arguments(server, credentials),
            "socket_connect_timeout": ASK_TIMEOUT,
            "socket_timeout": ASK_TIMEOUT,
            "retry": Retry(NoBackoff(), retries=0),  # others are asked at the same time
        }
        return Redis.from_pool(BlockingConnectionPool(max_connections=_CONNECTIONS_TO_ASK, **arguments))

    def _arguments(self, server: Server, credentials: Credentials) -> Mapping[str, Any]:
        if not isinstance(server, Address):
            place: dict[str, Any] = {"connection_class": UnixDomainSocketConnection, "path": server.path}
        elif self._tls is None:
            place = {"connection_class": Connection, "host": server.host, "port": server.port}
        else:
            place = {"connection_class": _TlsConnection, "host": server.host, "port": server.port}
            place["context"] = self._tls
        return {
            **place,
            "username": credentials.username,
            "password": credentials.password,
            "timeout": COMMAND_TIMEOUT,
            "protocol": 3,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_timeout": COMMAND_TIMEOUT,
            "retry": Retry(ExponentialBackoff(cap=0.1, base=0.01), retries=1, supported_errors=LOST),  # type: ignore[arg-type]
            "client_name": "scopegate",
        }


class _TlsConnection(SSLConnection):
    """One context for all connections: to make one takes longer than to connect."""

    def __init__(self, *, context: ssl.SSLContext, **arguments: Any) -> None:  # noqa: ANN401 -- the client's
        super().__init__(**arguments)
        self.ssl_context.context = context


class _CurrentPool(BlockingConnectionPool):
    """Gives out only connections whose server has shown within `PROOF` that it is up to date.

    A server that was demoted, or lost its primary, keeps its connections and goes on answering.
    """

    def __init__(
        self,
        *,
        require_current: Callable[[AbstractConnection], Awaitable[None]],
        **arguments: Any,  # noqa: ANN401 -- the client's
    ) -> None:
        async def greet(connection: AbstractConnection) -> None:
            await connection.on_connect()
            await require_current(connection)

        super().__init__(redis_connect_func=greet, **arguments)
        self._require_current = require_current
        self._proved_at: dict[AbstractConnection, float] = {}

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Connect, if need be, and let the server prove what it is."""
        old = connection.is_connected
        await super().ensure_connection(connection)
        now = time.monotonic()
        if not old:
            self._proved_at[connection] = now  # by the greeting
        elif now - self._proved_at.get(connection, 0.0) > PROOF:
            try:
                await self._require_current(connection)
            except (RedisError, OSError, RuntimeError):
                # Its address may lead to another server by now.
                await connection.disconnect(nowait=True)
                await super().ensure_connection(connection)
            self._proved_at[connection] = now


def _tls_context(ca: Path | None, certificate: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(
            "redis_ca", f"{ca} holds no PEM certificate.", hint="Name a file of authorities."
        ) from error
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, password="")
        except (ssl.SSLError, OSError) as error:
            raise ConfigurationError(
                "redis_certificate",
                f"{certificate} holds no PEM certificate with its key.",
                hint="Put both into one file, the certificate first; the key must not need a pass phrase.",
            ) from error
    return context


def require_version(info: Mapping[str, Any]) -> None:
    """Make sure that a server's ``INFO server`` names a version that we know.

    Raises:
        StoreUnavailable: it is older than Redis 7.
    """
    version = str(info.get("redis_version", "0"))
    if int(version.split(".", maxsplit=1)[0]) < _OLDEST_REDIS:
        raise StoreUnavailable(
            f"The Redis server has version {version}.",
            hint="Scopegate needs Redis 7 or Valkey 7.2, or later.",
        )


@contextmanager
def translated() -> Iterator[None]:
    """Turn every error of the client into StoreUnavailable; the text names no key and no password."""
    try:
        yield
    except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
        raise StoreUnavailable(
            f"Redis refuses us ({type(error).__name__}).",
            hint="Check the user, the password and the user's ACL (docs/redis.md).",
        ) from error
    except ReadOnlyError as error:
        raise StoreUnavailable(
            "The Redis server is a replica, and takes no changes.",
            hint="Name its primary, or let Sentinels name it: redis+sentinel://host,host,host/service.",
        ) from error
    except IsOutdated as error:
        raise StoreUnavailable(
            "The Redis server is a replica that may be out of date.",
            hint="Wait until it has its primary again, or let Sentinels name one: redis+sentinel://...",
        ) from error
    except (AskError, TryAgainError) as error:  # MOVED is a kind of AskError
        raise StoreUnavailable(
            "Another node of a Redis Cluster has what was asked for, or is about to have it.",
            hint="Name the cluster as redis+cluster://host,host; or wait until its slots have moved.",
        ) from error
    except (Unserved, ClusterDownError) as error:
        raise StoreUnavailable(
            "No Redis server is in charge: too few Sentinels or nodes answer, or they do not agree.",
            hint="Check that most Sentinels run and know the service, or that the cluster is up.",
        ) from error
    except (RedisError, OSError, RuntimeError, TimeoutError, UnicodeDecodeError) as error:
        raise StoreUnavailable(
            f"Redis does not answer, or not with sense ({type(error).__name__}).",
            hint="Check that it runs, that the URL is right and that the user may read and write sg:*.",
        ) from error
