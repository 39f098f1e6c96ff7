"""Keys over the API: each type has just its fields, and a secret is in one answer only."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import create, create_custom, kept, pointers, refusal
from asgi.adminchanges import CHANGES, things_to_change

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

SOON = "2099-01-01T00:00:00Z"
RULES = [{"method": "GET", "url": "/api/recordings/*"}]

WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "desktop with an expiry": (
        {"type": "desktop", "expires_at": SOON},
        "expiry_not_allowed_for_desktop",
        "/expires_at",
    ),
    "desktop with a user": ({"type": "desktop", "user": "tom"}, "user_not_allowed_for_desktop", "/user"),
    "desktop with rules": ({"type": "desktop", "rules": RULES}, "rules_only_for_custom", "/rules"),
    "external with rules": ({"type": "external", "rules": RULES}, "rules_only_for_custom", "/rules"),
    "custom without rules": ({"type": "custom"}, "rules_required", "/rules"),
    "no such user": ({"type": "external", "user": "nobody"}, "user_not_found", "/user"),
    "no such type": ({"type": "root"}, "invalid", "/type"),
    "a blank description": ({"type": "external", "description": " "}, "description_required", "/description"),
    "a description of two lines": ({"type": "external", "description": "a\nb"}, "invalid", "/description"),
    "a description too long": ({"type": "external", "description": "x" * 501}, "invalid", "/description"),
    "an unknown member": ({"type": "external", "scopes": []}, "unknown", "/scopes"),
    "no offset": ({"type": "external", "expires_at": "2099-01-01T00:00:00"}, "invalid", "/expires_at"),
    "a date alone": ({"type": "external", "expires_at": "2099-01-01"}, "invalid", "/expires_at"),
    "a number for a moment": ({"type": "external", "expires_at": 4_070_908_800}, "invalid", "/expires_at"),
    "an expiry in the past": (
        {"type": "external", "expires_at": "2020-01-01T00:00:00Z"},
        "expiry_in_past",
        "/expires_at",
    ),
    "a rule with an unknown member": (
        {"type": "custom", "rules": [{**RULES[0], "host": "x"}]},
        "unknown",
        "/rules/0/host",
    ),
    "a rule with another method": (
        {"type": "custom", "rules": [*RULES, {"method": "DELETE", "url": "/api/x"}]},
        "method_not_allowed_value",
        "/rules/1/method",
    ),
}


@pytest.mark.parametrize(("fields", "code", "pointer"), WRONG.values(), ids=WRONG.keys())
async def test_what_a_type_has_not_is_refused_and_pointed_at(
    api: httpx.AsyncClient, fields: dict[str, Any], code: str, pointer: str
) -> None:
    await api.put("/flags/scoped-api", json={"on": True})
    answer = await api.post("/keys", json={"description": "A key", **fields})
    assert refusal(answer) == (422, code)
    assert pointers(answer) == [pointer]
    assert (await api.get("/quota")).json()["used"] == 0


async def test_a_key_needs_a_description(api: httpx.AsyncClient) -> None:
    answer = await api.post("/keys", json={"type": "external"})
    assert refusal(answer) == (422, "required")
    assert pointers(answer) == ["/description"]


async def test_each_type_is_answered_with_what_it_has(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    desktop = await create(api, type="desktop")
    assert (desktop["expires_at"], desktop["user"], desktop["rules"]) == (None, None, [])
    expires_at, delete_at = plane.clock.after(timedelta(days=90)), plane.clock.after(timedelta(days=97))
    external = await create(api, expires_at=expires_at)
    assert (external["expires_at"], external["delete_at"]) == (expires_at, delete_at)
    custom = await create_custom(api, "/api/recordings/*")
    assert custom["rules"] == RULES
    for key in (desktop, external, custom):
        assert key["state"] == "active"
        assert key["secret"].startswith(f"sg_{key['id']}_")
        assert key["secret_status"] == "shown"


async def test_a_custom_key_needs_the_flag(api: httpx.AsyncClient) -> None:
    said = {"type": "custom", "description": "d", "rules": RULES}
    assert refusal(await api.post("/keys", json=said)) == (403, "feature_disabled")
    assert (await api.get("/keys")).json()["items"] == []
    await api.put("/flags/scoped-api", json={"on": True})
    key = (await api.post("/keys", json=said)).json()
    await api.put("/flags/scoped-api", json={"on": False})
    url = f"/keys/{key['id']}"
    assert (await api.get(url)).json()["state"] == "active"
    more = {"rules": [{"method": "GET", "url": "/api/new"}]}
    assert refusal(await api.post(f"{url}/rules:add", json=more)) == (403, "feature_disabled")
    assert refusal(await api.post(f"{url}:duplicate", json={"description": "d"})) == (403, "feature_disabled")
    assert (await api.get(url)).json()["rules"] == RULES


async def test_a_secret_is_in_one_answer_and_nowhere_else(
    store_url: str, plane: ControlPlane, api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = await create_custom(api, "/api/recordings/*")
    url = f"/keys/{key['id']}"
    rotated = (await api.post(f"{url}:rotate", json={})).json()
    duplicate = (await api.post(f"{url}:duplicate", json={"description": "d"})).json()
    secrets = [one["secret"].rpartition("_")[2] for one in (key, rotated, duplicate)]
    assert len(set(secrets)) == 3
    later = [
        *[await api.get(path) for path in ("/keys", "/keys:export", "/quota", "/audit", "/audit/export")],
        *[await api.get(f"{url}{of}") for of in ("", "/usage")],
        await api.patch(url, json={"description": "new"}, headers={"If-Match": "*"}),
        await api.put(f"{url}/rules", json={"rules": RULES}, headers={"If-Match": "*"}),
        await api.post(f"{url}:disable"),
        await api.post(f"{url}:enable"),
        await api.post(f"{url}:extend", json={"expires_at": SOON}),
        await api.post("/keys:bulk", json={"action": "disable", "ids": [key["id"]]}),
        await api.get(f"/keys/{key['secret']}"),  # by mistake, in place of the id
    ]
    assert [one.status_code for one in later[:-1]] == [200] * (len(later) - 1)
    assert refusal(later[-1]) == (400, "invalid")
    stored = str(await kept(store_url))
    assert key["id"] in stored
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]
    for secret in secrets:
        assert all(secret not in one.text for one in later)
        assert secret not in stored
        assert all(secret not in line for line in logged)


async def test_a_rotated_key_shows_until_when_its_old_secret_is_good(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    key = await create(api)
    url = f"/keys/{key['id']}:rotate"
    rotated = (await api.post(url, json={"overlap_seconds": 3600})).json()
    assert rotated["retiring_until"] == plane.clock.after(timedelta(hours=1))
    assert rotated["id"] == key["id"]
    assert refusal(await api.post(url, json={})) == (409, "secret_retiring")
    again = (await api.post(url, json={"overlap_seconds": 0, "drop_retiring": True})).json()
    assert again["retiring_until"] is None
    assert again["warnings"]
    too_long = await api.post(url, json={"overlap_seconds": 604_801})
    assert refusal(too_long) == (422, "invalid")
    assert pointers(too_long) == ["/overlap_seconds"]


async def test_a_key_is_found_by_the_beginning_of_its_id(api: httpx.AsyncClient) -> None:
    key = await create(api)
    assert (await api.get(f"/keys/{key['id'][:8]}")).json()["id"] == key["id"]
    await create(api)
    assert refusal(await api.get("/keys/000"))[0] == 400
    assert refusal(await api.get("/keys/zzz")) == (404, "not_found")


async def test_a_deleted_key_is_gone(api: httpx.AsyncClient) -> None:
    key = await create(api)
    url = f"/keys/{key['id']}"
    assert (await api.delete(url)).status_code == 204
    for answer in (await api.get(url), await api.delete(url), await api.post(f"{url}:enable")):
        assert refusal(answer) == (404, "not_found")
    assert (await api.get("/quota")).json()["used"] == 0


async def test_a_secret_in_place_of_an_id_is_not_repeated(api: httpx.AsyncClient) -> None:
    key = await create_custom(api, "/api/recordings/*")
    ids = await things_to_change(api)
    secret = key["secret"].rpartition("_")[2]
    for given in (key["secret"], secret):
        ids |= {"key_id": given, "disabled_id": given}
        answers = [
            await change.send(api, ids)
            for change in CHANGES.values()
            if "key_id" in f"{change.path} {change.body}" or "disabled_id" in change.path
        ]
        answers += [
            await api.get(f"/keys/{given}"),
            await api.get(f"/keys/{given}/usage"),
            await api.post("/decisions:explain", json={"key_id": given, "method": "GET", "url": "/x"}),
        ]
        assert len(answers) == 14
        for answer in answers:
            assert refusal(answer)[0] in {400, 404, 422}
            assert secret not in answer.text, answer.request.url
