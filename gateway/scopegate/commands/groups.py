"""The groups, the roles and the organizations of a tenant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from scopegate.commands.tenant import OnTenant
from scopegate.core.directory import SEPARATOR, no_such_group, require_group
from scopegate.core.errors import Conflict
from scopegate.core.usersearch import UserField, subtree

if TYPE_CHECKING:
    from collections.abc import Collection

    from scopegate.core.policies import Policies
    from scopegate.core.principal import Group, Privileges
    from scopegate.core.userindex import People


@dataclass(frozen=True, slots=True)
class KnownGroup:
    """A group of the directory, of the policies or of both, and how many are in it.

    ``record`` is None where policies alone have the group; ``roles`` are those that its members hold.
    """

    id: str
    record: Group | None
    roles: frozenset[str]
    members: int
    in_policies: bool

    @property
    def name(self) -> str:
        """What people call it."""
        return self.id if self.record is None else self.record.name


@dataclass(frozen=True, slots=True)
class KnownRole:
    """A role of the policies: what it gives, which groups give it, and how many hold it directly."""

    name: str
    privileges: Privileges
    groups: tuple[str, ...]
    holders: int


@dataclass(frozen=True, slots=True)
class Organization:
    """One organization, and how many people are in it or below it."""

    path: str
    people: int
    is_parent: bool


class GroupFacts(TypedDict, total=False):
    """Facts of a group, where they are said."""

    name: str
    external_id: str | None


class GroupCommands(OnTenant):
    """Shows and changes the groups of a tenant."""

    async def list_groups(self) -> list[KnownGroup]:
        """Every group of the directory and of the policies, by id."""
        policies, people = await self._store.policies.get(), await self._store.people.people()
        records = {group.id: group for group in await self._store.groups.all()}
        return [
            _group(group_id, records.get(group_id), policies, people)
            for group_id in sorted(records.keys() | policies.groups.keys())
        ]

    async def show_group(self, group_id: str) -> KnownGroup:
        """One group.

        Raises:
            NotFound: there is no such group.
        """
        for group in await self.list_groups():
            if group.id == group_id:
                return group
        raise no_such_group(group_id)

    async def add_group(self, group: Group) -> KnownGroup:
        """Add a group to the directory; policies may have it already.

        Raises:
            Conflict: the directory has it already.
            InvalidInput: the directory does not take such a group.
        """
        await self._store.groups.add(require_group(group))
        return await self._with(group)

    async def edit_group(
        self, group_id: str, facts: GroupFacts, *, expected: str | None = None
    ) -> KnownGroup:
        """Call a group otherwise; its id stays.

        Raises:
            NotFound: the directory has no such group.
            InvalidInput: the directory does not take such a group.
            StaleVersion: the group is not of the `expected` version.
        """
        edited = await self._store.groups.change(
            group_id, lambda group: require_group(replace(group, **facts)), expected=expected
        )
        return await self._with(edited)

    async def remove_group(self, group_id: str, *, expected: str | None = None) -> None:
        """Let all members leave a group, and forget it.

        Raises:
            NotFound: there is no such group.
            Conflict: policies alone have it, so it does not go.
            StaleVersion: the group is not of the `expected` version.
        """
        known = await self.show_group(group_id)
        if known.record is None:
            raise Conflict(
                f"The group {group_id!r} is one of the policies.",
                hint="Take it out of the policies and apply them.",
            )
        await self._store.groups.delete(group_id, expected=expected)

    async def change_members(
        self, group_id: str, *, add: Collection[str] = (), remove: Collection[str] = ()
    ) -> KnownGroup:
        """Let users be in a group, and others be in it no longer; requests see it at once.

        Raises:
            NotFound: there is no such group, or one of `add` is no user; then nothing is changed.
            InvalidInput: one of `add` is in as many groups as one can be in.
        """
        await self._store.groups.set_members(group_id, add=add, remove=remove)
        return await self.show_group(group_id)

    async def list_roles(self) -> list[KnownRole]:
        """Every role of the policies, by name."""
        policies, people = await self._store.policies.get(), await self._store.people.people()
        return [
            KnownRole(
                name,
                privileges,
                tuple(group for group, roles in policies.groups.items() if name in roles),
                people.count(UserField.ROLE, name),
            )
            for name, privileges in policies.roles.items()
        ]

    async def organizations(self, parent: str | None = None) -> list[Organization]:
        """The organizations right below `parent`, or at the top, by path; each with those below it."""
        people = await self._store.people.people()
        within = "" if not parent else subtree(parent)
        found: dict[str, int] = {}
        parents = set()
        for path in people.values(UserField.ORGANIZATION):
            if not path or not path.startswith(within):
                continue
            name, *below = path.removeprefix(within).split(SEPARATOR, 1)
            found[within + name] = found.get(within + name, 0) + people.count(UserField.ORGANIZATION, path)
            if below:
                parents.add(within + name)
        return [Organization(path, number, path in parents) for path, number in sorted(found.items())]

    async def _with(self, group: Group) -> KnownGroup:
        policies, people = await self._store.policies.get(), await self._store.people.people()
        return _group(group.id, group, policies, people)


def _group(group_id: str, record: Group | None, policies: Policies, people: People) -> KnownGroup:
    return KnownGroup(
        id=group_id,
        record=record,
        roles=policies.groups.get(group_id, frozenset()),
        members=people.count(UserField.GROUP, group_id),
        in_policies=group_id in policies.groups,
    )
