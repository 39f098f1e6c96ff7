"""SCIM as Keycloak's extensions for it speak it, which create and put, and rarely patch.

The requests have the shapes that the event listener "keycloak-scim" sends, by its ``UserAdapter`` and
``GroupAdapter`` (https://github.com/mitodl/keycloak-scim, from https://lab.libreho.st/libre.sh/scim/keycloak-scim).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import POLICIES
from asgi.scim import members, show

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

USER: dict[str, Any] = {
    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
    "externalId": "f81d4fae-7dec-41d0-a765-00a0c91e6bf6",
    "userName": "ana",
    "displayName": "Ana Berg",
    "emails": [{"value": "ana@keycloak.example", "primary": True}],
    "active": True,
    "roles": [{"value": "recorder"}],
}
GROUP: dict[str, Any] = {
    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
    "externalId": "0b7e1a52-3f5c-4d7e-9c3e-2b8a9d1f6a11",
    "displayName": "Quality",
}


@pytest.fixture
async def keycloak(plane: ControlPlane) -> httpx.AsyncClient:
    await plane.fill(POLICIES, [])
    return await plane.provisioner()


async def test_a_user_is_created_put_and_deleted(keycloak: httpx.AsyncClient) -> None:
    made = (await keycloak.post("/Users", json=USER)).json()
    assert made["id"] == "ana"
    assert made["emails"] == [{"value": "ana@keycloak.example", "type": "work"}]
    assert made["roles"] == [{"value": "recorder"}]
    put = {**USER, "id": "ana", "active": False, "roles": [], "meta": {"location": "Users/ana"}}
    answer = await keycloak.put("/Users/ana", json=put)
    assert answer.status_code == 200
    assert (answer.json()["active"], "roles" in answer.json()) == (False, False)
    assert (await keycloak.delete("/Users/ana")).status_code == 204


async def test_a_put_without_an_address_removes_it(keycloak: httpx.AsyncClient) -> None:
    await keycloak.post("/Users", json=USER)
    answer = await keycloak.put("/Users/ana", json={**USER, "emails": []})
    assert "emails" not in answer.json()


async def test_a_group_is_created_and_put_with_all_of_its_members(keycloak: httpx.AsyncClient) -> None:
    for name in ("ana", "bo"):
        await keycloak.post("/Users", json={**USER, "userName": name, "externalId": name})
    made = (await keycloak.post("/Groups", json=GROUP)).json()
    assert made["id"] == "quality"
    both = [{"value": name, "$ref": f"Users/{name}"} for name in ("ana", "bo")]
    put = {**GROUP, "id": "quality", "meta": {"location": "Groups/quality"}}
    assert (await keycloak.put("/Groups/quality", json={**put, "members": both})).status_code == 200
    assert await members(keycloak, "quality") == ["ana", "bo"]
    assert (await keycloak.put("/Groups/quality", json={**put, "members": both[1:]})).status_code == 200
    assert await members(keycloak, "quality") == ["bo"]
    # The last member has left: it names none then.
    assert (await keycloak.put("/Groups/quality", json=put)).status_code == 200
    assert await members(keycloak, "quality") == []


async def test_a_synchronisation_reads_everything(keycloak: httpx.AsyncClient) -> None:
    await keycloak.post("/Users", json=USER)
    await keycloak.post("/Groups", json=GROUP)
    [user] = (await show(keycloak, "/Users"))["Resources"]
    [group] = (await show(keycloak, "/Groups"))["Resources"]
    assert (user["externalId"], group["externalId"]) == (USER["externalId"], GROUP["externalId"])
