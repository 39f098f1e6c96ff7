"""Who calls: tokens of administrators are checked here, and those that are not valid slowed down."""

from __future__ import annotations

import logging
import secrets
import time
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from scopegate.administration.issuing import IssuedToken, Issuer
from scopegate.core import admintokens
from scopegate.core.administrators import Administrator, Caller, Role
from scopegate.core.admintokens import USE_NOTED_EVERY, TokenKind
from scopegate.core.attempts import FailureLimit, in_seconds
from scopegate.core.audit import Author
from scopegate.core.errors import StoreUnavailable, TooManyFailures, Unauthenticated
from scopegate.enforcer import utc_now
from scopegate.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from scopegate.core.admintokens import AdminToken
    from scopegate.store import Store

log = logging.getLogger("scopegate.administration")

FAILURE_LIMIT = 10  # a minute, from one address
_PROVED = 1_024  # tokens that are remembered to be right
_NETWORK = 8  # bytes of an IPv6 address that are the network's (RFC 4291 section 2.5.4)


class Authentication:
    """Tells whom a token stands for; one for each process, as it counts failures.

    Args:
        store: where tokens and administrators are kept.
        pepper: the HMAC key under which digests are made, if any.
        failure_limit: how many tokens of one address may be wrong in a minute; 0 sets no limit.
        clock: tells the present moment.
        ticks: tells the nanoseconds since some moment.
        choose: picks a character at random.
    """

    def __init__(
        self,
        store: Store,
        *,
        pepper: bytes | None = None,
        failure_limit: int = FAILURE_LIMIT,
        clock: Callable[[], datetime] = utc_now,
        ticks: Callable[[], int] = time.monotonic_ns,
        choose: Callable[[str], str] = secrets.choice,
    ) -> None:
        self._store = store
        self._pepper = pepper
        self._failures = (
            FailureLimit(failure_limit, secret=secrets.token_bytes(16)) if failure_limit else None
        )
        self._clock = clock
        self._ticks = ticks
        self._issuer = Issuer(pepper=pepper, choose=choose)
        self._proved: dict[str, None] = {}
        self._throttle = Throttle()

    async def authenticate(self, text: str, origin: str) -> Caller:
        """Whom the token stands for, and what that one may do now.

        Args:
            text: what was presented as a token.
            origin: the address that it came from.

        Raises:
            Unauthenticated: it is not valid, for whatever reason.
            TooManyFailures: too many from this address were not, and this one was not seen to be right.
            StoreUnavailable: nobody can tell.
        """
        token, administrator = await self._authenticated(text, origin)
        return Caller(
            actor=administrator.email,
            role=administrator.role,
            tenants=administrator.tenants,
            administrator=administrator.id,
            token=token.id,
        )

    async def open_session(self, text: str, origin: str) -> IssuedToken:
        """A session for whoever has the token; it ends with that, at the latest.

        Raises:
            Unauthenticated, TooManyFailures, StoreUnavailable: as `authenticate`; a session opens none.
        """
        token, administrator = await self._authenticated(text, origin)
        if token.kind is not TokenKind.TOKEN:
            raise Unauthenticated
        return await self._open(administrator, origin, opener=token)

    async def open_session_of(self, administrator: Administrator, origin: str) -> IssuedToken:
        """A session for an administrator whose identity somebody else has proved.

        Raises:
            Unauthenticated: the administrator is not active.
        """
        if not administrator.active:
            raise Unauthenticated
        return await self._open(administrator, origin, opener=None)

    async def bootstrap(self, text: str, *, name: str, email: str, origin: str) -> IssuedToken:
        """Make the first system administrator, with a token, for whoever has the bootstrap token; once.

        Raises:
            Unauthenticated: it is not valid, has expired or was used, or there is an administrator already.
            TooManyFailures: too many from this address were not valid.
            InvalidInput: the name or the e-mail address breaks its rule.
        """
        now = self._clock()
        _, digest = admintokens.read(text, pepper=self._pepper)
        administrator = Administrator(
            id=self._issuer.administrator_id(),
            name=name,
            email=email,
            role=Role.SYSTEM_ADMINISTRATOR,
            created_at=now,
        )
        issued = self._issuer.token(
            administrator.id, description="Made at the first start", expires_at=None, now=now
        )
        tokens = self._store.by(Author(email, origin)).system.tokens
        with self._bounded(origin, digest):
            await tokens.bootstrap(digest, administrator, issued.token, now=now)
        return issued

    async def _authenticated(self, text: str, origin: str) -> tuple[AdminToken, Administrator]:
        token_id, digest = admintokens.read(text, pepper=self._pepper)
        with self._bounded(origin, digest):
            found = await self._prove(token_id, digest)
            self._remember(digest)
            return found

    async def _prove(self, token_id: str, digest: str) -> tuple[AdminToken, Administrator]:
        now = self._clock()
        token = await self._store.system.tokens.find(token_id)
        if not admintokens.proves(digest, token, now) or token is None:
            raise Unauthenticated
        standing = await self._store.system.tokens.standing(token)
        administrator = standing.administrator
        if administrator is None or not administrator.active or not standing.opener_exists:
            raise Unauthenticated
        noted = standing.last_used_at
        if noted is None or now - noted >= USE_NOTED_EVERY:
            await self._note_use(token, now)
        return token, administrator

    async def _note_use(self, token: AdminToken, now: datetime) -> None:
        try:
            await self._store.system.tokens.used(token, now)
        except StoreUnavailable as unavailable:
            # A server that is full notes nothing, but rights can still be taken away there.
            if self._throttle.due("use") is not None:
                log.warning("the use of a token is not noted: %s", unavailable.message)

    async def _open(
        self, administrator: Administrator, origin: str, *, opener: AdminToken | None
    ) -> IssuedToken:
        issued = self._issuer.session(
            administrator.id, description=f"Session from {origin}", now=self._clock(), opener=opener
        )
        await self._store.by(Author(administrator.email, origin)).system.tokens.create(issued.token)
        return issued

    @contextmanager
    def _bounded(self, origin: str, digest: str) -> Iterator[None]:
        """Count what is not valid against its origin; refuse to look where that has too many already."""
        failures = self._failures
        if failures is None:
            yield
            return
        source = source_of(origin)
        wait = failures.wait(source, self._ticks())
        if wait and digest not in self._proved:
            raise TooManyFailures(in_seconds(wait))
        try:
            yield
        except Unauthenticated:
            self._proved.pop(digest, None)
            wait = failures.count(source, self._ticks())
            if wait:
                raise TooManyFailures(in_seconds(wait)) from None
            raise

    def _remember(self, digest: str) -> None:
        """Note that this token is right, or was: it is worth looking at again."""
        if digest not in self._proved:
            if len(self._proved) >= _PROVED:
                del self._proved[next(iter(self._proved))]
            self._proved[digest] = None


def source_of(origin: str) -> bytes:
    """Whose failures count together: one IPv4 address, one IPv6 network of 64 bits, or what is neither.

    Unlike those of the data plane, private addresses count: administrators' calls come from them.
    """
    try:
        address = ip_address(origin)
    except ValueError:
        return origin.encode()
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.packed[:_NETWORK]
