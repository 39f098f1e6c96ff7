"""The users of a tenant."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scopegate.commands.tenant import OnTenant
from scopegate.core.errors import NotFound
from scopegate.core.principal import NO_PRIVILEGES, Principal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from scopegate.core.principal import User


class UserCommands(OnTenant):
    """Shows and changes the users of a tenant."""

    async def list_users(self) -> list[User]:
        """Every user, by id."""
        return await self._store.users.all()

    def user_pages(self) -> AsyncGenerator[list[User], None]:
        """Every user, by id, some at a time."""
        return self._store.users.pages()

    async def show_user(self, user_id: str) -> tuple[User, Principal]:
        """A user of the directory and the privileges held now, none where a privilege source knows nobody.

        Raises:
            NotFound: there is no such user.
            PrivilegesUnavailable: nobody can tell the privileges.
        """
        user = await self._store.users.get(user_id)
        if self._access is None:
            return user, (await self._store.policies.get()).principal(user)
        principal, _ = await self.entitlement(user_id)
        return user, principal or Principal(user_id, active=False, privileges=NO_PRIVILEGES)

    async def add_user(self, user: User) -> None:
        """Add a user who is not known yet.

        Raises:
            Conflict: the id is taken.
            NotFound: a role or group is not defined.
        """
        policies = await self._store.policies.get()
        for kind, names, defined in (
            ("role", user.roles, policies.roles),
            ("group", user.groups, policies.groups),
        ):
            for name in sorted(names - defined.keys()):
                raise NotFound(
                    f"There is no {kind} {name!r}.", hint="Define it in policies/roles.yaml and apply."
                )
        await self._store.users.add(user)

    async def put_users(self, users: list[User]) -> None:
        """Store users; an id that is known is replaced."""
        await self._store.users.put(users)

    async def delete_user(self, user_id: str) -> None:
        """Delete a user; keys that are bound to the user open nothing from now on."""
        await self._store.users.delete(user_id)

    async def add_role(self, user_id: str, role: str) -> User:
        """Give a user a role.

        Raises:
            NotFound: there is no such user, or no such role.
        """
        if role not in (await self._store.policies.get()).roles:
            raise NotFound(f"There is no role {role!r}.", hint="Define it in policies/roles.yaml and apply.")
        return await self._store.users.change(user_id, lambda user: replace(user, roles=user.roles | {role}))

    async def remove_role(self, user_id: str, role: str) -> User:
        """Take a role from a user; requests see it at once.

        Raises:
            NotFound: there is no such user, or the user does not hold the role directly.
        """

        def without(user: User) -> User:
            if role not in user.roles:
                raise NotFound(
                    f"{user_id!r} does not hold the role {role!r} directly.",
                    hint=f"See what is held with: scopegate user show {user_id}",
                )
            return replace(user, roles=user.roles - {role})

        return await self._store.users.change(user_id, without)

    async def set_active(self, user_id: str, *, active: bool) -> User:
        """Activate or deactivate a user, whose keys stop at once."""
        return await self._store.users.change(user_id, lambda user: replace(user, active=active))
