"""What a key would be, before it is made."""

from __future__ import annotations

import asyncio

from scopegate.commands.tenant import OnTenant
from scopegate.core.drafts import Circumstances, Draft, Preview, preview
from scopegate.core.tenants import SCOPED_API


class Previewing(OnTenant):
    """Looks at drafts of keys."""

    async def preview_key(self, draft: Draft) -> Preview:
        """All that is wrong with a draft, and what the key would open; nothing is made."""
        now = self._clock()
        principal, catalogue = (
            (None, (await self._store.policies.get()).catalogue())
            if draft.user is None
            else await self.entitlement(draft.user)
        )
        circumstances = Circumstances(
            at=now,
            settings=await self._store.settings.get(),
            scoped_api=await self._store.policies.flag(SCOPED_API),
            quota=await self.quota_at(now),
            principal=principal,
            catalogue=catalogue,
        )
        # A thousand rules take about a second, in which others want to be served.
        return await asyncio.to_thread(preview, draft, circumstances)
