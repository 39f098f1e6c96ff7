"""The policies and the feature flags of a tenant."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scopegate.commands.tenant import OnTenant
from scopegate.core.tenants import SCOPED_API

if TYPE_CHECKING:
    from scopegate.core.policies import Policies
    from scopegate.store.policies import Applied


class PolicyCommands(OnTenant):
    """Shows and changes what is in force for a tenant."""

    async def show_policies(self) -> Policies:
        """What is in force."""
        return await self._store.policies.get()

    async def apply_policies(self, desired: Policies, *, expected: str | None = None) -> Applied:
        """Put `desired` into force in one step, and say what that changed.

        `expected` is the version that it is to replace, as `store.policies.version` tells it; None: any.

        Raises:
            InvalidInput: its catalogue cannot be compiled.
            StaleVersion: there is another version.
        """
        await asyncio.to_thread(desired.catalogue)  # thousands of entries take a while
        return await self._store.policies.put(desired, expected=expected)

    async def scoped_api(self) -> bool:
        """Whether custom keys can be created and given rules (D4)."""
        return await self._store.policies.flag(SCOPED_API)

    async def set_scoped_api(self, *, on: bool) -> None:
        """Turn the creation of custom keys on or off; keys that exist keep working."""
        await self._store.policies.set_flag(SCOPED_API, on=on)
