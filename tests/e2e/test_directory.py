"""What is done to people and groups over the API counts for the next requests of their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from e2e.administrators import admin_url, bootstrapped
from e2e.gateways import serving, upstream_server
from e2e.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.gateways import Gateway

PATH = "/api/recordings/1"


@pytest.fixture(scope="module")
def gateway(short_dir: Path) -> Iterator[Gateway]:
    with upstream_server() as upstream, serving(short_dir / "directory", upstream.url) as running:
        running.fill()
        yield running


@pytest.fixture(scope="module")
def api(gateway: Gateway) -> Iterator[httpx.Client]:
    token = bootstrapped(gateway)
    with httpx.Client(
        base_url=f"{admin_url(gateway)}/admin/v1", headers={"Authorization": f"Bearer {token}"}
    ) as client:
        yield client


def test_rights_go_with_the_person_the_membership_and_the_group(gateway: Gateway, api: httpx.Client) -> None:
    for created in (
        api.post("/groups", json={"id": "agents"}),
        api.post("/users", json={"id": "n/1", "name": "New", "groups": ["agents"]}),
    ):
        assert created.status_code == 201, created.text
    key = gateway.create_key("--user", "n/1")["secret"]

    def becomes(status: int, what: str) -> None:
        wait_until(lambda: gateway.get(PATH, key).status_code == status, what, process=gateway.process)

    becomes(200, "the key opens what the group gives")
    assert api.post("/users/n%2F1:deactivate").status_code == 200
    becomes(403, "who is inactive is refused")
    assert api.post("/users/n%2F1:activate").status_code == 200
    becomes(200, "who is active again is not")
    assert api.post("/groups/agents/members", json={"remove": ["n/1"]}).status_code == 200
    becomes(403, "who has left the group is refused")
    assert api.post("/groups/agents/members", json={"add": ["n/1"]}).status_code == 200
    becomes(200, "who is in it again is not")
    assert api.delete("/groups/agents").status_code == 204
    becomes(403, "a group that is gone gives nothing")
    assert api.post("/users/n%2F1/roles:add", json={"roles": ["agent"]}).status_code == 200
    becomes(200, "a role of one's own does")
    assert api.delete("/users/n%2F1").status_code == 204
    becomes(403, "who is gone is refused")
