"""The tokens of administrators, in Redis, and the one that makes the first administrator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from scopegate.core.administrators import (
    Administrator,
    no_such_administrator,
    require_administrator,
)
from scopegate.core.admintokens import AdminToken, BootstrapToken, no_such_token, proves
from scopegate.core.deeds import administrator_created, bootstrap_offered, token_created, token_revoked
from scopegate.core.errors import Conflict, Unauthenticated
from scopegate.core.tenants import SYSTEM_TENANT
from scopegate.store import administrators, layout
from scopegate.store.changing import delete
from scopegate.store.moments import milliseconds, moment
from scopegate.store.records import decode, encode

if TYPE_CHECKING:
    from datetime import datetime

    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    from scopegate.store.audit import Journal
    from scopegate.store.servers import Servers


@dataclass(frozen=True, slots=True)
class UsedToken:
    """A token, and when it was last used; None: never."""

    token: AdminToken
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a token is worth beside itself: whom it stands for, and whether what opened it still exists."""

    administrator: Administrator | None
    opener_exists: bool
    last_used_at: datetime | None


class TokenStore:
    """All tokens of administrators. Redis deletes each at its expiry."""

    def __init__(self, servers: Servers, journal: Journal) -> None:
        self._servers = servers
        self._journal = journal

    async def find(self, token_id: str) -> AdminToken | None:
        """The token with this id, or None."""
        name = layout.admin_token(token_id)
        raw = await self._servers.step(SYSTEM_TENANT.tag, lambda redis: redis.get(name))
        return None if raw is None else decode(cast("bytes", raw), AdminToken)

    async def standing(self, token: AdminToken) -> Standing:
        """What the token is worth now."""

        async def read(redis: Redis) -> list[bytes | None]:
            async with redis.pipeline(transaction=False) as pipe:
                pipe.hget(layout.administrators(), token.administrator)
                pipe.get(layout.admin_token_use(token.id))
                pipe.get(layout.admin_token(token.opened_by or token.id))
                return cast("list[bytes | None]", await pipe.execute())

        administrator, used, opener = await self._servers.step(SYSTEM_TENANT.tag, read)
        return Standing(
            None if administrator is None else decode(administrator, Administrator),
            opener is not None,
            _moment(used),
        )

    async def used(self, token: AdminToken, now: datetime) -> None:
        """Note that the token was used."""
        name = layout.admin_token_use(token.id)
        await self._servers.step(
            SYSTEM_TENANT.tag,
            lambda redis: redis.set(name, milliseconds(now), pxat=milliseconds(token.expires_at)),
        )

    async def all(self, *, now: datetime) -> list[UsedToken]:
        """Every token that is good at `now`, as far as it is about the token; the oldest first."""

        async def read(redis: Redis) -> tuple[list[bytes | None], list[bytes | None]]:
            after = f"({milliseconds(now)}"
            ids = [
                token_id.decode()
                for token_id in cast(
                    "list[bytes]", await redis.zrangebyscore(layout.admin_tokens(), after, "+inf")
                )
            ]
            if not ids:
                return [], []
            tokens = await redis.mget([layout.admin_token(token_id) for token_id in ids])
            uses = await redis.mget([layout.admin_token_use(token_id) for token_id in ids])
            return cast("list[bytes | None]", tokens), cast("list[bytes | None]", uses)

        found, uses = await self._servers.step(SYSTEM_TENANT.tag, read)
        read_tokens = [
            UsedToken(decode(raw, AdminToken), _moment(used))
            for raw, used in zip(found, uses, strict=True)
            if raw is not None
        ]
        ids = {one.token.id for one in read_tokens}
        good = [one for one in read_tokens if one.token.opened_by is None or one.token.opened_by in ids]
        return sorted(good, key=lambda one: (one.token.created_at, one.token.id))

    async def create(self, token: AdminToken) -> None:
        """Store a new token, and drop from the index those that have expired.

        Raises:
            NotFound: there is no such administrator.
            Conflict: the id is taken by another token; mint another.
        """

        async def swap(pipe: Pipeline) -> None:
            if token.administrator not in await administrators.present(pipe):
                raise no_such_administrator(token.administrator)
            await self._require_free(pipe, token)
            await self._journal.begin(pipe, token_created(token))
            _queue(pipe, token)

        await self._journal.transaction(swap, layout.administrators(), layout.admin_token(token.id))

    async def revoke(self, token_id: str) -> None:
        """Forget a token; it is good no longer, and no session is that was opened with it.

        Raises:
            NotFound: there is no such token.
        """
        await delete(
            self._journal,
            layout.admin_token(token_id),
            AdminToken,
            indexes=[layout.admin_tokens()],
            member=token_id,
            missing=lambda: no_such_token(token_id),
            deed=lambda token: token_revoked(token_id, token),
        )

    async def offer_bootstrap(self, token: BootstrapToken) -> bool:
        """Store the token that makes the first system administrator, in place of any before.

        It says whether it did: it does not if there is an active system administrator.
        """

        async def swap(pipe: Pipeline) -> bool:
            if await _is_administered(pipe):
                return False
            await self._journal.begin(pipe, bootstrap_offered(token))
            pipe.set(layout.bootstrap(), encode(token), pxat=milliseconds(token.expires_at))
            return True

        return await self._journal.transaction(swap, layout.administrators(), layout.bootstrap())

    async def bootstrap(
        self, digest: str, administrator: Administrator, token: AdminToken, *, now: datetime
    ) -> None:
        """Store the first system administrator with a token, for whoever has the text with this digest, once.

        Raises:
            Unauthenticated: that is not the text, it has expired, or was used; or there is an active system
                administrator.
            InvalidInput, Conflict: as `require_administrator`.
        """

        async def swap(pipe: Pipeline) -> None:
            raw = await pipe.get(layout.bootstrap())
            offered = None if raw is None else decode(raw, BootstrapToken)
            if not proves(digest, offered, now) or await _is_administered(pipe):
                raise Unauthenticated
            require_administrator(administrator, (await administrators.present(pipe)).values())
            await self._require_free(pipe, token)
            await self._journal.begin(pipe, administrator_created(administrator), token_created(token))
            administrators.queue(pipe, administrator)
            _queue(pipe, token)
            pipe.delete(layout.bootstrap())

        names = (layout.administrators(), layout.bootstrap(), layout.admin_token(token.id))
        await self._journal.transaction(swap, *names)

    async def _require_free(self, pipe: Pipeline, token: AdminToken) -> None:
        if await pipe.get(layout.admin_token(token.id)) is not None:
            raise Conflict("The id of the new token is taken.", hint="Try again.")


async def _is_administered(pipe: Pipeline) -> bool:
    return any(one.rules_the_system for one in (await administrators.present(pipe)).values())


def _queue(pipe: Pipeline, token: AdminToken) -> None:
    expiry = milliseconds(token.expires_at)
    pipe.zremrangebyscore(layout.admin_tokens(), "-inf", milliseconds(token.created_at))
    pipe.set(layout.admin_token(token.id), encode(token), pxat=expiry)
    pipe.zadd(layout.admin_tokens(), {token.id: expiry})


def _moment(raw: bytes | None) -> datetime | None:
    return None if raw is None else moment(int(raw))
