"""The endpoints of the catalogue in force, as somebody who writes a rule looks for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scopegate.commands.tenant import OnTenant
from scopegate.core.picking import is_picked, rules_for, words_of

if TYPE_CHECKING:
    from scopegate.core.catalogue import Endpoint
    from scopegate.core.keys import Rule


@dataclass(frozen=True, slots=True)
class PickedEndpoint:
    """An endpoint, and the rules that open it; none where rules may name none of its methods."""

    endpoint: Endpoint
    rules: tuple[Rule, ...]


class EndpointCommands(OnTenant):
    """Finds endpoints."""

    async def find_endpoints(self, text: str, method: str | None = None) -> list[PickedEndpoint]:
        """The endpoints that mention all words of `text`, and can be called with `method`, by URL."""
        words = words_of(text)
        policies = await self._store.policies.get()
        rule_methods = (await self._store.settings.get()).rule_methods
        return [
            PickedEndpoint(endpoint, rules_for(endpoint, rule_methods))
            for endpoint in policies.endpoints
            if is_picked(endpoint, words, method)
        ]
