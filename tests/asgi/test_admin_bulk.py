"""Many keys in one request: each has its own outcome; what is exported can be imported."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from asgi.adminapi import create, create_custom, refusal

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane


async def test_one_key_that_fails_stands_in_no_others_way(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    keys = [await create(api, description=str(number)) for number in range(3)]
    desktop = await create(api, type="desktop")
    gone = "000000000000"
    ids = [keys[0]["id"], desktop["id"], gone, keys[1]["id"]]
    expires_at = plane.clock.after(timedelta(days=30))
    answer = await api.post("/keys:bulk", json={"action": "extend", "ids": ids, "expires_at": expires_at})
    said = answer.json()
    assert (answer.status_code, said["succeeded"], said["failed"]) == (200, 2, 2)
    assert [one["id"] for one in said["items"]] == ids
    assert [one["ok"] for one in said["items"]] == [True, False, False, True]
    refused, missing = said["items"][1]["problem"], said["items"][2]["problem"]
    assert (refused["code"], refused["status"]) == ("expiry_not_allowed_for_desktop", 422)
    assert refused["errors"][0]["pointer"] == "/expires_at"
    assert (missing["code"], missing["status"]) == ("not_found", 404)
    shown = {one["id"]: one["expires_at"] for one in (await api.get("/keys")).json()["items"]}
    assert shown == {
        keys[0]["id"]: expires_at,
        keys[1]["id"]: expires_at,
        keys[2]["id"]: None,
        desktop["id"]: None,
    }


async def test_keys_are_disabled_enabled_and_deleted(api: httpx.AsyncClient) -> None:
    ids = [(await create(api))["id"] for _ in range(3)]

    async def states(action: str) -> list[Any]:
        said = (await api.post("/keys:bulk", json={"action": action, "ids": ids})).json()
        assert said["failed"] == 0
        return [one["key"] and one["key"]["state"] for one in said["items"]]

    assert await states("disable") == ["disabled"] * 3
    assert await states("enable") == ["active"] * 3
    assert await states("delete") == [None] * 3
    assert (await api.get("/quota")).json()["used"] == 0


async def test_an_id_that_is_repeated_counts_once(api: httpx.AsyncClient) -> None:
    key = await create(api)
    said = (await api.post("/keys:bulk", json={"action": "delete", "ids": [key["id"]] * 3})).json()
    assert (said["succeeded"], said["failed"], len(said["items"])) == (1, 0, 1)


async def test_each_change_has_an_entry_with_its_reason(api: httpx.AsyncClient) -> None:
    ids = [(await create(api))["id"] for _ in range(3)]
    body = {"action": "disable", "ids": ids}
    await api.post("/keys:bulk", json=body, headers={"X-Scopegate-Reason": "Leaked"})
    entries = (await api.get("/audit", params={"limit": 3})).json()["items"]
    assert [one["target"]["id"] for one in reversed(entries)] == ids
    assert {(one["action"], one["reason"]) for one in entries} == {("key.disable", "Leaked")}


async def test_a_request_with_none_or_too_many_is_refused(api: httpx.AsyncClient) -> None:
    for ids in ([], ["000000000000"] * 1_001):
        assert refusal(await api.post("/keys:bulk", json={"action": "delete", "ids": ids}))[0] == 422
    assert refusal(await api.post("/keys:bulk", json={"action": "burn", "ids": ["x"]})) == (422, "invalid")


async def test_what_is_exported_can_be_imported_elsewhere(api: httpx.AsyncClient) -> None:
    await create(api, type="desktop", description="Desktop")
    await create(api, description="External", expires_at="2099-01-01T00:00:00Z")
    custom = await create_custom(api, "/api/recordings/*", description="Custom")
    await api.post(f"/keys/{custom['id']}:disable")
    exported = (await api.get("/keys:export")).json()
    assert len(exported["keys"]) == 3
    for key in exported["keys"]:
        assert not {"secret", "digest"} & key.keys()
    await api.post("/tenants", json={"id": "acme"})
    there = {"tenant": "acme"}
    await api.put("/flags/scoped-api", json={"on": True}, params=there)
    said = (await api.post("/keys:import", json=exported, params=there)).json()
    assert (said["succeeded"], said["failed"]) == (3, 0)
    assert [one["row"] for one in said["items"]] == [1, 2, 3]
    assert len({one["key"]["secret"] for one in said["items"]}) == 3
    again = (await api.get("/keys:export", params=there)).json()

    def facts(keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
        told = [{name: key[name] for name in key.keys() - {"id", "created_at"}} for key in keys]
        return sorted(told, key=lambda one: str(one["description"]))

    assert facts(again["keys"]) == facts(exported["keys"])
    assert {one["id"] for one in again["keys"]}.isdisjoint(one["id"] for one in exported["keys"])
    assert refusal(await api.post("/keys:import", json={**exported, "more": 1})) == (422, "unknown")


async def test_documents_that_are_wrong_are_told_by_their_row(api: httpx.AsyncClient) -> None:
    documents = [
        {"type": "external", "description": "d"},
        {"type": "external", "description": "d", "scopes": []},
        {"type": "external", "description": "d", "expires_at": "2099-01-01"},
        {"type": "custom", "description": "d", "rules": [{"method": "GET", "url": "/x"}]},
        {"description": "d"},
    ]
    said = (await api.post("/keys:import", json={"keys": documents})).json()
    assert (said["succeeded"], said["failed"]) == (1, 4)
    assert [one["row"] for one in said["items"]] == [1, 2, 3, 4, 5]
    codes = [one["problem"]["code"] for one in said["items"][1:]]
    assert codes == ["document_invalid", "document_invalid", "feature_disabled", "document_invalid"]
    assert said["items"][1]["problem"]["errors"][0]["pointer"] == "/scopes"
    assert said["items"][3]["problem"]["status"] == 403
