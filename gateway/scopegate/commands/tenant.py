"""The tenant that operations work on, and what they need beside its store."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Protocol

from scopegate.core import keys
from scopegate.core.preview import gaps, require_user, useless
from scopegate.core.quota import Quota, quota_of
from scopegate.enforcer import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from scopegate.core.keys import KeyRecord
    from scopegate.enforcer import Entitlement
    from scopegate.store import Store


class UserAccess(Protocol):
    """Says what users may do now."""

    async def of_user(self, tenant_tag: str, user_id: str) -> Entitlement:
        """As `enforcer.AccessSource.of_user`."""
        ...


class OnTenant:
    """What all operations on one tenant have in common.

    Args:
        store: where everything is kept.
        key_prefix: what the text of new keys begins with.
        pepper: the HMAC key under which digests are made, if any.
        clock: tells the present moment.
        choose: picks a character at random.
        access: says what users may do; None: the directory does.
        deletion_delay: how long after their expiry new keys are deleted; None: after seven days (D5). For
            rehearsals and tests.
    """

    def __init__(
        self,
        store: Store,
        *,
        key_prefix: str = keys.DEFAULT_PREFIX,
        pepper: bytes | None = None,
        clock: Callable[[], datetime] = utc_now,
        choose: Callable[[str], str] = secrets.choice,
        access: UserAccess | None = None,
        deletion_delay: timedelta | None = None,
    ) -> None:
        self._store = store
        self._access = access
        self._key_prefix = key_prefix
        self._pepper = pepper
        self._clock = clock
        self._choose = choose
        self._deletion_delay = deletion_delay

    def now(self) -> datetime:
        """The moment that states are told for."""
        return self._clock()

    async def quota_at(self, now: datetime) -> Quota:
        """How many keys there are at `now` of those that there may be, and what they are."""
        counted = await self._store.keys.counted(now=now)
        return quota_of(counted.records, now, limit=counted.limit, used=counted.used)

    async def entitlement(self, user_id: str) -> Entitlement:
        """A user as entitled now, None if nobody knows the user, and the catalogue: as the gateway has them.

        Raises:
            StoreUnavailable, PrivilegesUnavailable: nobody can tell.
        """
        return await (self._access or self._store.access).of_user(self._store.tenant.tag, user_id)

    async def require_usable(self, record: KeyRecord, *, checked_from: int = 0) -> tuple[str, ...]:
        """Make sure that the user of a key can use its rules (D10), but for the first `checked_from` of them.

        Returns what is to be said of those that the user can use in part.

        Raises:
            InvalidInput: there is no such user, or the user could not use a rule.
            PrivilegesUnavailable: nobody can tell.
        """
        if record.user is None:
            return ()
        principal, catalogue = await self.entitlement(record.user)
        principal = require_user(record.user, principal)
        # A thousand rules take most of a second, in which others want to be served.
        every = await asyncio.to_thread(gaps, record.rules, principal, catalogue)
        found = [gap for gap in every if gap.row > checked_from]
        if in_vain := [gap for gap in found if gap.useless]:
            raise useless(in_vain, record.user)
        return tuple(gap.sentence for gap in found)
