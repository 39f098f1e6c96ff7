"""What is to be said of keys, and which of them reach an endpoint, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import POLICIES, create, create_custom, kept, refusal
from scopegate.core.principal import User

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

USERS = (
    User(id="maria", name="Maria", organization="Sales", roles=frozenset({"supervisor"})),
    User(id="tom", name="Tom", organization="Sales", groups=frozenset({"agents"})),
    User(id="ana", name="Ana", groups=frozenset({"agents", "it"})),
)


@pytest.fixture
async def ids(plane: ControlPlane, api: httpx.AsyncClient) -> dict[str, str]:
    """Keys by their description: of one user each, or of all users."""
    await plane.fill(POLICIES, USERS)
    made = {
        "maria's": await create_custom(api, "/api/recordings/*", "/api/recordings/7", user="maria"),
        "tom's": await create_custom(api, "/api/rec*", "/api/*", user="tom"),
        "ana's": await create_custom(api, "/api/*", user="ana"),
        "everybody's": await create(api, type="desktop"),
    }
    return {name: key["id"] for name, key in made.items()}


async def findings(api: httpx.AsyncClient, key_id: str, **query: str) -> list[dict[str, Any]]:
    answer = await api.get(f"/keys/{key_id}/findings", params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_what_is_found_of_a_key_is_told_with_a_request_that_shows_it(
    api: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    [shadowed] = await findings(api, ids["maria's"])
    assert (shadowed["code"], shadowed["row"], shadowed["other"]) == ("rule_shadowed", 2, "1")
    found = {(one["code"], one["row"]): one for one in await findings(api, ids["tom's"][:5])}
    assert found.keys() == {("rule_shadowed", 1), ("privileges_partly_missing", 2)}
    partly = found["privileges_partly_missing", 2]
    assert partly["missing_privileges"] == ["reports.view", "users.view"]
    explained = await api.post("/decisions:explain", json={"key_id": ids["tom's"], **partly["request"]})
    assert explained.json()["reason"] == "privilege_missing"
    assert await findings(api, ids["everybody's"]) == []


async def test_what_becomes_of_a_user_is_found(
    plane: ControlPlane, api: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    await plane.fill(POLICIES, [User(id="maria", name="Maria")])
    found = [(one["code"], one["row"]) for one in await findings(api, ids["maria's"])]
    assert found == [("privileges_missing", 1), ("rule_shadowed", 2), ("privileges_missing", 2)]


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ({"compare": "ana's"}, []),
        ({"compare": "maria's"}, [1, 2]),
        ({"among": "tenant"}, []),
        ({"among": "groups"}, []),
        ({"among": "organization"}, [1, 2]),
    ],
)
async def test_a_key_is_held_against_others(
    api: httpx.AsyncClient, ids: dict[str, str], query: dict[str, str], rows: list[int]
) -> None:
    if "compare" in query:
        query = {"compare": ids[query["compare"]]}
    found = [one for one in await findings(api, ids["tom's"], **query) if one["code"] == "rule_broader"]
    assert [one["row"] for one in found] == rows
    assert {one["other"] for one in found} <= {ids["maria's"]}
    assert all(one["request"] is not None for one in found)


async def test_a_key_of_nobody_has_no_colleagues(api: httpx.AsyncClient, ids: dict[str, str]) -> None:
    path = f"/keys/{ids[everybodys]}/findings"
    assert refusal(await api.get(path, params={"among": "groups"})) == (400, "no_colleagues")
    [found] = await findings(api, ids[everybodys], compare=ids["ana's"])
    assert (found["code"], found["row"]) == ("rule_broader", None)
    assert refusal(await api.get(path, params={"compare": "nokey"})) == (404, "not_found")
    assert refusal(await api.get("/keys/nokey/findings")) == (404, "not_found")


everybodys = "everybody's"


async def test_all_keys_are_reviewed_a_page_at_a_time(
    store_url: str, api: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    before = await kept(store_url)
    whole = (await api.get("/findings")).json()
    assert whole["has_more"] is False
    expected = [one for key_id in sorted(ids.values()) for one in await findings(api, key_id)]
    assert whole["items"] == expected
    assert len(expected) == 3
    paged, cursor = [], None
    for _ in expected:
        page = (
            await api.get("/findings", params={"limit": 1, **({"cursor": cursor} if cursor else {})})
        ).json()
        paged += page["items"]
        cursor = page["next_cursor"]
    assert (paged, cursor) == (expected, None)
    some = (await api.get("/findings", params={"code": "rule_shadowed"})).json()["items"]
    assert [one["code"] for one in some] == ["rule_shadowed", "rule_shadowed"]
    assert await kept(store_url) == before


async def test_who_reaches_an_endpoint_is_told_key_by_key(
    api: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    await api.post(f"/keys/{ids[everybodys]}:disable")
    asked = {"method": "GET", "url": "/api/reports/*"}
    said = (await api.get("/access", params=asked)).json()
    by_key = {one["key"]: one for one in said["items"]}
    assert by_key.keys() == {ids["tom's"], ids["ana's"], ids[everybodys]}
    tom = by_key[ids["tom's"]]
    assert (tom["row"], tom["user"], tom["wholly"], tom["allowed"]) == (2, "tom", True, False)
    assert (tom["reason"], tom["missing_privileges"]) == ("privilege_missing", ["reports.view"])
    assert by_key[ids["ana's"]]["allowed"] is True
    off = by_key[ids[everybodys]]
    assert (off["state"], off["reason"], off["user"], off["row"]) == ("disabled", "key_disabled", None, None)
    paged, cursor = [], None
    for _ in by_key:
        more: dict[str, str] = {"cursor": cursor} if cursor else {}
        page = (await api.get("/access", params={**asked, "limit": 1, **more})).json()
        paged += page["items"]
        cursor = page["next_cursor"]
    assert (paged, cursor) == (said["items"], None)


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/access", {"method": "GET", "url": "nonsense"}, "url_invalid"),
        ("/access", {"method": "GET", "url": "/a;b*"}, "url_invalid"),
        ("/access", {"method": "BREW", "url": "/"}, "invalid"),
        ("/access", {"method": "GET", "url": "/", "cursor": "x"}, "cursor_invalid"),
        ("/findings", {"cursor": "x"}, "cursor_invalid"),
        ("/findings", {"code": "nothing"}, "invalid"),
    ],
)
async def test_what_is_no_question_is_refused(
    api: httpx.AsyncClient, path: str, query: dict[str, str], code: str
) -> None:
    assert refusal(await api.get(path, params=query)) == (400, code)


async def test_a_cursor_of_the_wrong_kind_is_refused(api: httpx.AsyncClient, ids: dict[str, str]) -> None:
    asked = {"method": "GET", "url": "/*"}
    mine = (await api.get("/access", params={**asked, "limit": 1})).json()["next_cursor"]
    other = await api.get("/access", params={**asked, "url": "/api/*", "cursor": mine})
    assert refusal(other) == (400, "cursor_filter_mismatch")
