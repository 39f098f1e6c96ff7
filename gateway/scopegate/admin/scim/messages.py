"""SCIM messages: what comes in, what goes out, and refusals (RFC 7644 sections 3.1, 3.4.2 and 3.12)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec
from starlette.exceptions import HTTPException

from scopegate.admin.problems import FAILED, TOO_LARGE, problem_of
from scopegate.core.errors import Conflict, InvalidInput, ScopegateError
from scopegate.core.scim.discovery import MOST_RESULTS
from scopegate.core.scim.grammar import parse_filter
from scopegate.core.scim.reading import require_schema
from scopegate.core.scim.refusals import ScimRefused, ScimType
from scopegate.core.scim.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scopegate.asgi import Receive, Scope
    from scopegate.core.headers import Field
    from scopegate.core.scim.attributes import Kind
    from scopegate.core.scim.grammar import Filter
    from scopegate.core.scim.reading import Document

ERROR_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"
LIST_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
SEARCH_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
USUAL_RESULTS = 100  # resources in an answer where the client does not say
_MEDIA_TYPES = frozenset({"application/scim+json", "application/json"})
_CONTENT_TYPE = (b"content-type", b"application/scim+json")
_UNIQUENESS = frozenset({"user_name_taken", "group_name_taken"})
_TAG = re.compile(r'\s*(?:W/)?"([\x21\x23-\x7e]*)"\s*')


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back; no body where ``document`` is None."""

    status: int
    document: Document | None = None
    headers: tuple[Field, ...] = ()

    def encoded(self) -> tuple[list[Field], bytes]:
        """The header fields, and the body."""
        if self.document is None:
            return list(self.headers), b""
        body = msgspec.json.encode(self.document)
        length = (b"content-length", b"%d" % len(body))
        return [_CONTENT_TYPE, length, *self.headers], body


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for: resources from ``first`` (from 0) on, at most ``most`` of them."""

    condition: Filter | None = None
    first: int = 0
    most: int = USUAL_RESULTS
    selection: Selection = field(default_factory=Selection)


class NoScim(ScopegateError):
    """A request that is no SCIM at all: ``status`` says why."""

    code = "scim_unusable"

    def __init__(self, status: int, message: str, headers: tuple[Field, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def nothing_here() -> NoScim:
    """The error that says that there is no such endpoint."""
    return NoScim(404, "There is no such endpoint.")


def told(error: Exception, _request_id: str) -> tuple[int, list[Field], bytes]:
    """The status, the fields and the body of the answer to what went wrong."""
    answer = _refusal(error)
    return answer.status, *answer.encoded()


def _refusal(error: Exception) -> Answer:
    match error:
        case ScopegateError():
            return _refusal_of_ours(error)
        case HTTPException(status_code=TOO_LARGE.status):
            return _error(TOO_LARGE.status, TOO_LARGE.detail)
        case _:
            return _error(FAILED.status, FAILED.detail)


def _refusal_of_ours(error: ScopegateError) -> Answer:
    match error:
        case ScimRefused(scim_type=scim_type, message=message):
            return _error(400, message, scim_type)
        case InvalidInput(field=field, message=message):
            return _error(400, f"{field}: {message}", ScimType.INVALID_VALUE)
        case Conflict(code=code, message=message) if code in _UNIQUENESS:
            return _error(409, message, ScimType.UNIQUENESS)
        case NoScim(status=status, message=message, headers=headers):
            return _error(status, message, headers=headers)
        case _:
            problem, _ = problem_of(error)
            detail = problem.detail if error.hint is None else f"{problem.detail} {error.hint}"
            return _error(problem.status, detail, headers=problem.headers)


def _error(
    status: int, detail: str, scim_type: ScimType | None = None, headers: tuple[Field, ...] = ()
) -> Answer:
    document: Document = {"schemas": [ERROR_SCHEMA], "status": str(status), "detail": detail}
    if scim_type is not None:
        document["scimType"] = scim_type.value
    return Answer(status, document, headers)


def listed(resources: Sequence[Document], total: int, first: int) -> Answer:
    """Resources that were searched for (RFC 7644 section 3.4.2)."""
    document: Document = {
        "schemas": [LIST_SCHEMA],
        "totalResults": total,
        "startIndex": first + 1,
        "itemsPerPage": len(resources),
        "Resources": list(resources),
    }
    return Answer(200, document)


async def read_body(scope: Scope, receive: Receive) -> Document:
    """The JSON object that was sent.

    Raises:
        NoScim: it is called something else than JSON.
        ScimRefused: invalidSyntax: it is no JSON object.
    """
    said = [value for name, value in scope["headers"] if name == b"content-type"]
    media_type = said[0].split(b";")[0].strip().lower().decode("latin-1") if len(said) == 1 else ""
    if media_type not in _MEDIA_TYPES:
        raise NoScim(415, "Send the body with Content-Type: application/scim+json.")
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ScimRefused(ScimType.INVALID_SYNTAX, "The body ended too early.")
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    try:
        found: Document = msgspec.json.decode(bytes(body), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ScimRefused(ScimType.INVALID_SYNTAX, "The body is no JSON object.") from error
    return found


def selection_of(parameters: Mapping[str, str]) -> Selection:
    """The attributes that are wanted in the answer, as the URL says (RFC 7644 section 3.9)."""
    return Selection.of(_names(parameters.get("attributes")), _names(parameters.get("excludedAttributes")))


def query_of(parameters: Mapping[str, str], kinds: Sequence[Kind]) -> Query:
    """What is searched for, as the URL says.

    Raises:
        ScimRefused: a parameter makes no sense.
    """
    text = parameters.get("filter")
    return Query(
        parse_filter(text, kinds) if text else None,
        max(0, _number(parameters.get("startIndex"), 1, "startIndex") - 1),
        min(MOST_RESULTS, max(0, _number(parameters.get("count"), USUAL_RESULTS, "count"))),
        selection_of(parameters),
    )


def query_in(body: Document, kinds: Sequence[Kind]) -> Query:
    """What is searched for, as a body says (RFC 7644 section 3.4.3).

    Raises:
        ScimRefused: a member makes no sense.
    """
    require_schema(body, SEARCH_SCHEMA)
    parameters = {}
    for name in ("filter", "startIndex", "count", "attributes", "excludedAttributes"):
        value = body.get(name)
        if value is None:
            continue
        if name in {"attributes", "excludedAttributes"}:
            if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
                raise ScimRefused(ScimType.INVALID_VALUE, f"{name} is a list of names.")
            value = ",".join(value)
        elif isinstance(value, bool) or not isinstance(value, str if name == "filter" else int):
            raise ScimRefused(ScimType.INVALID_VALUE, f"{name} is of another type.")
        parameters[name] = str(value)
    return query_of(parameters, kinds)


def parameters_of(scope: Scope) -> dict[str, str]:
    """The parameters of the URL; of one that stands twice, nobody knows which is meant.

    Raises:
        ScimRefused: one stands twice, or is no UTF-8.
    """
    try:
        pairs = parse_qsl(
            scope.get("query_string", b"").decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=20,
        )
    except ValueError as error:
        raise ScimRefused(ScimType.INVALID_SYNTAX, "The query of the URL cannot be read.") from error
    if len({name for name, _ in pairs}) < len(pairs):
        raise ScimRefused(ScimType.INVALID_SYNTAX, "A parameter of the URL stands twice.")
    return dict(pairs)


def tags_in(scope: Scope, name: bytes) -> frozenset[str] | None:
    """The entity tags in a field (RFC 9110 section 13.1), weak ones too; None: no field, or any will do.

    Raises:
        ScimRefused: there are none.
    """
    said = b",".join(value for field, value in scope["headers"] if field == name).decode("latin-1")
    if not said.strip() or said.strip() == "*":
        return None
    found = [_TAG.fullmatch(one) for one in said.split(",")]
    if not all(found):
        raise ScimRefused(ScimType.INVALID_VALUE, f"{name.decode()} has no entity tag.")
    return frozenset(match[1] for match in found if match is not None)


def _names(said: str | None) -> list[str] | None:
    return None if said is None else [name.strip() for name in said.split(",") if name.strip()]


def _number(said: str | None, usual: int, name: str) -> int:
    if said is None or said == "":
        return usual
    if not re.fullmatch(r"-?[0-9]{1,9}", said):
        raise ScimRefused(ScimType.INVALID_VALUE, f"{name} is a whole number.")
    return int(said)
