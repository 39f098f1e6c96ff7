"""What a decision needs from Redis, read at the moment of the call."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, cast

from scopegate.core.catalogue import Catalogue
from scopegate.core.decision import Scope
from scopegate.core.keys import KeyRecord
from scopegate.core.principal import User, resolve
from scopegate.store import layout
from scopegate.store.policies import StoredCatalogue
from scopegate.store.records import decode, decode_names, readable
from scopegate.store.servers import Script
from scopegate.store.view import NOT_KNOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from scopegate.core.keys import KeyText
    from scopegate.core.principal import Principal
    from scopegate.store.servers import Servers
    from scopegate.store.view import NotKnown

_COMPILED_SCOPES = 10_000
_COMPILED_CATALOGUES = 1_000
_EMPTY = Catalogue()


class StoredAccess:
    """Reads key records, principals and catalogues from Redis, each time anew.

    What is kept between calls is only the compiled form of a text, under the text itself, so it
    can never be out of date.

    `resolve` makes the principal of what is read: `core.principal.resolve`, or `resolve_member`.
    """

    def __init__(self, servers: Servers, resolve: Callable[..., Principal] = resolve) -> None:
        self._servers = servers
        self._resolve = resolve
        self._read = Script("read_access", writes=False)
        self._scope = lru_cache(_COMPILED_SCOPES)(_compile_scope)
        self._catalogues: dict[str, tuple[bytes, Catalogue]] = {}

    async def scope(self, key: KeyText) -> Scope | None:
        """The compiled record of the key with this id, or None if there is none.

        Raises:
            StoreUnavailable: nobody can tell.
        """
        name = layout.key_record(key.tenant_tag, key.id)
        raw = cast("bytes | None", await self._servers.step(key.tenant_tag, lambda redis: redis.get(name)))
        return None if raw is None else self._scope(raw)

    async def of_user(self, tenant_tag: str, user_id: str) -> tuple[Principal | None, Catalogue]:
        """The user as entitled now (None if unknown) and the tenant's catalogue, from one snapshot.

        Raises:
            StoreUnavailable: nobody can tell.
        """
        known_digest, catalogue = self._catalogues.get(tenant_tag, (b"", _EMPTY))
        names = [
            layout.user_record(tenant_tag, user_id),
            layout.groups(tenant_tag),
            layout.roles(tenant_tag),
            layout.catalogue(tenant_tag),
        ]
        user, groups, roles, changed, digest = await self._servers.step(
            tenant_tag, lambda redis: self._read.run(redis, names, [known_digest])
        )
        if changed is not None:
            catalogue = _compile_catalogue(changed)
            self._remember(tenant_tag, digest, catalogue)
        if user is None:
            return None, catalogue
        with readable("user, role or group"):
            principal = self._resolve(
                decode(user, User), roles=_names_by_name(roles), groups=_names_by_name(groups)
            )
        return principal, catalogue

    def known_scope(self, _key: KeyText) -> NotKnown:
        """Nothing is known before it is read."""
        return NOT_KNOWN

    def known_user(self, _tenant_tag: str, _user_id: str) -> None:
        """Nobody is known before they are read."""

    def _remember(self, tenant_tag: str, digest: bytes, catalogue: Catalogue) -> None:
        if len(self._catalogues) >= _COMPILED_CATALOGUES:
            self._catalogues.clear()
        self._catalogues[tenant_tag] = (digest, catalogue)


def _compile_scope(raw: bytes) -> Scope:
    with readable("KeyRecord"):
        return Scope(decode(raw, KeyRecord))


def _compile_catalogue(raw: bytes) -> Catalogue:
    if not raw:
        return _EMPTY
    with readable("catalogue"):
        stored = decode(raw, StoredCatalogue)
        return Catalogue(stored.endpoints, unlisted_allowed=stored.unlisted_allowed)


def _names_by_name(flat: list[bytes]) -> dict[str, frozenset[str]]:
    return {name.decode(): decode_names(names) for name, names in zip(flat[::2], flat[1::2], strict=True)}
