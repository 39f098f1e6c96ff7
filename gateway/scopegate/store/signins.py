"""Sign-ins at a provider that are under way, in Redis: each can be taken once, by any process, in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar, cast

from scopegate.core.tenants import SYSTEM_TENANT
from scopegate.store import layout
from scopegate.store.records import decode, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from scopegate.store.servers import Servers

T = TypeVar("T")

SIGN_IN_LIFETIME = timedelta(minutes=10)
HANDOVER_LIFETIME = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """A command line that waits for a browser to sign in, on `port` of its own machine's loopback interface.

    ``state`` is what it knows the answer by, and ``challenge`` what only it has the verifier for (RFC 7636).
    """

    port: int
    state: str
    challenge: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunSignIn:
    """What has to be known of a sign-in until the provider has sent the browser back.

    ``browser`` is the digest of the secret that the browser was given. ``goes_to`` is the path that it is
    led to afterwards, if there is one.
    """

    nonce: str
    verifier: str = field(repr=False)
    browser: str
    goes_to: str | None = None
    command_line: CommandLine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A sign-in that succeeded, for the command line that has the verifier of ``challenge``."""

    administrator: str
    challenge: str


class SignInStore:
    """Sign-ins by the secrets that name them, of which only the digests are stored."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    async def begin(self, state: str, begun: BegunSignIn) -> None:
        """Remember a sign-in for `SIGN_IN_LIFETIME`."""
        await self._put(state, begun, SIGN_IN_LIFETIME)

    async def take(self, state: str) -> BegunSignIn | None:
        """The sign-in that was begun with this state, once; None if there is none."""
        return await self._take(state, BegunSignIn)

    async def hand_over(self, code: str, handover: Handover) -> None:
        """Remember for `HANDOVER_LIFETIME` who is to be had for a code."""
        await self._put(code, handover, HANDOVER_LIFETIME)

    async def redeem(self, code: str) -> Handover | None:
        """Who is to be had for this code, once; None if nobody is."""
        return await self._take(code, Handover)

    async def _put(self, secret: str, value: object, lifetime: timedelta) -> None:
        name = _name(secret, type(value))
        await self._servers.step(SYSTEM_TENANT.tag, lambda redis: redis.set(name, encode(value), ex=lifetime))

    async def _take(self, secret: str, kind: type[T]) -> T | None:
        name = _name(secret, kind)
        raw = await self._servers.step(
            SYSTEM_TENANT.tag, lambda redis: cast("Awaitable[bytes | None]", redis.getdel(name))
        )
        return None if raw is None else decode(raw, kind)


def _name(secret: str, kind: type[object]) -> str:
    # The kind is part of it, so that the one cannot be asked for as the other.
    return layout.sign_in(sha256(f"{kind.__name__}:{secret}".encode()).hexdigest())
