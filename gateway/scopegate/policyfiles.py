"""Policy files: YAML in a directory -> core values, every problem with its file and line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from scopegate.core.catalogue import ANY_METHOD, Endpoint
from scopegate.core.errors import InvalidInput, ScopegateError
from scopegate.core.policies import (
    UNLISTED,
    Expectation,
    Policies,
    Verdict,
    endpoint_label,
    judge,
    require_name,
    unlisted_word,
)
from scopegate.core.principal import User
from scopegate.core.wildcard import UrlPattern
from scopegate.yamlfiles import Problem, Value, YamlFile, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

CATALOGUE_FILE = "catalogue.yaml"
ROLES_FILE = "roles.yaml"
EXPECTATIONS_FILE = "expectations.yaml"


class PolicyFileError(ScopegateError):
    """The policy files cannot be used.

    The message has one problem a line; ``problems`` has the same as values.
    """

    code = "policy_files_invalid"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "\n".join(map(str, self.problems)),
            hint="Correct these lines; nothing was changed. docs/policies.md describes the format.",
        )


@dataclass(frozen=True, slots=True)
class LoadedPolicies:
    """What a directory of policy files says. ``principals`` are the made-up users of the expectations."""

    policies: Policies
    expectations: tuple[Expectation, ...]
    principals: Mapping[str, User]

    def verdicts(self) -> tuple[Verdict, ...]:
        """What the policies make of the expectations."""
        return judge(self.policies, self.principals, self.expectations)


def load(directory: Path) -> LoadedPolicies:
    """Read ``catalogue.yaml``, ``roles.yaml`` and, where it is there, ``expectations.yaml``.

    Raises:
        PolicyFileError: with all the problems of all the files.
    """
    if not directory.is_dir():
        raise PolicyFileError([Problem(str(directory), None, "", "there is no such directory")])
    names = (CATALOGUE_FILE, ROLES_FILE, EXPECTATIONS_FILE)
    files = [YamlFile(directory / name, expected=names) for name in names]
    catalogue, roles, expectations = files
    endpoints, unlisted_allowed = _read_catalogue(catalogue)
    defined = _read_roles(roles)
    users, expected = _read_expectations(expectations, None if roles.problems else defined)
    problems = [problem for file in files for problem in file.sorted_problems()]
    if problems:
        raise PolicyFileError(problems)
    policies = Policies(endpoints, unlisted_allowed, defined.roles, defined.groups)
    return LoadedPolicies(policies, expected, users)


def dump(policies: Policies) -> dict[str, str]:
    """File name -> text of the files that :func:`load` reads as `policies`."""
    allowed = policies.unlisted_allowed
    catalogue = {
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
    }
    roles = {
        "roles": {name: {"privileges": sorted(held)} for name, held in policies.roles.items()},
        "groups": {name: {"roles": sorted(held)} for name, held in policies.groups.items()},
    }
    return {
        name: yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
        for name, content in ((CATALOGUE_FILE, catalogue), (ROLES_FILE, roles))
    }


@dataclass(frozen=True, slots=True)
class _Defined:
    """What ``roles.yaml`` defines."""

    roles: dict[str, frozenset[str]]
    groups: dict[str, frozenset[str]]


def _read_catalogue(file: YamlFile) -> tuple[tuple[Endpoint, ...], bool | None]:
    root = file.root()
    if root is None:
        return (), None
    fields = root.fields("endpoints", optional=("unlisted_endpoints",))
    endpoints: dict[str, Endpoint] = {}
    lines: dict[str, int] = {}
    for entry in fields["endpoints"].items("a list of endpoints"):
        endpoint = _read_endpoint(entry)
        if endpoint is None:
            continue
        label = endpoint_label(endpoint)
        if label in endpoints:
            entry.report(
                f"{label} is listed already in line {lines[label]}; put all privileges into one entry"
            )
        else:
            endpoints[label] = endpoint
            lines[label] = entry.line
    listed = tuple(endpoints.values())
    fields["endpoints"].accept(lambda: Policies(listed).catalogue())
    return listed, fields["unlisted_endpoints"].choice(UNLISTED)


def _read_endpoint(entry: Value) -> Endpoint | None:
    problems = len(entry.file.problems)
    fields = entry.fields("methods", "url", "privileges", optional=("summary",))
    methods = fields["methods"].texts("a list of methods", _method)
    url = fields["url"].text("a URL", lambda text: UrlPattern.parse(text).text)
    privileges = fields["privileges"].texts("a list of privileges", _name)
    summary = fields["summary"].text("a line of text", _summary) or ""
    if url is None or len(entry.file.problems) > problems:
        return None
    return fields["methods"].accept(lambda: Endpoint(methods, url, privileges, summary))


def _read_roles(file: YamlFile) -> _Defined:
    root = file.root()
    if root is None:
        return _Defined({}, {})
    fields = root.fields("roles", optional=("groups",))
    roles = {
        role.name: role.fields("privileges")["privileges"].texts("a list of privileges", _name)
        for role in fields["roles"].named("a mapping of roles", _name)
    }
    known = roles if fields["roles"].present else None
    groups = {
        group.name: group.fields("roles")["roles"].texts("a list of roles", _reference("role", known))
        for group in fields["groups"].named("a mapping of groups", _name)
    }
    return _Defined(roles, groups)


def _read_expectations(
    file: YamlFile, defined: _Defined | None
) -> tuple[dict[str, User], tuple[Expectation, ...]]:
    root = file.root(optional=True)
    if root is None:
        return {}, ()
    fields = root.fields("principals", "expectations")
    users = {
        principal.name: _read_principal(principal, defined)
        for principal in fields["principals"].named("a mapping of principals", _name)
    }
    known = users if fields["principals"].present else None
    read = [_read_expectation(item, known) for item in fields["expectations"].items("a list of expectations")]
    return users, tuple(expectation for expectation in read if expectation is not None)


def _read_principal(principal: Value, defined: _Defined | None) -> User:
    fields = principal.fields(optional=("roles", "groups", "active"))
    role = _reference("role", None if defined is None else defined.roles)
    group = _reference("group", None if defined is None else defined.groups)
    return User(
        id=principal.name,
        name=principal.name,
        roles=fields["roles"].texts("a list of roles", role),
        groups=fields["groups"].texts("a list of groups", group),
        active=fields["active"].flag(default=True),
    )


def _read_expectation(item: Value, users: Collection[str] | None) -> Expectation | None:
    source = f"{item.file.name}:{item.line}"
    principal = _reference("principal", users)

    def build(text: str) -> Expectation:
        expectation = Expectation.parse(text, source=source)
        principal(expectation.principal)
        return expectation

    return item.text("a line of text", build)


def _method(text: str) -> str:
    Endpoint(frozenset({text}), ANY_METHOD)
    return text


def _summary(text: str) -> str:
    return Endpoint(frozenset({ANY_METHOD}), ANY_METHOD, summary=text).summary


def _name(text: str) -> str:
    return require_name("name", text)


def _reference(kind: str, defined: Collection[str] | None) -> Callable[[str], str]:
    """Reads a name that has to be among `defined`; any name will do if those could not be read."""

    def read(text: str) -> str:
        name = _name(text)
        if defined is not None and name not in defined:
            raise InvalidInput(kind, f"The {kind} {name!r} is not defined.", hint=suggestion(name, defined))
        return name

    return read
