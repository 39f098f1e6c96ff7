"""What the server tells of itself (RFC 7644 section 4): exactly what is kept, and what can be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.core.scim.attributes import COMMON, KINDS, USER, Attribute, Mutability, Type

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from scopegate.core.scim.attributes import Kind
    from scopegate.core.scim.reading import Document

CONFIG_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
TYPE_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
SCHEMA_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Schema"
MOST_RESULTS = 200  # resources in one answer


def service_provider_config(base: str) -> Document:
    """What this server supports (RFC 7643 section 5)."""
    return {
        "schemas": [CONFIG_SCHEMA],
        "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MOST_RESULTS},
        "changePassword": {"supported": False},
        "sort": {"supported": False},
        "etag": {"supported": True},
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "Bearer token",
                "description": "A token of an administrator with the role provisioner.",
                "specUri": "https://www.rfc-editor.org/info/rfc6750",
                "primary": True,
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}/ServiceProviderConfig"},
    }


def resource_types(base: str) -> list[Document]:
    """The types of resources (RFC 7643 section 6)."""
    return [_resource_type(kind, base) for kind in KINDS]


def schemas(base: str, roles: Collection[str] = ()) -> list[Document]:
    """The schemas (RFC 7643 section 7), those of the server's description among them.

    `roles` are the names that a user's roles can have.
    """
    # RFC 7643 section 3.1: the common attributes are no part of a schema.
    found = [
        _schema(
            kind.schema,
            kind.name,
            kind.description,
            [one for one in kind.attributes if one not in COMMON],
            base,
        )
        for kind in KINDS
    ]
    found += [
        _schema(schema, "EnterpriseUser", "Where the person belongs.", attributes, base)
        for schema, attributes in USER.extensions.items()
    ]
    found += [
        _schema(schema, name, f"The schema of a {name} (RFC 7643 section 8.7.2).", attributes, base)
        for schema, name, attributes in _OWN
    ]
    for document in found:
        for attribute in document["attributes"]:
            if document["id"] == USER.schema and attribute["name"] == "roles" and roles:
                attribute["subAttributes"][0]["canonicalValues"] = sorted(roles)
    return found


def _resource_type(kind: Kind, base: str) -> Document:
    document: Document = {
        "schemas": [TYPE_SCHEMA],
        "id": kind.name,
        "name": kind.name,
        "description": kind.description,
        "endpoint": kind.endpoint,
        "schema": kind.schema,
        "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/{kind.name}"},
    }
    if kind.extensions:
        document["schemaExtensions"] = [{"schema": schema, "required": False} for schema in kind.extensions]
    return document


def _schema(schema: str, name: str, description: str, attributes: Iterable[Attribute], base: str) -> Document:
    return {
        "schemas": [SCHEMA_SCHEMA],
        "id": schema,
        "name": name,
        "description": description,
        "attributes": [_described(one) for one in attributes],
        "meta": {"resourceType": "Schema", "location": f"{base}/Schemas/{schema}"},
    }


def _described(attribute: Attribute) -> Document:
    document: Document = {
        "name": attribute.name,
        "type": attribute.type.value,
        "multiValued": attribute.multi,
        "description": attribute.description,
        "required": attribute.required,
        "mutability": attribute.mutability.value,
        "returned": attribute.returned.value,
    }
    if attribute.type in {Type.STRING, Type.REFERENCE}:
        document["caseExact"] = attribute.case_exact
        document["uniqueness"] = "server" if attribute.unique else "none"
    if attribute.examples:
        document["canonicalValues"] = list(attribute.examples)
    if attribute.reference_types:
        document["referenceTypes"] = list(attribute.reference_types)
    if attribute.subs:
        document["subAttributes"] = [_described(one) for one in attribute.subs]
    return document


def _fixed(
    name: str, kind: Type = Type.STRING, *subs: Attribute, multi: bool = False, required: bool = False
) -> Attribute:
    """An attribute of the server's description, which only the server writes."""
    return Attribute(
        name=name,
        description=f"{name} of RFC 7643.",
        type=kind,
        multi=multi,
        required=required,
        mutability=Mutability.READ_ONLY,
        subs=subs,
        reference_types=("uri",) if kind is Type.REFERENCE else (),
        case_exact=kind is Type.REFERENCE,
    )


def _supported(name: str, *numbers: str) -> Attribute:
    return _fixed(
        name,
        Type.COMPLEX,
        _fixed("supported", Type.BOOLEAN, required=True),
        *(_fixed(number, Type.INTEGER, required=True) for number in numbers),
        required=True,
    )


_ATTRIBUTE = (
    _fixed("name", required=True),
    _fixed("type", required=True),
    _fixed("multiValued", Type.BOOLEAN, required=True),
    _fixed("description"),
    _fixed("required", Type.BOOLEAN),
    _fixed("canonicalValues", multi=True),
    _fixed("caseExact", Type.BOOLEAN),
    _fixed("mutability"),
    _fixed("returned"),
    _fixed("uniqueness"),
    _fixed("referenceTypes", multi=True),
)
_OWN: tuple[tuple[str, str, tuple[Attribute, ...]], ...] = (
    (
        CONFIG_SCHEMA,
        "ServiceProviderConfig",
        (
            _fixed("documentationUri", Type.REFERENCE),
            _supported("patch"),
            _supported("bulk", "maxOperations", "maxPayloadSize"),
            _supported("filter", "maxResults"),
            _supported("changePassword"),
            _supported("sort"),
            _supported("etag"),
            _fixed(
                "authenticationSchemes",
                Type.COMPLEX,
                _fixed("type", required=True),
                _fixed("name", required=True),
                _fixed("description", required=True),
                _fixed("specUri", Type.REFERENCE),
                _fixed("documentationUri", Type.REFERENCE),
                _fixed("primary", Type.BOOLEAN),
                multi=True,
                required=True,
            ),
        ),
    ),
    (
        TYPE_SCHEMA,
        "ResourceType",
        (
            _fixed("id"),
            _fixed("name", required=True),
            _fixed("description"),
            _fixed("endpoint", Type.REFERENCE, required=True),
            _fixed("schema", Type.REFERENCE, required=True),
            _fixed(
                "schemaExtensions",
                Type.COMPLEX,
                _fixed("schema", Type.REFERENCE, required=True),
                _fixed("required", Type.BOOLEAN, required=True),
                multi=True,
            ),
        ),
    ),
    (
        SCHEMA_SCHEMA,
        "Schema",
        (
            _fixed("id", required=True),
            _fixed("name", required=True),
            _fixed("description"),
            _fixed(
                "attributes",
                Type.COMPLEX,
                *_ATTRIBUTE,
                _fixed("subAttributes", Type.COMPLEX, *_ATTRIBUTE, multi=True),
                multi=True,
                required=True,
            ),
        ),
    ),
)
