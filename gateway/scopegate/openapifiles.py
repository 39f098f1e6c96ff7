"""OpenAPI documents (3.0, 3.1, 3.2) in YAML or JSON -> the operations that they describe."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import unquote

from scopegate.core.errors import InvalidInput
from scopegate.core.operations import Operation, as_line, is_more_than_a_path, pattern_of_template
from scopegate.core.scopenames import privilege_names
from scopegate.core.wildcard import UrlPattern
from scopegate.prunedfiles import Found, read
from scopegate.yamlfiles import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from scopegate.prunedfiles import Shape

MAX_OPERATIONS = 50_000
MAX_REQUIREMENTS = 100  # alternatives of one operation, and schemes or scopes of one alternative

_VERSION = re.compile(r"3\.[0-2](\..*)?")
_SERVER = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*")
_VARIABLE = re.compile(r"\{([^{}]*)\}")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_ALTERNATIVES_SHOWN = 3
_REFERENCES = 8  # in a row
_PROBLEMS_SHOWN = 20
_REFUSED = ("trace", "query")  # by the gateway

_OPERATION_SHAPE: Shape = dict.fromkeys(
    ("operationId", "summary", "description", "tags", "security", "servers")
)
_ITEM_SHAPE: Shape = {
    "$ref": None,
    "servers": None,
    "additionalOperations": {"*": _OPERATION_SHAPE},
    **dict.fromkeys((*map(str.lower, _METHODS), *_REFUSED), _OPERATION_SHAPE),
}
_SHAPE: Shape = {
    "openapi": None,
    "swagger": None,
    "info": {"title": None, "version": None},
    "servers": None,
    "security": None,
    "paths": {"*": _ITEM_SHAPE},
    "components": {"pathItems": {"*": _ITEM_SHAPE}},
}


class PrivilegesFrom(StrEnum):
    """What the privileges of operations are made of."""

    SECURITY = "security"
    TAGS = "tags"
    NONE = "none"


class OpenApiFileError(InvalidInput):
    """The document cannot be used. The message has one problem a line."""

    def __init__(self, problems: list[Problem], *, hint: str | None = None) -> None:
        super().__init__("spec", "\n".join(map(str, problems)), hint=hint, code="openapi_invalid")


@dataclass(frozen=True, slots=True)
class ApiDescription:
    """What a document says of an API.

    ``operations`` are in the order of its paths, which are below their servers' base path. ``notes`` say
    what was left out. ``names`` are the privileges that scopes became whose own text is none.
    """

    title: str
    version: str
    operations: tuple[Operation, ...]
    notes: tuple[str, ...]
    names: Mapping[str, str]


def load_openapi(
    path: Path,
    *,
    base_path: str | None = None,
    privileges_from: PrivilegesFrom = PrivilegesFrom.SECURITY,
) -> ApiDescription:
    """Read an OpenAPI document.

    Args:
        path: the file.
        base_path: what its paths are below, in place of what its servers say.
        privileges_from: what the privileges of its operations are made of.

    Raises:
        InvalidInput: it cannot be read, or is no such document, or the base path is none.
    """
    if base_path:
        _require_path(base_path)
    reader = _Reader(str(path), read(path, _SHAPE), base_path, privileges_from)
    return reader.description()


def _require_path(base_path: str) -> None:
    if not base_path.startswith("/"):
        raise InvalidInput(
            "base_path",
            f"The base path {as_line(base_path)!r} does not begin with '/'.",
            hint="Write /api/v2.",
        )
    UrlPattern.parse(f"{base_path.rstrip('/')}/")


@dataclass(frozen=True, slots=True)
class _Alternative:
    """One of the ways in which a caller may be authorized: all the scopes, of all the schemes."""

    schemes: tuple[str, ...]
    scopes: frozenset[str]

    def __str__(self) -> str:
        if self.scopes:
            return " and ".join(as_line(scope) for scope in sorted(self.scopes))
        if self.schemes:
            return f"{' and '.join(map(as_line, self.schemes))} without a scope"
        return "anybody"


@dataclass(frozen=True, slots=True)
class _Needed:
    """The scopes that an operation needs, and what is to be said of that."""

    scopes: frozenset[str] = frozenset()
    remark: str | None = None


class _Reader:
    """Reads one document; what is wrong is collected, and told at the end."""

    def __init__(
        self, name: str, root: Found, base_path: str | None, privileges_from: PrivilegesFrom
    ) -> None:
        self._name = name
        self._root = root
        self._base_path = base_path
        self._privileges_from = privileges_from
        self._problems: list[Problem] = []
        self._notes: list[str] = []
        self._alternatives: dict[int, _Alternative] = {}
        self._default_server: str | None = None

    def description(self) -> ApiDescription:
        document = self._entries(self._root, "")
        self._require_version(document)
        self._default_server = self._first_server(document.get("servers"), "servers")
        if "paths" not in document:
            self._problems.append(Problem(self._name, None, "", "there are no 'paths'"))
        operations: list[Operation] = []
        scopes: list[frozenset[str]] = []
        paths = self._entries(document.get("paths"), "paths")
        for template, item in paths.items():
            if template.startswith("x-"):
                continue
            for operation, needed in self._operations(template, item, document.get("security")):
                operations.append(operation)
                scopes.append(needed)
            if len(operations) + len(self._notes) > MAX_OPERATIONS:
                what = f"there are more than {MAX_OPERATIONS} operations"
                self._problems.append(Problem(self._name, item.line, "paths", what))
                break
        if self._problems:
            raise OpenApiFileError(self._problems)
        names = privilege_names(frozenset().union(*scopes))
        info = self._entries(document.get("info"), "info")
        return ApiDescription(
            title=as_line(_text(info.get("title")) or ""),
            version=as_line(_text(info.get("version")) or ""),
            operations=tuple(
                replace(operation, privileges=frozenset(names[scope] for scope in needed))
                for operation, needed in zip(operations, scopes, strict=True)
            ),
            notes=tuple(self._notes),
            names={scope: name for scope, name in sorted(names.items()) if scope != name},
        )

    def _require_version(self, document: Mapping[str, Found]) -> None:
        if "swagger" in document:
            raise OpenApiFileError(
                [Problem(self._name, document["swagger"].line, "swagger", "this is a Swagger 2.0 document")],
                hint="Convert it to OpenAPI 3 first, for example with: npx swagger2openapi FILE",
            )
        version = document.get("openapi")
        text = _text(version)
        if version is None or text is None:
            raise OpenApiFileError(
                [Problem(self._name, self._root.line, "", "this is no OpenAPI document: no 'openapi'")]
            )
        if not _VERSION.fullmatch(text):
            raise OpenApiFileError(
                [
                    Problem(
                        self._name, version.line, "openapi", f"{as_line(text, most=40)!r} is no version 3.x"
                    )
                ],
                hint="Versions 3.0, 3.1 and 3.2 can be read.",
            )

    def _operations(
        self, template: str, item: Found, security: Found | None
    ) -> Iterator[tuple[Operation, frozenset[str]]]:
        where = f"paths.{as_line(template, most=100)}"
        if not template.startswith("/"):
            self._report(item, where, "a path begins with '/'")
            return
        entries = self._item(item, where)
        found = {method: entries[method.lower()] for method in _METHODS if method.lower() in entries}
        others = self._entries(entries.get("additionalOperations"), f"{where}.additionalOperations")
        refused = [method for method in (*_REFUSED, *others) if method in entries or method in others]
        for method in refused:
            self._notes.append(
                f"Left out: {as_line(method.upper(), most=40)} {as_line(template)}; the gateway refuses it."
            )
        for method, value in found.items():
            members = self._entries(value, f"{where}.{method.lower()}")
            needed = self._needed(method, members, security, f"{where}.{method.lower()}")
            operation = self._operation(method, template, members, entries, needed, where)
            if operation is not None:
                yield operation, needed.scopes

    def _operation(
        self,
        method: str,
        template: str,
        members: Mapping[str, Found],
        item: Mapping[str, Found],
        needed: _Needed,
        where: str,
    ) -> Operation | None:
        base, elsewhere = self._base(members, item, where)
        if base is None:
            return None
        remarks = [needed.remark] if needed.remark else []
        if elsewhere:
            remarks.append(f"The document has it at another server, {elsewhere}.")
        if is_more_than_a_path(template):
            remarks.append("What follows ? or # in its path is not compared.")
        summary = _text(members.get("summary")) or _text(members.get("description")) or ""
        try:
            return Operation(
                method=method,
                url=pattern_of_template(base, template),
                template=as_line(template, most=2_048),
                operation_id=as_line(_text(members.get("operationId")) or ""),
                summary=as_line(summary),
                remarks=tuple(remarks),
            )
        except InvalidInput as error:
            self._notes.append(f"Left out: {method} {as_line(template)}. {as_line(error.message)}")
            return None

    # Path items

    def _item(self, item: Found, where: str) -> dict[str, Found]:
        """The members of a path item, with those of what it refers to."""
        entries = _members(self._entries(item, where))
        for _ in range(_REFERENCES):
            reference = entries.pop("$ref", None)
            if reference is None:
                return entries
            entries = {**_members(self._referred(reference, where)), **entries}
        self._report(item, where, "its references lead on and on")
        return entries

    def _referred(self, reference: Found, where: str) -> Mapping[str, Found]:
        text = _text(reference) or ""
        if not text.startswith("#/"):
            self._report(
                reference,
                where,
                f"it refers to another file, {as_line(text, most=100)!r}; bundle the document into one first",
            )
            return {}
        found: Found | None = self._root
        for name in text[2:].split("/"):
            key = unquote(name).replace("~1", "/").replace("~0", "~")  # RFC 6901 section 6
            value = None if found is None else found.value
            found = value.get(key) if isinstance(value, dict) else None
        if found is None:
            self._report(
                reference, where, f"it refers to {as_line(text, most=100)!r}, which is no path item here"
            )
        return self._entries(found, where)

    # Servers

    def _base(
        self, members: Mapping[str, Found], item: Mapping[str, Found], where: str
    ) -> tuple[str | None, str]:
        """What the path is below, and the server where it is if that is not the document's own."""
        servers = members.get("servers") or item.get("servers")
        server = self._default_server if servers is None else self._first_server(servers, f"{where}.servers")
        if server is None:
            return None, ""
        origin, usual = _origin(server), _origin(self._default_server or "")
        base = _SERVER.sub("", server, count=1) if self._base_path is None else self._base_path
        base = re.split(r"[?#]", base, maxsplit=1)[0].strip("/")
        return f"/{base}" if base else "", origin if origin != usual else ""

    def _first_server(self, servers: Found | None, where: str) -> str | None:
        """The URL of the first server, its variables at their defaults; None where that cannot be told."""
        items = self._items(servers, where)
        if not items:
            return "/"
        server = self._entries(items[0], f"{where}[0]")
        variables = self._entries(server.get("variables"), f"{where}[0].variables")

        def value(variable: re.Match[str]) -> str:
            members = self._entries(variables.get(variable[1]), f"{where}[0].variables")
            return _text(members.get("default")) or variable[0]

        url = _VARIABLE.sub(value, _text(server.get("url")) or "/")
        if "{" in _SERVER.sub("", url, count=1) and self._base_path is None:
            self._report(
                items[0],
                f"{where}[0].url",
                "a variable of its path has no default; pass the path with --base-path",
            )
            return None
        return url

    # Privileges

    def _needed(
        self, method: str, members: Mapping[str, Found], security: Found | None, where: str
    ) -> _Needed:
        match self._privileges_from:
            case PrivilegesFrom.SECURITY:
                return self._of_security(members.get("security", security), f"{where}.security")
            case PrivilegesFrom.TAGS:
                verb = "read" if method in _READING else "write"
                tags = map(_text, self._items(members.get("tags"), f"{where}.tags"))
                return _Needed(frozenset(f"{tag}.{verb}" for tag in tags if tag))
            case PrivilegesFrom.NONE:
                return _Needed()

    def _of_security(self, requirements: Found | None, where: str) -> _Needed:
        """The scopes of the first alternative that has any: a caller has to meet one of them as a whole."""
        found = [
            self._alternative(requirement, f"{where}[{number}]")
            for number, requirement in enumerate(self._items(requirements, where))
        ]
        chosen = next((alternative.scopes for alternative in found if alternative.scopes), None)
        if chosen is None:
            return _Needed()
        others = list(dict.fromkeys(str(other) for other in found if other.scopes != chosen))
        if not others:
            return _Needed(chosen)
        more = len(others) - _ALTERNATIVES_SHOWN
        shown = others[:_ALTERNATIVES_SHOWN] + ([f"{more} more"] if more > 0 else [])
        return _Needed(chosen, f"The document also admits {', or '.join(shown)}.")

    def _alternative(self, requirement: Found, where: str) -> _Alternative:
        # The document's own requirement is that of thousands of operations.
        known = self._alternatives.get(id(requirement))
        if known is None:
            schemes = self._entries(requirement, where)
            self._bounded(requirement, where, len(schemes))
            lists = [self._items(scopes, f"{where}.{name}") for name, scopes in schemes.items()]
            scopes = frozenset(text for items in lists for item in items if (text := _text(item)))
            known = self._alternatives[id(requirement)] = _Alternative(tuple(schemes), scopes)
        return known

    # Values

    def _entries(self, found: Found | None, where: str) -> dict[str, Found]:
        if found is None or found.value is None:
            return {}
        if not isinstance(found.value, dict):
            self._report(found, where, "expected a mapping")
            return {}
        return found.value

    def _items(self, found: Found | None, where: str) -> list[Found]:
        if found is None or found.value is None:
            return []
        if not isinstance(found.value, list):
            self._report(found, where, "expected a list")
            return []
        self._bounded(found, where, len(found.value))
        return found.value[:MAX_REQUIREMENTS]

    def _bounded(self, found: Found, where: str, length: int) -> None:
        if length > MAX_REQUIREMENTS:
            self._report(found, where, f"there are more than {MAX_REQUIREMENTS} items")

    def _report(self, found: Found, where: str, what: str) -> None:
        problem = Problem(self._name, found.line, where, what)
        if len(self._problems) < _PROBLEMS_SHOWN and problem not in self._problems:
            self._problems.append(problem)


def _members(item: Mapping[str, Found]) -> dict[str, Found]:
    """What counts of a path item."""
    return {name: item[name] for name in _ITEM_SHAPE or () if name in item}


def _origin(server: str) -> str:
    """Which host a server's URL names, if it names one; http and https are not told apart."""
    match = _SERVER.match(server)
    return "" if match is None else as_line(match[0].rsplit("//", maxsplit=1)[-1].lower(), most=100)


def _text(found: Found | None) -> str | None:
    return found.value if found is not None and isinstance(found.value, str) else None
