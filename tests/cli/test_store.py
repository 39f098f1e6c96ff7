"""``scopegate store``: damaged files are told, repaired on request, and never while they are in use."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from conftest import find_free_port
from e2e.gateways import serving
from e2e.processes import Finished, scopegate
from store.facts import key
from store.stopped import Stopped, keys_after_a_start, stopped_store

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def stopped(short_dir: Path, request: pytest.FixtureRequest) -> Stopped:
    """A store with ten keys, from which nobody serves."""
    return stopped_store(
        (short_dir / f"r{abs(hash(request.node.name)) % 10**9}").resolve(), map(key, range(10))
    )


def serve(data_dir: Path) -> Finished:
    listen = [f"127.0.0.1:{find_free_port()}" for _ in range(2)]
    places = ("--listen", listen[0], "--admin-listen", listen[1])
    return scopegate("serve", "--upstream", NOBODY, *places, "--data-dir", data_dir)


def repair(data_dir: Path, *args: str) -> Finished:
    return scopegate("store", "repair", "--data-dir", data_dir, *args)


def test_what_a_start_says_of_damage_repairs_it(stopped: Stopped, tmp_path: Path) -> None:
    at = stopped.damage_key(5)
    size = stopped.written.stat().st_size
    refused = serve(stopped.data_dir)
    assert (refused.code, refused.out) == (7, "")
    assert f"error: The append-only file {stopped.written} is damaged after byte " in refused.err
    advised = re.search(r"scopegate (store repair --data-dir \S+)", refused.err)
    assert advised, refused.err
    assert scopegate(*advised[1].split()).code == 2, "nobody is there to be asked"
    repaired = scopegate(*advised[1].split(), "--yes", "-o", "json")
    assert repaired.code == 0, repaired
    answer = json.loads(repaired.out)
    assert answer["damaged"] is True
    assert answer["file"] == str(stopped.written)
    assert answer["kept_bytes"] <= at
    assert answer["kept_bytes"] + answer["lost_bytes"] == size
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer["kept_until"])
    assert f"{answer['copy']}/" in str(next(stopped.data_dir.glob("*.damaged-*/*.incr.aof")))
    with serving(tmp_path, NOBODY, data_dir=stopped.data_dir) as gateway:
        listed = json.loads(gateway.cli("key", "list", "-o", "json").out)
        assert {one["id"] for one in listed} == {key(number).id for number in range(5)}


def test_a_repair_is_told_to_people_with_what_is_left_to_do(stopped: Stopped) -> None:
    stopped.damage_key(9)
    repaired = repair(stopped.data_dir, "-y")
    assert repaired.code == 0, repaired
    assert re.search(r"^lost +[\d,]+ bytes$", repaired.out, re.MULTILINE)
    assert "disable again what has to be" in repaired.err
    assert len(keys_after_a_start(stopped.data_dir)) == 9


def test_a_sound_store_is_left_alone(stopped: Stopped) -> None:
    before = {path: path.read_bytes() for path in stopped.files.iterdir()}
    for_people, for_programs = repair(stopped.data_dir), repair(stopped.data_dir, "-o", "json")
    assert (for_people.code, for_people.out) == (0, "")
    assert "No damage" in for_people.err
    assert json.loads(for_programs.out) == {"damaged": False}
    assert {path: path.read_bytes() for path in stopped.files.iterdir()} == before


def test_what_cannot_be_repaired_is_7(stopped: Stopped) -> None:
    stopped.manifest.unlink()
    refused = repair(stopped.data_dir, "--yes", "-o", "json")
    assert (refused.code, refused.out) == (7, "")
    assert json.loads(refused.err)["code"] == "store_damaged"
    assert not list(stopped.data_dir.glob("*.damaged-*"))


def test_files_in_use_are_not_touched(stopped: Stopped, tmp_path: Path) -> None:
    with serving(tmp_path, NOBODY, data_dir=stopped.data_dir):
        refused = repair(stopped.data_dir, "--yes")
    assert (refused.code, refused.out) == (7, "")
    assert "owns the data directory" in refused.err


def test_only_an_embedded_store_has_files_to_repair(tmp_path: Path) -> None:
    missing = repair(tmp_path / "none", "--yes")
    assert (missing.code, missing.out) == (3, "")
    assert not (tmp_path / "none").exists()
    of_redis = scopegate("store", "repair", "--yes", env={"SCOPEGATE_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert (of_redis.code, of_redis.out) == (2, "")
    assert "redis_url" in of_redis.err
