"""Changes are entered in the audit log while a gateway decides, which does not notice."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.gateways import serving, upstream_server
from e2e.processes import wait_until
from e2e.test_lag import metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.gateways import Gateway

OTHERS = 5


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with (
        upstream_server() as upstream,
        tempfile.TemporaryDirectory(prefix="sg-") as path,
        serving(Path(path), upstream.url) as gateway,
    ):
        wait_until(lambda: metric(gateway, "views_live") == 1, "the worker is told of changes")
        yield gateway


def refused(gateway: Gateway, key: str) -> bool:
    return gateway.get("/x", key).status_code == 401


def test_entries_make_no_worker_read_anything_again(gateway: Gateway) -> None:
    key = gateway.create_key()["secret"]
    assert gateway.get("/x", key).status_code == 200
    before = metric(gateway, "view_misses_total", answer="loaded")
    assert before >= 1
    for number in range(OTHERS):
        other = gateway.create_key("--reason", f"number {number}")
        assert gateway.get("/x", key).status_code == 200
        finished = gateway.cli("key", "disable", other["id"], "--reason", "done with")
        assert finished.code == 0, finished
        wait_until(partial(refused, gateway, other["secret"]), "it opens nothing")
        assert gateway.get("/x", key).status_code == 200
    # The other keys were read, each once or twice: before it was disabled, and after it.
    after = metric(gateway, "view_misses_total", answer="loaded")
    assert OTHERS <= after - before <= 2 * OTHERS
    assert metric(gateway, "view_misses_total", answer="read_through") in {0, -1}
    assert gateway.get("/x", key).status_code == 200
    assert metric(gateway, "view_misses_total", answer="loaded") == after
    listed = gateway.cli("audit", "list", "-o", "json", "--limit", "2")
    assert [one["action"] for one in json.loads(listed.out)] == ["key.disable", "key.create"]
    assert gateway.cli("audit", "verify").code == 0
