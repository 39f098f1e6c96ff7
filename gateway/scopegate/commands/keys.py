"""Keys that exist: found, changed, deleted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Unpack

from scopegate.commands.tenant import OnTenant
from scopegate.core import keys
from scopegate.core.errors import Conflict, InvalidInput
from scopegate.core.keyediting import KeyChanges, edited, with_only_rules, with_rules, without_rules
from scopegate.core.keys import KeyRecord, KeyState, Rule
from scopegate.core.tenants import SCOPED_API
from scopegate.store.changing import require_version
from scopegate.store.keys import no_such_key, scoped_api_off

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from scopegate.core.quota import Quota

_EDITING_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class EditedKey:
    """A key that was just changed, and what is to be said of it."""

    record: KeyRecord
    warnings: tuple[str, ...] = ()


class KeyChanging(OnTenant):
    """Finds, changes and deletes the keys of a tenant."""

    async def list_keys(self) -> list[KeyRecord]:
        """Every key that counts, newest first."""
        return await self._store.keys.all(now=self._clock())

    async def quota(self) -> Quota:
        """How many keys the tenant has of those that it may have, and what they are."""
        return await self.quota_at(self._clock())

    async def find_key(self, reference: str) -> KeyRecord:
        """The key with this id, or with an id that alone begins like this.

        Raises:
            NotFound: there is none.
            InvalidInput: there are several, or it is no id; what was given may be a secret, so the
                error does not repeat it.
        """
        if not reference.isalnum() or len(reference) > keys.ID_LENGTH:
            raise InvalidInput(
                "id",
                "That is not the id of a key.",
                hint="An id has 12 letters and digits: the part of a key between its two '_'.",
            )
        if len(reference) == keys.ID_LENGTH:
            return await self._store.keys.get(reference)
        found = [record for record in await self.list_keys() if record.id.startswith(reference)]
        if len(found) > 1:
            raise InvalidInput(
                "id",
                f"{len(found)} keys begin with {reference!r}: {', '.join(record.id for record in found)}.",
                hint="Give more characters.",
            )
        if not found:
            raise no_such_key(reference)
        return found[0]

    async def set_enabled(self, key_id: str, *, enabled: bool, expected: str | None = None) -> KeyRecord:
        """Enable or disable a key; requests see it at once."""
        return await self._store.keys.change(
            key_id, lambda record: replace(record, enabled=enabled), expected=expected
        )

    async def extend_key(
        self, key_id: str, expires_at: datetime | None, *, expected: str | None = None
    ) -> KeyRecord:
        """Give a key another expiry, also one that expired less than seven days ago.

        Raises:
            InvalidInput: the expiry is not in the future, later than the tenant's keys may live, or the key
                is of a type that has none.
            NotFound: there is no such key, or its seven days are over.
        """
        return (await self.edit_key(key_id, expected=expected, expires_at=expires_at)).record

    async def add_rules(
        self, key_id: str, rules: tuple[Rule, ...], *, expected: str | None = None
    ) -> EditedKey:
        """Have a custom key open more; requests see it at once.

        Raises:
            FeatureDisabled: Scoped API is off (D4).
            InvalidInput: the key is not custom, could not have been created with all these rules, or its
                user could not use a new one (D10).
            NotFound: there is no such key.
        """
        return await self._edit_rules(
            key_id,
            lambda record, methods: with_rules(record, rules, methods),
            expected=expected,
            checked_from=lambda record: len(record.rules),
        )

    async def set_rules(
        self, key_id: str, rules: tuple[Rule, ...], *, expected: str | None = None
    ) -> EditedKey:
        """Have a custom key open just what `rules` say; requests see it at once.

        Raises:
            FeatureDisabled: Scoped API is off (D4).
            InvalidInput: the key is not custom, could not have been created with these rules, or its user
                could not use one of them (D10).
            NotFound: there is no such key.
        """
        return await self._edit_rules(
            key_id,
            lambda record, methods: with_only_rules(record, rules, methods),
            expected=expected,
        )

    async def remove_rules(
        self,
        key_id: str,
        rules: tuple[Rule, ...],
        *,
        even_the_last: bool = False,
        expected: str | None = None,
    ) -> EditedKey:
        """Have a custom key open less, also while Scoped API is off; requests see it at once.

        Raises:
            InvalidInput: the key is not custom.
            NotFound: there is no such key, or it has no such rule.
            Conflict: no rule would be left, without `even_the_last`.
        """

        def edit(record: KeyRecord) -> KeyRecord:
            return without_rules(record, rules, even_the_last=even_the_last)

        return EditedKey(await self._store.keys.change(key_id, edit, expected=expected))

    async def edit_key(
        self, key_id: str, *, expected: str | None = None, **changes: Unpack[KeyChanges]
    ) -> EditedKey:
        """Give a key another description, expiry or user; requests see it at once.

        Raises:
            InvalidInput: a value breaks a rule of the key's type, there is no such user, or the user
                could not use a rule (D10).
            NotFound: there is no such key, or its seven days are over.
        """
        now = self._clock()
        settings = await self._store.settings.get()

        def edit(record: KeyRecord) -> KeyRecord:
            if keys.state(record, now) is KeyState.DELETED:
                raise no_such_key(key_id)
            return edited(record, changes, now, settings)

        if "user" in changes:
            return await self._edit(key_id, edit, expected=expected)
        return EditedKey(await self._store.keys.change(key_id, edit, expected=expected))

    async def delete_key(self, key_id: str, *, expected: str | None = None) -> None:
        """Delete a key for good; requests see it at once."""
        await self._store.keys.delete(key_id, expected=expected)

    async def _edit_rules(
        self,
        key_id: str,
        edit: Callable[[KeyRecord, frozenset[str]], KeyRecord],
        *,
        expected: str | None,
        checked_from: Callable[[KeyRecord], int] = lambda _record: 0,
    ) -> EditedKey:
        """Change the rules of a key while Scoped API is on (D4), given the methods that they may name."""
        methods = (await self._store.settings.get()).rule_methods
        # What can never be done is said before what the flag forbids for now.
        edit(await self._store.keys.get(key_id), methods)
        if not await self._store.policies.flag(SCOPED_API):
            raise scoped_api_off()
        return await self._edit(
            key_id, lambda record: edit(record, methods), expected=expected, checked_from=checked_from
        )

    async def _edit(
        self,
        key_id: str,
        edit: Callable[[KeyRecord], KeyRecord],
        *,
        expected: str | None,
        checked_from: Callable[[KeyRecord], int] = lambda _record: 0,
    ) -> EditedKey:
        """Change a key to what its user can use (D10), as that and the key are at the same time.

        `checked_from` tells how many rules of the present record are not looked at.
        """
        for _ in range(_EDITING_ATTEMPTS):
            before = await self._store.keys.get(key_id)
            require_version(before, expected)
            after = edit(before)
            warnings = await self.require_usable(after, checked_from=checked_from(before))
            try:
                return EditedKey(
                    await self._store.keys.change(key_id, _unless_changed(before, after)), warnings
                )
            except _ChangedMeanwhile:
                continue
        raise Conflict("The key is being changed by others.", hint="Try again.")


class _ChangedMeanwhile(Exception):
    """The key is not any more what the change was checked against."""


def _unless_changed(before: KeyRecord, after: KeyRecord) -> Callable[[KeyRecord], KeyRecord]:
    def edit(record: KeyRecord) -> KeyRecord:
        if record not in (before, after):  # the latter where it was stored, and only the answer was lost
            raise _ChangedMeanwhile
        return after

    return edit
