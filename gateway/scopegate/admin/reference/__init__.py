"""``/admin/v1/reference``: the OpenAPI description as a page for people, made here and with no script."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request, Response
from jinja2 import Environment, FunctionLoader, StrictUndefined

router = APIRouter(include_in_schema=False)
PAGE = "/reference"
STYLE = "/reference.css"
_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_HEADERS = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}


@dataclass(frozen=True, slots=True)
class Member:
    """One parameter, or one member of a body."""

    name: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    anchor: str
    summary: str
    description: str
    parameters: tuple[Member, ...]
    body: tuple[Member, ...]
    answers: tuple[tuple[str, str, tuple[Member, ...]], ...]
    curl: str


@router.get(PAGE)
async def reference(request: Request) -> Response:
    """The page."""
    described = request.app.openapi()
    page = _template().render(
        title=described["info"]["title"],
        version=described["info"]["version"],
        introduction=described["info"]["description"].split("\n\n"),
        groups=_groups(described),
        style=f".{STYLE}",
    )
    return Response(page, media_type="text/html", headers=_HEADERS)


@router.get(STYLE)
async def style() -> Response:
    """How the page looks."""
    return Response(_file("style.css"), media_type="text/css", headers=_HEADERS)


def _groups(described: dict[str, Any]) -> dict[str, list[Operation]]:
    """The operations by their first tag, in the order of the description."""
    groups: dict[str, list[Operation]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            groups.setdefault(tag, []).append(_operation(described, method.upper(), path, operation))
    return groups


def _operation(described: dict[str, Any], method: str, path: str, said: dict[str, Any]) -> Operation:
    body = _schema_of(said.get("requestBody", {}))
    members = () if body is None else _members(described, body)
    return Operation(
        method=method,
        path=path,
        anchor=said["operationId"],
        summary=said["summary"],
        description=said.get("description", ""),
        parameters=tuple(
            Member(one["name"], _type(one["schema"]), one["required"], _sentence(one))
            for one in said.get("parameters", ())
        ),
        body=members,
        answers=tuple(
            (status, answer["description"], _members(described, _schema_of(answer)))
            for status, answer in sorted(said["responses"].items())
        ),
        curl=_curl(method, path, members),
    )


def _schema_of(said: dict[str, Any]) -> dict[str, Any] | None:
    for media_type, content in said.get("content", {}).items():
        if media_type == "application/json":
            schema: dict[str, Any] = content["schema"]
            return schema
    return None


def _members(described: dict[str, Any], schema: dict[str, Any] | None) -> tuple[Member, ...]:
    if schema is None:
        return ()
    name = schema.get("$ref", "").rpartition("/")[2]
    whole = described["components"]["schemas"][name] if name else schema
    required = whole.get("required", ())
    return tuple(
        Member(member, _type(said), member in required, said.get("description", ""))
        for member, said in whole.get("properties", {}).items()
    )


def _type(schema: dict[str, Any]) -> str:
    """The type of a schema in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any")


def _sentence(parameter: dict[str, Any]) -> str:
    return str(parameter.get("description") or parameter["schema"].get("description", ""))


def _curl(method: str, path: str, body: tuple[Member, ...]) -> str:
    verb = "" if method == "GET" else f" -X {method}"
    content = " --json @body.json" if body else ""
    return f'curl -H "Authorization: Bearer $SCOPEGATE_TOKEN"{verb}{content} "$SCOPEGATE_SERVER{path}"'


@cache
def _template() -> Any:  # noqa: ANN401 -- jinja2's own
    environment = Environment(
        loader=FunctionLoader(_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _file(name: str) -> str:
    text: str = files(__name__).joinpath(name).read_text("utf-8")
    return text
