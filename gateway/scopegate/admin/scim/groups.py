"""``/Groups``: the groups of the directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.admin.scim.messages import Answer, selection_of, tags_in
from scopegate.admin.scim.resources import Resources
from scopegate.commands.provisioning import group_version
from scopegate.core.scim.attributes import GROUP
from scopegate.core.scim.groups import group_document
from scopegate.core.scim.patching import read_patch
from scopegate.core.scim.people import location
from scopegate.core.scim.reading import read_resource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scopegate.asgi import Scope
    from scopegate.core.principal import Group
    from scopegate.core.scim.grammar import Filter
    from scopegate.core.scim.reading import Document
    from scopegate.core.scim.selection import Selection


class Groups(Resources):
    """The groups of one tenant's directory.

    The version of a group is that of its members too, so an answer without the members tells none.
    """

    kind = GROUP

    async def found(
        self, condition: Filter | None, first: int, most: int, selection: Selection
    ) -> tuple[int, list[Document]]:
        """How many there are, and the documents of a page of them."""
        total, groups = await self._commands.find_groups(condition, first=first, most=most)
        return total, [document for document, _ in await self._documents(groups, selection)]

    async def show(self, resource_id: str, parameters: Mapping[str, str], scope: Scope) -> Answer:
        """One group; 304 if the client has this version."""
        selection = selection_of(parameters)
        group = await self._commands.find_group(resource_id)
        answer = await self._answer(200, group, selection)
        known = tags_in(scope, b"if-none-match")
        sent = dict(answer.headers).get(b"etag", b"").decode("ascii")
        if known is not None and sent.removeprefix("W/").strip('"') in known:
            return Answer(304, headers=answer.headers)
        return answer

    async def create(self, body: Document, parameters: Mapping[str, str]) -> Answer:
        """A new group."""
        selection = selection_of(parameters)
        return await self._answer(
            201, await self._commands.create_group(read_resource(GROUP, body)), selection
        )

    async def replace(
        self, resource_id: str, body: Document, parameters: Mapping[str, str], scope: Scope
    ) -> Answer:
        """A group is described anew, with its members."""
        selection, versions = selection_of(parameters), tags_in(scope, b"if-match")
        document = read_resource(GROUP, body)
        return await self._answer(
            200, await self._commands.replace_group(resource_id, document, versions), selection
        )

    async def patch(
        self, resource_id: str, body: Document, parameters: Mapping[str, str], scope: Scope
    ) -> Answer:
        """A group is described otherwise in parts; it is in the answer if that was asked for."""
        selection, versions = selection_of(parameters), tags_in(scope, b"if-match")
        await self._commands.patch_group(resource_id, read_patch(GROUP, body), versions)
        if selection.wanted is None and selection.unwanted is None:
            return Answer(204)  # RFC 7644 section 3.5.2: it may have ten thousand members
        return await self._answer(200, await self._commands.find_group(resource_id), selection)

    async def delete(self, resource_id: str, scope: Scope) -> Answer:
        """A group goes."""
        await self._commands.deprovision_group(resource_id, tags_in(scope, b"if-match"))
        return Answer(204)

    async def _answer(self, status: int, group: Group, selection: Selection) -> Answer:
        [(document, version)] = await self._documents([group], selection)
        headers: tuple[tuple[bytes, bytes], ...] = ()
        if version is not None:
            headers = ((b"etag", version.encode("ascii")),)
        if status == 201:  # noqa: PLR2004 -- RFC 7644 section 3.3
            headers += ((b"location", location(self._base, GROUP, group.id).encode("ascii")),)
        return Answer(status, document, headers)

    async def _documents(
        self, groups: Sequence[Group], selection: Selection
    ) -> list[tuple[Document, str | None]]:
        """The documents, each with its version where the members are known."""
        with_members = selection.includes(GROUP, "members")
        members = await self._commands.members_of([group.id for group in groups]) if with_members else {}
        documents = []
        for group in groups:
            document = group_document(group, members.get(group.id), self._base)
            version = f'W/"{group_version(group, members[group.id])}"' if with_members else None
            if version is not None:
                document["meta"]["version"] = version
            documents.append((selection.apply(GROUP, document), version))
        return documents
