"""The endpoint picker, and what new operations mean for keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import POLICIES, create, create_custom, kept, pointers, refusal
from scopegate.demo.scenario import USERS

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane


@pytest.fixture
async def filled(plane: ControlPlane, api: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of a tenant with the repository's policies and the demo's users."""
    await plane.fill(POLICIES, USERS)
    return api


async def picked(api: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    answer = await api.get("/endpoints", params=params)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_an_endpoint_comes_with_the_rules_that_open_it(filled: httpx.AsyncClient) -> None:
    assert await picked(filled, q="run REPORT") == [
        {
            "methods": ["POST"],
            "url": "/api/reports",
            "summary": "Run a report",
            "privileges": ["reports.run"],
            "rules": [{"method": "POST", "url": "/api/reports"}],
        }
    ]
    (deleting,) = await picked(filled, method="DELETE")
    assert deleting["rules"] == []
    methods = {"rule_methods": ["GET", "POST", "DELETE"]}
    (await filled.patch("/tenants/default/settings", json=methods)).raise_for_status()
    (deleting,) = await picked(filled, method="DELETE")
    assert deleting["rules"] == [{"method": "DELETE", "url": "/api/recordings/*"}]


async def test_such_a_rule_is_one_that_a_key_can_have(filled: httpx.AsyncClient) -> None:
    await create_custom(filled, "/api/status")
    rules = [rule for one in await picked(filled) for rule in one["rules"]]
    await create(filled, type="custom", rules=rules)


async def test_endpoints_are_found_by_words_and_method(filled: httpx.AsyncClient) -> None:
    everything = [(one["url"], one["methods"]) for one in await picked(filled)]
    assert everything == sorted(everything)
    assert len(everything) == 12
    assert {one["url"] for one in await picked(filled, method="HEAD")} == {
        one["url"] for one in await picked(filled, method="GET")
    }
    assert await picked(filled, q="recordings nothing") == []
    assert refusal(await filled.get("/endpoints", params={"method": "TRACE"})) == (400, "invalid")


@pytest.mark.parametrize("limit", [1, 5, 500])
async def test_pages_put_together_are_all_endpoints(filled: httpx.AsyncClient, limit: int) -> None:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        params = {"limit": limit, **({} if cursor is None else {"cursor": cursor})}
        said = (await filled.get("/endpoints", params=params)).json()
        found += said["items"]
        cursor = said["next_cursor"]
        if cursor is None:
            break
    assert found == await picked(filled)


async def test_a_list_of_long_urls_goes_on(
    plane: ControlPlane, api: httpx.AsyncClient, tmp_path: Any
) -> None:
    urls = [f"/{'a' * 2_000}{number}" for number in range(2)]
    entries = "".join(f"- {{methods: [GET], url: {url}, privileges: []}}\n" for url in urls)
    (tmp_path / "catalogue.yaml").write_text(f"endpoints:\n{entries}")
    await plane.fill(tmp_path, ())
    first = (await api.get("/endpoints", params={"limit": 1})).json()
    second = await picked(api, limit=1, cursor=first["next_cursor"])
    assert [one["url"] for one in first["items"] + second] == urls


NEW = {"method": "GET", "url": "/api/recordings/*/transcript", "privileges": ["transcripts.view"]}
OLD = {"method": "GET", "url": "/api/recordings/*"}


async def drifted(api: httpx.AsyncClient, *operations: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = await api.post("/drift", json={"operations": list(operations), **body})
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def test_drift_tells_which_keys_cover_what_is_new_and_changes_nothing(
    store_url: str, filled: httpx.AsyncClient
) -> None:
    mine = await create_custom(filled, "/api/status", "/api/recordings/*", user="tom", description="Bot")
    before = await kept(store_url)
    said = await drifted(filled, OLD, NEW)
    key = {"id": mine["id"], "type": "custom", "state": "active", "description": "Bot", "user": "tom"}
    assert said["added"] == [
        {
            "method": "GET",
            "url": NEW["url"],
            "operation_id": "",
            "summary": "",
            "privileges": ["transcripts.view"],
            "keys": [
                {
                    "key": key,
                    "rows": [2],
                    "wholly": True,
                    "opens": "all",
                    "reason": "allowed",
                    "missing_privileges": [],
                    "would_miss_privileges": ["transcripts.view"],
                }
            ],
        }
    ]
    assert said["grows"] is True
    assert said["unbounded_keys"] == []
    # What the document does not have any more is told, and the rule that is about nothing else.
    assert {"GET /api/status", "POST /api/users"} <= {
        f"{one['method']} {one['url']}" for one in said["removed"]
    }
    assert said["idle_rules"] == [{"key": key, "row": 1, "rule": {"method": "GET", "url": "/api/status"}}]
    assert await kept(store_url) == before


async def test_drift_compares_with_what_was_before_if_that_is_said(filled: httpx.AsyncClient) -> None:
    unbounded = await create(filled, type="desktop")
    said = await drifted(filled, OLD, NEW, before=[OLD, NEW])
    assert (said["added"], said["removed"], said["grows"]) == ([], [], False)
    said = await drifted(filled, NEW, before=[OLD])
    assert [one["url"] for one in said["added"]] == [NEW["url"]]
    assert [one["url"] for one in said["removed"]] == [OLD["url"]]
    assert [one["id"] for one in said["unbounded_keys"]] == [unbounded["id"]]
    assert said["grows"] is True
    assert (await drifted(filled, NEW, before=[]))["removed"] == []


async def test_drift_judges_as_the_gateway_does(filled: httpx.AsyncClient) -> None:
    maria = await create(filled, user="maria")
    reports = {"method": "POST", "url": "/api/reports/*/mail"}
    said = await drifted(filled, reports, NEW)
    by_url = {one["url"]: one["keys"][0] for one in said["added"]}
    assert (by_url[NEW["url"]]["opens"], by_url[reports["url"]]["opens"]) == ("all", "none")
    for url, reach in by_url.items():
        method = "POST" if url == reports["url"] else "GET"
        request = {"key_id": maria["id"], "method": method, "url": url.replace("*", "7")}
        explained = (await filled.post("/decisions:explain", json=request)).json()
        assert explained["reason"] == reach["reason"]


@pytest.mark.parametrize(
    ("operations", "pointer"),
    [
        ([], "/operations"),
        ([{"method": "GET"}], "/operations/0/url"),
        ([OLD, {"method": "TRACE", "url": "/a"}], "/operations/1/method"),
        ([OLD, {"method": "GET", "url": "a"}], "/operations/1/url"),
        ([{**OLD, "privileges": ["a b"]}], "/operations/0/privileges"),
        ([{**OLD, "scopes": []}], "/operations/0/scopes"),
    ],
)
async def test_what_is_no_operation_is_refused_with_its_place(
    api: httpx.AsyncClient, operations: list[dict[str, Any]], pointer: str
) -> None:
    answer = await api.post("/drift", json={"operations": operations})
    assert answer.status_code == 422
    assert pointers(answer) == [pointer]
    answer = await api.post("/drift", json={"operations": [OLD], "before": operations})
    if operations:
        assert pointers(answer) == [pointer.replace("operations", "before")]
