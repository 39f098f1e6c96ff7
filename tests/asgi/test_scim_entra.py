"""SCIM as Microsoft Entra ID speaks it.

The requests have the shapes of "Develop and plan provisioning for a SCIM endpoint in Microsoft Entra ID"
(https://learn.microsoft.com/entra/identity/app-provisioning/use-scim-to-provision-users-and-groups) and of
"Known issues with SCIM 2.0 protocol compliance"
(https://learn.microsoft.com/entra/identity/app-provisioning/application-provisioning-config-problem-scim-compatibility).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import POLICIES
from asgi.scim import ids, members, patch, show

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
USER: dict[str, Any] = {
    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE],
    "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef",
    "userName": "ana@contoso.example",
    "active": True,
    "emails": [{"primary": True, "type": "work", "value": "ana@contoso.example"}],
    "meta": {"resourceType": "User"},
    "name": {"formatted": "Ana Berg", "familyName": "Berg", "givenName": "Ana"},
    "roles": [],
}
GROUP = {
    "schemas": [
        "urn:ietf:params:scim:schemas:core:2.0:Group",
        "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group",
    ],
    "externalId": "8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159",
    "displayName": "Quality",
    "meta": {"resourceType": "Group"},
}


@pytest.fixture
async def entra(plane: ControlPlane) -> httpx.AsyncClient:
    await plane.fill(POLICIES, [])
    return await plane.provisioner()


@pytest.fixture
async def ana(entra: httpx.AsyncClient) -> dict[str, Any]:
    made = await entra.post("/Users", json=USER)
    assert made.status_code == 201, made.text
    user: dict[str, Any] = made.json()
    return user


async def test_the_connection_is_tested_by_asking_for_nobody(entra: httpx.AsyncClient) -> None:
    found = await show(entra, "/Users", filter='userName eq "5171a35d-82074e068ce2"')
    assert (found["totalResults"], found["Resources"]) == (0, [])
    assert await ids(entra, "/Groups", 'displayName eq "x"', excludedAttributes="members") == []


async def test_a_user_is_created_and_found(entra: httpx.AsyncClient, ana: dict[str, Any]) -> None:
    assert (ana["displayName"], ana["active"]) == ("Ana Berg", True)
    assert ana["emails"][0] == {"type": "work", "value": "ana@contoso.example"}
    for condition in (
        'userName eq "Ana@Contoso.example"',
        'externalId eq "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef"',
        'emails[type eq "work"].value eq "ana@contoso.example"',
    ):
        assert await ids(entra, "/Users", condition) == [ana["id"]]


async def test_attributes_are_updated(entra: httpx.AsyncClient, ana: dict[str, Any]) -> None:
    answer = await patch(
        entra,
        f"/Users/{ana['id']}",
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "new@contoso.example"},
        {"op": "Replace", "path": "name.familyName", "value": "Dahl"},
        {"op": "Add", "path": "name.formatted", "value": "Ana Dahl"},
        {"op": "Replace", "path": "userName", "value": "ana.dahl@contoso.example"},
        {"op": "Add", "path": f"{ENTERPRISE}:organization", "value": "Sales"},
        {"op": "Add", "path": f"{ENTERPRISE}:department", "value": "R&D"},
        {"op": "Add", "path": f"{ENTERPRISE}:manager", "value": "8b1f"},
        {"op": "Add", "path": "title", "value": "Engineer"},
        {"op": "Add", "path": 'phoneNumbers[type eq "mobile"].value', "value": "+43 1"},
        {"op": "Add", "path": 'addresses[type eq "work"].formatted', "value": "Street 1"},
        {"op": "Add", "path": 'roles[primary eq "True"].value', "value": "recorder"},
    )
    assert answer.status_code == 200, answer.text
    user = answer.json()
    assert user["emails"] == [{"value": "new@contoso.example", "type": "work"}]
    assert user["name"] == {"formatted": "Ana Dahl", "familyName": "Dahl", "givenName": "Ana"}
    assert (user["userName"], user["displayName"]) == ("ana.dahl@contoso.example", "Ana Dahl")
    assert user[ENTERPRISE] == {"organization": "Sales"}
    assert user["roles"] == [{"value": "recorder"}]
    assert user["id"] == ana["id"]


async def test_attributes_are_updated_without_paths(entra: httpx.AsyncClient, ana: dict[str, Any]) -> None:
    answer = await patch(
        entra,
        f"/Users/{ana['id']}",
        {
            "op": "Add",
            "value": {
                "displayName": "A. Berg",
                "name.givenName": "A.",
                'emails[type eq "work"].value': "a@contoso.example",
                f"{ENTERPRISE}:organization": "Sales",
            },
        },
    )
    assert answer.status_code == 200, answer.text
    user = answer.json()
    assert (user["displayName"], user["name"]["givenName"]) == ("A. Berg", "A.")
    assert (user["emails"][0]["value"], user[ENTERPRISE]["organization"]) == ("a@contoso.example", "Sales")


async def test_the_one_role_of_a_user_takes_the_place_of_the_one_before(
    entra: httpx.AsyncClient, ana: dict[str, Any]
) -> None:
    path = 'roles[primary eq "True"].value'
    for op, role in (("Add", "administrator"), ("Replace", "agent")):
        answer = await patch(entra, f"/Users/{ana['id']}", {"op": op, "path": path, "value": role})
        assert answer.json()["roles"] == [{"value": role}]
    answer = await patch(entra, f"/Users/{ana['id']}", {"op": "Remove", "path": path})
    assert "roles" not in answer.json()


@pytest.mark.parametrize("no", [False, "False", "false"])
@pytest.mark.parametrize("without_path", [False, True])
async def test_a_user_is_disabled_and_enabled(
    entra: httpx.AsyncClient, ana: dict[str, Any], no: object, *, without_path: bool
) -> None:
    for value, active in ((no, False), ("True", True)):
        body = {"value": {"active": value}} if without_path else {"path": "active", "value": value}
        answer = await patch(entra, f"/Users/{ana['id']}", {"op": "Replace", **body})
        assert (answer.status_code, answer.json()["active"]) == (200, active)


async def test_an_address_that_was_not_there_is_added_by_replacing_it(entra: httpx.AsyncClient) -> None:
    without = {name: value for name, value in USER.items() if name != "emails"}
    made = (await entra.post("/Users", json=without)).json()
    assert "emails" not in made
    value = {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "a@contoso.example"}
    answer = await patch(entra, f"/Users/{made['id']}", value)
    assert answer.json()["emails"] == [{"value": "a@contoso.example", "type": "work"}]


async def test_a_group_comes_gets_and_loses_members_and_goes(
    entra: httpx.AsyncClient, ana: dict[str, Any]
) -> None:
    made = await entra.post("/Groups", json=GROUP)
    assert made.status_code == 201
    path = f"/Groups/{made.json()['id']}"
    assert path == "/Groups/quality"
    assert await ids(entra, "/Groups", 'displayName eq "Quality"', excludedAttributes="members") == [
        "quality"
    ]
    assert "members" not in await show(entra, path, excludedAttributes="members")

    named = [{"$ref": None, "value": ana["id"]}]
    added = await patch(entra, path, {"op": "Add", "path": "members", "value": named})
    assert (added.status_code, added.content) == (204, b"")
    assert await members(entra, "quality") == [ana["id"]]
    asked = f'id eq "quality" and members eq "{ana["id"]}"'
    assert await ids(entra, "/Groups", asked, excludedAttributes="members") == ["quality"]

    removed = await patch(entra, path, {"op": "Remove", "path": "members", "value": named})
    assert (removed.status_code, removed.content) == (204, b"")
    assert await members(entra, "quality") == []
    assert await ids(entra, "/Groups", asked, excludedAttributes="members") == []

    # With the flag aadOptscim062020 it keeps to the letter of the RFC.
    await patch(entra, path, {"op": "add", "path": "members", "value": [{"value": ana["id"]}]})
    await patch(entra, path, {"op": "remove", "path": f'members[value eq "{ana["id"]}"]'})
    assert await members(entra, "quality") == []

    renamed = await patch(entra, path, {"op": "Replace", "path": "displayName", "value": "Quality 2"})
    assert renamed.status_code == 204
    assert (await show(entra, path))["displayName"] == "Quality 2"
    assert (await entra.delete(path)).status_code == 204


async def test_a_user_who_is_deleted_there_is_deleted_here(
    entra: httpx.AsyncClient, ana: dict[str, Any]
) -> None:
    assert (await entra.delete(f"/Users/{ana['id']}")).status_code == 204
    assert (await entra.get(f"/Users/{ana['id']}")).status_code == 404
