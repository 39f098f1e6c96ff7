"""The first administrator of a gateway that was just started, as a person would make one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from e2e.gateways import Gateway

_TOKEN = re.compile(r"^  (adm_\w+)$", re.MULTILINE)


def bootstrapped(gateway: Gateway) -> str:
    """The token of a system administrator, made with the one that `gateway` has printed."""
    answer = httpx.post(
        f"{admin_url(gateway)}/admin/v1/bootstrap",
        json={"token": bootstrap_token(gateway), "name": "Eva", "email": "eva@example.com"},
    )
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["secret"]
    return token


def bootstrap_token(gateway: Gateway) -> str:
    """The token that `gateway` has printed for its first administrator."""
    match = _TOKEN.search(gateway.process.err)
    assert match is not None
    return match[1]


def admin_url(gateway: Gateway) -> str:
    """Where the control plane of `gateway` listens."""
    return f"http://127.0.0.1:{gateway.admin_port}"


def provisioner(gateway: Gateway, token: str, tenant: str = "default") -> str:
    """A token of a new provisioner of a tenant, made by the system administrator who has `token`."""
    with httpx.Client(
        base_url=f"{admin_url(gateway)}/admin/v1", headers={"Authorization": f"Bearer {token}"}
    ) as api:
        made = api.post(
            "/administrators",
            json={
                "name": "Identity provider",
                "email": f"scim@{tenant}.example",
                "role": "provisioner",
                "tenants": [tenant],
            },
        )
        assert made.status_code == 201, made.text
        issued = api.post("/tokens", json={"description": "SCIM", "administrator": made.json()["id"]})
        assert issued.status_code == 201, issued.text
        secret: str = issued.json()["secret"]
        return secret
