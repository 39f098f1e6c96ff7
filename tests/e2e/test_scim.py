"""What a provisioning system takes away is refused to the next request of a running gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from e2e.administrators import admin_url, bootstrapped, provisioner
from e2e.gateways import serving, upstream_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.gateways import Gateway

USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": ""}
GROUP = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Quality"}
WATCHED = "/api/recordings/1"  # needs recordings.view, which the group "quality" gives


@pytest.fixture(scope="module")
def gateway(short_dir: Path) -> Iterator[Gateway]:
    """Two workers, so that a change has to be known to both."""
    with (
        upstream_server() as upstream,
        serving(short_dir / "scim", upstream.url, "--workers", "2") as running,
    ):
        running.fill()
        yield running


@pytest.fixture(scope="module")
def token(gateway: Gateway) -> str:
    return provisioner(gateway, bootstrapped(gateway))


@pytest.fixture(scope="module")
def scim(gateway: Gateway, token: str) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"{admin_url(gateway)}/scim/v2",
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    ) as client:
        client.post("/Groups", json=GROUP).raise_for_status()
        yield client


def add_user(scim: httpx.Client, name: str, **attributes: Any) -> str:
    """The id of a new user."""
    made = scim.post("/Users", json={**USER, "userName": name, **attributes})
    assert made.status_code == 201, made.text
    user_id: str = made.json()["id"]
    return user_id


def patch(scim: httpx.Client, where: str, operation: dict[str, Any]) -> None:
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]}
    answer = scim.patch(where, json=body)
    assert answer.is_success, answer.text


@pytest.mark.parametrize(
    ("name", "where", "operation"),
    [
        ("leaves", "/Groups/quality", {"op": "remove", "path": 'members[value eq "leaves"]'}),
        (
            "leaves-entra",
            "/Groups/quality",
            {"op": "Remove", "path": "members", "value": [{"$ref": None, "value": "leaves-entra"}]},
        ),
        ("emptied", "/Groups/quality", {"op": "replace", "path": "members", "value": []}),
        ("away", "/Users/away", {"op": "replace", "value": {"active": False}}),
        ("away-entra", "/Users/away-entra", {"op": "Replace", "path": "active", "value": "False"}),
    ],
)
def test_a_privilege_that_a_patch_takes_away_is_missing_at_the_next_request(
    gateway: Gateway, scim: httpx.Client, name: str, where: str, operation: dict[str, Any]
) -> None:
    secret = gateway.create_key("--user", add_user(scim, name))["secret"]
    joins = {"op": "add", "path": "members", "value": [{"value": name}]}
    assert [gateway.get(WATCHED, secret).status_code for _ in range(4)] == [403] * 4
    patch(scim, "/Groups/quality", joins)
    assert [gateway.get(WATCHED, secret).status_code for _ in range(4)] == [200] * 4
    patch(scim, where, operation)
    assert [gateway.get(WATCHED, secret).status_code for _ in range(4)] == [403] * 4
    if where == "/Groups/quality":
        patch(scim, where, joins)
    else:
        patch(scim, where, {"op": "replace", "path": "active", "value": True})
    assert [gateway.get(WATCHED, secret).status_code for _ in range(4)] == [200] * 4


def test_a_role_that_is_taken_away_a_user_and_a_group_that_are_deleted(
    gateway: Gateway, scim: httpx.Client
) -> None:
    user_id = add_user(scim, "deleted", roles=[{"value": "agent"}])
    secret = gateway.create_key("--user", user_id)["secret"]
    it = scim.post("/Groups", json={**GROUP, "displayName": "IT", "members": [{"value": user_id}]})
    assert it.json()["id"] == "it"
    assert gateway.get("/api/users", secret).status_code == 200
    scim.delete("/Groups/it").raise_for_status()
    assert gateway.get("/api/users", secret).status_code == 403
    assert gateway.get(WATCHED, secret).status_code == 200
    patch(scim, f"/Users/{user_id}", {"op": "remove", "path": 'roles[value eq "agent"]'})
    assert gateway.get(WATCHED, secret).status_code == 403
    patch(scim, f"/Users/{user_id}", {"op": "add", "path": "roles", "value": [{"value": "agent"}]})
    assert gateway.get(WATCHED, secret).status_code == 200
    scim.delete(f"/Users/{user_id}").raise_for_status()
    assert gateway.get(WATCHED, secret).status_code == 403
    # Somebody else of that name does not get the key.
    assert add_user(scim, "deleted", roles=[{"value": "agent"}]) != user_id
    assert gateway.get(WATCHED, secret).status_code == 403


def test_the_token_is_made_on_the_command_line_and_revoked_there(gateway: Gateway) -> None:
    made = gateway.cli(
        *("admin", "create", "--name", "Okta", "--email", "okta@example.com"),
        *("--role", "provisioner", "--about", "default", "--field", "id"),
    )
    issued = gateway.cli(
        *("token", "create", "--administrator", made.out.strip(), "--description", "SCIM"),
        *("--expires", "366d", "-o", "json"),
    )
    token = json.loads(issued.out)
    url = f"{admin_url(gateway)}/scim/v2/Users"
    fields = {"Authorization": f"Bearer {token['secret']}"}
    assert httpx.get(url, headers=fields).status_code == 200
    gateway.cli("token", "revoke", token["id"])
    assert httpx.get(url, headers=fields).status_code == 401
