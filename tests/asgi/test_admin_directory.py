"""People, groups, roles and organizations over the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from asgi.adminapi import POLICIES, pointers, refusal
from asgi.test_admin_users import PEOPLE

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

MAX = {"id": "max", "name": "Max Öst", "email": "max@example.com", "organization": "IT/Wien"}


@pytest.fixture
async def filled(plane: ControlPlane, api: httpx.AsyncClient) -> httpx.AsyncClient:
    await plane.fill(POLICIES, PEOPLE)
    return api


async def found(api: httpx.AsyncClient, **params: Any) -> list[str]:
    answer = await api.get("/users", params=params)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["items"]]


# People


async def test_a_person_is_added_changed_and_deleted(filled: httpx.AsyncClient) -> None:
    added = await filled.post("/users", json={**MAX, "roles": ["agent"], "user_name": "Max@Corp"})
    assert added.status_code == 201, added.text
    assert added.json()["privileges"]
    shown = await filled.get("/users/max")
    assert (shown.json(), shown.headers["etag"]) == (added.json(), added.headers["etag"])
    assert await found(filled, q="ost", organization="IT") == ["max"]
    edit = {"name": "Max West", "roles": [], "email": ""}
    edited = await filled.patch("/users/max", json=edit, headers={"If-Match": shown.headers["etag"]})
    assert edited.status_code == 200, edited.text
    assert {**edited.json(), "privileges": []} == {**shown.json(), **edit, "privileges": []}
    assert edited.json()["privileges"] == []
    assert await found(filled, q="west") == ["max"]
    assert (await filled.delete("/users/max", headers={"If-Match": shown.headers["etag"]})).status_code == 412
    assert (await filled.delete("/users/max")).status_code == 204
    assert refusal(await filled.get("/users/max")) == (404, "not_found")
    assert await found(filled, q="west") == []


async def test_what_two_administrators_change_is_not_lost(filled: httpx.AsyncClient) -> None:
    seen = (await filled.get("/users/tom")).headers["etag"]
    assert refusal(await filled.patch("/users/tom", json={"name": "T"})) == (428, "if_match_required")
    assert (await filled.post("/users/tom:deactivate", headers={"If-Match": seen})).status_code == 200
    for stale in (
        filled.patch("/users/tom", json={"name": "T"}, headers={"If-Match": seen}),
        filled.post("/users/tom:activate", headers={"If-Match": seen}),
        filled.post("/users/tom/roles:add", json={"roles": ["agent"]}, headers={"If-Match": seen}),
    ):
        assert refusal(await stale) == (412, "etag_mismatch")
    tom = (await filled.get("/users/tom")).json()
    assert (tom["name"], tom["active"], tom["roles"]) == ("Tom Lang", False, [])


@pytest.mark.parametrize("user_id", ["a/b", "a:activate", "..", "?x=1#y", "%2F", "~!*'()", "a/roles:add"])
async def test_an_id_may_have_any_visible_character(api: httpx.AsyncClient, user_id: str) -> None:
    (await api.post("/users", json={"id": user_id, "name": "N"})).raise_for_status()
    path = f"/users/{quote(user_id, safe='') if user_id.strip('.') else '%2E%2E'}"
    assert (await api.get(path)).json()["id"] == user_id
    assert (await api.post(f"{path}:deactivate")).json()["active"] is False
    edited = await api.patch(path, json={"name": "Else"}, headers={"If-Match": "*"})
    assert edited.json()["name"] == "Else"
    assert (await api.delete(path)).status_code == 204


WRONG: dict[str, tuple[dict[str, Any], tuple[int, str], list[str]]] = {
    "an id that is taken": ({"id": "tom"}, (409, "conflict"), []),
    "a user name that is an id": ({"user_name": "TOM"}, (409, "user_name_taken"), []),
    "an id with a space": ({"id": "a b"}, (422, "invalid"), ["/id"]),
    "an empty name": ({"name": " "}, (422, "invalid"), ["/name"]),
    "an organization without a name": ({"organization": "A//B"}, (422, "invalid"), ["/organization"]),
    "a role that is not defined": ({"roles": ["nope"]}, (422, "role_unknown"), ["/roles"]),
    "a group that is not defined": ({"groups": ["nope"]}, (422, "group_unknown"), ["/groups"]),
    "a member that there is not": ({"phone": "1"}, (422, "unknown"), ["/phone"]),
}


@pytest.mark.parametrize(("said", "code", "where"), WRONG.values(), ids=WRONG.keys())
async def test_what_is_wrong_is_refused_and_named(
    filled: httpx.AsyncClient, said: dict[str, Any], code: tuple[int, str], where: list[str]
) -> None:
    answer = await filled.post("/users", json={**MAX, **said})
    assert refusal(answer) == code
    assert pointers(answer) == where if where else "errors" not in answer.json()
    assert await found(filled, q="max") == []


async def test_null_takes_away_only_what_may_be_absent(filled: httpx.AsyncClient) -> None:
    anyhow = {"If-Match": "*"}
    (await filled.patch("/users/tom", json={"external_id": "x", "user_name": "tl"}, headers=anyhow)).json()
    none = await filled.patch("/users/tom", json={"external_id": None, "user_name": ""}, headers=anyhow)
    assert (none.json()["external_id"], none.json()["user_name"]) == (None, None)
    for name in ("name", "email", "organization", "active", "groups", "roles"):
        refused = await filled.patch("/users/tom", json={name: None}, headers=anyhow)
        assert pointers(refused) == [f"/{name}"]


async def test_roles_are_given_and_taken(filled: httpx.AsyncClient) -> None:
    given = await filled.post("/users/ana/roles:add", json={"roles": ["agent", "supervisor"]})
    assert given.json()["roles"] == ["agent", "supervisor"]
    taken = await filled.post("/users/ana/roles:remove", json={"roles": ["agent"]})
    assert taken.json()["roles"] == ["supervisor"]
    for verb, role in (("add", "nope"), ("remove", "agent")):
        refused = await filled.post(f"/users/ana/roles:{verb}", json={"roles": ["supervisor", role]})
        assert refusal(refused) == (404, "not_found")
    assert (await filled.get("/users/ana")).json()["roles"] == ["supervisor"]


async def test_a_cursor_of_another_kind_is_refused(filled: httpx.AsyncClient) -> None:
    group = (await filled.get("/groups", params={"limit": 1})).json()["next_cursor"]
    assert refusal(await filled.get("/users", params={"limit": 1, "cursor": group}))[0] == 400
    assert refusal(await filled.get("/users", params={"cursor": "x"})) == (400, "cursor_invalid")


# Many people


async def test_of_many_each_stands_or_falls_alone(filled: httpx.AsyncClient) -> None:
    rows: list[Any] = [
        {"id": "tom", "organization": "IT"},
        {"id": "ana", "name": "Ana Berg"},
        {**MAX, "groups": ["agents"], "active": False},
        {"id": "max"},
        {"id": "nameless"},
        {"id": "lou", "name": "Lou", "email": "not one"},
        {"id": "zoe", "roles": ["nope"]},
        {"id": "eva", "name": "Eva", "user_name": "MAX"},
        {"name": "No id"},
        "no object",
        {"id": "ida", "name": "Ida", "phone": "1"},
        {"id": "uma", "name": "Uma", "groups": "agents"},
        {"id": "a b", "name": "A B"},
    ]
    answer = await filled.post("/users:import", json={"users": rows})
    said = answer.json()
    assert (said["added"], said["changed"], said["unchanged"], said["failed"]) == (1, 1, 1, 10)
    assert [(one["row"], one["id"], one["field"], one["code"]) for one in said["problems"]] == [
        (4, "max", None, "id_repeated"),
        (5, "nameless", "name", "invalid"),
        (6, "lou", "email", "invalid"),
        (7, "zoe", "roles", "role_unknown"),
        (8, "eva", None, "user_name_taken"),
        (9, None, "id", "document_invalid"),
        (10, None, "", "document_invalid"),
        (11, "ida", "phone", "document_invalid"),
        (12, "uma", "groups", "document_invalid"),
        (13, "a b", "id", "invalid"),
    ]
    tom = (await filled.get("/users/tom")).json()
    assert (tom["organization"], tom["name"], tom["groups"]) == ("IT", "Tom Lang", ["agents"])
    assert (await filled.get("/users/max")).json()["active"] is False
    assert await found(filled, organization="IT") == ["ana", "max", "tom"]
    again = (await filled.post("/users:import", json={"users": rows[:3]})).json()
    assert (again["unchanged"], again["failed"]) == (3, 0)


async def test_an_import_adds_groups_only_if_that_is_said(filled: httpx.AsyncClient) -> None:
    body = {"users": [{"id": "tom", "groups": ["new", "agents"]}, {"id": "ana", "groups": ["a b"]}]}
    refused = (await filled.post("/users:import", json=body)).json()
    assert [one["code"] for one in refused["problems"]] == ["group_unknown", "name_invalid"]
    tried = await filled.post(
        "/users:import", json={**body, "create_groups": True}, params={"dry_run": "true"}
    )
    assert tried.json()["changed"] == 1
    assert refusal(await filled.get("/groups/new")) == (404, "not_found")
    done = (await filled.post("/users:import", json={**body, "create_groups": True})).json()
    assert (done["changed"], [one["field"] for one in done["problems"]]) == (1, ["groups"])
    group = (await filled.get("/groups/new")).json()
    assert (group["in_directory"], group["in_policies"], group["members"]) == (True, False, 1)


# Groups


async def test_a_group_is_added_changed_and_deleted(filled: httpx.AsyncClient) -> None:
    added = await filled.post("/groups", json={"id": "wien", "name": "Wien"})
    assert added.status_code == 201
    assert added.json() == {
        "id": "wien",
        "name": "Wien",
        "external_id": None,
        "in_directory": True,
        "in_policies": False,
        "roles": [],
        "members": 0,
    }
    assert refusal(await filled.post("/groups", json={"id": "wien"})) == (409, "conflict")
    assert refusal(await filled.post("/groups", json={"id": "a b"})) == (422, "name_invalid")
    into = await filled.post("/groups/wien/members", json={"add": ["tom", "ana"]})
    assert into.json()["members"] == 2
    assert await found(filled, group="wien") == ["ana", "tom"]
    out = await filled.post("/groups/wien/members", json={"add": ["maria"], "remove": ["ana"]})
    assert out.json()["members"] == 2
    unknown = await filled.post("/groups/wien/members", json={"add": ["zoe", "nobody"]})
    assert refusal(unknown) == (404, "not_found")
    assert await found(filled, group="wien") == ["maria", "tom"]
    edited = await filled.patch(
        "/groups/wien", json={"name": "Vienna"}, headers={"If-Match": added.headers["etag"]}
    )
    assert edited.json()["name"] == "Vienna"
    assert (
        refusal(await filled.patch("/groups/wien", json={"name": None}, headers={"If-Match": "*"}))[0] == 422
    )
    stale = await filled.delete("/groups/wien", headers={"If-Match": added.headers["etag"]})
    assert refusal(stale) == (412, "etag_mismatch")
    assert (await filled.delete("/groups/wien")).status_code == 204
    assert await found(filled, group="wien") == []
    assert refusal(await filled.get("/groups/wien")) == (404, "not_found")


async def test_groups_of_policies_are_groups_and_stay(filled: httpx.AsyncClient) -> None:
    agents = (await filled.get("/groups/agents")).json()
    assert (agents["in_directory"], agents["in_policies"]) == (False, True)
    assert (agents["roles"], agents["members"]) == (["agent"], 2)
    assert refusal(await filled.delete("/groups/agents")) == (409, "conflict")
    assert refusal(await filled.patch("/groups/agents", json={}, headers={"If-Match": "*"}))[0] == 404
    await filled.post("/groups", json={"id": "agents", "name": "The agents"})
    await filled.delete("/groups/agents")
    assert (await filled.get("/groups/agents")).json()["members"] == 0


async def test_groups_are_listed_a_page_at_a_time(filled: httpx.AsyncClient) -> None:
    for group_id in ("wien", "graz"):
        await filled.post("/groups", json={"id": group_id, "name": f"Büro {group_id}"})
    listed, cursor = [], None
    while True:
        page = (
            await filled.get("/groups", params={"limit": 1, **({"cursor": cursor} if cursor else {})})
        ).json()
        listed += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert listed == sorted(listed)
    assert {"agents", "graz", "wien"} <= set(listed)
    named = (await filled.get("/groups", params={"q": "BURO W"})).json()["items"]
    assert [one["id"] for one in named] == ["wien"]


# Roles and organizations


async def test_roles_are_told_with_what_they_give(filled: httpx.AsyncClient) -> None:
    roles = {one["name"]: one for one in (await filled.get("/roles")).json()["items"]}
    assert roles["supervisor"]["people"] == 1
    assert roles["agent"]["groups"] == ["agents"]
    assert "recordings.view" in roles["agent"]["privileges"]


async def test_organizations_are_a_tree(filled: httpx.AsyncClient) -> None:
    async def below(parent: str | None = None) -> list[tuple[str, int, bool]]:
        params = {} if parent is None else {"parent": parent}
        items = (await filled.get("/organizations", params=params)).json()["items"]
        return [(one["path"], one["people"], one["is_parent"]) for one in items]

    assert await below() == [("IT", 1, False), ("Sales", 2, True), ("Salesforce", 1, False)]
    assert await below("Sales") == [("Sales/Vienna", 2, True)]
    assert await below("Sales/Vienna") == [("Sales/Vienna/Team 1", 1, False)]
    assert await below("Sales/Vienna/Team 1") == await below("Nowhere") == []
    await filled.delete("/users/ana")
    await filled.patch("/users/tom", json={"organization": "Sales"}, headers={"If-Match": "*"})
    assert await below() == [("Sales", 2, True), ("Salesforce", 1, False)]
    assert await below("Sales") == [("Sales/Vienna", 1, False)]


# Permissions, and what requests see


@pytest.mark.parametrize(
    "path", ["/users", "/users/tom", "/groups", "/groups/agents", "/roles", "/organizations"]
)
async def test_an_auditor_reads_and_changes_nothing(
    plane: ControlPlane, filled: httpx.AsyncClient, path: str
) -> None:
    auditor = await plane.signed_in("auditor")
    assert (await auditor.get(path)).status_code == 200
    for refused in (
        auditor.post("/users", json=MAX),
        auditor.post("/users:import", json={"users": [MAX]}),
        auditor.post("/users/tom:deactivate"),
        auditor.post("/groups", json={"id": "x"}),
        auditor.post("/groups/agents/members", json={"remove": ["tom"]}),
    ):
        assert refusal(await refused) == (403, "forbidden")


async def test_another_tenant_has_other_people(plane: ControlPlane, filled: httpx.AsyncClient) -> None:
    await filled.post("/tenants", json={"id": "acme"})
    assert await found(filled, tenant="acme") == []
    await filled.post("/users", json=MAX, params={"tenant": "acme"})
    assert await found(filled, tenant="acme") == ["max"]
    assert await found(filled, q="max") == []
    stranger = await plane.signed_in("key_administrator", ["acme"])
    assert refusal(await stranger.get("/groups")) == (404, "not_found")
