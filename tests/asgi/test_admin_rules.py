"""Rules of custom keys over the API, and what is told where the key's user could not use them (D10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import POLICIES, create, create_custom, pointers, refusal
from scopegate.demo.scenario import USERS

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

RECORDINGS = {"method": "GET", "url": "/api/recordings/*"}
REPORTS = {"method": "GET", "url": "/api/reports/*"}
STATUS = {"method": "GET", "url": "/api/status"}
USERS_URL = {"method": "GET", "url": "/api/users"}


async def test_rules_are_added_removed_and_replaced(api: httpx.AsyncClient) -> None:
    url = f"/keys/{(await create_custom(api, RECORDINGS['url']))['id']}"
    added = await api.post(f"{url}/rules:add", json={"rules": [REPORTS, STATUS]})
    assert added.json()["rules"] == [RECORDINGS, REPORTS, STATUS]
    removed = await api.post(f"{url}/rules:remove", json={"rules": [RECORDINGS]})
    assert removed.json()["rules"] == [REPORTS, STATUS]
    replaced = await api.put(f"{url}/rules", json={"rules": [STATUS, RECORDINGS]}, headers={"If-Match": "*"})
    assert replaced.json()["rules"] == [STATUS, RECORDINGS]
    assert (await api.get(url)).json()["rules"] == [STATUS, RECORDINGS]


WRONG = {
    "a URL that is none": ({"method": "GET", "url": "api"}, "/rules/1/url"),
    "dot segments": ({"method": "GET", "url": "/api/../x"}, "/rules/1/url"),
    "another method": ({"method": "PUT", "url": "/api/x"}, "/rules/1/method"),
    "a rule twice": (RECORDINGS, "/rules/1"),
    "no URL at all": ({"method": "GET"}, "/rules/1/url"),
    "a number": ({"method": "GET", "url": 1}, "/rules/1/url"),
}


@pytest.mark.parametrize(("rule", "pointer"), WRONG.values(), ids=WRONG.keys())
async def test_a_row_that_is_wrong_is_pointed_at(
    api: httpx.AsyncClient, rule: dict[str, Any], pointer: str
) -> None:
    url = f"/keys/{(await create_custom(api, '/api/x'))['id']}"
    body = {"rules": [RECORDINGS, rule]}
    for answer in (
        await api.put(f"{url}/rules", json=body, headers={"If-Match": "*"}),
        await api.post("/keys", json={"type": "custom", "description": "d", **body}),
    ):
        assert refusal(answer)[0] == 422
        assert pointers(answer) == [pointer]
    assert [one["url"] for one in (await api.get(url)).json()["rules"]] == ["/api/x"]


async def test_a_rule_that_is_there_or_is_not_there(api: httpx.AsyncClient) -> None:
    url = f"/keys/{(await create_custom(api, RECORDINGS['url']))['id']}"
    there = await api.post(f"{url}/rules:add", json={"rules": [RECORDINGS]})
    assert refusal(there) == (422, "rule_duplicate")
    assert refusal(await api.post(f"{url}/rules:remove", json={"rules": [STATUS]})) == (404, "not_found")


async def test_the_last_rule_goes_only_if_that_is_said(api: httpx.AsyncClient) -> None:
    url = f"/keys/{(await create_custom(api, RECORDINGS['url']))['id']}"
    await api.put("/flags/scoped-api", json={"on": False})  # what takes away works without it
    body = {"rules": [RECORDINGS]}
    assert refusal(await api.post(f"{url}/rules:remove", json=body)) == (409, "last_rule")
    done = await api.post(f"{url}/rules:remove", json={**body, "even_the_last": True})
    assert done.json()["rules"] == []


async def test_other_keys_have_no_rules(api: httpx.AsyncClient) -> None:
    url = f"/keys/{(await create(api))['id']}"
    answer = await api.post(f"{url}/rules:add", json={"rules": [STATUS]})
    assert refusal(answer) == (422, "rules_only_for_custom")


@pytest.fixture
async def filled(plane: ControlPlane, api: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of a tenant with policies and people: Maria is a supervisor, Tom an agent."""
    await plane.fill(POLICIES, USERS)
    await api.put("/flags/scoped-api", json={"on": True})
    return api


async def test_rules_that_the_user_could_not_use_are_refused_with_what_is_missing(
    filled: httpx.AsyncClient,
) -> None:
    body = {"type": "custom", "description": "d", "user": "tom", "rules": [RECORDINGS, REPORTS]}
    answer = await filled.post("/keys", json=body)
    assert refusal(answer) == (422, "privileges_missing")
    said = answer.json()
    assert "Row 2 (GET /api/reports/*)" in said["detail"]
    assert "reports.view" in said["detail"]
    assert "reports.view" in said["hint"]
    assert "recordings.view" not in said["detail"]
    key = (await filled.post("/keys", json={**body, "rules": [RECORDINGS]})).json()
    for answer in (
        await filled.post(f"/keys/{key['id']}/rules:add", json={"rules": [USERS_URL]}),
        await filled.put(f"/keys/{key['id']}/rules", json={"rules": [USERS_URL]}, headers={"If-Match": "*"}),
    ):
        assert refusal(answer) == (422, "privileges_missing")
        assert "users.view" in answer.json()["detail"]


async def test_another_user_has_to_be_able_to_use_the_rules(filled: httpx.AsyncClient) -> None:
    key = await create(filled, type="custom", user="maria", rules=[REPORTS])
    url, anyhow = f"/keys/{key['id']}", {"If-Match": "*"}
    answer = await filled.patch(url, json={"user": "tom"}, headers=anyhow)
    assert refusal(answer) == (422, "privileges_missing")
    assert (await filled.get(url)).json()["user"] == "maria"
    assert (await filled.patch(url, json={"user": None}, headers=anyhow)).json()["user"] is None


async def test_a_rule_that_opens_a_part_is_warned_of(filled: httpx.AsyncClient) -> None:
    body = {"type": "custom", "description": "d", "user": "tom"}
    answer = await filled.post("/keys", json={**body, "rules": [{"method": "GET", "url": "/api/*"}]})
    assert answer.status_code == 201
    [warning] = answer.json()["warnings"]
    assert "opens only a part" in warning
    assert "reports.view" in warning
    assert (await filled.post("/keys", json={**body, "rules": [RECORDINGS]})).json()["warnings"] == []


async def test_a_decision_is_explained_as_the_gateway_would_make_it(filled: httpx.AsyncClient) -> None:
    key = await create(filled, user="tom")

    async def explained(method: str, url: str) -> dict[str, Any]:
        body = {"key_id": key["id"], "method": method, "url": url}
        said: dict[str, Any] = (await filled.post("/decisions:explain", json=body)).json()
        return said

    allowed = await explained("GET", "/api/recordings/1")
    assert (allowed["allowed"], allowed["status"]) == (True, None)
    refused = await explained("GET", "/api/reports/1")
    assert (refused["allowed"], refused["status"]) == (False, 403)
    assert refused["missing_privileges"] == ["reports.view"]
    assert refused["steps"][-1]["outcome"] not in {"", "ok"}
    assert (await explained("GET", "/api/../x"))["status"] == 400
    body = {"key_id": key["id"], "method": "GET", "url": "nonsense"}
    assert refusal(await filled.post("/decisions:explain", json=body)) == (422, "url_invalid")
