"""Who changed what of a tenant."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from scopegate.commands.tenant import OnTenant
from scopegate.core.audit import parse
from scopegate.store.audit import readable_entry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from scopegate.core.audit import Selection, Verification
    from scopegate.core.deeds import JsonObject


class AuditCommands(OnTenant):
    """Reads the audit log of a tenant."""

    async def list_audit(self, selection: Selection, limit: int) -> list[JsonObject]:
        """The newest entries that are asked for, `limit` at most, newest first.

        Raises:
            UnreadableRecord: an entry means nothing.
        """
        found: list[JsonObject] = []
        async with aclosing(self._store.audit.backwards()) as lines:
            async for line in lines:
                with readable_entry():
                    said = parse(line)
                    if selection.admits(said):
                        found.append(said)
                if len(found) == limit:
                    break
        return found

    async def verify_audit(self) -> Verification:
        """Whether the log is whole: nothing changed, removed, added or moved."""
        return await self._store.audit.verify()

    def export_audit(self) -> AsyncGenerator[bytes, None]:
        """The lines of all entries that are kept, oldest first."""
        return self._store.audit.forwards()
