"""People and groups as a provisioning system keeps them (SCIM, RFC 7644)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, TypeVar

from scopegate.commands.tenant import OnTenant
from scopegate.core.directory import no_such_user
from scopegate.core.errors import Conflict, StaleVersion
from scopegate.core.scim.attributes import GROUP
from scopegate.core.scim.grammar import Comparison, Operator
from scopegate.core.scim.groups import (
    compared_members,
    group_document,
    group_of,
    id_for,
    member_changes,
    member_ids,
    same_name,
)
from scopegate.core.scim.matching import conjuncts, fits, targets
from scopegate.core.scim.narrowing import search_for
from scopegate.core.scim.patching import patched
from scopegate.core.scim.people import ids_for, shown_name_follows, user_document, user_of
from scopegate.core.scim.refusals import ScimRefused, ScimType
from scopegate.core.usersearch import UserSearch
from scopegate.store.directory import PAGE
from scopegate.store.records import etag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence

    from scopegate.core.principal import Group, User
    from scopegate.core.scim.grammar import Filter
    from scopegate.core.scim.patching import Operation
    from scopegate.core.scim.reading import Document

T = TypeVar("T")
Versions = frozenset[str] | None  # those that a change is meant for; None: any


class ProvisioningCommands(OnTenant):
    """Keeps people and groups as another system says."""

    # People

    async def find_people(self, condition: Filter | None, *, first: int, most: int) -> tuple[int, list[User]]:
        """How many people fit a filter, and those from the one with the number `first` (from 0) on, by id.

        A filter of which no index knows anything has a look at everybody.
        """
        if condition is None:
            return await self._store.users.slice(first, most)
        groups = {group.id: group for group in await self._all_groups(condition)}
        total, shown = 0, []
        async for users in self._candidates(condition):
            for user in users:
                if fits(condition, user_document(user, groups, "")):
                    if first <= total < first + most:
                        shown.append(user)
                    total += 1
        return total, shown

    async def _all_groups(self, condition: Filter) -> list[Group]:
        """Every group, if the filter asks for a person's groups, who are told with their names."""
        named = (one.attribute.name for one in targets(condition) if one.attribute is not None)
        return await self._store.groups.all() if "groups" in named else []

    async def _candidates(self, condition: Filter) -> AsyncIterator[list[User]]:
        """Everybody who may fit, by id, some at a time: few, where an index knows something of the filter."""
        equal = _equal(condition)
        if "id" in equal:
            yield _there(await self._store.users.some([equal["id"]]))
            return
        if "userName" in equal:
            yield _there([await self._store.users.by_user_name(equal["userName"])])
            return
        search = search_for(condition)
        if search is None:
            async for users in self._store.users.pages():
                yield users
            return
        ids = await self._store.people.ids(search)
        for start in range(0, len(ids), PAGE):
            yield _there(await self._store.users.some(ids[start : start + PAGE]))

    async def groups_of(self, users: Iterable[User]) -> dict[str, Group]:
        """The groups of the directory that any of `users` is in, by id."""
        wanted = sorted(frozenset[str]().union(*(user.groups for user in users)))
        found = await self._store.groups.some(wanted)
        return {group.id: group for group in found if group is not None}

    async def find_person(self, user_id: str) -> User:
        """One person.

        Raises:
            NotFound: there is none with this id.
        """
        return await self._store.users.get(user_id)

    async def create_person(self, document: Document) -> User:
        """Add a person, under an id that nobody has and nobody had: whoever had it may have keys.

        Raises:
            Conflict: somebody has the user name.
            ScimRefused, InvalidInput: a value breaks a rule.
        """
        wanted = user_of(document, "new")
        await self._require_roles(wanted.roles)
        if await self._store.users.by_user_name(document["userName"]) is not None:
            raise Conflict(
                f"Somebody has the user name {document['userName']!r} already.", code="user_name_taken"
            )
        bound = await self._store.keys.users(now=self._clock())
        for user_id in (*ids_for(document), str(uuid.uuid4())):
            if user_id in bound:
                continue
            user = user_of(document, user_id)
            try:
                await self._store.users.add(user)
            except Conflict as conflict:
                if conflict.code == "user_name_taken":
                    raise
            else:
                return user
        raise Conflict("No id is free.", hint="Try again.")  # a UUID that was drawn before

    async def replace_person(self, user_id: str, document: Document, versions: Versions) -> User:
        """Describe a person anew; what is not named is nothing, see `user_of`.

        Raises:
            NotFound: there is none with this id.
            StaleVersion: the person is of another version.
            Conflict: somebody else has the user name.
            ScimRefused, InvalidInput: a value breaks a rule.
        """
        return await self._edit_person(user_id, lambda present: user_of(document, user_id, present), versions)

    async def patch_person(self, user_id: str, operations: list[Operation], versions: Versions) -> User:
        """Apply a patch to a person; as `replace_person`."""

        def edit(present: User) -> User:
            before = user_document(present, {}, "")
            return user_of(shown_name_follows(before, patched(before, operations)), user_id, present)

        return await self._edit_person(user_id, edit, versions)

    async def _edit_person(self, user_id: str, edit: Callable[[User], User], versions: Versions) -> User:
        defined = (await self._store.policies.get()).roles.keys()

        def checked(present: User) -> User:
            _require_version(etag(present), versions)
            edited = edit(present)
            _require_defined(edited.roles - present.roles, defined)
            return edited

        return await self._store.users.change(user_id, checked)

    async def _require_roles(self, roles: Collection[str]) -> None:
        if roles:
            _require_defined(roles, (await self._store.policies.get()).roles.keys())

    async def delete_person(self, user_id: str, versions: Versions) -> None:
        """Forget a person; keys that are bound to that one open nothing from now on.

        Raises:
            NotFound: there is none with this id.
            StaleVersion: the person is of another version.
        """
        expected = None
        if versions is not None:
            expected = etag(await self._store.users.get(user_id))
            _require_version(expected, versions)
        await self._store.users.delete(user_id, expected=expected)

    async def role_names(self) -> list[str]:
        """The roles that people can have."""
        return list((await self._store.policies.get()).roles)

    # Groups

    async def find_groups(
        self, condition: Filter | None, *, first: int, most: int
    ) -> tuple[int, list[Group]]:
        """How many groups fit a filter, and those from the one with the number `first` (from 0) on, by id.

        Raises:
            ScimRefused: the filter compares members otherwise than by ``eq``.
        """
        if condition is None:
            groups = await self._store.groups.all()
        else:
            compared = _there(await self._store.users.some(sorted(compared_members(condition))))
            groups = [
                group
                for group in await self._candidate_groups(condition)
                if fits(
                    condition,
                    group_document(group, [user.id for user in compared if group.id in user.groups], ""),
                )
            ]
        return len(groups), groups[first : first + most]

    async def _candidate_groups(self, condition: Filter) -> list[Group]:
        """Every group that may fit, by id."""
        equal = _equal(condition)
        if "id" in equal:
            return _there(await self._store.groups.some([equal["id"]]))
        if "members" in equal:
            [member] = await self._store.users.some([equal["members"]])
            return _there(await self._store.groups.some([] if member is None else sorted(member.groups)))
        return await self._store.groups.all()

    async def find_group(self, group_id: str) -> Group:
        """One group of the directory.

        Raises:
            NotFound: there is none with this id.
        """
        return await self._store.groups.get(group_id)

    async def members_of(self, group_ids: Collection[str]) -> dict[str, list[str]]:
        """The ids of the members of each of these groups, by id."""
        people = self._store.people
        return {group_id: await people.ids(UserSearch(group=group_id)) for group_id in group_ids}

    async def create_group(self, document: Document) -> Group:
        """Add a group, under the id by which policies know it; who is in it by that id already, is.

        Raises:
            Conflict: there is a group of this name.
            ScimRefused, InvalidInput: a value breaks a rule, or a member is nobody.
        """
        members = _members(document)
        await self._require_people(members)
        known = (await self._store.policies.get()).groups
        while True:
            groups = await self._store.groups.all()
            _require_unlike(groups, group_of(document, "new"))
            group_id = id_for(
                document["displayName"], taken={group.id for group in groups}, in_policies=known
            )
            group = group_of(document, group_id)
            try:
                await self._store.groups.add(group)
            except Conflict:
                continue  # somebody took the id at this moment
            break
        await self._set_members(group_id, add=members)
        return group

    async def replace_group(self, group_id: str, document: Document, versions: Versions) -> Group:
        """Describe a group anew; whom it does not name as a member is none.

        Raises:
            NotFound: there is none with this id.
            StaleVersion: the group is of another version.
            Conflict: another group has the name.
            ScimRefused, InvalidInput: a value breaks a rule, or a member is nobody.
        """
        members = _members(document)
        await self._require_group_version(group_id, versions)
        await self._require_people(members)
        present = (await self.members_of([group_id]))[group_id]
        group = await self._change_group(group_id, group_of(document, group_id))
        await self._set_members(group_id, add=members - set(present), remove=set(present) - members)
        return group

    async def patch_group(self, group_id: str, operations: list[Operation], versions: Versions) -> None:
        """Apply a patch to a group; what it costs is said by how many members it names, not by how many are.

        Raises:
            NotFound, StaleVersion, Conflict, ScimRefused, InvalidInput: as `replace_group`.
        """
        await self._require_group_version(group_id, versions)
        on_members = [one for one in operations if _is_on_members(one)]
        on_itself = [one for one in operations if not _is_on_members(one)]
        changes = member_changes(on_members)
        await self._require_people(changes.added)
        present = await self._store.groups.get(group_id)
        edited = group_of(patched(group_document(present, None, ""), on_itself), group_id)
        if edited != present:
            await self._change_group(group_id, edited)
        removed = changes.removed
        if changes.replaced:
            removed = set((await self.members_of([group_id]))[group_id]) - changes.added
        await self._set_members(group_id, add=changes.added, remove=removed)

    async def deprovision_group(self, group_id: str, versions: Versions) -> None:
        """Forget a group; nobody is in it any more.

        Raises:
            NotFound: there is none with this id.
            StaleVersion: the group is of another version.
        """
        await self._require_group_version(group_id, versions)
        await self._store.groups.delete(group_id)

    async def _change_group(self, group_id: str, edited: Group) -> Group:
        _require_unlike(await self._store.groups.all(), edited)
        return await self._store.groups.change(group_id, lambda _present: edited)

    async def _set_members(
        self, group_id: str, *, add: Collection[str], remove: Collection[str] = ()
    ) -> None:
        if add or remove:
            await self._store.groups.set_members(group_id, add=sorted(add), remove=sorted(remove))

    async def _require_people(self, ids: Collection[str]) -> None:
        wanted = sorted(ids)
        for user_id, user in zip(wanted, await self._store.users.some(wanted), strict=True):
            if user is None:
                raise ScimRefused(ScimType.INVALID_VALUE, no_such_user(user_id).message)

    async def _require_group_version(self, group_id: str, versions: Versions) -> None:
        group = await self._store.groups.get(group_id)
        if versions is not None:
            members = await self.members_of([group_id])
            _require_version(group_version(group, members[group_id]), versions)


def group_version(group: Group, members: Sequence[str]) -> str:
    """The version of a group: another one when it is called otherwise, or has other members."""
    return etag((etag(group), tuple(members)))


def _members(document: Document) -> set[str]:
    return set(member_ids(GROUP.attribute("members"), document.get("members")))


def _is_on_members(operation: Operation) -> bool:
    attribute = operation.path.target.attribute
    return attribute is not None and attribute.name == "members"


def _equal(condition: Filter) -> dict[str, str]:
    """The attributes that have to have one value, with that."""
    found: dict[str, str] = {}
    for part in conjuncts(condition):
        match part:
            case Comparison(target, Operator.EQUAL, str(value)) if target.attribute is not None:
                found[target.attribute.name] = value
    return found


def _there(found: Iterable[T | None]) -> list[T]:
    return [one for one in found if one is not None]


def _require_version(version: str, versions: Versions) -> None:
    if versions is not None and version not in versions:
        raise StaleVersion(
            "It was changed since you have read it.", hint="Read it again, then repeat what is still wanted."
        )


def _require_unlike(groups: Iterable[Group], group: Group) -> None:
    if any(same_name(one.name, group.name) and one.id != group.id for one in groups):
        raise Conflict(f"There is a group {group.name!r} already.", code="group_name_taken")


def _require_defined(roles: Collection[str], defined: Collection[str]) -> None:
    for role in sorted(set(roles) - set(defined)):
        raise ScimRefused(ScimType.INVALID_VALUE, f"There is no role {role!r}: policies define the roles.")
