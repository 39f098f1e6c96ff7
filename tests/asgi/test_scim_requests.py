"""``/scim/v2`` as a whole: who comes in, what is refused, and what the server tells of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi import adminapi
from asgi.adminapi import SCIM
from asgi.adminchanges import CHANGES, things_to_change
from asgi.scim import TYPE, add_user, ids, refusal, show
from scopegate.admin.outermost import LARGEST_BODY
from scopegate.core.principal import User
from scopegate.core.scim.attributes import USER_SCHEMA

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane


@pytest.fixture
async def scim(plane: ControlPlane) -> httpx.AsyncClient:
    return await plane.provisioner()


async def test_nobody_comes_in_without_a_valid_token(plane: ControlPlane) -> None:
    for token in (None, "adm_000000000000_0", "x"):
        client = await plane.scim(token)
        for path in ("/Users", "/ServiceProviderConfig", "/Schemas", "/nothing"):
            answer = await client.get(path)
            assert refusal(answer) == (401, None)
            assert answer.headers["www-authenticate"].startswith("Bearer ")


async def test_a_session_in_a_cookie_is_no_token(plane: ControlPlane) -> None:
    token = await plane.token("provisioner", ["default"])
    client = await plane.scim(None)
    for name in ("scopegate", "__Host-scopegate"):
        client.cookies.set(name, token)
    assert refusal(await client.get("/Users")) == (401, None)


async def test_too_many_wrong_tokens_are_slowed_down(plane: ControlPlane) -> None:
    client = await plane.scim("adm_000000000000_0")
    statuses = [(await client.get("/Users")).status_code for _ in range(12)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert "retry-after" in (await client.get("/Users")).headers


@pytest.mark.parametrize(
    ("role", "tenants"),
    [
        ("system_administrator", None),
        ("key_administrator", None),
        ("key_administrator", ["default"]),
        ("auditor", ["default"]),
    ],
)
async def test_only_a_provisioner_comes_in(plane: ControlPlane, role: str, tenants: list[str] | None) -> None:
    client = await plane.scim(await plane.token(role, tenants))
    answer = await client.get("/Users")
    assert refusal(answer) == (403, None)
    assert "provisioner" in answer.json()["detail"]


async def test_a_provisioner_can_do_nothing_else(plane: ControlPlane) -> None:
    api = await plane.local()
    named = await things_to_change(api)
    theirs = await plane.signed_in("provisioner", ["default"])
    said = await theirs.get("/whoami")
    assert (said.status_code, said.json()["role"]) == (200, "provisioner")
    for change in CHANGES.values():
        assert adminapi.refusal(await change.send(theirs, named)) == (403, "forbidden")
    described = (await theirs.get("/openapi.json")).json()
    closed = 0
    for path, operations in described["paths"].items():
        if "get" in operations and operations["get"].get("security") != []:
            answer = await theirs.get(path.removeprefix("/admin/v1").format_map(_Anything()))
            assert (path == "/admin/v1/whoami") == answer.is_success, path
            closed += not answer.is_success
    assert closed > 10


class _Anything(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "default"


async def test_a_token_says_whose_people_are_meant(plane: ControlPlane, scim: httpx.AsyncClient) -> None:
    (await (await plane.local()).post("/tenants", json={"id": "acme"})).raise_for_status()
    acme = await plane.provisioner("acme")
    await add_user(scim, "ana")
    await add_user(acme, "bo")
    assert await ids(scim, "/Users") == ["ana"]
    assert await ids(acme, "/Users") == ["bo"]
    assert refusal(await acme.get("/Users/ana")) == (404, None)
    assert refusal(await acme.delete("/Users/ana")) == (404, None)


async def test_a_provisioner_who_is_not_active_any_more_is_out(plane: ControlPlane) -> None:
    client = await plane.provisioner()
    api = await plane.local()
    [made] = [
        one for one in (await api.get("/administrators")).json()["items"] if one["role"] == "provisioner"
    ]
    assert (await client.get("/Users")).status_code == 200
    (await api.patch(f"/administrators/{made['id']}", json={"active": False})).raise_for_status()
    assert refusal(await client.get("/Users")) == (401, None)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("GET", "/Bulk", 404, None),
        ("POST", "/Bulk", 404, None),
        ("GET", "/Me", 404, None),
        ("GET", "/users", 404, None),
        ("GET", "/Users/ana/name", 404, None),
        ("GET", "/Schemas/urn:x", 404, None),
        ("GET", "/ResourceTypes/Robot", 404, None),
        ("GET", "/ServiceProviderConfig/x", 404, None),
        ("PUT", "/Users", 405, "GET, POST"),
        ("POST", "/Users/ana", 405, "GET, PUT, PATCH, DELETE"),
        ("GET", "/.search", 405, "POST"),
        ("GET", "/Groups/.search", 405, "POST"),
        ("POST", "/Schemas", 405, "GET"),
        ("DELETE", "/ServiceProviderConfig", 405, "GET"),
        ("GET", "/Schemas?filter=id%20pr", 403, None),
        ("GET", "/Users?count=ten", 400, None),
        ("GET", "/Users?startIndex=1.5", 400, None),
        ("GET", "/Users?count=1&count=2", 400, None),
        ("GET", "/Users?filter=%ff", 400, None),
        ("GET", "/Users?filter=id%20pr&filter=id%20pr", 400, None),
    ],
)
async def test_what_is_not_there_is_refused(
    scim: httpx.AsyncClient, method: str, path: str, status: int, allow: str | None
) -> None:
    answer = await scim.request(method, path)
    assert refusal(answer)[0] == status
    assert answer.headers.get("allow") == allow


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"{}", "text/plain", (415, None)),
        (b"{}", None, (415, None)),
        (b"", TYPE, (400, "invalidSyntax")),
        (b"[]", TYPE, (400, "invalidSyntax")),
        (b'{"a": "\xff"}', TYPE, (400, "invalidSyntax")),
        (b'{"a": "\\ud800"}', TYPE, (400, "invalidSyntax")),
        (b'{"a":' + b"[" * 100_000, TYPE, (400, "invalidSyntax")),
        (b"{}", TYPE, (400, "invalidSyntax")),
        (b" " * (LARGEST_BODY + 1), TYPE, (413, None)),
    ],
    ids=["text", "nothing", "empty", "list", "no utf-8", "surrogate", "deep", "no schemas", "large"],
)
async def test_a_body_that_cannot_be_read_is_refused(
    scim: httpx.AsyncClient, body: bytes, content_type: str | None, said: tuple[int, str | None]
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert refusal(await scim.post("/Users", content=body, headers=headers)) == said


async def test_json_may_be_called_json(scim: httpx.AsyncClient) -> None:
    for number, content_type in enumerate(("application/json; charset=utf-8", "Application/SCIM+JSON")):
        body = b'{"schemas": ["%s"], "userName": "u%d"}' % (USER_SCHEMA.encode(), number)
        answer = await scim.post("/Users", content=body, headers={"Content-Type": content_type})
        assert answer.status_code == 201


async def test_every_answer_has_a_request_id_and_is_not_to_be_kept(scim: httpx.AsyncClient) -> None:
    for path in ("/Users", "/nothing"):
        answer = await scim.get(path)
        assert answer.headers["x-request-id"]
        assert answer.headers["cache-control"] == "no-store"


async def test_the_server_tells_what_it_can_do(plane: ControlPlane, scim: httpx.AsyncClient) -> None:
    config = await show(scim, "/ServiceProviderConfig")
    assert {name: one["supported"] for name, one in config.items() if "supported" in one} == {
        "patch": True,
        "bulk": False,
        "filter": True,
        "changePassword": False,
        "sort": False,
        "etag": True,
    }
    await plane.store.users.put([User(id=f"u{number}", name="N") for number in range(210)])
    page = await show(scim, "/Users", count=1_000)
    assert page["itemsPerPage"] == config["filter"]["maxResults"]
    for place, found in (("Schemas", 6), ("ResourceTypes", 2)):
        listed = await show(scim, f"/{place}")
        assert listed["totalResults"] == len(listed["Resources"]) == found
        for one in listed["Resources"]:
            assert one["meta"]["location"] == f"{SCIM}/{place}/{one['id']}"
            assert await show(scim, f"/{place}/{one['id']}") == one


async def test_a_search_says_what_it_is(scim: httpx.AsyncClient) -> None:
    schema = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "invalidSyntax"),
        ({"schemas": [schema], "count": "1"}, "invalidValue"),
        ({"schemas": [schema], "count": True}, "invalidValue"),
        ({"schemas": [schema], "filter": 1}, "invalidValue"),
        ({"schemas": [schema], "attributes": "id"}, "invalidValue"),
        ({"schemas": [schema], "filter": "id"}, "invalidFilter"),
    )
    for path in ("/.search", "/Users/.search", "/Groups/.search"):
        for body, said in wrong:
            assert refusal(await scim.post(path, json=body)) == (400, said)
