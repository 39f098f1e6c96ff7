"""The policies and the feature flags of a tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.commands.tenant import OnTenant
from scopegate.core.changes import Change, plan
from scopegate.core.tenants import SCOPED_API

if TYPE_CHECKING:
    from scopegate.core.policies import Policies


class PolicyCommands(OnTenant):
    """Shows and changes what is in force for a tenant."""

    async def plan_policies(self, desired: Policies) -> tuple[Change, ...]:
        """What applying `desired` would change."""
        return plan(await self._store.policies.get(), desired)

    async def apply_policies(self, desired: Policies) -> tuple[Change, ...]:
        """Put `desired` into force in one step, and say what that changed.

        Raises:
            InvalidInput: its catalogue cannot be compiled.
        """
        desired.catalogue()
        return await self._store.policies.put(desired)

    async def scoped_api(self) -> bool:
        """Whether custom keys can be created and given rules (D4)."""
        return await self._store.policies.flag(SCOPED_API)

    async def set_scoped_api(self, *, on: bool) -> None:
        """Turn the creation of custom keys on or off; keys that exist keep working."""
        await self._store.policies.set_flag(SCOPED_API, on=on)
