"""SCIM 2.0 as an independent client sees it: scim2-client and scim2-tester, over a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest
from scim2_client.engines.httpx2 import SyncSCIMClient
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
