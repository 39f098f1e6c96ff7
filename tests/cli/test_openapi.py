"""``scopegate openapi``, ``endpoint`` and ``drift``: from an API's description to catalogue and keys."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import pytest

from e2e.processes import scopegate

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Instance

RECORDINGS: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Recordings", "version": "1"},
    "servers": [{"url": "https://recordings.example.com/api"}],
    "paths": {
        "/recordings": {"get": {"summary": "List recordings", "security": [{"oauth": ["recordings.view"]}]}},
        "/recordings/{id}": {
            "get": {"operationId": "show", "security": [{"oauth": ["recordings.view"]}]},
            "delete": {"security": [{"oauth": ["recordings.delete"]}]},
        },
        "/recordings/{id}/audio": {"get": {"summary": "Listen", "security": [{"oauth": ["audio"]}]}},
        "/status": {"get": {}},
    },
}
TRANSCRIPT = {"get": {"summary": "Read", "security": [{"oauth": ["transcripts.view"]}]}}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return written(tmp_path / "openapi.json", RECORDINGS)


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """The same with one operation more, and one less."""
    paths = {**RECORDINGS["paths"], "/recordings/{id}/transcript": TRANSCRIPT}
    del paths["/status"]
    return written(tmp_path / "grown.json", {**RECORDINGS, "paths": paths})


def written(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_a_draft_on_stdout_is_a_policy_file(spec: Path, tmp_path: Path) -> None:
    drafted = scopegate("openapi", "draft", spec)
    assert drafted.code == 0
    assert drafted.out.startswith(
        "# A draft of the catalogue of Recordings 1, from openapi.json.\n# 5 operations,"
    )
    assert drafted.err == (
        "1 of 5 entries are open to every active user: check them.\n"
        "1 of 5 entries need more than the document says: see the comments.\n"
    )
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "catalogue.yaml").write_text(drafted.out)
    checked = scopegate("test", tmp_path / "policies")
    assert (checked.code, checked.err) == (0, "0 expectations, 0 broken.\n")


def test_a_draft_goes_to_a_new_file_and_overwrites_none(spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "catalogue.yaml"
    drafted = scopegate("openapi", "draft", spec, "--out", out)
    assert (drafted.code, drafted.out) == (0, "")
    assert drafted.err.startswith(f"Wrote 5 entries to {out}.\n")
    assert out.read_text() == scopegate("openapi", "draft", spec).out
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    again = scopegate("openapi", "draft", spec, "--out", out)
    assert again.code == 6
    assert "Cannot create" in again.err


def test_a_program_gets_the_draft_as_entries(spec: Path) -> None:
    drafted = scopegate("openapi", "draft", spec, "--base-path", "/v2", "-o", "json")
    by_url = {(*one["methods"], one["url"]): one for one in json.loads(drafted.out)}
    audio = by_url["GET", "/v2/recordings/*/audio"]
    assert (audio["privileges"], audio["needs_as_well"]) == (["audio"], ["recordings.view"])
    assert audio["matched_too_by"] == ["GET /v2/recordings/*"]
    assert [one["template"] for one in audio["operations"]] == ["/recordings/{id}/audio"]


def test_privileges_can_come_from_elsewhere_and_operations_be_left_out(spec: Path) -> None:
    only = ("--only", "/api/recordings/*", "--only", "/api/status")
    drafted = scopegate("openapi", "draft", spec, "--privileges-from", "none", *only, "-o", "json")
    entries = json.loads(drafted.out)
    assert not any(one["privileges"] for one in entries)
    assert [(*one["methods"], one["url"]) for one in entries] == [
        ("GET", "/api/recordings/*"),
        ("DELETE", "/api/recordings/*"),
        ("GET", "/api/recordings/*/audio"),
        ("GET", "/api/status"),
    ]


def test_operations_are_picked_from_a_document(spec: Path) -> None:
    listed = scopegate("openapi", "list", spec, "RECORDINGS", "get", "view")
    lines = [line.split() for line in listed.out.splitlines()]
    assert lines == [
        ["METHOD", "URL", "PRIVILEGES", "SUMMARY"],
        ["GET", "/api/recordings", "recordings.view", "List", "recordings"],
        ["GET", "/api/recordings/*", "recordings.view", "-"],
    ]
    assert "show" in scopegate("openapi", "list", spec, "-o", "wide").out
    none = scopegate("openapi", "list", spec, "nothing")
    assert (none.code, none.out, none.err) == (0, "", "There is no such operation.\n")
    assert len(scopegate("openapi", "list", spec, "-o", "name").out.splitlines()) == 5


@pytest.mark.parametrize("verb", ["draft", "list"])
def test_what_is_no_openapi_document_is_6(tmp_path: Path, verb: str) -> None:
    old = written(tmp_path / "old.json", {"swagger": "2.0", "paths": {}})
    refused = scopegate("openapi", verb, old, "-o", "json")
    assert (refused.code, refused.out) == (6, "")
    problem = json.loads(refused.err)
    assert (problem["code"], problem["field"]) == ("openapi_invalid", "spec")
    assert "Convert it" in problem["hint"]
    (tmp_path / "torn.yaml").write_text("a: [")
    torn = scopegate("openapi", verb, tmp_path / "torn.yaml")
    assert (torn.code, torn.out) == (6, "")
    assert f"error: {tmp_path / 'torn.yaml'}:1: this is not YAML" in torn.err
    assert scopegate("openapi", verb, tmp_path / "nothing.yaml").code == 2


def test_endpoints_in_force_are_picked_here_and_over_http(local: Instance, remote: Instance) -> None:
    for instance in (local, remote):
        (found,) = instance.data("endpoint", "list", "delete")
        assert (found["methods"], found["url"], found["rules"]) == (["DELETE"], "/api/recordings/*", [])
    listed, three, none = local.run_all(
        ("endpoint", "list", "report", "--method", "post"),
        ("endpoint", "list", "--limit", "3", "-o", "name"),
        ("endpoint", "list", "nothing"),
    )
    assert [line.split() for line in listed.out.splitlines()] == [
        ["METHODS", "URL", "PRIVILEGES", "SUMMARY", "RULES"],
        ["POST", "/api/reports", "reports.run", "Run", "a", "report", "POST", "/api/reports"],
    ]
    assert len(three.out.splitlines()) == 3
    assert (none.code, none.out) == (0, "")
    assert none.err.startswith("There is no such endpoint.")


def test_drift_is_1_just_where_a_key_opens_more(
    local: Instance, remote: Instance, spec: Path, grown: Path
) -> None:
    bot = ("key", "create", "--type", "custom", "--description", "Bot", "--user", "tom")
    rule = ("--allow", "GET /api/recordings/*")
    made = local.data(*bot, *rule)
    same, compared, with_catalogue = local.run_all(
        ("drift", "--openapi", spec, "--was", spec),
        ("drift", "--openapi", grown, "--was", spec),
        ("drift", "--openapi", grown, "-o", "json"),
    )
    assert (same.code, same.out) == (0, "")
    assert same.err == "No operation is new.\n0 new operations, 0 of them open to some key; 0 gone.\n"
    assert compared.code == 1
    head, row, gone = compared.out.splitlines()
    assert head.split() == ["NEW", "OPERATION", "KEY", "TYPE", "USER", "BY", "ROW", "OPEN"]
    assert row.split() == [
        *("GET", "/api/recordings/*/transcript", made["id"], "(Bot)", "custom", "tom", "1", "yes")
    ]
    assert gone == "Gone: GET /api/status"
    assert compared.err == "1 new operations, 1 of them open to some key; 1 gone.\n"
    assert with_catalogue.code == 1
    assert {one["url"] for one in json.loads(with_catalogue.out)["added"]} == {
        "/api/recordings/*/audio",
        "/api/recordings/*/transcript",
    }
    remote.data(*bot, *rule)
    over_http = remote.run("drift", "--openapi", grown, "--was", spec, "-o", "json")
    assert over_http.code == 1
    (added,) = json.loads(over_http.out)["added"]
    assert [(reach["rows"], reach["opens"]) for reach in added["keys"]] == [([1], "all")]


def test_keys_of_all_users_open_what_is_closed_to_others(local: Instance, spec: Path, tmp_path: Path) -> None:
    paths = {**RECORDINGS["paths"], "/billing/{id}": {"get": {}}}
    opened = written(tmp_path / "billing.json", {**RECORDINGS, "paths": paths})
    local.create("--user", "maria", description="For Maria")
    closed = local.run("drift", "--openapi", opened, "--was", spec)
    assert closed.code == 0
    assert "no: endpoint_unlisted" in closed.out
    everything = local.create(description="All")
    compared = local.run("drift", "--openapi", opened, "--was", spec)
    assert compared.code == 1
    assert (
        f"{everything['id']} (All) is of type external and of no user: it opens everything." in compared.out
    )
