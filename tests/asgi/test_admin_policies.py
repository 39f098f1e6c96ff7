"""``/admin/v1/policies``: all of it at once, for the version that was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import POLICIES, kept, pointers, refusal
from scopegate.admin.policydocuments import PoliciesBody, policies_of
from scopegate.policyfiles import load
from scopegate.policywriting import document

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

SHIPPED = document(load(POLICIES).policies)
ANYHOW = {"If-Match": "*"}


def body(**changes: Any) -> dict[str, Any]:
    return {
        "endpoints": [{"methods": ["GET"], "url": "/api/a", "privileges": ["a.view"], "summary": "Show a"}],
        "roles": {"agent": {"privileges": ["a.view"]}},
        "groups": {"agents": {"roles": ["agent"]}},
        **changes,
    }


def entry(**changes: Any) -> dict[str, Any]:
    return body(
        endpoints=[body()["endpoints"][0], {"methods": ["GET"], "url": "/b", "privileges": []} | changes]
    )


async def test_there_are_none_at_first(api: httpx.AsyncClient) -> None:
    answer = await api.get("/policies")
    assert answer.json() == {"unlisted_endpoints": "deny", "endpoints": [], "roles": {}, "groups": {}}
    assert answer.headers["ETag"].startswith('"')


async def test_what_was_put_is_in_force_and_answered(api: httpx.AsyncClient) -> None:
    seen = (await api.get("/policies")).headers["ETag"]
    done = await api.put("/policies", json=SHIPPED, headers={"If-Match": seen})
    assert done.status_code == 200
    changes = done.json()["changes"]
    assert len(changes) == sum(len(SHIPPED[part]) for part in ("endpoints", "roles", "groups"))
    assert changes[0] == {
        "kind": "add",
        "area": "endpoint",
        "name": "GET /api/recordings",
        "before": None,
        "after": ["recordings.view"],
        "summary_before": "",
        "summary_after": "List recordings",
    }
    shown = await api.get("/policies")
    assert policies_of(PoliciesBody(**shown.json())) == load(POLICIES).policies
    assert shown.headers["ETag"] == done.headers["ETag"] != seen
    again = await api.put("/policies", json=SHIPPED, headers={"If-Match": done.headers["ETag"]})
    assert again.json() == {"changes": []}
    assert again.headers["ETag"] == done.headers["ETag"]


async def test_policies_are_replaced_only_for_the_version_that_was_read(
    store_url: str, api: httpx.AsyncClient
) -> None:
    assert refusal(await api.put("/policies", json=body())) == (428, "if_match_required")
    first = (await api.get("/policies")).headers["ETag"]
    assert (await api.put("/policies", json=body(), headers={"If-Match": first})).status_code == 200
    before = await kept(store_url)
    late = await api.put("/policies", json=SHIPPED, headers={"If-Match": first})
    assert refusal(late) == (412, "etag_mismatch")
    assert await kept(store_url) == before
    assert (await api.put("/policies", json=SHIPPED, headers=ANYHOW)).status_code == 200


async def test_what_is_settled_for_unlisted_endpoints_stays_unless_it_is_said(api: httpx.AsyncClient) -> None:
    settings = "/tenants/default/settings"
    (await api.patch(settings, json={"unlisted_endpoints": "allow"})).raise_for_status()
    for silent in (body(), body(unlisted_endpoints=None)):
        (await api.put("/policies", json=silent, headers=ANYHOW)).raise_for_status()
        assert (await api.get("/policies")).json()["unlisted_endpoints"] == "allow"
    said = await api.put("/policies", json=body(unlisted_endpoints="deny"), headers=ANYHOW)
    assert [change["name"] for change in said.json()["changes"]] == ["unlisted_endpoints"]
    assert (await api.get(settings)).json()["unlisted_endpoints"] == "deny"


@pytest.mark.parametrize(
    ("wrong", "pointer", "code"),
    [
        (entry(methods=["GET", "get"]), "/endpoints/1/methods", "invalid"),
        (entry(methods=["GET", "GET"]), "/endpoints/1/methods/1", "name_duplicate"),
        (entry(url="b"), "/endpoints/1/url", "url_invalid"),
        (entry(url="/b?c=d"), "/endpoints/1/url", "url_invalid"),
        (entry(privileges=["x", "a b"]), "/endpoints/1/privileges/1", "name_invalid"),
        (entry(privileges=["x", "x"]), "/endpoints/1/privileges/1", "name_duplicate"),
        (entry(summary="a\nb"), "/endpoints/1/summary", "invalid"),
        (entry(url="/api/%61"), "/endpoints/1", "endpoint_duplicate"),
        (entry(sumary="x"), "/endpoints/1/sumary", "unknown"),
        (body(roles={"a/b~c": {"privileges": []}}, groups={}), "/roles/a~1b~0c", "name_invalid"),
        (body(roles={"a:b": {"privileges": ["c d"]}}, groups={}), "/roles/a:b/privileges/0", "name_invalid"),
        (body(groups={"": {"roles": []}}), "/groups/", "name_invalid"),
        (body(groups={"g" * 5_000: {"roles": []}}), f"/groups/{'g' * 100}", "name_invalid"),
        (body(groups={"a.b": {"roles": ["agent", "boss"]}}), "/groups/a.b/roles/1", "role_undefined"),
        (body(groups={"g": {"roles": ["agent", "agent"]}}), "/groups/g/roles/1", "name_duplicate"),
        ({"endpoints": [], "roles": {}}, "/groups", "required"),
        (body(unlisted_endpoints="denied"), "/unlisted_endpoints", "invalid"),
        (
            body(
                endpoints=[
                    {"methods": ["GET"], "url": f"/{row}" + "*".join(["ab" * 62] * 16), "privileges": []}
                    for row in range(1_000)
                ]
            ),
            "/endpoints",
            "invalid",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_what_is_wrong_is_pointed_to_and_nothing_is_changed(
    store_url: str, api: httpx.AsyncClient, wrong: dict[str, Any], pointer: str, code: str
) -> None:
    before = await kept(store_url)
    answer = await api.put("/policies", json=wrong, headers=ANYHOW)
    assert refusal(answer) == (422, code)
    assert pointers(answer) == [pointer]
    assert await kept(store_url) == before


async def test_policies_belong_to_a_tenant(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    (await api.post("/tenants", json={"id": "acme"})).raise_for_status()
    eva = await plane.signed_in("key_administrator", ["acme"])
    acme = {"tenant": "acme"}
    assert (await eva.put("/policies", json=body(), headers=ANYHOW, params=acme)).status_code == 200
    assert (await eva.get("/policies", params=acme)).json()["roles"] == body()["roles"]
    assert refusal(await eva.get("/policies")) == (404, "not_found")
    assert refusal(await eva.put("/policies", json=body(), headers=ANYHOW)) == (404, "not_found")
    assert (await api.get("/policies")).json()["roles"] == {}


async def test_the_change_is_in_the_audit_log(api: httpx.AsyncClient) -> None:
    (await api.put("/policies", json=body(), headers=ANYHOW)).raise_for_status()
    (newest,) = (await api.get("/audit", params={"limit": 1})).json()["items"]
    assert newest["action"] == "policies.apply"
    assert newest["changed"] == {
        "endpoint GET /api/a": {"before": None, "after": ["a.view"]},
        "summary of endpoint GET /api/a": {"before": "", "after": "Show a"},
        "role agent": {"before": None, "after": ["a.view"]},
        "group agents": {"before": None, "after": ["agent"]},
    }
