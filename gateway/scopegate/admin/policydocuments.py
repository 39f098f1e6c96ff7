"""Policies as the administration API takes and answers them, which is how policy files say them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from pydantic import Field

from scopegate.admin.schemas import Input, Output
from scopegate.core.catalogue import LONGEST_SUMMARY, Endpoint
from scopegate.core.changes import Area, Change, ChangeKind
from scopegate.core.errors import InvalidInput
from scopegate.core.policies import LONGEST_POLICY_NAME, UNLISTED, Policies, endpoint_label, require_name
from scopegate.core.wildcard import MAX_PATTERN_LENGTH

Unlisted = Literal["deny", "allow"]


class EndpointBody(Input):
    """An entry of the catalogue: methods at a URL, and what they require."""

    methods: list[str] = Field(
        min_length=1, description="`*` stands for all; `GET` covers `HEAD`.", examples=[["GET"]]
    )
    url: str = Field(max_length=MAX_PATTERN_LENGTH, examples=["/api/recordings/*"])
    privileges: list[str] = Field(
        description="The user needs all of them; none means: open to every active user."
    )
    summary: str = Field(default="", max_length=LONGEST_SUMMARY, description="What it is for, in one line.")


class RoleBody(Input):
    """The privileges that a role gives."""

    privileges: list[str]


class GroupBody(Input):
    """The roles that the members of a group hold."""

    roles: list[str]


class PoliciesBody(Input):
    """All policies of a tenant, in place of those that it has."""

    unlisted_endpoints: Unlisted | None = Field(
        default=None,
        description="What becomes of endpoints that no entry lists; null: what is settled stays.",
    )
    endpoints: list[EndpointBody]
    roles: dict[str, RoleBody] = Field(description="By the name of the role.")
    groups: dict[str, GroupBody] = Field(description="By the name of the group.")


class PolicyEndpoint(Output):
    """An entry of the catalogue."""

    methods: list[str]
    url: str
    privileges: list[str]
    summary: str = ""


class PolicyRole(Output):
    """The privileges that a role gives."""

    privileges: list[str]


class PolicyGroup(Output):
    """The roles that the members of a group hold."""

    roles: list[str]


class TenantPolicies(Output):
    """All policies of a tenant."""

    unlisted_endpoints: Unlisted
    endpoints: list[PolicyEndpoint]
    roles: dict[str, PolicyRole]
    groups: dict[str, PolicyGroup]


class PolicyChange(Output):
    """One difference.

    `before` and `after` are privileges of an endpoint or a role, roles of a group, or the one value of a
    setting; null where there is no such thing. The summaries are null where they do not differ.
    """

    kind: ChangeKind
    area: Area
    name: str
    before: list[str] | None
    after: list[str] | None
    summary_before: str | None
    summary_after: str | None


class PolicyChanges(Output):
    """What was changed."""

    changes: list[PolicyChange]


def policies_of(said: PoliciesBody | TenantPolicies) -> Policies:
    """The policies that a body says.

    Raises:
        InvalidInput: whose field is the JSON Pointer to what is wrong.
    """
    endpoints: dict[str, Endpoint] = {}
    entries: Sequence[EndpointBody | PolicyEndpoint] = said.endpoints
    for row, one in enumerate(entries):
        endpoint = _endpoint(one, ("endpoints", row))
        label = endpoint_label(endpoint)
        with _at("endpoints", row):
            if label in endpoints:
                raise InvalidInput(
                    "endpoint",
                    f"{label} is listed twice.",
                    hint="Put all its privileges into one entry.",
                    code="endpoint_duplicate",
                )
        endpoints[label] = endpoint
    roles = {
        _name(name, ("roles", name)): _names(role.privileges, ("roles", name, "privileges"))
        for name, role in said.roles.items()
    }
    groups = {
        _name(name, ("groups", name)): _roles(group.roles, roles.keys(), ("groups", name, "roles"))
        for name, group in said.groups.items()
    }
    unlisted = said.unlisted_endpoints
    return Policies(
        tuple(endpoints.values()), None if unlisted is None else UNLISTED[unlisted], roles, groups
    )


def change_document(change: Change) -> PolicyChange:
    """One difference."""
    before, after = change.summaries or (None, None)
    return PolicyChange(
        kind=change.kind,
        area=change.area,
        name=change.name,
        before=None if change.before is None else list(change.before),
        after=None if change.after is None else list(change.after),
        summary_before=before,
        summary_after=after,
    )


_Place = tuple[str | int, ...]


def _endpoint(said: EndpointBody | PolicyEndpoint, place: _Place) -> Endpoint:
    privileges = _names(said.privileges, (*place, "privileges"))
    methods = _unique(said.methods, (*place, "methods"))
    try:
        return Endpoint(methods, said.url, privileges, said.summary)
    except InvalidInput as error:
        with _at(*place, error.field):
            raise


def _roles(names: Sequence[str], defined: Collection[str], place: _Place) -> frozenset[str]:
    for row, name in enumerate(names):
        with _at(*place, row):
            if name not in defined:
                raise InvalidInput(
                    "role",
                    f"The role {name!r} is not defined.",
                    hint="Define it under roles.",
                    code="role_undefined",
                )
    return _unique(names, place)


def _names(names: Sequence[str], place: _Place) -> frozenset[str]:
    return _unique([_name(name, (*place, row)) for row, name in enumerate(names)], place)


def _name(name: str, place: _Place) -> str:
    with _at(*place):
        return require_name("name", name)


def _unique(names: Sequence[str], place: _Place) -> frozenset[str]:
    seen: set[str] = set()
    for row, name in enumerate(names):
        with _at(*place, row):
            if name in seen:
                raise InvalidInput("name", f"{name!r} is listed twice.", code="name_duplicate")
        seen.add(name)
    return frozenset(seen)


@contextmanager
def _at(*place: str | int) -> Iterator[None]:
    """Point what is wrong to a place in the body (RFC 6901)."""
    try:
        yield
    except InvalidInput as error:
        # What is too long for a name is not repeated.
        parts = (str(part)[:LONGEST_POLICY_NAME] for part in place)
        pointer = "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in parts)
        raise InvalidInput(pointer, error.message, hint=error.hint, code=error.code) from error
