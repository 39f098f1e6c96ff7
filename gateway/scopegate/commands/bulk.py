"""Many keys in one go: each has an outcome of its own, and none stands in the way of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from scopegate.commands.issuing import IssuedKey, KeyIssuing
from scopegate.commands.keys import KeyChanging
from scopegate.core.bulk import BulkAction
from scopegate.core.errors import InvalidInput, KeyLimitReached, ScopegateError
from scopegate.core.keydocuments import document_of, read_document

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from scopegate.core.deeds import JsonObject
    from scopegate.core.keys import KeyRecord


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one key: its record (None where it was deleted), or the error."""

    id: str
    record: KeyRecord | None = None
    error: ScopegateError | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one document, of those counted from 1: a key with its secret, or the error."""

    row: int
    issued: IssuedKey | None = None
    error: ScopegateError | None = None


class BulkCommands(KeyChanging, KeyIssuing):
    """Changes, exports and imports many keys of a tenant."""

    async def change_keys(
        self, ids: Iterable[str], action: BulkAction, *, expires_at: datetime | None = None
    ) -> tuple[Outcome, ...]:
        """Do the same to each of some keys, and say what became of each; an id that is repeated counts once.

        Args:
            ids: whole ids.
            action: what is done.
            expires_at: the new expiry of keys that are extended; None: never.
        """
        outcomes = []
        for key_id in dict.fromkeys(ids):
            try:
                record = await self._do(key_id, action, expires_at)
                outcomes.append(Outcome(key_id, record))
            except ScopegateError as error:
                outcomes.append(Outcome(key_id, error=error))
        return tuple(outcomes)

    async def export_keys(self) -> list[JsonObject]:
        """Every key that counts as a document, newest first, without secrets and digests."""
        return [document_of(record) for record in await self.list_keys()]

    async def import_keys(self, documents: Iterable[object]) -> tuple[Imported, ...]:
        """Create a key with a new secret for each document, and say what became of each.

        Whoever uses the keys needs the new secrets. In a dry run, keys that there would be no more room
        for are told like any other that would be refused.
        """
        outcomes: list[Imported] = []
        quota = await self.quota()
        made = 0
        for row, document in enumerate(documents, start=1):
            try:
                issued = await self._import(document)
                if self._store.dry and made >= quota.left:
                    raise KeyLimitReached(limit=quota.limit, used=quota.used + made)
                made += 1
                outcomes.append(Imported(row, issued))
            except ScopegateError as error:
                outcomes.append(Imported(row, error=error))
        return tuple(outcomes)

    async def _import(self, document: object) -> IssuedKey:
        said = read_document(document)
        return await self.create_key(
            key_type=said.type,
            description=said.description,
            expires_at=said.expires_at,
            user=said.user,
            rules=said.rules,
            enabled=said.enabled,
        )

    async def _do(self, key_id: str, action: BulkAction, expires_at: datetime | None) -> KeyRecord | None:
        if not key_id.isalnum():
            raise InvalidInput("ids", "That is not the id of a key.", hint="Give whole ids.")
        match action:
            case BulkAction.ENABLE | BulkAction.DISABLE:
                return await self.set_enabled(key_id, enabled=action is BulkAction.ENABLE)
            case BulkAction.EXTEND:
                return await self.extend_key(key_id, expires_at)
            case BulkAction.DELETE:
                await self.delete_key(key_id)
                return None
        assert_never(action)
