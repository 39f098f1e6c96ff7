"""The limit of keys holds exactly, however many control planes create keys at once (D2)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx

from e2e.administrators import admin_url, bootstrapped
from e2e.gateways import serving

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = "http://127.0.0.1:9"
LIMIT = 40
PLANES = 3
CREATORS = 4  # of each control plane


def test_three_control_planes_together_create_as_many_keys_as_there_may_be(
    short_dir: Path, store_url: str
) -> None:
    with ExitStack() as stack:
        planes = [
            stack.enter_context(serving(short_dir / f"limit{number}", NOWHERE, redis_url=store_url))
            for number in range(PLANES)
        ]
        headers = {"Authorization": f"Bearer {bootstrapped(planes[-1])}"}  # the newest token is the good one
        clients = [
            stack.enter_context(
                httpx.Client(base_url=f"{admin_url(plane)}/admin/v1", headers=headers, timeout=30.0)
            )
            for plane in planes
        ]
        settled = clients[0].patch("/tenants/default/settings", json={"key_limit": LIMIT})
        assert settled.status_code == 200, settled.text

        def create_until_full(client: httpx.Client) -> tuple[int, httpx.Response]:
            created = 0
            while True:
                answer = client.post("/keys", json={"type": "external", "description": "One of many"})
                if answer.status_code != 201:
                    return created, answer
                created += 1

        with ThreadPoolExecutor(PLANES * CREATORS) as pool:
            outcomes = list(pool.map(create_until_full, clients * CREATORS))

        assert sum(created for created, _ in outcomes) == LIMIT
        for _, refused in outcomes:
            assert refused.status_code == 409
            problem = refused.json()
            assert (problem["code"], problem["limit"], problem["used"]) == ("key_limit_reached", LIMIT, LIMIT)
            assert problem["by_state"] == {"active": LIMIT, "disabled": 0, "expired": 0}
            assert problem["detail"] == f"This tenant has {LIMIT} of {LIMIT} keys: {LIMIT} active."
        for client in clients:
            assert client.get("/quota").json()["used"] == LIMIT
