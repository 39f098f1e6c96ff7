"""A person of the directory as a SCIM user (RFC 7643 section 4.1), and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from scopegate.core.directory import login_of, require_person
from scopegate.core.principal import User
from scopegate.core.scim.attributes import ENTERPRISE_SCHEMA, GROUP, USER, USER_SCHEMA
from scopegate.core.scim.refusals import ScimRefused, ScimType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scopegate.core.principal import Group
    from scopegate.core.scim.attributes import Kind
    from scopegate.core.scim.reading import Document

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@+-]{0,199}")  # one path segment as it is


def location(base: str, kind: Kind, resource_id: str) -> str:
    """The URI of a resource below `base`."""
    return f"{base}{kind.endpoint}/{quote(resource_id, safe='@+~')}"


def user_document(user: User, groups: Mapping[str, Group], base: str) -> Document:
    """A user with all that is kept, but for the version.

    Args:
        user: who.
        groups: the groups of the directory, by id; one that is not in it is none for SCIM.
        base: the URI that all resources are below.
    """
    document: Document = {
        "schemas": [USER_SCHEMA],
        "id": user.id,
        "userName": login_of(user),
        "displayName": user.name,
        "active": user.active,
    }
    if user.external_id is not None:
        document["externalId"] = user.external_id
    if user.given_name is not None or user.family_name is not None:
        parts = {"formatted": user.name, "familyName": user.family_name, "givenName": user.given_name}
        document["name"] = {name: part for name, part in parts.items() if part is not None}
    if user.email:
        document["emails"] = [{"value": user.email, "type": "work", "primary": True}]
    held = [groups[group_id] for group_id in sorted(user.groups) if group_id in groups]
    if held:
        document["groups"] = [
            {"value": one.id, "$ref": location(base, GROUP, one.id), "display": one.name, "type": "direct"}
            for one in held
        ]
    if user.roles:
        document["roles"] = [{"value": role} for role in sorted(user.roles)]
    if user.organization:
        document["schemas"].append(ENTERPRISE_SCHEMA)
        document[ENTERPRISE_SCHEMA] = {"organization": user.organization}
    document["meta"] = {"resourceType": USER.name, "location": location(base, USER, user.id)}
    return document


def user_of(document: Document, user_id: str, present: User | None = None) -> User:
    """The person that a document describes.

    What it does not name is nothing from now on, but whether the person is active: a request that does not
    speak of it neither locks anybody out nor lets anybody in. Groups are not the user's to say.

    Args:
        document: with the names of `attributes`; a patch was applied to all of the present one.
        user_id: whose it is, or will be.
        present: what is known of the person; None: nothing.

    Raises:
        ScimRefused: there is no user name.
        InvalidInput: a value breaks a rule of the directory.
    """
    user_name = document.get("userName", "")
    if not user_name:
        raise ScimRefused(ScimType.INVALID_VALUE, "userName is required.")
    name = document.get("name", {})
    given, family = name.get("givenName") or None, name.get("familyName") or None
    return require_person(
        User(
            id=user_id,
            name=document.get("displayName") or name.get("formatted") or _of_parts(name) or user_name,
            email=_email(document),
            organization=document.get(ENTERPRISE_SCHEMA, {}).get("organization") or "",
            active=document.get("active", True if present is None else present.active),
            groups=frozenset() if present is None else present.groups,
            roles=frozenset(filter(None, (one.get("value") for one in document.get("roles", ())))),
            user_name=None if user_name == user_id else user_name,
            external_id=document.get("externalId") or None,
            given_name=given,
            family_name=family,
        )
    )


def shown_name_follows(before: Document, after: Document) -> Document:
    """`after` with the displayName that a patch means which changes other forms of the name.

    It is the formatted name, or follows the parts of the name if it was made of them.
    """
    shown = before.get("displayName")
    if after.get("displayName") != shown:
        return after
    was, name = before.get("name", {}), after.get("name", {})
    written = name.get("formatted")
    if written and written != was.get("formatted", shown):
        return {**after, "displayName": written}
    if shown == _of_parts(was) and _of_parts(name):
        return {**after, "displayName": _of_parts(name)}
    return after


def ids_for(document: Document) -> Iterator[str]:
    """What could be the id of a new person, the best first: what people know already.

    Neither may fit, or be free; then there is none.
    """
    for name in ("userName", "externalId"):
        wanted = document.get(name, "")
        if _ID.fullmatch(wanted):
            yield wanted


def _of_parts(name: Document) -> str:
    return " ".join(part for part in (name.get("givenName"), name.get("familyName")) if part)


def _email(document: Document) -> str:
    """The one address that is kept: the primary one, or that for work, or the first."""
    said = [one for one in document.get("emails", ()) if one.get("value")]
    primary = [one for one in said if one.get("primary") is True]
    for_work = [one for one in said if str(one.get("type", "")).lower() == "work"]
    chosen = [*primary, *for_work, *said]
    return str(chosen[0]["value"]) if chosen else ""
