"""The attributes that are kept of users and groups: one table that schemas, filters and patches read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE_SCHEMA = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


class Type(StrEnum):
    """The types of RFC 7643 section 2.3 that occur."""

    STRING = "string"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    REFERENCE = "reference"
    COMPLEX = "complex"


class Mutability(StrEnum):
    """Whether a client can write a value (RFC 7643 section 7)."""

    READ_WRITE = "readWrite"
    READ_ONLY = "readOnly"
    IMMUTABLE = "immutable"


class Returned(StrEnum):
    """When a value is part of an answer (RFC 7643 section 7)."""

    ALWAYS = "always"
    DEFAULT = "default"
    REQUEST = "request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """An attribute, and its characteristics (RFC 7643 section 2.2).

    ``subs`` are its sub-attributes where it is complex. ``examples`` are its canonical values.
    """

    name: str
    description: str
    type: Type = Type.STRING
    multi: bool = False
    required: bool = False
    case_exact: bool = False
    unique: bool = False
    mutability: Mutability = Mutability.READ_WRITE
    returned: Returned = Returned.DEFAULT
    subs: tuple[Attribute, ...] = ()
    examples: tuple[str, ...] = ()
    reference_types: tuple[str, ...] = ()

    def sub(self, name: str) -> Attribute | None:
        """The sub-attribute of this name, in whatever case (RFC 7643 section 2.1)."""
        return next((one for one in self.subs if one.name.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of resource: its attributes, those of its extensions by schema, and names of what is not kept.

    A client may send what is not kept; it is ignored, so that an identity provider's usual mapping works.
    """

    name: str
    endpoint: str
    schema: str
    description: str
    attributes: tuple[Attribute, ...]
    extensions: Mapping[str, tuple[Attribute, ...]]
    not_kept: Mapping[str, frozenset[str]]

    def attribute(self, name: str, schema: str | None = None) -> Attribute | None:
        """The attribute of this name in a schema, or in the resource's own; names are of any case."""
        found = self.attributes if schema in {None, self.schema} else self.extensions.get(schema or "", ())
        return next((one for one in found if one.name.lower() == name.lower()), None)

    def ignores(self, name: str, schema: str | None = None) -> bool:
        """Whether RFC 7643 defines the attribute, and it is not kept."""
        return name.lower() in self.not_kept.get(schema or self.schema, frozenset())


ID = Attribute(
    name="id",
    description="The id here, which never changes.",
    case_exact=True,
    unique=True,
    mutability=Mutability.READ_ONLY,
    returned=Returned.ALWAYS,
)
EXTERNAL_ID = Attribute(
    name="externalId", description="The id that the provisioning client gives.", case_exact=True
)
META = Attribute(
    name="meta",
    description="Metadata of the resource.",
    type=Type.COMPLEX,
    mutability=Mutability.READ_ONLY,
    subs=tuple(
        Attribute(
            name=name, description=description, type=kind, case_exact=True, mutability=Mutability.READ_ONLY
        )
        for name, description, kind in (
            ("resourceType", "The name of the resource type.", Type.STRING),
            ("location", "The URI of the resource.", Type.REFERENCE),
            ("version", "The entity tag of the resource.", Type.STRING),
        )
    ),
)
COMMON = (ID, EXTERNAL_ID, META)

USER = Kind(
    name="User",
    endpoint="/Users",
    schema=USER_SCHEMA,
    description="A person of the directory, for whom API keys act.",
    attributes=(
        *COMMON,
        Attribute(
            name="userName",
            description="What the person signs in with; unique whatever its letter case.",
            required=True,
            unique=True,
        ),
        Attribute(
            name="name",
            description="The parts of the person's name.",
            type=Type.COMPLEX,
            subs=(
                Attribute(
                    name="formatted",
                    description="The displayName, which is meant where a client writes this one alone.",
                ),
                Attribute(name="familyName", description="The family name."),
                Attribute(name="givenName", description="The given name."),
            ),
        ),
        Attribute(
            name="displayName",
            description="The person's name as it is shown; made of the other names where it is left out.",
            required=True,
        ),
        Attribute(
            name="emails",
            description="The person's e-mail address: one is kept, the primary or else that for work.",
            type=Type.COMPLEX,
            multi=True,
            subs=(
                Attribute(name="value", description="The address."),
                Attribute(name="type", description="Always work.", examples=("work",)),
                Attribute(
                    name="primary",
                    description="Always true of the address that is kept; tells which one is meant.",
                    type=Type.BOOLEAN,
                    mutability=Mutability.READ_ONLY,
                    returned=Returned.REQUEST,
                ),
            ),
        ),
        Attribute(
            name="active",
            description="Whether the person's keys open anything; a new person is active if nothing is said.",
            type=Type.BOOLEAN,
            required=True,
        ),
        Attribute(
            name="groups",
            description="The groups that the person is a member of; change the members of a group.",
            type=Type.COMPLEX,
            multi=True,
            mutability=Mutability.READ_ONLY,
            subs=(
                Attribute(
                    name="value",
                    description="The id of the group.",
                    case_exact=True,
                    mutability=Mutability.READ_ONLY,
                ),
                Attribute(
                    name="$ref",
                    description="The URI of the group.",
                    type=Type.REFERENCE,
                    reference_types=("Group",),
                    case_exact=True,
                    mutability=Mutability.READ_ONLY,
                ),
                Attribute(
                    name="display", description="The name of the group.", mutability=Mutability.READ_ONLY
                ),
                Attribute(
                    name="type",
                    description="Always direct.",
                    mutability=Mutability.READ_ONLY,
                    examples=("direct",),
                ),
            ),
        ),
        Attribute(
            name="roles",
            description="The roles that are given to the person directly; each has to be defined here.",
            type=Type.COMPLEX,
            multi=True,
            subs=(Attribute(name="value", description="The name of the role.", case_exact=True),),
        ),
    ),
    extensions=MappingProxyType(
        {
            ENTERPRISE_SCHEMA: (
                Attribute(
                    name="organization",
                    description="The organization, as a path such as Sales/Vienna.",
                    case_exact=True,
                ),
            )
        }
    ),
    not_kept=MappingProxyType(
        {
            USER_SCHEMA: frozenset(
                {
                    *("nickname", "profileurl", "title", "usertype", "preferredlanguage", "locale"),
                    *("timezone", "password", "phonenumbers", "ims", "photos", "addresses"),
                    *("entitlements", "x509certificates"),
                }
            ),
            ENTERPRISE_SCHEMA: frozenset(
                {"employeenumber", "costcenter", "division", "department", "manager"}
            ),
        }
    ),
)

GROUP = Kind(
    name="Group",
    endpoint="/Groups",
    schema=GROUP_SCHEMA,
    description="A group of people; policies say by its id which roles its members hold.",
    attributes=(
        *COMMON,
        Attribute(
            name="displayName",
            description="The name of the group; unique whatever its letter case.",
            required=True,
            unique=True,
        ),
        Attribute(
            name="members",
            description="The people who are in the group.",
            type=Type.COMPLEX,
            multi=True,
            subs=(
                Attribute(
                    name="value",
                    description="The id of the person.",
                    case_exact=True,
                    mutability=Mutability.IMMUTABLE,
                ),
                Attribute(
                    name="$ref",
                    description="The URI of the person.",
                    type=Type.REFERENCE,
                    reference_types=("User",),
                    case_exact=True,
                    mutability=Mutability.IMMUTABLE,
                ),
                Attribute(
                    name="type",
                    description="Always User.",
                    mutability=Mutability.IMMUTABLE,
                    examples=("User",),
                ),
            ),
        ),
    ),
    extensions=MappingProxyType({}),
    not_kept=MappingProxyType({}),
)

KINDS = (USER, GROUP)
# Sub-attributes of RFC 7643 that are not kept.
SUBS_NOT_KEPT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "name": frozenset({"middlename", "honorificprefix", "honorificsuffix"}),
        "emails": frozenset({"display"}),
        "roles": frozenset({"display", "type", "primary"}),
        "members": frozenset({"display"}),
        "meta": frozenset({"created", "lastmodified"}),
    }
)
