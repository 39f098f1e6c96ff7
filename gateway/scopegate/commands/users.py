"""The users of a tenant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scopegate.commands.tenant import OnTenant
from scopegate.core.directory import require_group, require_person
from scopegate.core.errors import Conflict, InvalidInput, NotFound, ScopegateError
from scopegate.core.persondocuments import edited, read_person
from scopegate.core.principal import NO_PRIVILEGES, Group, Principal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from scopegate.core.directory import Put
    from scopegate.core.persondocuments import PersonDocument, PersonFacts
    from scopegate.core.policies import Policies
    from scopegate.core.principal import User
    from scopegate.core.usersearch import Place, UserSearch
    from scopegate.store.usersearch import Found


@dataclass(frozen=True, slots=True)
class Known:
    """The roles and the groups that there are."""

    roles: Collection[str]
    groups: Collection[str]

    def require(self, before: User | None, user: User) -> None:
        """Make sure that all there is that `user` has and did not have `before`.

        Raises:
            InvalidInput: there is no such role or group.
        """
        for field, held, had, defined, hint in (
            (
                *("roles", user.roles, None if before is None else before.roles, self.roles),
                "Define it in the policies first.",
            ),
            (
                *("groups", user.groups, None if before is None else before.groups, self.groups),
                "Add it with scopegate group add, or define it in the policies.",
            ),
        ):
            for name in sorted(held - (had or frozenset())):
                if name not in defined:
                    raise InvalidInput(
                        field, f"There is no {field[:-1]} {name!r}.", hint=hint, code=f"{field[:-1]}_unknown"
                    )


@dataclass(frozen=True, slots=True)
class ImportedPerson:
    """What became of one document, of those counted from 1. ``id`` is None where it has none."""

    row: int
    id: str | None
    outcome: Put | ScopegateError


class UserCommands(OnTenant):
    """Shows and changes the users of a tenant."""

    async def list_users(self) -> list[User]:
        """Every user, by id."""
        return await self._store.users.all()

    async def find_users(self, search: UserSearch, *, after: Place | None = None, most: int) -> Found:
        """At most so many of those whom `search` admits, by name, behind the place `after` (D8)."""
        return await self._store.people.find(search, after=after, most=most)

    async def show_user(self, user_id: str) -> tuple[User, Principal]:
        """A user of the directory and the privileges held now, as `resolved`.

        Raises:
            NotFound: there is no such user.
            PrivilegesUnavailable: nobody can tell the privileges.
        """
        return await self.resolved(await self._store.users.get(user_id))

    async def add_user(self, user: User) -> tuple[User, Principal]:
        """Add a user who is not known yet.

        Raises:
            Conflict: the id or the user name is taken.
            InvalidInput: the directory does not take such a person, or a role or group is not defined.
        """
        require_person(user)
        (await self._known()).require(None, user)
        await self._store.users.add(user)
        return await self.resolved(user)

    async def edit_user(
        self, user_id: str, facts: PersonFacts, *, expected: str | None = None
    ) -> tuple[User, Principal]:
        """Let a user have other facts; requests see them at once.

        Raises:
            NotFound: there is no such user.
            Conflict: the user name is taken.
            InvalidInput: as `add_user`.
            StaleVersion: the user is not of the `expected` version.
        """
        known = await self._known()

        def edit(user: User) -> User:
            after = edited(user_id, user, facts)
            known.require(user, after)
            return after

        return await self.resolved(await self._store.users.change(user_id, edit, expected=expected))

    async def put_users(self, users: list[User]) -> None:
        """Store users; an id that is known is replaced."""
        await self._store.users.put(users)

    async def import_users(
        self, documents: Sequence[object], *, create_groups: bool = False
    ) -> tuple[ImportedPerson, ...]:
        """Add or change the person of each document, in one step, and say what became of each.

        Of somebody who is known, what a document does not say stays. None stands in the way of another.
        With `create_groups` a group that is not known yet comes to be.
        """
        outcomes: dict[int, ImportedPerson] = {}
        rows: dict[str, int] = {}
        people: dict[str, PersonDocument] = {}
        for row, document in enumerate(documents, start=1):
            try:
                person = read_person(document)
                if person.id in rows:
                    raise Conflict(
                        f"Row {rows[person.id]} has the same id.", hint="Keep one.", code="id_repeated"
                    )
            except ScopegateError as error:
                said = document.get("id") if isinstance(document, dict) else None
                outcomes[row] = ImportedPerson(row, said if isinstance(said, str) else None, error)
                continue
            rows[person.id] = row
            people[person.id] = person
        known = await self._known()
        if create_groups:
            known = await self._with_groups(known, people.values())

        def maker(person: PersonDocument) -> Callable[[User | None], User]:
            def make(before: User | None) -> User:
                after = person.person(before)
                known.require(before, after)
                return after

            return make

        stored = await self._store.users.put_each({one.id: maker(one) for one in people.values()})
        for user_id, outcome in stored.items():
            outcomes[rows[user_id]] = ImportedPerson(rows[user_id], user_id, outcome)
        return tuple(outcomes[row] for row in sorted(outcomes))

    async def delete_user(self, user_id: str, *, expected: str | None = None) -> None:
        """Delete a user; keys that are bound to the user open nothing from now on.

        Raises:
            NotFound: there is no such user.
            StaleVersion: the user is not of the `expected` version.
        """
        await self._store.users.delete(user_id, expected=expected)

    async def add_roles(self, user_id: str, roles: Collection[str], *, expected: str | None = None) -> User:
        """Give a user roles.

        Raises:
            NotFound: there is no such user, or no such role.
            StaleVersion: the user is not of the `expected` version.
        """
        defined = (await self._store.policies.get()).roles
        for role in roles:
            if role not in defined:
                raise NotFound(f"There is no role {role!r}.", hint="Define it in the policies first.")

        def give(user: User) -> User:
            return require_person(replace(user, roles=user.roles.union(roles)))

        return await self._store.users.change(user_id, give, expected=expected)

    async def remove_roles(
        self, user_id: str, roles: Collection[str], *, expected: str | None = None
    ) -> User:
        """Take roles from a user; requests see it at once.

        Raises:
            NotFound: there is no such user, or the user does not hold one of them directly.
            StaleVersion: the user is not of the `expected` version.
        """

        def without(user: User) -> User:
            for role in roles:
                if role not in user.roles:
                    raise NotFound(
                        f"{user_id!r} does not hold the role {role!r} directly.",
                        hint=f"See what is held with: scopegate user show {user_id}",
                    )
            return replace(user, roles=user.roles.difference(roles))

        return await self._store.users.change(user_id, without, expected=expected)

    async def set_active(self, user_id: str, *, active: bool, expected: str | None = None) -> User:
        """Activate or deactivate a user, whose keys stop at once.

        Raises:
            NotFound: there is no such user.
            StaleVersion: the user is not of the `expected` version.
        """
        return await self._store.users.change(
            user_id, lambda user: replace(user, active=active), expected=expected
        )

    async def resolved(self, user: User) -> tuple[User, Principal]:
        """`user`, and the privileges held now, none where a privilege source knows nobody.

        Raises:
            PrivilegesUnavailable: nobody can tell the privileges.
        """
        if self._access is None:
            return user, (await self._store.policies.get()).principal(user)
        principal, _ = await self.entitlement(user.id)
        return user, principal or Principal(user.id, active=False, privileges=NO_PRIVILEGES)

    async def _known(self) -> Known:
        policies: Policies = await self._store.policies.get()
        groups = {group.id for group in await self._store.groups.all()}
        return Known(policies.roles.keys(), policies.groups.keys() | groups)

    async def _with_groups(self, known: Known, people: Collection[PersonDocument]) -> Known:
        """What there is once the groups of `people` are, if these can be."""
        wanted = {group for person in people for group in person.facts.get("groups", ())}
        created = set()
        for group_id in sorted(wanted - set(known.groups)):
            try:
                await self._store.groups.add(require_group(Group(id=group_id, name=group_id)))
            except Conflict:  # somebody else was first
                pass
            except InvalidInput:
                continue  # whoever is in it is told so
            created.add(group_id)
        return Known(known.roles, {*known.groups, *created})
