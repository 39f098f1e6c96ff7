"""``/ServiceProviderConfig``, ``/ResourceTypes`` and ``/Schemas`` (RFC 7644 section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.admin.scim.messages import Answer, NoScim, listed, nothing_here
from scopegate.core.scim.discovery import resource_types, schemas, service_provider_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scopegate.commands import Commands
    from scopegate.core.scim.reading import Document

_CONFIG = "ServiceProviderConfig"
DESCRIPTIONS = frozenset({_CONFIG, "ResourceTypes", "Schemas"})


class Discovery:
    """What the server tells of itself; the names of roles are those of the tenant."""

    def __init__(self, commands: Commands, base: str) -> None:
        self._commands = commands
        self._base = base

    async def show(self, place: str, rest: list[str], parameters: Mapping[str, str]) -> Answer:
        """The description at `place`, or the one there whose id is the `rest` of the path.

        Raises:
            NoScim: there is none, or it was asked to be filtered, which RFC 7644 section 4 forbids.
        """
        if "filter" in parameters:
            raise NoScim(403, "What the server tells of itself cannot be filtered.")
        if place == _CONFIG and not rest:
            return Answer(200, service_provider_config(self._base))
        found = await self._all(place)
        if not rest and found:
            return listed(found, len(found), 0)
        for document in found:
            if [document["id"]] == rest:
                return Answer(200, document)
        raise nothing_here()

    async def _all(self, place: str) -> list[Document]:
        match place:
            case "ResourceTypes":
                return resource_types(self._base)
            case "Schemas":
                return schemas(self._base, await self._commands.role_names())
            case _:
                return []
