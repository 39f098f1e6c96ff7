"""``scopegate access``, ``review`` and ``key findings``, as a person or a script runs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cli.conftest import Instance


@pytest.fixture(scope="module", params=["local", "remote"])
def instance(request: pytest.FixtureRequest) -> Instance:
    """Through the store, and over HTTP: a command does the same either way."""
    instance: Instance = request.getfixturevalue(request.param)
    return instance


def test_keys_are_reviewed_and_endpoints_asked_for(instance: Instance) -> None:
    nothing = instance.run("review")
    assert (nothing.code, nothing.out) == (0, "")
    wide = instance.create(
        "--type", "custom", "--allow", "GET /api/*", "--allow", "GET /api/status", "--user", "tom"
    )
    narrow = instance.create("--type", "custom", "--allow", "GET /api/recordings/*")

    reviewed = instance.run("review")
    assert reviewed.code == 1
    for said in (wide["id"], "rule_shadowed", "privileges_partly_missing", "GET /api/reports"):
        assert said in reviewed.out
    some = instance.run("review", "--code", "rule_shadowed", "-o", "json")
    assert some.code == 1
    assert [(one["key"], one["row"]) for one in json.loads(some.out)] == [(wide["id"], 2)]
    assert instance.run("review", "--code", "no_rules").code == 0

    alone, compared = instance.run_all(
        ("key", "findings", narrow["id"]), ("key", "findings", wide["id"], "--compare", narrow["id"])
    )
    assert alone.code == 0
    assert compared.code == 1
    assert "rule_broader" in compared.out
    assert instance.run("key", "findings", narrow["id"], "--among", "tenant").code == 0

    reached = instance.run("access", "GET", "/api/recordings/*", "-o", "json")
    assert reached.code == 0
    by_key = {one["key"]: one for one in json.loads(reached.out)}
    assert by_key.keys() == {wide["id"], narrow["id"]}
    assert (by_key[wide["id"]]["user"], by_key[wide["id"]]["allowed"]) == ("tom", True)
    table = instance.run("access", "GET", "/api/reports")
    assert "privilege_missing, lacks reports.view" in table.out
    nobody = instance.run("access", "POST", "/api/reports")
    assert (nobody.code, nobody.out) == (0, "")
    assert instance.run("access", "GET", "nonsense").code == 6
