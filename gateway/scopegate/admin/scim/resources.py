"""What ``/Users`` and ``/Groups`` have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from scopegate.admin.scim.messages import Answer, listed, query_in, query_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scopegate.admin.scim.messages import Query
    from scopegate.asgi import Scope
    from scopegate.commands import Commands
    from scopegate.core.scim.attributes import Kind
    from scopegate.core.scim.grammar import Filter
    from scopegate.core.scim.reading import Document
    from scopegate.core.scim.selection import Selection


class Resources(ABC):
    """The resources of one kind of one tenant, below `base`."""

    kind: ClassVar[Kind]

    def __init__(self, commands: Commands, base: str) -> None:
        self._commands = commands
        self._base = base

    async def find(self, parameters: Mapping[str, str]) -> Answer:
        """Those that a filter admits, a page of them."""
        return await self._listed(query_of(parameters, [self.kind]))

    async def search(self, body: Document) -> Answer:
        """As `find`, with what is searched for in the body."""
        return await self._listed(query_in(body, [self.kind]))

    async def _listed(self, query: Query) -> Answer:
        total, shown = await self.found(query.condition, query.first, query.most, query.selection)
        return listed(shown, total, query.first)

    @abstractmethod
    async def found(
        self, condition: Filter | None, first: int, most: int, selection: Selection
    ) -> tuple[int, list[Document]]:
        """How many there are, and the documents of a page of them."""

    @abstractmethod
    async def show(self, resource_id: str, parameters: Mapping[str, str], scope: Scope) -> Answer:
        """One of them; 304 if the client has this version."""

    @abstractmethod
    async def create(self, body: Document, parameters: Mapping[str, str]) -> Answer:
        """A new one."""

    @abstractmethod
    async def replace(
        self, resource_id: str, body: Document, parameters: Mapping[str, str], scope: Scope
    ) -> Answer:
        """One is described anew."""

    @abstractmethod
    async def patch(
        self, resource_id: str, body: Document, parameters: Mapping[str, str], scope: Scope
    ) -> Answer:
        """One is described otherwise in parts."""

    @abstractmethod
    async def delete(self, resource_id: str, scope: Scope) -> Answer:
        """One goes."""
