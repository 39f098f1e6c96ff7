"""The OpenAPI 3.1 description of the administration API: what every operation has in common."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from scopegate.admin.schemas import ProblemDetails

if TYPE_CHECKING:
    from fastapi import FastAPI
    from pydantic import BaseModel

_PROBLEM = "application/problem+json"
_ALWAYS = (400, 401, 403, 404, 413, 429, 500, 503)
_WRONG_VALUE = 422  # answered by operations that have a body, which have these answers as well
_OF_BODIES = (415,)
_MEANINGS = {
    400: "The request is not valid: no JSON, an unknown query parameter, a header field that is none.",
    401: "No valid token was sent.",
    403: "The administrator may not do this, or a feature flag forbids it.",
    404: "There is no such thing, or none that the administrator may know of.",
    409: "The present state does not admit this.",
    412: "It is not any more what `If-Match` names.",
    413: "The request body is too large.",
    415: "The request body is not sent as JSON.",
    422: "A value is not valid; `errors` points to it.",
    428: "`If-Match` is missing.",
    429: "Too many requests of this address had no valid token.",
    500: "The server failed.",
    503: "The key store does not answer.",
}
_ETAG = {"ETag": {"description": "Its version (RFC 9110 section 8.8.3).", "schema": {"type": "string"}}}
_NEXT = {
    "Link": {
        "description": "Where the next page is (RFC 8288); only if there is one.",
        "schema": {"type": "string"},
    }
}
_REPLAYED = {"Idempotency-Replayed": {"description": "`true`.", "schema": {"type": "string"}}}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token of an administrator."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-scopegate",
        "description": "A session, for pages of this server only; over http its name has no prefix.",
    },
}
# FastAPI's own shape of a validation error, which we do not answer with.
_NOT_OURS = ("HTTPValidationError", "ValidationError")


def documented(
    summary: str,
    *statuses: int,
    etag: bool = False,
    page: bool = False,
    answers: int = 200,
    repeats: type[BaseModel] | None = None,
    lines: str | None = None,
) -> dict[str, Any]:
    """The arguments of a route: its summary, and every answer that it has.

    Args:
        summary: what it does, in a few words.
        statuses: those of its own problems, beside those that any operation has.
        etag: whether it answers with the version of what it is about.
        page: whether it answers with a page of a list.
        answers: the status of what it is there for.
        repeats: what a request is answered that was sent before.
        lines: the media type of an answer that is text.
    """
    responses: dict[int | str, dict[str, Any]] = {
        status: {
            "description": _MEANINGS[status],
            "content": {_PROBLEM: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for status in sorted({*_ALWAYS, *statuses, *(_OF_BODIES if _WRONG_VALUE in statuses else ())})
    }
    if page:
        responses[answers] = {"headers": _NEXT}
    if etag:
        responses[answers] = {"headers": _ETAG}
    if repeats is not None:
        responses[200] = {
            "model": repeats,
            "description": "The request was sent before, with this `Idempotency-Key`; nothing was done now.",
            "headers": {**_ETAG, **_REPLAYED},
        }
    if lines is not None:
        responses[answers] = {"content": {lines: {"schema": {"type": "string"}}}}
    return {"summary": summary, "responses": responses, "status_code": answers}


def methods_of(described: dict[str, Any], path: str) -> list[str]:
    """The methods that a path has in the description (RFC 9110 section 10.2.1)."""
    found = {
        method.upper()
        for template, operations in described["paths"].items()
        if _pattern(template).fullmatch(path)
        for method in operations
    }
    return sorted(found)


@cache
def _pattern(template: str) -> re.Pattern[str]:
    # The id of a user may have slashes and colons.
    held = ".*" if "{user_id}" in template else "[^/:]+"
    literals = re.split(r"\{\w+\}", template)
    return re.compile(held.join(map(re.escape, literals)))


def describe(app: FastAPI) -> dict[str, Any]:
    """The whole description, as it is served."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    described = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    for name in _NOT_OURS:
        schemas.pop(name, None)
    problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["ProblemDetails"] = problem
    described["components"]["securitySchemes"] = _SECURITY
    described["security"] = [{"bearer": []}, {"session": []}]
    for operations in described["paths"].values():
        for operation in operations.values():
            answer = operation["responses"].get("422")
            if answer is not None and _PROBLEM not in answer["content"]:
                del operation["responses"]["422"]
    app.openapi_schema = described
    return described
