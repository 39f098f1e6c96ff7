"""What the administration API takes and answers about the directory: people, groups, organizations, roles."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StrictBool

from scopegate.admin.schemas import Input, Output, PageQuery, TenantQuery
from scopegate.core.directory import LONGEST_ADDRESS, LONGEST_NAME, LONGEST_ORGANIZATION, MOST_HELD

LARGEST_IMPORT = 1_000  # people in one request
Name = Annotated[str, Field(max_length=LONGEST_NAME)]
Address = Annotated[str, Field(max_length=LONGEST_ADDRESS)]
Id = Annotated[str, Field(max_length=200)]
Ids = Annotated[list[Id], Field(max_length=MOST_HELD)]


class PersonCreation(Input):
    """A new person. The id never changes."""

    id: Id = Field(examples=["maria"])
    name: Name = Field(examples=["Maria Huber"])
    email: Address = ""
    organization: str = Field(default="", max_length=LONGEST_ORGANIZATION, examples=["Sales/Vienna"])
    active: StrictBool = True
    groups: Ids = Field(default=[])
    roles: Ids = Field(default=[])
    user_name: Address | None = Field(default=None, description="With what they sign in elsewhere.")
    external_id: Address | None = Field(default=None, description="What the provisioning system calls them.")
    given_name: Name | None = None
    family_name: Name | None = None


class PersonEdit(Input):
    """Other facts of a person; a member that is left out keeps its value."""

    name: Name | None = Field(default=None, description="It cannot be null.")
    email: Address | None = Field(default=None, description="It cannot be null.")
    organization: str | None = Field(
        default=None, max_length=LONGEST_ORGANIZATION, description="It cannot be null."
    )
    active: StrictBool | None = Field(default=None, description="It cannot be null.")
    groups: Ids | None = Field(default=None, description="All of them. It cannot be null.")
    roles: Ids | None = Field(default=None, description="All of them. It cannot be null.")
    user_name: Address | None = None
    external_id: Address | None = None
    given_name: Name | None = None
    family_name: Name | None = None


class RoleNames(Input):
    """Roles that a person gets or loses."""

    roles: list[Id] = Field(min_length=1, max_length=MOST_HELD)


class PeopleImport(Input):
    """People to be added or changed; each stands or falls alone."""

    users: list[Any] = Field(
        min_length=1,
        max_length=LARGEST_IMPORT,
        description="As for `POST /users`. Of somebody who is known, what is left out stays.",
    )
    create_groups: StrictBool = Field(
        default=False, description="Add the groups that are not known yet to the directory."
    )


class ImportProblem(Output):
    """Why one of the people was not taken. ``row`` counts from 1."""

    row: int
    id: str | None
    field: str | None
    code: str
    detail: str
    hint: str | None


class PeopleImported(Output):
    """What became of them. That some were refused makes the request no failure."""

    added: int
    changed: int
    unchanged: int
    failed: int
    problems: list[ImportProblem]


class DirectoryGroup(Output):
    """A group of the directory, of the policies, or of both."""

    id: str
    name: str
    external_id: str | None
    in_directory: bool
    in_policies: bool
    roles: list[str] = Field(description="Those that its members hold by it.")
    members: int


class DirectoryGroupPage(Output):
    """Some groups, by id."""

    items: list[DirectoryGroup]
    next_cursor: str | None
    has_more: bool


class GroupQuery(PageQuery):
    """Which groups are wanted."""

    q: str | None = Field(
        default=None, max_length=200, description="Only groups with this in their id or name."
    )


class GroupCreation(Input):
    """A new group of the directory. The id never changes; policies say by it what its members hold."""

    id: str = Field(max_length=100, examples=["agents"])
    name: Name | None = Field(default=None, description="What people call it; left out: its id.")
    external_id: Address | None = None


class GroupEdit(Input):
    """Other facts of a group; a member that is left out keeps its value."""

    name: Name | None = Field(default=None, description="It cannot be null.")
    external_id: Address | None = None


class MembersChange(Input):
    """Who comes to be in a group, and who is in it no longer."""

    add: list[Id] = Field(default=[], max_length=LARGEST_IMPORT, description="Ids of users.")
    remove: list[Id] = Field(default=[], max_length=LARGEST_IMPORT, description="Ids of users.")


class OrganizationQuery(TenantQuery):
    """Which organizations are wanted."""

    parent: str | None = Field(
        default=None, max_length=LONGEST_ORGANIZATION, description="Those right below it; left out: the top."
    )


class OrganizationNode(Output):
    """An organization, and how many people are in it or below it."""

    path: str
    people: int
    is_parent: bool = Field(description="Whether there are organizations below it.")


class OrganizationList(Output):
    """Organizations of one level, by path."""

    items: list[OrganizationNode]


class DirectoryRole(Output):
    """A role of the policies, the groups that give it, and how many people hold it directly."""

    name: str
    privileges: list[str]
    groups: list[str]
    people: int


class DirectoryRoleList(Output):
    """All roles, by name."""

    items: list[DirectoryRole]
