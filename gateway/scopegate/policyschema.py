"""The JSON Schema of policy files, with which editors complete and check them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from scopegate.core.catalogue import ANY_METHOD, LONGEST_SUMMARY
from scopegate.core.policies import DENIALS, LONGEST_POLICY_NAME, UNLISTED
from scopegate.core.request import METHODS
from scopegate.core.wildcard import MAX_PATTERN_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable

JsonObject = dict[str, Any]


def schema_text() -> str:
    """The schema (JSON Schema 2020-12) as it is published.

    What the loader takes, it takes. The loader refuses more: what stands twice, what is not defined, and
    URLs that no request has.
    """
    return json.dumps(_schema(), indent=2) + "\n"


def _schema() -> JsonObject:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Policies of Scopegate",
        "description": "A policy file. All files of a directory are read as one, so each may say any part.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {
            "endpoints": {
                "description": "The endpoint catalogue: which privileges each endpoint requires. All entries"
                " that match a request apply.",
                "type": "array",
                "items": {"$ref": "#/$defs/endpoint"},
            },
            "unlisted_endpoints": {
                "description": "What becomes of a request that no entry matches. Without it, applying leaves"
                " what is set for the tenant.",
                "enum": list(UNLISTED),
            },
            "roles": _named("Role name -> the privileges that it gives.", "role"),
            "groups": _named("Group name -> the roles that its members hold.", "group"),
            "principals": _named("Made-up users, whom the expectations are about.", "principal"),
            "expectations": {
                "description": "What has to be so, for 'scopegate test' and before anything is applied.",
                "type": "array",
                "items": {"$ref": "#/$defs/expectation"},
            },
        },
        "$defs": {
            "name": {"type": "string", "pattern": f"^[A-Za-z0-9._:-]{{1,{LONGEST_POLICY_NAME}}}$"},
            "endpoint": _object(
                {
                    "methods": {
                        "description": f"'{ANY_METHOD}', in quotes, stands for all; GET covers HEAD.",
                        **_names({"enum": [*sorted(METHODS), ANY_METHOD]}),
                        "minItems": 1,
                    },
                    "url": {
                        "description": "A path such as /api/recordings/*, a full URL, or '*'; * is any run of"
                        " characters.",
                        "type": "string",
                        "maxLength": MAX_PATTERN_LENGTH,
                        "pattern": r"^(\*+$|/|[Hh][Tt][Tt][Pp][Ss]?://)[^?#\s\\]*$",
                    },
                    "privileges": {
                        "description": "The user needs all of them; [] means open to every active user.",
                        **_names(),
                    },
                    "summary": {
                        "description": "What the endpoint is for, in one line; no decision depends on it.",
                        "type": "string",
                        "maxLength": LONGEST_SUMMARY,
                    },
                },
                required=("methods", "url", "privileges"),
            ),
            "role": _object({"privileges": _names()}, required=("privileges",)),
            "group": _object({"roles": _names()}, required=("roles",)),
            "principal": _object({"roles": _names(), "groups": _names(), "active": {"type": "boolean"}}),
            "expectation": {
                "description": "<principal> <METHOD> <URL> -> allow, -> deny, or -> deny <reason>",
                "type": "string",
                "pattern": rf"^\s*\S+\s+({'|'.join(sorted(METHODS))})\s+[^\s*?#]+\s+->\s+"
                rf"(allow|deny(\s+({'|'.join(DENIALS)}))?)\s*$",
            },
        },
    }


def _named(description: str, kind: str) -> JsonObject:
    return {
        "description": description,
        "type": "object",
        "propertyNames": {"$ref": "#/$defs/name"},
        "additionalProperties": {"$ref": f"#/$defs/{kind}"},
    }


def _names(item: JsonObject | None = None) -> JsonObject:
    return {"type": "array", "items": item or {"$ref": "#/$defs/name"}, "uniqueItems": True}


def _object(properties: JsonObject, *, required: Iterable[str] = ()) -> JsonObject:
    found: JsonObject = {"type": "object", "additionalProperties": False, "properties": properties}
    return found | ({"required": list(required)} if required else {})
