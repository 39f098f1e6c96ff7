"""What an API's new operations mean for the keys of a tenant."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scopegate.commands.tenant import OnTenant
from scopegate.core.drift import Drift, Situation, drift

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scopegate.core.operations import Operation
    from scopegate.core.principal import Principal


class DriftCommands(OnTenant):
    """Compares what an API offers with what keys open."""

    async def drift(self, operations: Sequence[Operation], before: Sequence[Operation] | None) -> Drift:
        """What it means for the keys that an API has `operations` now; nothing is changed.

        Args:
            operations: all that the API has now.
            before: all that it had; None: what the catalogue in force lists.

        Raises:
            InvalidInput: there is more than can be compared at once.
        """
        now = self._clock()
        records = await self._store.keys.all(now=now)
        catalogue = (await self._store.policies.get()).catalogue()
        principals: dict[str, Principal] = {}
        for user in sorted({record.user for record in records if record.user is not None}):
            principal, catalogue = await self.entitlement(user)
            if principal is not None:
                principals[user] = principal
        situation = Situation(records, principals, catalogue, now)
        # Others want to be served meanwhile.
        return await asyncio.to_thread(drift, operations, before, situation)
