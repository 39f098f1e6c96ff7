"""What the client of the administration API asks about the directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote

import pydantic

from scopegate.admin import directorydocuments as documents
from scopegate.admin import schemas

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import httpx

T = TypeVar("T", bound=pydantic.BaseModel)

ANY = "*"  # whatever version there is (RFC 9110 section 13.1.1)


class Asking(Protocol):
    """How a client sends requests."""

    def _pages(self, kind: type[Any], path: str, query: dict[str, Any]) -> Iterator[Any]: ...

    def _get(self, kind: type[T], path: str, query: dict[str, Any] | None = None) -> T: ...

    def _versioned(self, kind: type[T], path: str) -> tuple[T, str]: ...

    def _told(
        self,
        kind: type[T],
        method: str,
        path: str,
        body: pydantic.BaseModel | None = None,
        *,
        etag: str | None = None,
    ) -> T: ...

    def _change(
        self,
        method: str,
        path: str,
        body: pydantic.BaseModel | None = None,
        *,
        etag: str | None = None,
    ) -> httpx.Response: ...


class DirectoryCalls(Asking):
    """The calls about the directory of one tenant. With an `etag` only if that is the version."""

    def users(self, **filters: Any) -> Iterator[schemas.User]:  # noqa: ANN401 -- those of `schemas.UserQuery`
        """All people whom the filters of `schemas.UserQuery` admit, by name."""
        return self._pages(schemas.UserPage, "/users", filters)

    def user(self, user_id: str) -> schemas.UserWithPrivileges:
        """The person with this id, and what the person may do now."""
        return self._get(schemas.UserWithPrivileges, _user(user_id))

    def versioned_user(self, user_id: str) -> tuple[schemas.UserWithPrivileges, str]:
        """The same, and the entity tag of the version, for a change of nothing else."""
        return self._versioned(schemas.UserWithPrivileges, _user(user_id))

    def add_user(self, creation: documents.PersonCreation) -> schemas.UserWithPrivileges:
        """A new person."""
        return self._told(schemas.UserWithPrivileges, "POST", "/users", creation)

    def edit_user(
        self, user_id: str, edit: documents.PersonEdit, *, etag: str | None = None
    ) -> schemas.UserWithPrivileges:
        """Other facts of a person."""
        return self._told(schemas.UserWithPrivileges, "PATCH", _user(user_id), edit, etag=etag or ANY)

    def set_user_active(
        self, user_id: str, *, active: bool, etag: str | None = None
    ) -> schemas.UserWithPrivileges:
        """A person is activated, or deactivated at once."""
        verb = "activate" if active else "deactivate"
        return self._told(schemas.UserWithPrivileges, "POST", f"{_user(user_id)}:{verb}", etag=etag)

    def add_roles(
        self, user_id: str, roles: Sequence[str], *, etag: str | None = None
    ) -> schemas.UserWithPrivileges:
        """More roles for a person."""
        body = documents.RoleNames(roles=list(roles))
        return self._told(schemas.UserWithPrivileges, "POST", f"{_user(user_id)}/roles:add", body, etag=etag)

    def remove_roles(
        self, user_id: str, roles: Sequence[str], *, etag: str | None = None
    ) -> schemas.UserWithPrivileges:
        """Fewer roles for a person."""
        body = documents.RoleNames(roles=list(roles))
        path = f"{_user(user_id)}/roles:remove"
        return self._told(schemas.UserWithPrivileges, "POST", path, body, etag=etag)

    def delete_user(self, user_id: str, *, etag: str | None = None) -> None:
        """A person is deleted for good."""
        self._change("DELETE", _user(user_id), etag=etag)

    def import_users(self, people: Sequence[Any], *, create_groups: bool = False) -> documents.PeopleImported:
        """Many people are added or changed, each with its own outcome. Sent again, it changes nothing."""
        body = documents.PeopleImport(users=list(people), create_groups=create_groups)
        return self._told(documents.PeopleImported, "POST", "/users:import", body)

    def groups(self, **filters: Any) -> Iterator[documents.DirectoryGroup]:  # noqa: ANN401 -- `GroupQuery`
        """All groups that the filters of `GroupQuery` admit, by id."""
        return self._pages(documents.DirectoryGroupPage, "/groups", filters)

    def group(self, group_id: str) -> documents.DirectoryGroup:
        """The group with this id."""
        return self._get(documents.DirectoryGroup, _group(group_id))

    def add_group(self, creation: documents.GroupCreation) -> documents.DirectoryGroup:
        """A new group."""
        return self._told(documents.DirectoryGroup, "POST", "/groups", creation)

    def edit_group(
        self, group_id: str, edit: documents.GroupEdit, *, etag: str | None = None
    ) -> documents.DirectoryGroup:
        """Other facts of a group."""
        return self._told(documents.DirectoryGroup, "PATCH", _group(group_id), edit, etag=etag or ANY)

    def delete_group(self, group_id: str, *, etag: str | None = None) -> None:
        """A group is left by all members, and deleted for good."""
        self._change("DELETE", _group(group_id), etag=etag)

    def change_members(
        self, group_id: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> documents.DirectoryGroup:
        """Users come to be in a group, and others are in it no longer."""
        body = documents.MembersChange(add=list(add), remove=list(remove))
        return self._told(documents.DirectoryGroup, "POST", f"{_group(group_id)}/members", body)

    def roles(self) -> list[documents.DirectoryRole]:
        """All roles, by name."""
        return self._get(documents.DirectoryRoleList, "/roles").items

    def organizations(self, parent: str | None = None) -> list[documents.OrganizationNode]:
        """The organizations right below another one, or at the top."""
        return self._get(documents.OrganizationList, "/organizations", {"parent": parent}).items


def part(text: str) -> str:
    """`text` as one segment of a path, which stays one whatever is in it (RFC 3986 section 3.3)."""
    # A segment of dots alone would be taken away (section 5.2.4).
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def _user(user_id: str) -> str:
    return f"/users/{part(user_id)}"


def _group(group_id: str) -> str:
    return f"/groups/{part(group_id)}"
