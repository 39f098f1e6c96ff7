"""Tenants and what is settled for them, over the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import create, create_custom, pointers, refusal

if TYPE_CHECKING:
    import httpx

URL = "/tenants/default/settings"


async def test_a_tenant_is_created_renamed_and_counted(api: httpx.AsyncClient) -> None:
    made = await api.post("/tenants", json={"id": "acme", "name": "Acme Ltd"})
    assert made.status_code == 201
    assert refusal(await api.post("/tenants", json={"id": "acme"})) == (409, "conflict")
    key = await api.post("/keys", json={"type": "external", "description": "d"}, params={"tenant": "acme"})
    assert key.json()["id"].startswith(made.json()["tag"])
    renamed = (await api.patch("/tenants/acme", json={"name": "Acme Inc"})).json()
    assert (renamed["name"], renamed["keys"], renamed["tag"]) == ("Acme Inc", 1, made.json()["tag"])
    assert (await api.get("/tenants/acme")).json() == renamed


@pytest.mark.parametrize("tenant_id", ["", "Acme", "-a", "a b", "a" * 41, "ä", "{system}"])
async def test_what_cannot_be_an_id_is_refused(api: httpx.AsyncClient, tenant_id: str) -> None:
    answer = await api.post("/tenants", json={"id": tenant_id})
    assert refusal(answer)[0] == 422
    assert pointers(answer) == ["/id"]
    assert len((await api.get("/tenants")).json()["items"]) == 1


async def test_what_is_settled_is_said_and_the_rest_stays(api: httpx.AsyncClient) -> None:
    before = (await api.get(URL)).json()
    assert before == {
        "key_limit": 300,
        "key_limit_max": 300,
        "rule_methods": ["GET", "POST"],
        "default_lifetime": None,
        "max_lifetime": None,
        "unlisted_endpoints": "deny",
    }
    changed = (await api.patch(URL, json={"default_lifetime": 90, "unlisted_endpoints": "allow"})).json()
    assert changed == {**before, "default_lifetime": 90, "unlisted_endpoints": "allow"}
    assert (await api.patch(URL, json={"default_lifetime": None})).json()["default_lifetime"] is None


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no key at all": ({"key_limit": 0}, "/key_limit"),
    "more than may be": ({"key_limit": 301}, "/key_limit"),
    "a text": ({"key_limit": "10"}, "/key_limit"),
    "a truth": ({"key_limit": True}, "/key_limit"),
    "null where there is no such thing": ({"key_limit": None}, "/key_limit"),
    "a limit beyond all": ({"key_limit_max": 100_001}, "/key_limit_max"),
    "no methods": ({"rule_methods": []}, "/rule_methods"),
    "no method": ({"rule_methods": ["BREW"]}, "/rule_methods"),
    "null methods": ({"rule_methods": None}, "/rule_methods"),
    "a default longer than the longest": ({"default_lifetime": 10, "max_lifetime": 9}, "/default_lifetime"),
    "a word": ({"unlisted_endpoints": "perhaps"}, "/unlisted_endpoints"),
    "null for a word": ({"unlisted_endpoints": None}, "/unlisted_endpoints"),
    "an unknown member": ({"key_limits": 3}, "/key_limits"),
}


@pytest.mark.parametrize(("body", "pointer"), WRONG.values(), ids=WRONG.keys())
async def test_what_cannot_be_settled_is_pointed_at(
    api: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    before = (await api.get(URL)).json()
    answer = await api.patch(URL, json=body)
    assert refusal(answer)[0] == 422
    assert pointers(answer) == [pointer]
    assert (await api.get(URL)).json() == before


async def test_methods_that_are_settled_count_for_new_rules_alone(api: httpx.AsyncClient) -> None:
    await api.patch(URL, json={"rule_methods": ["GET", "DELETE"]})
    delete, post = ({"method": name, "url": "/api/x"} for name in ("DELETE", "POST"))
    key = await create_custom(api, "/api/y")
    added = await api.post(f"/keys/{key['id']}/rules:add", json={"rules": [delete]})
    assert added.json()["rules"][1] == delete
    refused = await api.post(f"/keys/{key['id']}/rules:add", json={"rules": [post]})
    assert refusal(refused) == (422, "method_not_allowed_value")
    await api.patch(URL, json={"rule_methods": ["POST"]})
    assert len((await api.get(f"/keys/{key['id']}")).json()["rules"]) == 2
    more = await api.post(f"/keys/{key['id']}/rules:add", json={"rules": [post]})
    assert more.json()["rules"][2] == post


async def test_a_name_of_a_flag_that_is_none_is_not_found(api: httpx.AsyncClient) -> None:
    assert refusal(await api.put("/flags/other", json={"on": True})) == (404, "not_found")
    assert refusal(await api.put("/flags/scoped-api", json={"on": "yes"})) == (422, "invalid")
    assert (await api.get("/flags/scoped-api")).json() == {"name": "scoped_api", "on": False}


async def test_settings_of_one_tenant_are_not_anothers(api: httpx.AsyncClient) -> None:
    await api.post("/tenants", json={"id": "acme"})
    await api.patch("/tenants/acme/settings", json={"key_limit": 1})
    for _ in range(2):
        await create(api)
    params = {"tenant": "acme"}
    body = {"type": "external", "description": "d"}
    assert (await api.post("/keys", json=body, params=params)).status_code == 201
    assert refusal(await api.post("/keys", json=body, params=params)) == (409, "key_limit_reached")
