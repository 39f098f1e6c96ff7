"""SCIM 2.0 as an independent client sees it: scim2-client and scim2-tester, over a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import PatchOp, SearchRequest
from scim2_tester import Status, check_server

from e2e.administrators import admin_url, bootstrapped, provisioner
from e2e.gateways import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def client(short_dir: Path) -> Iterator[SyncSCIMClient]:
    """A client of a gateway with policies, in the name of a provisioner."""
    with serving(short_dir / "conformance", NOWHERE) as gateway:
        gateway.fill()
        token = provisioner(gateway, bootstrapped(gateway))
        with httpx2.Client(
            base_url=f"{admin_url(gateway)}/scim/v2",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        ) as http:
            yield SyncSCIMClient(http)


def test_the_conformance_tester_finds_nothing_and_skips_nothing(client: SyncSCIMClient) -> None:
    results = check_server(client)
    bad = [
        f"{one.status.name} {one.title} {one.resource_type}: {one.reason}"
        for one in results
        if one.status not in {Status.SUCCESS, Status.COMPLIANT, Status.ACCEPTABLE}
    ]
    assert not bad, "\n".join(bad)
    assert len(results) > 60


def test_a_client_that_reads_the_schemas_keeps_a_person_and_a_group(client: SyncSCIMClient) -> None:
    client.discover()
    scim: Any = client  # its models are made of what it has read
    user, group = scim.get_resource_model("User"), scim.get_resource_model("Group")
    ana = scim.create(user(user_name="ana@x.example", display_name="Ana", active=True))
    asked: Any = SearchRequest.model_validate({"filter": 'userName eq "ANA@x.example"'})
    found = scim.query(user, query_parameters=asked)
    assert [one.id for one in found.resources] == [ana.id]
    quality = scim.create(group(display_name="Quality", members=[{"value": ana.id}]))
    assert quality.id == "quality"
    assert [one.value for one in scim.query(user, ana.id).groups] == ["quality"]
    away = {"Operations": [{"op": "replace", "path": "active", "value": False}]}
    patch: Any = PatchOp
    scim.modify(user, ana.id, patch[user].model_validate(away))
    assert scim.query(user, ana.id).active is False
    scim.delete(group, quality.id)
    scim.delete(user, ana.id)
