"""Keys that get a secret: created, duplicated, rotated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scopegate.commands.tenant import OnTenant
from scopegate.core import keys
from scopegate.core.decision import Scope
from scopegate.core.errors import Conflict, KeyLimitReached
from scopegate.core.keys import KeyRecord, KeyState, KeyType, Rule
from scopegate.core.rotation import DEFAULT_OVERLAP, has_expired, rotated
from scopegate.store.keys import no_such_key

if TYPE_CHECKING:
    from datetime import datetime, timedelta

_MINTING_ATTEMPTS = 5
_ONLY_TWO = (
    "The secret that was retiring from the rotation before is over now: only two secrets are ever valid."
)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that was just created or rotated. ``secret`` is its text; nobody can read it again later."""

    record: KeyRecord
    secret: str = field(repr=False)
    warnings: tuple[str, ...] = ()


class KeyIssuing(OnTenant):
    """Gives keys to a tenant, and secrets to keys."""

    async def create_key(
        self,
        *,
        key_type: KeyType,
        description: str,
        expires_at: datetime | None = None,
        user: str | None = None,
        rules: tuple[Rule, ...] = (),
    ) -> IssuedKey:
        """Create a key, enabled and ready for use at once (D1).

        Raises:
            InvalidInput: a field breaks a rule of its type, there is no such user, or the user could
                not use a rule (D10).
            FeatureDisabled: it is a custom key and Scoped API is off (D4).
            KeyLimitReached: the tenant has as many keys as it may have (D2).
        """
        now = self._clock()
        for _ in range(_MINTING_ATTEMPTS):
            key = keys.mint(self._store.tenant.tag, self._choose, prefix=self._key_prefix)
            record = KeyRecord(
                id=key.id,
                tenant=self._store.tenant.id,
                type=key_type,
                digest=keys.digest(key, pepper=self._pepper),
                description=description,
                created_at=now,
                expires_at=expires_at,
                user=user,
                rules=rules,
            )
            keys.require_creatable(record, now)
            Scope(record)  # rules that cannot be compiled are refused here, not at every request
            warnings = await self.require_usable(record)
            try:
                await self._store.keys.create(record, now=now)
            except KeyLimitReached:
                raise
            except Conflict:
                continue  # the id is taken
            return IssuedKey(record, key.text, warnings)
        raise Conflict("No free key id was found.", hint="Try again.")

    async def duplicate_key(self, key_id: str, *, description: str) -> IssuedKey:
        """Create a key of the same type, with the same user, rules and expiry.

        Raises:
            NotFound: there is no such key.
            Conflict: it has expired.
            InvalidInput, FeatureDisabled, KeyLimitReached: as `create_key`.
        """
        record = await self._store.keys.get(key_id)
        if keys.state(record, self._clock()) in {KeyState.EXPIRED, KeyState.DELETED}:
            raise has_expired(record)
        return await self.create_key(
            key_type=record.type,
            description=description,
            expires_at=record.expires_at,
            user=record.user,
            rules=record.rules,
        )

    async def rotate_key(
        self, key_id: str, *, overlap: timedelta = DEFAULT_OVERLAP, drop_retiring: bool = False
    ) -> IssuedKey:
        """Give a key another secret; the one it had stays valid for `overlap`.

        Args:
            key_id: the whole id of the key.
            overlap: 0 to 7 days.
            drop_retiring: whether a secret that still retires from the rotation before is given up.

        Raises:
            InvalidInput: the overlap is too long.
            NotFound: there is no such key, or its seven days are over.
            Conflict: the key has expired, or a secret of it is still retiring.
        """
        now = self._clock()
        key = keys.with_new_secret(key_id, self._choose, prefix=self._key_prefix)
        digest = keys.digest(key, pepper=self._pepper)
        warnings: tuple[str, ...] = ()

        def edit(record: KeyRecord) -> KeyRecord:
            nonlocal warnings
            if record.digest == digest:
                return record  # it was stored, and only the answer was lost
            if keys.state(record, now) is KeyState.DELETED:
                raise no_such_key(key_id)
            edited = rotated(record, digest, overlap=overlap, now=now, drop_retiring=drop_retiring)
            warnings = () if keys.retiring_at(record, now) is None else (_ONLY_TWO,)
            return edited

        return IssuedKey(await self._store.keys.change(key_id, edit), key.text, warnings)
