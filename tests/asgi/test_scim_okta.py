"""SCIM as Okta speaks it.

The requests have the shapes of "Okta and SCIM Version 2.0"
(https://developer.okta.com/docs/api/openapi/okta-scim/guides/scim-20).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import POLICIES
from asgi.scim import members, patch, show

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
USER: dict[str, Any] = {
    "schemas": [SCHEMA],
    "userName": "test.user@okta.local",
    "name": {"givenName": "Test", "familyName": "User"},
    "emails": [{"primary": True, "value": "test.user@okta.local", "type": "work"}],
    "displayName": "Test User",
    "locale": "en-US",
    "externalId": "00ujl29u0le5T6Aj10h7",
    "groups": [],
    "password": "1mz050nq",
    "active": True,
}


@pytest.fixture
async def okta(plane: ControlPlane) -> httpx.AsyncClient:
    await plane.fill(POLICIES, [])
    return await plane.provisioner()


@pytest.fixture
async def person(okta: httpx.AsyncClient) -> dict[str, Any]:
    made = await okta.post("/Users", json=USER)
    assert made.status_code == 201, made.text
    user: dict[str, Any] = made.json()
    return user


async def test_a_user_is_looked_for_and_then_created(okta: httpx.AsyncClient) -> None:
    params: dict[str, Any] = {"filter": 'userName eq "test.user@okta.local"', "startIndex": 1, "count": 100}
    found = await show(okta, "/Users", **params)
    assert (found["totalResults"], found["startIndex"], found["itemsPerPage"]) == (0, 1, 0)
    assert found["Resources"] == []
    made = (await okta.post("/Users", json=USER)).json()
    assert (await show(okta, "/Users", **params))["Resources"] == [made]
    assert (made["name"], made["displayName"]) == (
        {"formatted": "Test User", "givenName": "Test", "familyName": "User"},
        "Test User",
    )
    assert "password" not in made
    assert (await show(okta, "/Users", startIndex=1, count=2))["totalResults"] == 1


async def test_a_user_is_read_and_put_back_with_what_is_new(
    okta: httpx.AsyncClient, person: dict[str, Any]
) -> None:
    read = await show(okta, f"/Users/{person['id']}")
    read["name"]["familyName"] = "Renamed"
    read["displayName"] = "Test Renamed"
    read["emails"][0]["value"] = "renamed@okta.local"
    answer = await okta.put(f"/Users/{person['id']}", json=read)
    assert answer.status_code == 200
    assert await show(okta, f"/Users/{person['id']}") == answer.json()
    assert answer.json() == {
        **read,
        "name": {"formatted": "Test Renamed", "givenName": "Test", "familyName": "Renamed"},
        "meta": {**read["meta"], "version": answer.headers["etag"]},
    }


async def test_a_user_is_deactivated_and_reactivated(okta: httpx.AsyncClient, person: dict[str, Any]) -> None:
    for active in (False, True):
        answer = await patch(okta, f"/Users/{person['id']}", {"op": "replace", "value": {"active": active}})
        assert (answer.status_code, answer.json()["active"]) == (200, active)


async def test_a_user_is_deactivated_by_being_put(okta: httpx.AsyncClient, person: dict[str, Any]) -> None:
    answer = await okta.put(f"/Users/{person['id']}", json={**person, "active": False})
    assert answer.json()["active"] is False


async def test_a_group_is_pushed(okta: httpx.AsyncClient, person: dict[str, Any]) -> None:
    group = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
        "displayName": "Quality",
        "members": [],
    }
    made = await okta.post("/Groups", json=group)
    assert (made.status_code, made.json()["id"]) == (201, "quality")
    member = {"value": person["id"], "display": "test.user@okta.local"}
    renamed = {"op": "replace", "value": {"id": "quality", "displayName": "Quality Team"}}
    assert (await patch(okta, "/Groups/quality", renamed)).status_code == 204
    assert (await show(okta, "/Groups/quality"))["displayName"] == "Quality Team"

    await patch(okta, "/Groups/quality", {"op": "add", "path": "members", "value": [member]})
    assert await members(okta, "quality") == [person["id"]]
    await patch(okta, "/Groups/quality", {"op": "remove", "path": f'members[value eq "{person["id"]}"]'})
    assert await members(okta, "quality") == []
    await patch(okta, "/Groups/quality", {"op": "replace", "path": "members", "value": [member]})
    assert await members(okta, "quality") == [person["id"]]

    put = await okta.put("/Groups/quality", json={**group, "id": "quality", "members": [member]})
    assert (put.status_code, put.json()["displayName"]) == (200, "Quality")
    assert await members(okta, "quality") == [person["id"]]
    assert (await show(okta, "/Groups", startIndex=1, count=100))["totalResults"] == 1
    assert (await okta.delete("/Groups/quality")).status_code == 204
