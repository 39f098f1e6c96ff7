"""The routes below ``/scim/v2`` (RFC 7644 section 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from scopegate.admin.scim.discovery import DESCRIPTIONS, Discovery
from scopegate.admin.scim.groups import Groups
from scopegate.admin.scim.messages import (
    Answer,
    NoScim,
    listed,
    nothing_here,
    parameters_of,
    query_in,
    read_body,
)
from scopegate.admin.scim.people import People
from scopegate.core.administrators import Permission, Role
from scopegate.core.errors import Forbidden
from scopegate.core.scim.attributes import KINDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scopegate.admin.scim.messages import Query
    from scopegate.admin.scim.resources import Resources
    from scopegate.admin.visit import Visit
    from scopegate.asgi import Receive, Scope, Send
    from scopegate.commands import Commands
    from scopegate.core.administrators import Caller

PREFIX = "/scim/v2"
_SEARCH = ".search"


class ScimApi:
    """An ASGI application: the resources of the tenant of whoever `identify` knows.

    Args:
        identify: tells who sends a request, or raises.
        public_url: where identity providers reach the control plane, without a slash at the end.
    """

    def __init__(self, identify: Callable[[Scope], Awaitable[Visit]], public_url: str) -> None:
        self._identify = identify
        self._base = public_url + PREFIX

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ``http`` scope."""
        visit = await self._identify(scope)
        commands = await visit.commands(Permission.PROVISION, _tenant_of(visit.caller))
        answer = await self._answer(commands, scope, receive)
        fields, body = answer.encoded()
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, commands: Commands, scope: Scope, receive: Receive) -> Answer:
        method: str = scope["method"]
        people, groups = People(commands, self._base), Groups(commands, self._base)
        places: dict[str, Resources] = {"Users": people, "Groups": groups}
        match segments(scope):
            case [place, *rest] if place in places:
                return await _on(places[place], rest, scope, receive)
            case [place, *rest] if place in DESCRIPTIONS:
                _require_method(method, "GET")
                return await Discovery(commands, self._base).show(place, rest, parameters_of(scope))
            case [place] if place == _SEARCH:
                _require_method(method, "POST")
                query = query_in(await read_body(scope, receive), KINDS)
                return await _searched_all(people, groups, query)
        raise nothing_here()


async def _on(place: Resources, rest: list[str], scope: Scope, receive: Receive) -> Answer:
    method: str = scope["method"]
    match rest:
        case []:
            _require_method(method, "GET", "POST")
            parameters = parameters_of(scope)
            if method == "GET":
                return await place.find(parameters)
            return await place.create(await read_body(scope, receive), parameters)
        case [name] if name == _SEARCH:
            _require_method(method, "POST")
            return await place.search(await read_body(scope, receive))
        case [resource_id]:
            _require_method(method, "GET", "PUT", "PATCH", "DELETE")
            return await _on_one(place, resource_id, scope, receive)
    raise nothing_here()


async def _on_one(place: Resources, resource_id: str, scope: Scope, receive: Receive) -> Answer:
    parameters = parameters_of(scope)
    match scope["method"]:
        case "GET":
            return await place.show(resource_id, parameters, scope)
        case "DELETE":
            return await place.delete(resource_id, scope)
        case "PUT":
            return await place.replace(resource_id, await read_body(scope, receive), parameters, scope)
        case _:
            return await place.patch(resource_id, await read_body(scope, receive), parameters, scope)


async def _searched_all(people: People, groups: Groups, query: Query) -> Answer:
    """Resources of all types: the people, then the groups."""
    total, shown = await people.found(query.condition, query.first, query.most, query.selection)
    others, rest = await groups.found(
        query.condition, max(0, query.first - total), query.most - len(shown), query.selection
    )
    return listed([*shown, *rest], total + others, query.first)


def segments(scope: Scope) -> list[str]:
    """The parts of the path below the prefix, each decoded for itself: an id may have a slash."""
    raw: bytes | None = scope.get("raw_path")
    path = scope["path"].encode() if not raw else raw.split(b"?")[0]
    parts = [unquote_to_bytes(part) if raw else part for part in path.split(b"/")]
    try:
        found = [part.decode() for part in parts[3:]]
    except UnicodeDecodeError:
        raise nothing_here() from None
    return found[:-1] if found and not found[-1] else found


def _tenant_of(caller: Caller) -> str:
    """The one tenant whose people `caller` may keep.

    Raises:
        Forbidden: there is none, or nobody can tell which is meant.
    """
    if Permission.PROVISION in caller.permissions and caller.tenants is not None and len(caller.tenants) == 1:
        return next(iter(caller.tenants))
    raise Forbidden(
        f"A token of a {caller.role} does not say which tenant's people it is about.",
        hint=f"Send a token of an administrator with the role {Role.PROVISIONER}.",
    )


def _require_method(method: str, *allowed: str) -> None:
    if method not in allowed:
        allow: tuple[tuple[bytes, bytes], ...] = ((b"allow", ", ".join(allowed).encode("ascii")),)
        raise NoScim(405, f"Use {' or '.join(allowed)} here.", allow)
