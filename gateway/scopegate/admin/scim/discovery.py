"""``/ServiceProviderConfig``, ``/ResourceTypes`` and ``/Schemas`` (RFC 7644 section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.admin.scim.messages import Answer, NoScim, listed
from scopegate.core.scim.discovery import resource_types, schemas, service_provider_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scopegate.commands import Commands


class Discovery:
    """What the server tells of itself; the names of roles are those of the tenant."""

    def __init__(self, commands: Commands, base: str) -> None:
        self._commands = commands
        self._base = base

    async def show(self, place: str, name: str | None = None, *, parameters: Mapping[str, str]) -> Answer:
        """The description at `place`, or the one with the id `name` there.

        Raises:
            NoScim: there is none, or it was asked to be filtered, which RFC 7644 section 4 forbids.
        """
        if "filter" in parameters:
            raise NoScim(403, "What the server tells of itself cannot be filtered.")
        if place == "ServiceProviderConfig":
            if name is not None:
                raise NoScim(404, "There is no such endpoint.")
            return Answer(200, service_provider_config(self._base))
        if place == "ResourceTypes":
            found = resource_types(self._base)
        else:
            found = schemas(self._base, await self._commands.role_names())
        if name is None:
            return listed(found, len(found), 0)
        for document in found:
            if document["id"] == name:
                return Answer(200, document)
        raise NoScim(404, f"There is none of this id in {place}.")
