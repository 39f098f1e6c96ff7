"""People, groups, organizations and roles as the answers of the administration API."""

from __future__ import annotations

from scopegate.admin.directorydocuments import (
    DirectoryGroup,
    DirectoryRole,
    ImportProblem,
    OrganizationNode,
    PeopleImported,
)
from scopegate.admin.schemas import UserWithPrivileges
from scopegate.commands.groups import KnownGroup, KnownRole, Organization
from scopegate.commands.users import ImportedPerson
from scopegate.core.directory import Put
from scopegate.core.errors import InvalidInput, ScopegateError
from scopegate.core.principal import Principal, User
from scopegate.representations import user_object


def person(user: User, principal: Principal) -> UserWithPrivileges:
    """A person, and what the person may do now."""
    return UserWithPrivileges(**user_object(user, principal))


def group(found: KnownGroup) -> DirectoryGroup:
    """A group."""
    return DirectoryGroup(
        id=found.id,
        name=found.name,
        external_id=None if found.record is None else found.record.external_id,
        in_directory=found.record is not None,
        in_policies=found.in_policies,
        roles=sorted(found.roles),
        members=found.members,
    )


def role(found: KnownRole) -> DirectoryRole:
    """A role."""
    return DirectoryRole(
        name=found.name,
        privileges=sorted(found.privileges),
        groups=list(found.groups),
        people=found.holders,
    )


def organization(found: Organization) -> OrganizationNode:
    """An organization."""
    return OrganizationNode(path=found.path, people=found.people, is_parent=found.is_parent)


def imported(outcomes: tuple[ImportedPerson, ...]) -> PeopleImported:
    """What became of many people."""
    became = [one.outcome for one in outcomes]
    problems = [
        ImportProblem(
            row=one.row,
            id=one.id,
            field=one.outcome.field if isinstance(one.outcome, InvalidInput) else None,
            code=one.outcome.code,
            detail=one.outcome.message,
            hint=one.outcome.hint,
        )
        for one in outcomes
        if isinstance(one.outcome, ScopegateError)
    ]
    return PeopleImported(
        added=became.count(Put.ADDED),
        changed=became.count(Put.CHANGED),
        unchanged=became.count(Put.UNCHANGED),
        failed=len(problems),
        problems=problems,
    )
