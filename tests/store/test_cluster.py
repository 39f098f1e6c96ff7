"""All names of a tenant lie in one slot, so that each operation is one atomic step in a cluster too."""

from __future__ import annotations

import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.crc import key_slot

from conftest import find_free_port, require_program
from scopegate.core.tenants import Tenant
from scopegate.store import Store
from store.facts import TAG, exercise, exercise_system

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLOTS = 16_384


async def test_all_names_of_a_tenant_share_a_slot(store: Store, store_url: str, raw: Any) -> None:
    await exercise(store)
    other = Store.at(store_url, Tenant(id="other", tag="0a1"))
    await exercise(other)
    await other.aclose()
    stored = [name.decode() for name in raw.keys("*")]
    for tag in (TAG, "0a1"):
        slots = {key_slot(name.encode()) for name in stored if f"{{{tag}}}" in name}
        assert slots == {key_slot(tag.encode())}
    assert all(name.startswith(("sg:{000}:", "sg:{0a1}:")) for name in stored)


@pytest.fixture(scope="module")
def cluster_url(short_dir: Path) -> Iterator[str]:
    """One Redis that holds all slots of a cluster, and refuses commands about several of them."""
    directory = short_dir / "cluster"
    directory.mkdir()
    port = find_free_port()
    command = [require_program("redis-server"), "--port", str(port), "--dir", str(directory), "--save", ""]
    command += ["--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", str(find_free_port())]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL) as process,
        closing(redis.Redis(port=port)) as client,
    ):
        try:
            _wait_for_cluster(client, process)
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_for_cluster(client: Any, process: subprocess.Popen[bytes]) -> None:
    slots_given = False
    while True:
        try:
            if not slots_given:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
                slots_given = True
            if client.execute_command("CLUSTER INFO")["cluster_state"] == "ok":
                return
        except redis.ConnectionError:
            assert process.poll() is None, "the server ended"


async def test_everything_works_in_a_cluster(cluster_url: str) -> None:
    store = Store.at(cluster_url)
    await exercise(store)
    await exercise_system(store)
    await store.aclose()
