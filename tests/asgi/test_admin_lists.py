"""Lists of keys: filters, orders, pages, and cursors that belong to them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import POLICIES, create, create_custom, pointers, refusal
from scopegate.demo.scenario import USERS

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

DAY = timedelta(days=1)


@pytest.fixture
async def filled(plane: ControlPlane, api: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of a tenant with a key of each kind, made on five days."""
    await plane.fill(POLICIES, USERS)
    await create(api, type="desktop", description="beta")
    plane.clock.put_on(DAY)
    await create(api, description="Alpha", user="tom")
    plane.clock.put_on(DAY)
    await create(api, description="delta", expires_at=plane.clock.after(100 * DAY))
    plane.clock.put_on(DAY)
    disabled = await create(api, description="Gamma", expires_at=plane.clock.after(50 * DAY))
    await api.post(f"/keys/{disabled['id']}:disable")
    plane.clock.put_on(DAY)
    await create_custom(api, "/api/recordings/*", description="epsilon 100%")
    return api


async def listed(api: httpx.AsyncClient, **params: Any) -> list[str]:
    answer = await api.get("/keys", params=params)
    assert answer.status_code == 200, answer.text
    return [one["description"].split()[0].lower() for one in answer.json()["items"]]


SELECTIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "newest first": ({}, ["epsilon", "gamma", "delta", "alpha", "beta"]),
    "of a type": ({"type": "external"}, ["gamma", "delta", "alpha"]),
    "of two types": ({"type": ["desktop", "custom"]}, ["epsilon", "beta"]),
    "in a state": ({"state": "disabled"}, ["gamma"]),
    "of a user": ({"user": "tom"}, ["alpha"]),
    "with words": ({"q": "ALPHA"}, ["alpha"]),
    "with what is no pattern": ({"q": "100%"}, ["epsilon"]),
    "of type and state": ({"type": "external", "state": "active"}, ["delta", "alpha"]),
    "none": ({"q": "nothing"}, []),
    "oldest first": ({"sort": "created_at"}, ["beta", "alpha", "delta", "gamma", "epsilon"]),
    "by description": ({"sort": "description"}, ["alpha", "beta", "delta", "epsilon", "gamma"]),
    "from z to a": ({"sort": "-description"}, ["gamma", "epsilon", "delta", "beta", "alpha"]),
    "idle for sure, where nothing is known of use": ({"idle": 3}, []),
}


@pytest.mark.parametrize(("params", "expected"), SELECTIONS.values(), ids=SELECTIONS.keys())
async def test_keys_are_selected_and_sorted(
    filled: httpx.AsyncClient, params: dict[str, Any], expected: list[str]
) -> None:
    assert await listed(filled, **params) == expected


async def test_keys_that_never_expire_come_after_all_that_do(filled: httpx.AsyncClient) -> None:
    assert (await listed(filled, sort="expires_at"))[:2] == ["gamma", "delta"]
    assert (await listed(filled, sort="-expires_at"))[-2:] == ["delta", "gamma"]


async def test_expired_keys_are_a_state_of_their_own(plane: ControlPlane, filled: httpx.AsyncClient) -> None:
    plane.clock.put_on(50 * DAY)
    assert await listed(filled, state="expired") == ["gamma"]
    assert await listed(filled, state="disabled") == []


@pytest.mark.parametrize("sort", ["created_at", "-created_at", "expires_at", "-expires_at", "description"])
async def test_pages_put_together_are_the_list(filled: httpx.AsyncClient, sort: str) -> None:
    found: list[str] = []
    params: dict[str, Any] = {"sort": sort, "limit": 2}
    for number in range(3):
        said = (await filled.get("/keys", params=params)).json()
        assert said["total"] == 5
        assert said["has_more"] is (number < 2)
        assert (said["next_cursor"] is None) is (number == 2)
        found += [one["description"].split()[0].lower() for one in said["items"]]
        params["cursor"] = said["next_cursor"]
    assert found == await listed(filled, sort=sort)


async def test_a_page_goes_on_where_the_one_before_ended_whatever_came_meanwhile(
    plane: ControlPlane, filled: httpx.AsyncClient
) -> None:
    first = (await filled.get("/keys", params={"limit": 2})).json()
    plane.clock.put_on(DAY)
    await create(filled, description="new")
    await filled.delete(f"/keys/{first['items'][1]['id']}")
    rest = await listed(filled, limit=10, cursor=first["next_cursor"])
    assert rest == ["delta", "alpha", "beta"]


@pytest.mark.parametrize("cursor", ["x", "W10", "bm9uZQ", "W10=", "äöü", "eyJhIjoxfQ"])
async def test_what_is_no_cursor_is_refused(filled: httpx.AsyncClient, cursor: str) -> None:
    for path in ("/keys", "/users", "/audit"):
        answer = await filled.get(path, params={"cursor": cursor})
        assert refusal(answer) == (400, "cursor_invalid")
        assert pointers(answer) == ["query:cursor"]


async def test_a_cursor_belongs_to_its_filters(filled: httpx.AsyncClient) -> None:
    cursor = (await filled.get("/keys", params={"limit": 1})).json()["next_cursor"]
    for other in ({"type": "external"}, {"sort": "created_at"}, {"q": "a"}):
        answer = await filled.get("/keys", params={"cursor": cursor, **other})
        assert refusal(answer) == (400, "cursor_filter_mismatch")
    assert (await filled.get("/keys", params={"cursor": cursor, "limit": 50})).status_code == 200
    elsewhere = await filled.get("/users", params={"cursor": cursor})
    assert refusal(elsewhere)[0] == 400


@pytest.mark.parametrize(
    "params",
    [
        {"colour": "red"},
        {"types": "external"},
        {"type": "root"},
        {"state": "asleep"},
        {"sort": "secret"},
        {"limit": 0},
        {"limit": 501},
        {"limit": "many"},
        {"idle": 0},
        {"user": "x" * 201},
    ],
    ids=str,
)
async def test_a_parameter_that_is_unknown_or_wrong_is_refused(
    api: httpx.AsyncClient, params: dict[str, Any]
) -> None:
    answer = await api.get("/keys", params=params)
    [name] = params
    assert refusal(answer) == (400, "parameter_unknown" if name in {"colour", "types"} else "invalid")
    assert [one.split(".")[0] for one in pointers(answer)] == [f"query:{name}"]


async def test_no_operation_overlooks_a_parameter_that_it_does_not_have(api: httpx.AsyncClient) -> None:
    described: dict[str, Any] = (await api.get("/openapi.json")).json()["paths"]
    asked = [path for path, operations in described.items() if "get" in operations]
    for path in asked:
        url = path.removeprefix("/admin/v1").replace("{", "").replace("}", "")
        needed = {"method": "GET", "url": "/x"} if url == "/access" else {}
        answer = await api.get(url, params={"colour": "red", **needed})
        assert refusal(answer) == (400, "parameter_unknown"), path
    assert refusal(await api.delete("/keys/000000000000?dryrun=true")) == (400, "parameter_unknown")
