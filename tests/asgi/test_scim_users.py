"""``/scim/v2/Users``: a provisioning system keeps the people of a tenant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import POLICIES, create, kept
from asgi.scim import add_group, add_user, ids, patch, refusal, show
from scopegate.core.principal import User
from scopegate.core.scim.attributes import ENTERPRISE_SCHEMA, USER_SCHEMA

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


@pytest.fixture
async def scim(plane: ControlPlane) -> httpx.AsyncClient:
    await plane.fill(POLICIES, [])
    return await plane.provisioner()


def user(user_name: str, **attributes: Any) -> dict[str, Any]:
    return {"schemas": [USER_SCHEMA], "userName": user_name, **attributes}


async def test_a_person_comes_is_changed_and_goes(plane: ControlPlane, scim: httpx.AsyncClient) -> None:
    answer = await scim.post(
        "/Users",
        json=user(
            "ana@x.example",
            externalId="X-1",
            displayName="Ana Ström",
            name={"givenName": "Ana", "familyName": "Ström"},
            emails=[{"value": "ana@x.example", "type": "work", "primary": True}],
            roles=[{"value": "recorder"}],
            **{ENTERPRISE_SCHEMA: {"organization": "Sales/Vienna"}},
        ),
    )
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == made["meta"]["location"]
    assert answer.headers["location"] == "http://admin.test/scim/v2/Users/ana@x.example"
    assert answer.headers["etag"] == made["meta"]["version"]
    assert await plane.store.users.get("ana@x.example") == User(
        id="ana@x.example",
        name="Ana Ström",
        email="ana@x.example",
        organization="Sales/Vienna",
        roles=frozenset({"recorder"}),
        external_id="X-1",
        given_name="Ana",
        family_name="Ström",
    )
    assert await show(scim, "/Users/ana@x.example") == made

    replaced = await scim.put("/Users/ana@x.example", json=user("ana", displayName="Ana"))
    assert replaced.status_code == 200
    assert await plane.store.users.get("ana@x.example") == User(
        id="ana@x.example", name="Ana", user_name="ana"
    )
    patched = await patch(scim, "/Users/ana@x.example", {"op": "replace", "path": "active", "value": False})
    assert patched.json()["active"] is False
    assert patched.headers["etag"] == patched.json()["meta"]["version"] != replaced.headers["etag"]

    gone = await scim.delete("/Users/ana@x.example")
    assert (gone.status_code, gone.content) == (204, b"")
    for method in ("GET", "DELETE"):
        assert refusal(await scim.request(method, "/Users/ana@x.example")) == (404, None)
    assert refusal(await scim.put("/Users/ana@x.example", json=user("ana"))) == (404, None)
    assert refusal(await patch(scim, "/Users/ana@x.example", {"op": "remove", "path": "roles"})) == (
        404,
        None,
    )


async def test_each_change_is_in_the_audit_log_as_the_provisioners(
    plane: ControlPlane, scim: httpx.AsyncClient
) -> None:
    await add_user(scim, "ana")
    await patch(scim, "/Users/ana", {"op": "replace", "path": "active", "value": False})
    await scim.delete("/Users/ana", headers={"X-Scopegate-Reason": "left"})
    api = await plane.local()
    entries = (await api.get("/audit", params={"limit": 3})).json()["items"]
    assert [(one["action"], one["actor"], one["origin"]) for one in entries] == [
        (action, "scim@default.example", "scim 192.0.2.7")
        for action in ("user.delete", "user.deactivate", "user.add")
    ]
    assert entries[0]["reason"] == "left"


async def test_a_user_name_is_one_persons_whatever_its_case(scim: httpx.AsyncClient) -> None:
    await add_user(scim, "Ana")
    await add_user(scim, "bo")
    taken = (409, "uniqueness")
    assert refusal(await scim.post("/Users", json=user("aNA"))) == taken
    assert refusal(await scim.put("/Users/bo", json=user("ANA"))) == taken
    assert (
        refusal(await patch(scim, "/Users/bo", {"op": "replace", "path": "userName", "value": "ana"}))
        == taken
    )
    assert (await show(scim, "/Users/bo"))["userName"] == "bo"
    assert (await scim.put("/Users/Ana", json=user("ANA"))).status_code == 200


async def test_an_id_is_chosen_that_is_free_and_never_changes(scim: httpx.AsyncClient) -> None:
    assert (await add_user(scim, "ana"))["id"] == "ana"
    assert (await scim.put("/Users/ana", json=user("anna"))).json()["id"] == "ana"
    assert (await add_user(scim, "ana", externalId="X-1"))["id"] == "X-1"
    assert UUID.fullmatch((await add_user(scim, "x-1", externalId="X-1"))["id"]) is None  # an id of its own
    assert UUID.fullmatch((await add_user(scim, "Bo Berg"))["id"])
    assert UUID.fullmatch((await add_user(scim, "a/b", externalId=".."))["id"])
    assert refusal(await patch(scim, "/Users/ana", {"op": "replace", "path": "id", "value": "b"})) == (
        400,
        "mutability",
    )


async def test_nobody_gets_the_id_of_somebody_whose_keys_are_still_there(
    plane: ControlPlane, scim: httpx.AsyncClient
) -> None:
    await add_user(scim, "ana")
    await create(await plane.local(), user="ana")
    await scim.delete("/Users/ana")
    assert UUID.fullmatch((await add_user(scim, "ana"))["id"])


async def test_a_password_is_kept_nowhere(
    plane: ControlPlane, store_url: str, scim: httpx.AsyncClient
) -> None:
    secret = "correct-horse-battery"
    made = await add_user(scim, "ana", password=secret)
    await scim.put("/Users/ana", json=user("ana", password=secret))
    patched = await patch(scim, "/Users/ana", {"op": "replace", "path": "password", "value": secret})
    assert patched.status_code == 200
    assert secret not in repr(made) + patched.text + repr(await kept(store_url))


async def test_only_roles_that_are_defined_are_given(plane: ControlPlane, scim: httpx.AsyncClient) -> None:
    wrong = {"roles": [{"value": "emperor"}]}
    assert refusal(await scim.post("/Users", json=user("ana", **wrong))) == (400, "invalidValue")
    await plane.store.users.put([User(id="bo", name="Bo", roles=frozenset({"of-old"}))])
    assert refusal(await scim.put("/Users/bo", json=user("bo", **wrong))) == (400, "invalidValue")
    # What somebody holds already is no news, though nobody defines it any more.
    assert (await patch(scim, "/Users/bo", {"op": "replace", "path": "active", "value": False})).is_success
    assert (await plane.store.users.get("bo")).roles == {"of-old"}


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ('userName eq "ANA@x.example"', ["ana"]),
        ('id eq "ana"', ["ana"]),
        ('id eq "ANA"', []),
        ('externalId eq "X-1"', ["ana"]),
        ('externalId eq "x-1"', []),
        ('displayName eq "ana ström"', ["ana"]),
        ('emails.value eq "ANA@X.example"', ["ana"]),
        ('emails[type eq "work" and value eq "ana@x.example"]', ["ana"]),
        ('emails[type eq "work"].value eq "ana@x.example"', ["ana"]),
        ('emails.value co "X.EX"', ["ana"]),
        ('externalId eq "X-1" and active eq false', []),
        ('roles eq "recorder"', ["kim"]),
        ('name.familyName sw "s"', ["ana"]),
        ('groups.value eq "quality"', ["ana", "bo"]),
        ('groups.display eq "Quality" and active eq false', ["bo"]),
        ("active eq false", ["bo"]),
        ('userName eq "ana@x.example" and active eq false', []),
        ('userName eq "nobody"', []),
        ('userName eq "bo" or externalId eq "X-1"', ["ana", "bo"]),
        (f'{ENTERPRISE_SCHEMA}:organization eq "sales"', []),
        (f'{ENTERPRISE_SCHEMA}:organization eq "Sales"', ["bo"]),
        ('displayName eq ""', []),
        ("title pr", []),
    ],
)
async def test_people_are_found(
    plane: ControlPlane, scim: httpx.AsyncClient, condition: str, found: list[str]
) -> None:
    quality = frozenset({"quality"})
    await plane.store.users.put(
        [
            User(
                id="ana",
                name="Ana Ström",
                user_name="ana@x.example",
                external_id="X-1",
                email="ana@x.example",
                family_name="Ström",
                groups=quality,
            ),
            User(id="bo", name="Bo", active=False, organization="Sales", groups=quality),
            User(id="kim", name="Kim", roles=frozenset({"recorder"})),
        ]
    )
    await add_group(scim, "Quality")
    assert await ids(scim, "/Users", condition) == found
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": condition}
    searched = await scim.post("/Users/.search", json=body)
    assert [one["id"] for one in searched.json().get("Resources", ())] == found


async def test_pages_are_counted_from_one(plane: ControlPlane, scim: httpx.AsyncClient) -> None:
    everybody = [f"u{number:03}" for number in range(205)]
    await plane.store.users.put([User(id=one, name="N") for one in everybody])
    for condition in (None, 'displayName eq "n" and not (title pr)', 'userName sw "u"'):
        for params, shown in (
            ({}, everybody[:100]),
            ({"count": 1000}, everybody[:200]),  # RFC 7644 section 3.4.2.4: no more than the server's bound
            ({"startIndex": 201, "count": 10}, everybody[200:]),
            ({"startIndex": 206}, []),
            ({"startIndex": 0, "count": 2}, everybody[:2]),
            ({"startIndex": -5, "count": 2}, everybody[:2]),
            ({"count": 0}, []),
            ({"count": -1}, []),
        ):
            assert await ids(scim, "/Users", condition, **params) == shown
            asked = {**params, **({} if condition is None else {"filter": condition})}
            page = await show(scim, "/Users", **asked)
            assert page["totalResults"] == 205
            assert page["startIndex"] == max(1, params.get("startIndex", 1))


async def test_the_answer_has_the_attributes_that_are_asked_for(scim: httpx.AsyncClient) -> None:
    await add_user(scim, "ana", displayName="Ana", externalId="X-1")
    assert set(await show(scim, "/Users/ana", attributes="userName")) == {"schemas", "id", "userName"}
    assert "externalId" not in await show(scim, "/Users/ana", excludedAttributes="externalId,meta")
    [listed] = (await show(scim, "/Users", attributes="userName"))["Resources"]
    assert set(listed) == {"schemas", "id", "userName"}
    made = await scim.post("/Users?attributes=externalId", json=user("bo", externalId="B"))
    assert set(made.json()) == {"schemas", "id", "externalId"}
    both = await scim.get("/Users/ana", params={"attributes": "id", "excludedAttributes": "id"})
    assert refusal(both) == (400, "invalidValue")


async def test_a_change_can_be_meant_for_one_version_alone(scim: httpx.AsyncClient) -> None:
    made = await add_user(scim, "ana")
    old = made["meta"]["version"]
    renamed = {"op": "replace", "path": "displayName", "value": "Ana"}
    new = (await patch(scim, "/Users/ana", renamed, If_Match=old)).headers["etag"]
    assert new != old
    for answer in (
        await patch(scim, "/Users/ana", renamed, If_Match=old),
        await scim.put("/Users/ana", json=user("ana"), headers={"If-Match": old}),
        await scim.delete("/Users/ana", headers={"If-Match": old}),
    ):
        assert refusal(answer) == (412, None)
    same = await scim.get("/Users/ana", headers={"If-None-Match": f'"other", {new}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", new)
    assert (await scim.get("/Users/ana", headers={"If-None-Match": old})).status_code == 200
    assert refusal(await scim.delete("/Users/ana", headers={"If-Match": "x"})) == (400, "invalidValue")
    assert (await patch(scim, "/Users/ana", renamed, If_Match="*")).status_code == 200
    assert (await scim.delete("/Users/ana", headers={"If-Match": f'W/"x", {new}'})).status_code == 204


async def test_an_id_with_a_slash_is_one_part_of_the_url(
    plane: ControlPlane, scim: httpx.AsyncClient
) -> None:
    await plane.store.users.put([User(id="a/b", name="A"), User(id="a%2Fb", name="B")])
    assert (await show(scim, "/Users/a%2Fb"))["displayName"] == "A"
    assert (await show(scim, "/Users/a%252Fb"))["displayName"] == "B"
    for path in ("/Users/a/b", "/Users//", "/Users/%ff"):
        assert refusal(await scim.get(path)) == (404, None)


async def test_a_patch_that_is_refused_changes_nothing(plane: ControlPlane, scim: httpx.AsyncClient) -> None:
    await add_user(scim, "ana")
    before = await plane.store.users.get("ana")
    fine = {"op": "replace", "path": "active", "value": False}
    for operation, said in (
        ({"op": "replace", "path": "userName", "value": ""}, "invalidValue"),
        ({"op": "replace", "path": "displayName", "value": "x\ny"}, "invalidValue"),
        ({"op": "add", "path": "roles", "value": [{"value": "emperor"}]}, "invalidValue"),
        ({"op": "add", "path": "shoeSize", "value": 44}, "invalidPath"),
        ({"op": "remove", "path": "userName"}, "mutability"),
    ):
        assert refusal(await patch(scim, "/Users/ana", fine, operation)) == (400, said)
    assert await plane.store.users.get("ana") == before
