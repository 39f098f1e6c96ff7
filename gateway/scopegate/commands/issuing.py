"""Keys that get a secret: created, duplicated, rotated."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scopegate.commands.tenant import OnTenant
from scopegate.core import keys
from scopegate.core.decision import Scope
from scopegate.core.errors import Conflict, KeyLimitReached, NotFound, StoreUnavailable
from scopegate.core.keys import KeyRecord, KeyState, KeyType, Rule
from scopegate.core.lifetimes import NOT_GIVEN, expiry_of, require_lifetime
from scopegate.core.rotation import DEFAULT_OVERLAP, has_expired, rotated
from scopegate.store.keys import Repeated, no_such_key

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from scopegate.core.idempotency import Idempotency, Issuance
    from scopegate.core.lifetimes import NotGiven

_MINTING_ATTEMPTS = 5
_ONLY_TWO = (
    "The secret that was retiring from the rotation before is over now: only two secrets are ever valid."
)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that was just created or rotated. ``secret`` is its text; nobody can read it again later.

    There is none in a dry run, nor where the answer is ``replayed``: the request was carried out before,
    and the secret was given then.
    """

    record: KeyRecord
    secret: str | None = field(repr=False)
    warnings: tuple[str, ...] = ()
    replayed: bool = False

    @property
    def new_secret(self) -> str:
        """The secret, of a key that is new for sure.

        Raises:
            Conflict: there is none to show.
        """
        if self.secret is None:
            raise Conflict(
                f"There is no secret of the key {self.record.id} to show.",
                hint=f"Give it a new one with: scopegate key rotate {self.record.id}",
                code="secret_not_shown",
            )
        return self.secret


class KeyIssuing(OnTenant):
    """Gives keys to a tenant, and secrets to keys."""

    async def create_key(
        self,
        *,
        key_type: KeyType,
        description: str,
        expires_at: datetime | NotGiven | None = NOT_GIVEN,
        user: str | None = None,
        rules: tuple[Rule, ...] = (),
        enabled: bool = True,
        idempotency: Idempotency | None = None,
    ) -> IssuedKey:
        """Create a key, ready for use at once (D1).

        Args:
            key_type: its type.
            description: what it is for.
            expires_at: None: never. If it is not given, the tenant's settings say.
            user: the one user whom the key is bound to; None: all.
            rules: what a custom key opens.
            enabled: whether it is enabled; False is for keys that are taken over from elsewhere.
            idempotency: what tells that this is another request's repetition, which creates nothing.

        Raises:
            InvalidInput: a field breaks a rule of its type or of the tenant, there is no such user, the user
                could not use a rule (D10), or the idempotency key was used for something else.
            FeatureDisabled: it is a custom key and Scoped API is off (D4).
            KeyLimitReached: the tenant has as many keys as it may have (D2).
            Conflict: the key that the same request created is gone.
        """
        if idempotency is not None:
            issuance = await self._store.keys.issuance(idempotency)
            if issuance is not None:
                return await self._replayed(idempotency, issuance)
        now = self._clock()
        settings = await self._store.settings.get()
        for _ in range(_MINTING_ATTEMPTS):
            key = keys.mint(self._store.tenant.tag, self._choose, prefix=self._key_prefix)
            record = KeyRecord(
                id=key.id,
                tenant=self._store.tenant.id,
                type=key_type,
                digest=keys.digest(key, pepper=self._pepper),
                description=description,
                created_at=now,
                enabled=enabled,
                expires_at=expiry_of(expires_at, key_type, now, settings),
                user=user,
                rules=rules,
                deletion_delay=self._deletion_delay,
            )
            keys.require_creatable(record, now, rule_methods=settings.rule_methods)
            require_lifetime(record.type, record.expires_at, now, settings)
            Scope(record)  # rules that cannot be compiled are refused here, not at every request
            warnings = await self.require_usable(record)
            try:
                await self._store.keys.create(record, now=now, idempotency=idempotency)
            except KeyLimitReached as reached:
                raise await self._explained(reached, now) from None
            except Conflict:
                continue  # the id is taken
            except Repeated as repeated:
                if idempotency is None:
                    raise
                return await self._replayed(idempotency, repeated.issuance)
            return IssuedKey(record, self._shown(key), warnings)
        raise Conflict("No free key id was found.", hint="Try again.")

    async def duplicate_key(
        self, key_id: str, *, description: str, idempotency: Idempotency | None = None
    ) -> IssuedKey:
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
            idempotency=idempotency,
        )

    async def rotate_key(
        self,
        key_id: str,
        *,
        overlap: timedelta = DEFAULT_OVERLAP,
        drop_retiring: bool = False,
        expected: str | None = None,
        idempotency: Idempotency | None = None,
    ) -> IssuedKey:
        """Give a key another secret; the one it had stays valid for `overlap`.

        Args:
            key_id: the whole id of the key.
            overlap: 0 to 7 days.
            drop_retiring: whether a secret that still retires from the rotation before is given up.
            expected: the version of the key that is meant; None: any.
            idempotency: what tells that this is another request's repetition, which changes nothing.

        Raises:
            InvalidInput: the overlap is too long, or the idempotency key was used for something else.
            NotFound: there is no such key, or its seven days are over.
            Conflict: the key has expired, or a secret of it is still retiring.
            StaleVersion: there is another version of it.
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

        try:
            record = await self._store.keys.change(key_id, edit, expected=expected, idempotency=idempotency)
        except Repeated as repeated:
            if idempotency is None:
                raise
            return await self._replayed(idempotency, repeated.issuance)
        return IssuedKey(record, self._shown(key), warnings)

    def _shown(self, key: keys.KeyText) -> str | None:
        """The text of a new key, which a dry run has not made."""
        return None if self._store.dry else key.text

    async def _replayed(self, idempotency: Idempotency, issuance: Issuance) -> IssuedKey:
        issuance.require_repeated(idempotency)
        try:
            record = await self._store.keys.get(issuance.key_id)
        except NotFound:
            raise Conflict(
                f"This request was carried out before, and its key {issuance.key_id} was deleted meanwhile.",
                hint="Choose a new idempotency key to create another one.",
                code="idempotent_key_gone",
            ) from None
        return IssuedKey(record, None, replayed=True)

    async def _explained(self, reached: KeyLimitReached, now: datetime) -> KeyLimitReached:
        """The same error with what the keys are, unless that has changed already, or nobody can tell."""
        with suppress(StoreUnavailable):
            quota = await self.quota_at(now)
            if (quota.limit, quota.used) == (reached.limit, reached.used):
                return KeyLimitReached(limit=reached.limit, used=reached.used, quota=quota)
        return reached
