"""``/scim/v2/Groups``: a provisioning system says who is in which group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import POLICIES
from asgi.scim import add_group, add_user, ids, members, patch, refusal, show
from scopegate.core.principal import Group, User
from scopegate.core.scim.attributes import GROUP_SCHEMA

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

MANY = 10_000


@pytest.fixture
async def scim(plane: ControlPlane) -> httpx.AsyncClient:
    await plane.fill(POLICIES, [User(id=one, name=one.title()) for one in ("ana", "bo", "kim")])
    return await plane.provisioner()


def group(name: str, *ids: str, **attributes: Any) -> dict[str, Any]:
    named = {"members": [{"value": one} for one in ids]} if ids else {}
    return {"schemas": [GROUP_SCHEMA], "displayName": name, **named, **attributes}


async def test_a_group_comes_is_changed_and_goes(plane: ControlPlane, scim: httpx.AsyncClient) -> None:
    answer = await scim.post("/Groups", json=group("Night Shift", "ana", "bo", externalId="X-1"))
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == "http://admin.test/scim/v2/Groups/night-shift"
    assert answer.headers["etag"] == made["meta"]["version"]
    assert made == await show(scim, "/Groups/night-shift")
    assert made["members"] == [
        {"value": one, "$ref": f"http://admin.test/scim/v2/Users/{one}", "type": "User"}
        for one in ("ana", "bo")
    ]
    assert await plane.store.groups.get("night-shift") == Group(
        id="night-shift", name="Night Shift", external_id="X-1"
    )
    held = (await show(scim, "/Users/ana"))["groups"]
    assert [(one["value"], one["display"]) for one in held] == [("night-shift", "Night Shift")]

    replaced = await scim.put("/Groups/night-shift", json=group("Late Shift", "bo", "kim"))
    assert replaced.status_code == 200
    assert replaced.json()["displayName"] == "Late Shift"
    assert "externalId" not in replaced.json()
    assert await members(scim, "night-shift") == ["bo", "kim"]

    assert (await scim.put("/Groups/night-shift", json=group("Late Shift"))).status_code == 200
    assert await members(scim, "night-shift") == []
    await patch(scim, "/Groups/night-shift", {"op": "add", "path": "members", "value": [{"value": "ana"}]})

    assert (await scim.delete("/Groups/night-shift")).status_code == 204
    assert (await plane.store.users.get("ana")).groups == frozenset()
    for answer in (
        await scim.get("/Groups/night-shift"),
        await scim.delete("/Groups/night-shift"),
        await scim.put("/Groups/night-shift", json=group("x")),
        await patch(scim, "/Groups/night-shift", {"op": "remove", "path": "members"}),
    ):
        assert refusal(answer) == (404, None)


@pytest.mark.parametrize(
    ("operations", "left"),
    [
        ([{"op": "add", "path": "members", "value": [{"value": "kim"}]}], ["ana", "bo", "kim"]),
        ([{"op": "add", "path": "members", "value": {"value": "kim"}}], ["ana", "bo", "kim"]),
        ([{"op": "add", "value": {"members": [{"value": "kim"}]}}], ["ana", "bo", "kim"]),
        ([{"op": "add", "path": "members", "value": [{"value": "ana"}]}], ["ana", "bo"]),
        ([{"op": "remove", "path": 'members[value eq "ana"]'}], ["bo"]),
        ([{"op": "remove", "path": 'members[value eq "nobody"]'}], ["ana", "bo"]),
        ([{"op": "Remove", "path": "members", "value": [{"value": "ana"}]}], ["bo"]),
        ([{"op": "remove", "path": "members"}], []),
        ([{"op": "replace", "path": "members", "value": [{"value": "kim"}]}], ["kim"]),
        ([{"op": "replace", "value": {"members": [{"value": "kim"}, {"value": "bo"}]}}], ["bo", "kim"]),
        (
            [
                {"op": "remove", "path": "members"},
                {"op": "add", "path": "members", "value": [{"value": "kim"}]},
            ],
            ["kim"],
        ),
    ],
)
async def test_members_are_changed_in_parts(
    scim: httpx.AsyncClient, operations: list[dict[str, Any]], left: list[str]
) -> None:
    await add_group(scim, "Shift", "ana", "bo")
    answer = await patch(scim, "/Groups/shift", *operations)
    assert (answer.status_code, answer.content) == (204, b"")
    assert await members(scim, "shift") == left


async def test_a_group_is_renamed_in_a_patch_and_keeps_its_id_and_members(scim: httpx.AsyncClient) -> None:
    await add_group(scim, "Shift", "ana")
    renamed = {"op": "replace", "value": {"id": "shift", "displayName": "Crew"}}
    answer = await patch(scim, "/Groups/shift?attributes=displayName", renamed)
    assert answer.status_code == 200
    assert answer.json() == {"schemas": [GROUP_SCHEMA], "id": "shift", "displayName": "Crew"}
    assert await members(scim, "shift") == ["ana"]


async def test_a_name_is_one_groups_whatever_its_case(scim: httpx.AsyncClient) -> None:
    await add_group(scim, "Shift")
    await add_group(scim, "Crew")
    for answer in (
        await scim.post("/Groups", json=group("sHIFT")),
        await scim.put("/Groups/crew", json=group("SHIFT")),
        await patch(scim, "/Groups/crew", {"op": "replace", "path": "displayName", "value": "shift"}),
    ):
        assert refusal(answer) == (409, "uniqueness")
    assert (await scim.put("/Groups/crew", json=group("CREW"))).status_code == 200
    assert (await add_group(scim, "Crew!"))["id"] == "crew-2"


async def test_a_group_that_policies_know_gives_its_members_what_they_say(
    plane: ControlPlane, scim: httpx.AsyncClient
) -> None:
    made = await add_group(scim, "Quality", "ana")
    assert made["id"] == "quality"
    api = await plane.local()
    assert (await api.get("/users/ana")).json()["privileges"] == [
        "recordings.edit",
        "recordings.view",
        "reports.view",
    ]
    await patch(scim, "/Groups/quality", {"op": "remove", "path": 'members[value eq "ana"]'})
    assert (await api.get("/users/ana")).json()["privileges"] == []


async def test_who_is_in_a_group_of_the_policies_already_is_told(
    plane: ControlPlane, scim: httpx.AsyncClient
) -> None:
    await plane.store.users.put([User(id="eva", name="Eva", groups=frozenset({"quality"}))])
    assert "groups" not in await show(scim, "/Users/eva")
    assert [one["value"] for one in (await add_group(scim, "Quality", "ana"))["members"]] == ["ana", "eva"]
    assert (await show(scim, "/Users/eva"))["groups"][0]["value"] == "quality"


async def test_a_member_is_somebody(plane: ControlPlane, scim: httpx.AsyncClient) -> None:
    await add_group(scim, "Shift", "ana")
    nobody = [{"value": "bo"}, {"value": "nobody"}]
    for answer in (
        await scim.post("/Groups", json=group("Crew", "bo", "nobody")),
        await scim.put("/Groups/shift", json=group("Shift", "bo", "nobody")),
        await patch(
            scim,
            "/Groups/shift",
            {"op": "replace", "path": "displayName", "value": "x"},
            {"op": "add", "path": "members", "value": nobody},
        ),
        await patch(
            scim,
            "/Groups/shift",
            {"op": "add", "path": "members", "value": [{"value": "crew", "type": "Group"}]},
        ),
    ):
        assert refusal(answer) == (400, "invalidValue")
    assert await members(scim, "shift") == ["ana"]
    assert [one.name for one in await plane.store.groups.all()] == ["Shift"]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ('displayName eq "sHIFT"', ["shift"]),
        ('id eq "crew"', ["crew"]),
        ('externalId eq "X-1"', ["crew"]),
        ('members.value eq "ana"', ["crew", "shift"]),
        ('members eq "bo"', ["shift"]),
        ('members[value eq "bo"]', ["shift"]),
        ('id eq "shift" and members eq "ana"', ["shift"]),
        ('members eq "ana" and not (members eq "bo")', ["crew"]),
        ('members eq "nobody"', []),
        ('displayName sw "c"', ["crew"]),
    ],
)
async def test_groups_are_found(scim: httpx.AsyncClient, condition: str, found: list[str]) -> None:
    await add_group(scim, "Shift", "ana", "bo")
    await add_group(scim, "Crew", "ana", externalId="X-1")
    assert await ids(scim, "/Groups", condition) == found


async def test_members_are_compared_by_their_value_alone(scim: httpx.AsyncClient) -> None:
    for condition in ("members pr", 'members co "a"', 'members[type eq "User"]', 'members ne "ana"'):
        assert refusal(await scim.get("/Groups", params={"filter": condition})) == (400, "invalidFilter")


async def test_pages_of_groups_are_counted_from_one(scim: httpx.AsyncClient) -> None:
    for name in "abc":
        await add_group(scim, name)
    assert await ids(scim, "/Groups", startIndex=2, count=1) == ["b"]
    assert (await show(scim, "/Groups", count=0))["totalResults"] == 3


async def test_an_answer_without_members_tells_no_version(scim: httpx.AsyncClient) -> None:
    made = await add_group(scim, "Shift", "ana")
    answer = await scim.get("/Groups/shift", params={"excludedAttributes": "members"})
    assert "members" not in answer.json()
    assert "version" not in answer.json()["meta"]
    assert "etag" not in answer.headers
    [listed] = (await show(scim, "/Groups", excludedAttributes="members"))["Resources"]
    assert "members" not in listed
    [listed] = (await show(scim, "/Groups"))["Resources"]
    assert listed == made


async def test_a_change_can_be_meant_for_one_version_of_name_and_members_alone(
    scim: httpx.AsyncClient,
) -> None:
    old = (await add_group(scim, "Shift", "ana"))["meta"]["version"]
    add_bo = {"op": "add", "path": "members", "value": [{"value": "bo"}]}
    assert (await patch(scim, "/Groups/shift", add_bo, If_Match=old)).status_code == 204
    for answer in (
        await patch(scim, "/Groups/shift", add_bo, If_Match=old),
        await scim.put("/Groups/shift", json=group("Shift"), headers={"If-Match": old}),
        await scim.delete("/Groups/shift", headers={"If-Match": old}),
    ):
        assert refusal(answer) == (412, None)
    new = (await show(scim, "/Groups/shift"))["meta"]["version"]
    same = await scim.get("/Groups/shift", headers={"If-None-Match": new})
    assert (same.status_code, same.headers["etag"]) == (304, new)
    assert (await scim.delete("/Groups/shift", headers={"If-Match": new})).status_code == 204


async def test_a_search_of_everything_has_the_people_first(scim: httpx.AsyncClient) -> None:
    await add_group(scim, "Ana")
    await add_user(scim, "zoe")
    search = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "startIndex": 3, "count": 3}
    found = (await scim.post("/.search", json=search)).json()
    assert found["totalResults"] == 5
    assert [one["id"] for one in found["Resources"]] == ["kim", "zoe", "ana"]
    search |= {"filter": 'displayName eq "Ana"', "startIndex": 1, "attributes": ["displayName"]}
    found = (await scim.post("/.search", json=search)).json()
    assert [(one["id"], one["schemas"][0].rpartition(":")[2]) for one in found["Resources"]] == [
        ("ana", "User"),
        ("ana", "Group"),
    ]


async def test_one_more_member_of_a_big_group_is_one_record_more(
    plane: ControlPlane, scim: httpx.AsyncClient
) -> None:
    everybody = [f"u{number:05}" for number in range(MANY)]
    for start in range(0, MANY, 1_000):
        await plane.store.users.put(User(id=one, name="N") for one in everybody[start : start + 1_000])
    await add_group(scim, "Big", *everybody)
    assert await members(scim, "big") == everybody
    written = [await _written(plane)]
    await patch(scim, "/Groups/big", {"op": "add", "path": "members", "value": [{"value": "ana"}]})
    await patch(scim, "/Groups/big", {"op": "remove", "path": 'members[value eq "u00000"]'})
    written.append(await _written(plane))
    assert written[1] - written[0] == 2
    assert await members(scim, "big") == ["ana", *everybody[1:]]


async def _written(plane: ControlPlane) -> int:
    """How many entries the audit log has, one for each step that changed something."""
    verified = await plane.store.audit.verify()
    return verified.reached.sequence
