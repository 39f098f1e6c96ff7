"""Drafts: all that is wrong at once, how rules are read, and what would be open."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from asgi.adminapi import POLICIES, create, kept, refusal
from scopegate.demo.scenario import USERS

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane


async def previewed(api: httpx.AsyncClient, **draft: Any) -> dict[str, Any]:
    answer = await api.post("/keys:preview", json=draft)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def test_everything_that_is_wrong_is_told_at_once(store_url: str, api: httpx.AsyncClient) -> None:
    before = await kept(store_url)
    said = await previewed(
        api,
        type="custom",
        user="nobody",
        expires_at="2020-01-01T00:00:00Z",
        rules=[
            {"method": "GET", "url": "/api/x"},
            {"method": "PUT", "url": "/api/y"},
            {"method": "GET", "url": "z"},
        ],
    )
    assert said["creatable"] is False
    found = {(one["pointer"], one["code"]) for one in said["problems"]}
    assert {
        ("/description", "description_required"),
        ("/expires_at", "expiry_in_past"),
        ("/user", "user_not_found"),
        ("/type", "feature_disabled"),
        ("/rules/1/method", "method_not_allowed_value"),
    } <= found
    assert [one["pointer"] for one in said["problems"] if one["pointer"].startswith("/rules/2")]
    assert await kept(store_url) == before


async def test_a_draft_is_creatable_just_if_its_creation_succeeds(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    await plane.fill(POLICIES, USERS)
    await api.put("/flags/scoped-api", json={"on": True})
    rule = {"method": "GET", "url": "/api/reports/*"}
    for draft in (
        {"type": "desktop", "description": "d"},
        {"type": "desktop", "description": "d", "user": "tom"},
        {"type": "external", "description": "d", "user": "tom"},
        {"type": "external", "description": "d", "user": "nobody"},
        {"type": "external", "description": "d", "rules": [rule]},
        {"type": "custom", "description": "d", "rules": [rule]},
        {"type": "custom", "description": "d", "rules": [rule, rule]},
        {"type": "custom", "description": "d", "rules": []},
        {"type": "custom", "description": "d", "user": "tom", "rules": [rule]},
        {"type": "custom", "description": "d", "user": "maria", "rules": [rule]},
    ):
        said = await previewed(api, **draft)
        answer = await api.post("/keys", json=draft)
        assert said["creatable"] is answer.is_success, draft
        if not answer.is_success:
            assert answer.json()["code"] in {one["code"] for one in said["problems"]}


async def test_what_would_be_open_is_listed_with_what_is_missing(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    await plane.fill(POLICIES, USERS)
    await api.put("/flags/scoped-api", json={"on": True})
    said = await previewed(
        api,
        type="custom",
        description="d",
        user="tom",
        rules=[{"method": "GET", "url": "/api/*"}, {"method": "GET", "url": "/api/recordings/*"}],
    )
    assert said["creatable"] is True
    assert [(one["row"], one["covered_by"]) for one in said["rules"]] == [(1, None), (2, 1)]
    assert "rule_shadowed" in {one["code"] for one in said["cautions"]}
    access = {(one["method"], one["url"]): one for one in said["access"]}
    assert access["GET", "/api/recordings/*"]["allowed"] is True
    assert access["GET", "/api/reports/*"]["missing_privileges"] == ["reports.view"]
    assert said["left"] == 299


async def test_the_tenants_default_expiry_is_told(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    await api.patch("/tenants/default/settings", json={"default_lifetime": 90, "max_lifetime": 100})
    said = await previewed(api, type="external", description="d")
    assert said["expires_at"] == plane.clock.after(timedelta(days=90))
    never = await previewed(api, type="external", description="d", expires_at=None)
    assert [one["code"] for one in never["problems"]] == ["expiry_too_late"]
    assert (await create(api))["expires_at"] == said["expires_at"]


async def test_a_draft_has_no_members_of_others(api: httpx.AsyncClient) -> None:
    answer = await api.post("/keys:preview", json={"type": "external", "scopes": []})
    assert refusal(answer) == (422, "unknown")
