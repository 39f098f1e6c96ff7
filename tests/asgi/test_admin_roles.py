"""What each role may do over the API, and what others are told of tenants that are not theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import create, kept, refusal
from asgi.adminchanges import CHANGES, LOOKING, Change, things_to_change
from scopegate.admin.gatekeeper import PUBLIC

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

# What a key administrator of all tenants may change.
OF_KEYS = {
    name
    for name in CHANGES
    if " /keys" in name or name in {"PUT /policies", "PATCH /tenants/{tenant_id}/settings"}
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_an_auditor_changes_nothing(
    store_url: str, plane: ControlPlane, api: httpx.AsyncClient, change: Change
) -> None:
    ids = await things_to_change(api)
    auditor = await plane.signed_in("auditor")
    assert (await auditor.get("/keys")).status_code == 200  # so that the use of the token is noted
    before = await kept(store_url)
    for params in ({}, {"dry_run": "true"}):
        assert refusal(await change.send(auditor, ids, **params)) in {(403, "forbidden"), (404, "not_found")}
    assert await kept(store_url) == before


async def test_an_auditor_reads_everything(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    ids = {**await things_to_change(api), "tenant_id": "default", "user_id": "nobody"}
    auditor = await plane.signed_in("auditor")
    described: dict[str, Any] = (await api.get("/openapi.json")).json()["paths"]
    asked = [path for path, operations in described.items() if "get" in operations]
    assert len(asked) > 15
    for path in asked:
        asking = {"method": "GET", "url": "/x"} if path.endswith("/access") else {}
        answer = await auditor.get(path.removeprefix("/admin/v1").format(**ids), params=asking)
        assert answer.status_code == (404 if "user_id" in path else 200), path
    for path, body in (
        ("/keys:preview", {"type": "external"}),
        ("/decisions:explain", {"key_id": ids["key_id"], "method": "GET", "url": "/x"}),
        ("/drift", {"operations": [{"method": "GET", "url": "/x"}]}),
    ):
        assert f"/admin/v1{path}" in LOOKING
        assert (await auditor.post(path, json=body)).status_code == 200


@pytest.mark.parametrize(("name", "change"), CHANGES.items(), ids=CHANGES.keys())
async def test_a_key_administrator_changes_keys_and_settings_alone(
    plane: ControlPlane, api: httpx.AsyncClient, name: str, change: Change
) -> None:
    ids = await things_to_change(api)
    eva = await plane.signed_in("key_administrator")
    answer = await change.send(eva, ids)
    if name in OF_KEYS:
        assert answer.is_success, answer.text
    else:
        assert refusal(answer) in {(403, "forbidden"), (404, "not_found")}


async def test_limits_are_set_by_system_administrators_alone(plane: ControlPlane) -> None:
    eva = await plane.signed_in("key_administrator", email="eva@example.com")
    tom = await plane.signed_in("system_administrator", email="tom@example.com")
    url = "/tenants/default/settings"
    for limits in ({"key_limit_max": 400}, {"rule_methods": ["GET", "DELETE"]}):
        assert refusal(await eva.patch(url, json=limits)) == (403, "forbidden")
    assert refusal(await eva.patch(url, json={"key_limit": 301})) == (422, "key_limit_too_high")
    assert (await eva.get(url)).json()["key_limit_max"] == 300
    assert (await tom.patch(url, json={"key_limit_max": 400})).json()["key_limit_max"] == 400
    assert (await eva.patch(url, json={"key_limit": 301})).json()["key_limit"] == 301
    # To say what is so already changes no limit.
    assert (await eva.patch(url, json={"key_limit_max": 400})).status_code == 200


async def test_tenants_of_others_do_not_exist(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    for tenant in ("acme", "globex"):
        await api.post("/tenants", json={"id": tenant})
    key = (
        await api.post("/keys", json={"type": "external", "description": "d"}, params={"tenant": "globex"})
    ).json()
    eva = await plane.signed_in("key_administrator", ["acme"])
    assert [one["id"] for one in (await eva.get("/tenants")).json()["items"]] == ["acme"]
    for tenant in ("globex", "default", "nowhere"):
        params = {"tenant": tenant}
        answers = [
            await eva.get("/keys", params=params),
            await eva.get(f"/keys/{key['id']}", params=params),
            await eva.delete(f"/keys/{key['id']}", params=params),
            await eva.post("/keys", json={"type": "external", "description": "d"}, params=params),
            await eva.get("/users", params=params),
            await eva.get("/audit", params=params),
            await eva.get("/quota", params=params),
            await eva.get("/endpoints", params=params),
            await eva.post("/drift", json={"operations": [{"method": "GET", "url": "/x"}]}, params=params),
            await eva.put("/flags/scoped-api", json={"on": True}, params=params),
            await eva.get(f"/tenants/{tenant}"),
            await eva.get(f"/tenants/{tenant}/settings"),
            await eva.patch(f"/tenants/{tenant}/settings", json={"key_limit": 1}),
        ]
        assert {refusal(one) for one in answers} == {(404, "not_found")}
        # What is told of a tenant of others is word for word what is told of none at all.
        assert {one.json()["detail"] for one in answers} == {f"There is no tenant {tenant!r}."}
    assert refusal(await eva.get(f"/keys/{key['id']}", params={"tenant": "acme"})) == (404, "not_found")
    for path in ("/administrators", "/audit?system=true"):
        assert refusal(await eva.get(path)) == (403, "forbidden")


async def test_a_tenant_has_keys_of_its_own(api: httpx.AsyncClient) -> None:
    await api.post("/tenants", json={"id": "acme"})
    mine = await create(api)
    params = {"tenant": "acme"}
    theirs = (await api.post("/keys", json={"type": "external", "description": "d"}, params=params)).json()
    assert [one["id"] for one in (await api.get("/keys")).json()["items"]] == [mine["id"]]
    assert [one["id"] for one in (await api.get("/keys", params=params)).json()["items"]] == [theirs["id"]]
    [default, acme] = sorted(
        (await api.get("/tenants")).json()["items"], key=lambda one: one["id"] != "default"
    )
    assert (default["keys"], acme["keys"]) == (1, 1)
    assert theirs["id"].startswith(acme["tag"])
    assert refusal(await api.get(f"/keys/{theirs['id']}")) == (404, "not_found")


async def test_whoami_tells_what_a_caller_may_do(plane: ControlPlane) -> None:
    auditor = await plane.signed_in("auditor")
    said = (await auditor.get("/whoami")).json()
    assert (said["actor"], said["role"]) == ("auditor@example.com", "auditor")
    assert all(one.startswith("read_") for one in said["permissions"])
    assert "secret" not in said["token"]


async def test_the_last_system_administrator_stays(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    root = await plane.signed_in("system_administrator")
    own = (await root.get("/whoami")).json()["administrator"]["id"]
    url = f"/administrators/{own}"
    assert refusal(await api.delete(url)) == (409, "last_system_administrator")
    for body in ({"active": False}, {"role": "auditor"}):
        assert refusal(await root.patch(url, json=body)) == (409, "last_system_administrator")
    assert (await root.get("/whoami")).status_code == 200


async def test_everything_but_the_description_and_the_ways_in_needs_a_token(plane: ControlPlane) -> None:
    stranger = await plane.remote()
    for path in ("/openapi.json", "/reference", "/reference.css"):
        assert (await stranger.get(path)).status_code == 200
    described: dict[str, Any] = (await stranger.get("/openapi.json")).json()["paths"]
    number = 0
    for path, operations in described.items():
        for method, operation in operations.items():
            assert (operation.get("security") == []) is (path in PUBLIC), path
            if path in PUBLIC:
                continue
            number += 1  # each from an address of its own, so that none is told to wait
            from_elsewhere = await plane.remote(origin=f"192.0.2.{number}")
            answer = await from_elsewhere.request(method, f"http://admin.test{path}")
            assert refusal(answer) == (401, "token_invalid"), (method, path)
    assert number > 30
