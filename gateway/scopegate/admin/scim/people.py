"""``/Users``: the people of the directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.admin.scim.messages import Answer, selection_of, tags_in
from scopegate.admin.scim.resources import Resources
from scopegate.core.scim.attributes import USER
from scopegate.core.scim.patching import read_patch
from scopegate.core.scim.people import location, user_document
from scopegate.core.scim.reading import read_resource
from scopegate.store.records import etag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scopegate.asgi import Scope
    from scopegate.core.principal import User
    from scopegate.core.scim.grammar import Filter
    from scopegate.core.scim.reading import Document
    from scopegate.core.scim.selection import Selection


class People(Resources):
    """The users of one tenant."""

    kind = USER

    async def found(
        self, condition: Filter | None, first: int, most: int, selection: Selection
    ) -> tuple[int, list[Document]]:
        """How many there are, and the documents of a page of them."""
        total, users = await self._commands.find_people(condition, first=first, most=most)
        return total, await self._documents(users, selection)

    async def show(self, resource_id: str, parameters: Mapping[str, str], scope: Scope) -> Answer:
        """One person; 304 if the client has this version."""
        selection = selection_of(parameters)
        user = await self._commands.find_person(resource_id)
        known = tags_in(scope, b"if-none-match")
        if known is not None and etag(user) in known:
            return Answer(304, headers=_tag(user))
        return await self._answer(200, user, selection)

    async def create(self, body: Document, parameters: Mapping[str, str]) -> Answer:
        """A new person."""
        selection = selection_of(parameters)
        return await self._answer(
            201, await self._commands.create_person(read_resource(USER, body)), selection
        )

    async def replace(
        self, resource_id: str, body: Document, parameters: Mapping[str, str], scope: Scope
    ) -> Answer:
        """A person is described anew."""
        selection, versions = selection_of(parameters), tags_in(scope, b"if-match")
        document = read_resource(USER, body)
        return await self._answer(
            200, await self._commands.replace_person(resource_id, document, versions), selection
        )

    async def patch(
        self, resource_id: str, body: Document, parameters: Mapping[str, str], scope: Scope
    ) -> Answer:
        """A person is described otherwise in parts."""
        selection, versions = selection_of(parameters), tags_in(scope, b"if-match")
        operations = read_patch(USER, body)
        return await self._answer(
            200, await self._commands.patch_person(resource_id, operations, versions), selection
        )

    async def delete(self, resource_id: str, scope: Scope) -> Answer:
        """A person goes."""
        await self._commands.delete_person(resource_id, tags_in(scope, b"if-match"))
        return Answer(204)

    async def _answer(self, status: int, user: User, selection: Selection) -> Answer:
        [document] = await self._documents([user], selection)
        headers = _tag(user)
        if status == 201:  # noqa: PLR2004 -- RFC 7644 section 3.3
            headers += ((b"location", location(self._base, USER, user.id).encode("ascii")),)
        return Answer(status, document, headers)

    async def _documents(self, users: Sequence[User], selection: Selection) -> list[Document]:
        groups = await self._commands.groups_of(users) if selection.includes(USER, "groups") else {}
        documents = []
        for user in users:
            document = user_document(user, groups, self._base)
            document["meta"]["version"] = f'W/"{etag(user)}"'
            documents.append(selection.apply(USER, document))
        return documents


def _tag(user: User) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"etag", b'W/"%s"' % etag(user).encode("ascii")),)
