"""A request for every operation of the administration API that changes something, which would be granted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgi.adminapi import create_custom

if TYPE_CHECKING:
    import httpx

ANYHOW = {"If-Match": "*"}
SOON = "2099-01-01T00:00:00Z"
RULE = {"method": "GET", "url": "/api/recordings/*"}
NEW = {"rules": [{"method": "GET", "url": "/api/new"}]}
# What is sent with a body, and changes nothing.
LOOKING = frozenset(f"/admin/v1/{path}" for path in ("keys:preview", "decisions:explain", "drift"))


@dataclass(frozen=True)
class Change:
    """One request; the path and the body may name what `things_to_change` made."""

    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, api: httpx.AsyncClient, ids: dict[str, str], **params: Any) -> httpx.Response:
        """Ask `api` for it."""
        return await api.request(
            self.method,
            self.path.format(**ids),
            json=_filled(self.body, ids),
            headers=self.headers,
            params=params,
        )


# By the path of the description, behind the method.
CHANGES = {
    "POST /keys": Change("POST", "/keys", {"type": "external", "description": "d"}),
    "PATCH /keys/{key_id}": Change("PATCH", "/keys/{key_id}", {"description": "new"}, ANYHOW),
    "DELETE /keys/{key_id}": Change("DELETE", "/keys/{key_id}"),
    "POST /keys/{key_id}:enable": Change("POST", "/keys/{disabled_id}:enable"),
    "POST /keys/{key_id}:disable": Change("POST", "/keys/{key_id}:disable"),
    "POST /keys/{key_id}:extend": Change("POST", "/keys/{key_id}:extend", {"expires_at": SOON}),
    "POST /keys/{key_id}:rotate": Change("POST", "/keys/{key_id}:rotate", {}),
    "POST /keys/{key_id}:duplicate": Change("POST", "/keys/{key_id}:duplicate", {"description": "d"}),
    "PUT /keys/{key_id}/rules": Change("PUT", "/keys/{key_id}/rules", NEW, ANYHOW),
    "POST /keys/{key_id}/rules:add": Change("POST", "/keys/{key_id}/rules:add", NEW),
    "POST /keys/{key_id}/rules:remove": Change(
        "POST", "/keys/{key_id}/rules:remove", {"rules": [RULE], "even_the_last": True}
    ),
    "POST /keys:bulk": Change("POST", "/keys:bulk", {"action": "delete", "ids": ["{key_id}"]}),
    "POST /keys:import": Change("POST", "/keys:import", {"keys": [{"type": "desktop", "description": "d"}]}),
    "PUT /policies": Change(
        "PUT", "/policies", {"endpoints": [], "roles": {"new": {"privileges": []}}, "groups": {}}, ANYHOW
    ),
    "POST /users": Change("POST", "/users", {"id": "new", "name": "New"}),
    "POST /users:import": Change("POST", "/users:import", {"users": [{"id": "new", "name": "New"}]}),
    "PATCH /users/{user_id}": Change("PATCH", "/users/{user_id}", {"name": "Else"}, ANYHOW),
    "DELETE /users/{user_id}": Change("DELETE", "/users/{user_id}"),
    "POST /users/{user_id}:activate": Change("POST", "/users/{inactive_id}:activate"),
    "POST /users/{user_id}:deactivate": Change("POST", "/users/{user_id}:deactivate"),
    "POST /users/{user_id}/roles:add": Change(
        "POST", "/users/{inactive_id}/roles:add", {"roles": ["{role}"]}
    ),
    "POST /users/{user_id}/roles:remove": Change(
        "POST", "/users/{user_id}/roles:remove", {"roles": ["{role}"]}
    ),
    "POST /groups": Change("POST", "/groups", {"id": "new"}),
    "PATCH /groups/{group_id}": Change("PATCH", "/groups/{group_id}", {"name": "Else"}, ANYHOW),
    "DELETE /groups/{group_id}": Change("DELETE", "/groups/{group_id}"),
    "POST /groups/{group_id}/members": Change("POST", "/groups/{group_id}/members", {"add": ["{user_id}"]}),
    "PUT /flags/scoped-api": Change("PUT", "/flags/scoped-api", {"on": False}),
    "POST /tenants": Change("POST", "/tenants", {"id": "new"}),
    "PATCH /tenants/{tenant_id}": Change("PATCH", "/tenants/default", {"name": "New"}),
    "PATCH /tenants/{tenant_id}/settings": Change("PATCH", "/tenants/default/settings", {"key_limit": 10}),
    "POST /administrators": Change(
        "POST", "/administrators", {"name": "N", "email": "new@example.com", "role": "auditor"}
    ),
    "PATCH /administrators/{administrator_id}": Change(
        "PATCH", "/administrators/{administrator_id}", {"name": "New"}
    ),
    "DELETE /administrators/{administrator_id}": Change("DELETE", "/administrators/{administrator_id}"),
    "POST /tokens": Change("POST", "/tokens", {"description": "d", "administrator": "{administrator_id}"}),
    "DELETE /tokens/{token_id}": Change("DELETE", "/tokens/{token_id}"),
}


async def things_to_change(api: httpx.AsyncClient) -> dict[str, str]:
    """The ids of all that `CHANGES` are about: two of the keys and of the users, one of each switched off."""
    key, disabled = [await create_custom(api, RULE["url"]) for _ in range(2)]
    (await api.post(f"/keys/{disabled['id']}:disable")).raise_for_status()
    made = await api.post(
        "/administrators", json={"name": "Max", "email": "max@example.com", "role": "key_administrator"}
    )
    token = await api.post("/tokens", json={"description": "d", "administrator": made.json()["id"]})
    roles = {"endpoints": [], "roles": {"agent": {"privileges": []}}, "groups": {}}
    (await api.put("/policies", json=roles, headers=ANYHOW)).raise_for_status()
    (await api.post("/groups", json={"id": "it"})).raise_for_status()
    for user in ({"id": "kim", "roles": ["agent"]}, {"id": "lou", "active": False}):
        (await api.post("/users", json={"name": "N", **user})).raise_for_status()
    return {
        "user_id": "kim",
        "inactive_id": "lou",
        "group_id": "it",
        "role": "agent",
        "key_id": key["id"],
        "disabled_id": disabled["id"],
        "administrator_id": made.json()["id"],
        "token_id": token.json()["id"],
    }


def _filled(body: Any, ids: dict[str, str]) -> Any:
    match body:
        case str():
            return body.format(**ids)
        case list():
            return [_filled(one, ids) for one in body]
        case dict():
            return {name: _filled(one, ids) for name, one in body.items()}
        case _:
            return body
