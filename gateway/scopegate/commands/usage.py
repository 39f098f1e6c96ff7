"""What keys were used for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.commands.tenant import OnTenant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from scopegate.core.keys import KeyRecord
    from scopegate.core.usage import KeyLastUse, KeyUsage


class UsageCommands(OnTenant):
    """Tells what the keys of a tenant were used for."""

    async def last_uses(self, records: Sequence[KeyRecord]) -> dict[str, KeyLastUse]:
        """What is known of the last use of each of these keys, by its id."""
        return await self._store.usage.last_uses(records, now=self._clock())

    async def key_usage(self, key_id: str, first: date, last: date) -> tuple[KeyRecord, KeyUsage]:
        """A key, and what came of the requests with it from one day to another (UTC).

        Raises:
            NotFound: there is no such key.
            InvalidInput: that is no period, or longer than counts are kept.
        """
        record = await self._store.keys.get(key_id)
        return record, await self._store.usage.of_key(record.id, first, last)
