"""Policies as the text of policy files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from scopegate.core.policies import unlisted_word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scopegate.core.policies import Policies

CATALOGUE_FILE = "catalogue.yaml"
ROLES_FILE = "roles.yaml"
SCHEMA_FILE = "schema.json"
# With it, editors complete and check a file.
SCHEMA_LINE = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
_WIDTH = 110


def dump(policies: Policies) -> dict[str, str]:
    """File name -> text of the files that `policyfiles.load` reads as `policies`."""
    said = document(policies)
    rights = {name: said.pop(name) for name in tuple(said) if name in {"roles", "groups"}}
    return {CATALOGUE_FILE: _text(said), ROLES_FILE: _text(rights)}


def dump_document(policies: Policies) -> str:
    """The text of one file that says all of it."""
    return _text(document(policies))


def document(policies: Policies) -> dict[str, Any]:
    """What a policy file, or the administration API, says of `policies`."""
    allowed = policies.unlisted_allowed
    return {
        **({} if allowed is None else {"unlisted_endpoints": unlisted_word(allowed=allowed)}),
        "endpoints": [
            {
                "methods": sorted(endpoint.methods),
                "url": endpoint.url,
                "privileges": sorted(endpoint.privileges),
                **({"summary": endpoint.summary} if endpoint.summary else {}),
            }
            for endpoint in policies.endpoints
        ],
        "roles": {name: {"privileges": sorted(held)} for name, held in policies.roles.items()},
        "groups": {name: {"roles": sorted(held)} for name, held in policies.groups.items()},
    }


def _text(said: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(
        dict(said), sort_keys=False, default_flow_style=None, width=_WIDTH, allow_unicode=True
    )
    return SCHEMA_LINE + text
