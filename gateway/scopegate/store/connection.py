"""The connection to Redis or Valkey, and its errors turned into ours."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from scopegate.core.errors import ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.commands.core import AsyncScript

SCHEMES = ("redis", "rediss", "unix")
CONNECT_TIMEOUT = 2.0  # seconds
COMMAND_TIMEOUT = 2.0  # seconds
CONNECTIONS = 50  # more callers than this wait for one another, no longer than a command may take
_OLDEST_REDIS = 7

# What a write to a connection that has just been closed raises under uvloop is a RuntimeError.
_LOST = (RedisConnectionError, RedisTimeoutError, RuntimeError)


def connect(url: str) -> Redis:
    """A client for `url`; it connects at the first command.

    Raises:
        ConfigurationError: `url` is not ``redis://``, ``rediss://`` or ``unix://``, or one of its
            parts makes no sense.
    """
    try:
        if urlsplit(url).scheme not in SCHEMES:
            raise ConfigurationError(
                "redis_url",
                "The Redis URL has an unknown scheme.",
                hint="Use redis://host:6379/0, rediss://host:6379/0 (TLS) or unix:///path/to/socket.",
            )
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=COMMAND_TIMEOUT,
            protocol=3,
            socket_connect_timeout=CONNECT_TIMEOUT,
            socket_timeout=COMMAND_TIMEOUT,
            retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), retries=1, supported_errors=_LOST),  # type: ignore[arg-type]
            client_name="scopegate",
        )
        # Opens nothing, but refuses options that do not exist.
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, RedisError):
        # Their text quotes the URL, which may mean a part of the password.
        raise ConfigurationError(
            "redis_url",
            "The Redis URL cannot be used.",
            hint="Check port, database and options, and percent-encode / ? # @ in the password.",
        ) from None
    return Redis.from_pool(pool)


async def require_reachable(redis: Redis) -> None:
    """Make sure that a server of a version that we know answers.

    Raises:
        StoreUnavailable: it does not answer, refuses us, or is older than Redis 7.
    """
    with translated():
        info = await redis.info("server")
    version = str(info.get("redis_version", "0"))
    if int(version.split(".", maxsplit=1)[0]) < _OLDEST_REDIS:
        raise StoreUnavailable(
            f"The Redis server has version {version}.",
            hint="Scopegate needs Redis 7 or Valkey 7.2, or later.",
        )


async def writes_no_log(redis: Redis) -> bool:
    """Whether the server says that it writes no append-only file.

    Raises:
        StoreUnavailable: it does not answer.
    """
    with translated():
        info = await redis.info("persistence")
    return info.get("aof_enabled") == 0


@contextmanager
def translated() -> Iterator[None]:
    """Turn every error of the client into StoreUnavailable; the text names no key and no password."""
    try:
        yield
    except (RedisError, OSError, RuntimeError, TimeoutError, UnicodeDecodeError) as error:
        raise StoreUnavailable(
            f"Redis does not answer, or not with sense ({type(error).__name__}).",
            hint="Check that it runs, that the URL is right and that the user may read and write sg:*.",
        ) from error


def script(redis: Redis, name: str) -> AsyncScript:
    """The Lua script `name` of this package, loaded into the server when it is first called."""
    source = resources.files("scopegate.store").joinpath("lua", f"{name}.lua").read_text("utf-8")
    return redis.register_script(source)


async def call(lua: AsyncScript, keys: list[str], args: list[Any]) -> Any:  # noqa: ANN401 -- Lua's answer
    """Run `lua`, with errors translated."""
    with translated():
        return await lua(keys=keys, args=args)
