"""What is sent to ``/scim/v2``, and what comes back, for the tests of what it promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scopegate.core.scim.attributes import GROUP_SCHEMA, USER_SCHEMA
from scopegate.core.scim.patching import PATCH_SCHEMA

if TYPE_CHECKING:
    import httpx

TYPE = "application/scim+json"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


async def add_user(scim: httpx.AsyncClient, user_name: str, **attributes: Any) -> dict[str, Any]:
    """A new user."""
    answer = await scim.post("/Users", json={"schemas": [USER_SCHEMA], "userName": user_name, **attributes})
    assert answer.status_code == 201, answer.text
    user: dict[str, Any] = answer.json()
    return user


async def add_group(scim: httpx.AsyncClient, name: str, *members: str, **attributes: Any) -> dict[str, Any]:
    """A new group of these users."""
    body = {"schemas": [GROUP_SCHEMA], "displayName": name, **attributes}
    if members:
        body["members"] = [{"value": member} for member in members]
    answer = await scim.post("/Groups", json=body)
    assert answer.status_code == 201, answer.text
    group: dict[str, Any] = answer.json()
    return group


async def patch(scim: httpx.AsyncClient, path: str, *operations: Any, **headers: str) -> httpx.Response:
    """Ask for these operations on the resource at `path`."""
    body = {"schemas": [PATCH_SCHEMA], "Operations": list(operations)}
    return await scim.patch(
        path, json=body, headers={name.replace("_", "-"): one for name, one in headers.items()}
    )


async def show(scim: httpx.AsyncClient, path: str, **params: Any) -> dict[str, Any]:
    """The resource at `path`."""
    answer = await scim.get(path, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == TYPE
    found: dict[str, Any] = answer.json()
    return found


async def ids(scim: httpx.AsyncClient, path: str, condition: str | None = None, **params: Any) -> list[str]:
    """The ids of those at `path` that a filter admits."""
    if condition is not None:
        params["filter"] = condition
    found = await show(scim, path, **params)
    shown = [one["id"] for one in found.get("Resources", ())]
    assert found["itemsPerPage"] == len(shown)
    return shown


async def members(scim: httpx.AsyncClient, group_id: str) -> list[str]:
    """The ids of the members of a group."""
    return [one["value"] for one in (await show(scim, f"/Groups/{group_id}")).get("members", ())]


def refusal(answer: httpx.Response) -> tuple[int, str | None]:
    """The status and the kind of a refusal, which has the form of one (RFC 7644 section 3.12)."""
    assert answer.headers["content-type"] == TYPE, answer.text
    said = answer.json()
    assert said["schemas"] == [ERROR]
    assert said["status"] == str(answer.status_code)
    assert said["detail"]
    return answer.status_code, said.get("scimType")
