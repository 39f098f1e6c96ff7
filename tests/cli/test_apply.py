"""``scopegate diff``, ``apply``, ``export`` and ``test``: policy files into force, or not at all."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cli.conftest import POLICIES
from e2e.processes import DEADLINE, SCOPEGATE, environment, scopegate
from scopegate.policyfiles import load
from scopegate.policyschema import schema_text
from scopegate.policywriting import SCHEMA_LINE
from scopegate.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Instance


@pytest.fixture(scope="module", params=["local", "remote"])
def running(request: pytest.FixtureRequest) -> Instance:
    """Through the store, and over HTTP: a command does the same either way."""
    instance: Instance = request.getfixturevalue(request.param)
    return instance


@pytest.fixture
def instance(running: Instance) -> Instance:
    """One where the repository's policies are in force, and nothing else."""
    asyncio.run(put_into_force(running.url))
    return running


async def put_into_force(url: str) -> None:
    store = Store.at(url)
    try:
        await store.policies.put(load(POLICIES).policies)
    finally:
        await store.aclose()


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A copy of the repository's policy files."""
    return shutil.copytree(POLICIES, tmp_path / "policies")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def widen(policies: Path) -> None:
    """Give agents a privilege that they do not have."""
    edit(
        policies / "roles.yaml",
        "privileges: [recordings.view]\n",
        "privileges: [recordings.view, users.view]\n",
    )


def forget_interns(policies: Path) -> None:
    """Let a group and its role be in force that the files do not name; the files are as they were."""
    extra = policies / "interns.yaml"
    extra.write_text(
        "roles: {intern: {privileges: []}}\n"
        "groups: {interns: {roles: [intern]}}\n"
        "endpoints: [{methods: [PUT], url: /api/old, privileges: [users.edit], summary: Old}]\n"
    )


def agents(instance: Instance) -> object:
    return instance.data("export")["roles"]["agent"]["privileges"]


def test_what_is_in_force_changes_nothing(instance: Instance) -> None:
    applied = instance.run("apply", POLICIES)
    assert (applied.code, applied.out, applied.err) == (0, "", "Nothing to change.\n")
    assert instance.data("apply", POLICIES) == []
    assert instance.data("diff", POLICIES) == []
    compared = instance.run("diff", POLICIES, "--prune", "all")
    assert (compared.code, compared.out, compared.err) == (0, "", "Nothing would change.\n")


def test_diff_tells_the_changes_and_apply_makes_them(instance: Instance, policies: Path) -> None:
    widen(policies)
    compared, as_data = instance.run_all(("diff", policies), ("diff", policies, "-o", "json"))
    line = "~ role agent: +users.view (now recordings.view, users.view)\n"
    assert (compared.code, compared.out, compared.err) == (1, line, "1 to change.\n")
    assert as_data.code == 1
    assert json.loads(as_data.out) == [
        {
            "subject": "role agent",
            "kind": "change",
            "area": "role",
            "name": "agent",
            "before": ["recordings.view"],
            "after": ["recordings.view", "users.view"],
            "summary_before": None,
            "summary_after": None,
        }
    ]
    assert agents(instance) == ["recordings.view"]
    rehearsed = instance.run("apply", policies, "--dry-run")
    assert (rehearsed.code, rehearsed.out) == (0, line)
    assert rehearsed.err == "Nothing was changed: this was a rehearsal.\n"
    assert agents(instance) == ["recordings.view"]
    applied = instance.run("apply", policies)
    assert (applied.code, applied.out, applied.err) == (0, line, "1 change applied.\n")
    assert agents(instance) == ["recordings.view", "users.view"]


def test_what_takes_something_away_has_to_be_confirmed(instance: Instance, policies: Path) -> None:
    widen(policies)
    assert instance.run("apply", policies).code == 0
    refused = instance.run("apply", POLICIES)
    assert (refused.code, refused.out) == (2, "")
    assert "~ role agent: -users.view (now recordings.view)\n" in refused.err
    assert "pass --yes" in refused.err
    for_programs = instance.run("apply", POLICIES, "-o", "json")
    assert (for_programs.code, json.loads(for_programs.err)["code"]) == (2, "usage")
    assert agents(instance) == ["recordings.view", "users.view"]
    applied = instance.run("apply", POLICIES, "--yes")
    assert (applied.code, applied.err) == (0, "1 change applied.\n")
    assert agents(instance) == ["recordings.view"]


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 130)])
def test_a_terminal_is_asked_with_the_plan(
    instance: Instance, policies: Path, answer: bytes, code: int
) -> None:
    widen(policies)
    assert instance.run("apply", policies).code == 0
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        done = subprocess.run(
            [*SCOPEGATE, "apply", str(POLICIES), *instance.place],
            stdin=theirs,
            capture_output=True,
            text=True,
            env=environment(instance.env),
            timeout=DEADLINE,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == code
    plan, question = done.stderr.split("\n")[:2]
    assert plan == "~ role agent: -users.view (now recordings.view)"
    assert question.startswith("Something goes. Apply 1 change? [y/N]")
    assert (agents(instance) == ["recordings.view"]) is (code == 0)


def test_what_was_changed_since_the_plan_is_not_undone(instance: Instance, policies: Path) -> None:
    forget_interns(policies)
    assert instance.run("apply", policies).code == 0
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [*SCOPEGATE, "apply", str(POLICIES), "--prune", "all", *instance.place],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(instance.env),
        ) as asking:
            assert asking.stderr is not None
            said = ""
            while "[y/N]" not in said:
                character = asking.stderr.read(1)
                assert character, said
                said += character
            widen(policies)
            assert instance.run("apply", policies).code == 0
            os.write(ours, b"y\n")
            out, err = asking.communicate(timeout=DEADLINE)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (asking.returncode, out) == (5, "")
    assert "It was changed since you have read it." in err
    assert agents(instance) == ["recordings.view", "users.view"]
    assert instance.run("diff", policies).code == 0


def test_what_no_file_names_stays_until_it_is_pruned(instance: Instance, policies: Path) -> None:
    forget_interns(policies)
    applied = instance.run("apply", policies)
    assert (applied.code, applied.err) == (0, "3 changes applied.\n")
    assert '+ endpoint PUT /api/old: users.edit; summary "Old"\n' in applied.out
    kept = instance.run("diff", POLICIES)
    assert (kept.code, kept.err) == (0, "3 kept.\n")
    assert kept.out.splitlines() == [
        "= endpoint PUT /api/old: kept, for no file names it",
        "= role intern: kept, for no file names it",
        "= group interns: kept, for no file names it",
    ]
    assert [one["kind"] for one in instance.data("diff", POLICIES)] == ["keep"] * 3
    pruned = instance.run("apply", POLICIES, "--prune", "group:int*", "--prune", "role", "-y")
    assert (pruned.code, pruned.err) == (0, "2 changes applied.\n")
    assert pruned.out.splitlines() == [
        "- role intern: none",
        "- group interns: intern",
        "= endpoint PUT /api/old: kept, for no file names it",
    ]
    names = instance.run("diff", POLICIES, "--prune", "endpoint:/api/*", "-o", "name")
    assert (names.code, names.out) == (1, "endpoint PUT /api/old\n")


def test_a_role_is_not_pruned_while_a_group_has_it(instance: Instance, policies: Path) -> None:
    forget_interns(policies)
    assert instance.run("apply", policies).code == 0
    refused = instance.run("apply", POLICIES, "--prune", "role", "--yes")
    assert (refused.code, refused.out) == (6, "")
    assert "The group 'interns' stays and holds the role 'intern'" in refused.err
    assert "--prune group:interns" in refused.err


@pytest.mark.parametrize("selector", ["users", "role:", "all:x", ""])
def test_a_selector_that_selects_nothing_is_a_usage_error(instance: Instance, selector: str) -> None:
    refused = instance.run("diff", POLICIES, "--prune", selector)
    assert (refused.code, refused.out) == (2, "")
    assert f"{selector!r} selects nothing. Write all, endpoint, role, group" in refused.err


@pytest.mark.parametrize("command", ["apply", "diff"])
def test_a_broken_file_is_named_with_its_line_and_nothing_is_applied(
    instance: Instance, policies: Path, command: str
) -> None:
    widen(policies)
    edit(policies / "catalogue.yaml", "unlisted_endpoints: deny", "unlisted_endpoints: perhaps")
    line = (policies / "catalogue.yaml").read_text().splitlines().index("unlisted_endpoints: perhaps") + 1
    refused = instance.run(command, policies)
    assert (refused.code, refused.out) == (6, "")
    assert refused.err.startswith("error: ")
    assert f"{policies / 'catalogue.yaml'}:{line}: " in refused.err
    assert agents(instance) == ["recordings.view"]


def test_policies_that_break_their_own_expectations_are_not_applied(
    instance: Instance, policies: Path
) -> None:
    widen(policies)
    edit(
        policies / "expectations.yaml",
        "  - ada POST /api/recordings -> deny\n",
        "  - ada GET /api/users -> deny\n",
    )
    refused = instance.run("apply", policies)
    assert (refused.code, refused.out) == (6, "")
    assert "ada GET /api/users" in refused.err
    assert agents(instance) == ["recordings.view"]
    compared = instance.run("diff", policies)
    assert (compared.code, compared.out.count("\n")) == (1, 1)
    assert "An expectation stands in the way: " in compared.err
    assert "ada GET /api/users -> deny: fails" in compared.err


def test_expectations_are_held_against_what_is_kept_as_well(instance: Instance, policies: Path) -> None:
    (policies / "more.yaml").write_text(
        "endpoints: [{methods: ['*'], url: /api/*, privileges: [users.view]}]\nexpectations: []\n"
    )
    (policies / "expectations.yaml").unlink()
    assert instance.run("apply", policies).code == 0
    assert scopegate("test", POLICIES).code == 0
    refused = instance.run("apply", POLICIES)
    assert (refused.code, refused.out) == (6, "")
    assert "ada GET /api/recordings/1 -> allow: fails, the answer is deny" in refused.err
    assert instance.run("apply", POLICIES, "--prune", "endpoint:/api/*", "--yes").code == 0


def test_the_expectations_are_tested_without_any_instance(policies: Path) -> None:
    assert scopegate("test", policies).code == 0
    edit(
        policies / "expectations.yaml",
        "ada GET /api/recordings/1 -> allow",
        "ada GET /api/recordings/1 -> deny",
    )
    tested = scopegate("test", policies)
    assert tested.code == 1
    assert "ada GET /api/recordings/1" in tested.out
    as_data: list[dict[str, Any]] = json.loads(scopegate("test", policies, "-o", "json").out)
    assert [one["expectation"] for one in as_data if not one["holds"]] == [
        "ada GET /api/recordings/1 -> deny"
    ]
    assert as_data[0]["source"].startswith(f"{policies / 'expectations.yaml'}:")


def test_a_directory_that_is_not_there_is_a_usage_error(instance: Instance, tmp_path: Path) -> None:
    refused = instance.run("apply", tmp_path / "nowhere")
    assert (refused.code, refused.out) == (2, "")
    assert "nowhere" in refused.err


def test_what_is_exported_changes_nothing(instance: Instance, tmp_path: Path) -> None:
    directory = tmp_path / "new" / "policies"
    exported = instance.run("export", directory)
    assert (exported.code, exported.out) == (0, "")
    assert exported.err == f"Wrote catalogue.yaml, roles.yaml, schema.json to {directory}.\n"
    assert (directory / "schema.json").read_text() == schema_text()
    assert load(directory).policies == load(POLICIES).policies
    compared = instance.run("diff", directory, "--prune", "all")
    assert (compared.code, compared.err) == (0, "Nothing would change.\n")


def test_policies_are_exported_to_stdout_as_one_document(instance: Instance, tmp_path: Path) -> None:
    exported = instance.run("export")
    assert (exported.code, exported.err) == (0, "")
    assert exported.out.startswith(SCHEMA_LINE)
    (tmp_path / "all.yaml").write_text(exported.out)
    assert load(tmp_path).policies == load(POLICIES).policies
    assert instance.data("export") == yaml.safe_load(exported.out)


def test_an_export_overwrites_only_what_it_is_told_to(instance: Instance, policies: Path) -> None:
    before = (policies / "roles.yaml").read_text()
    refused = instance.run("export", policies)
    assert (refused.code, refused.out) == (6, "")
    assert "has catalogue.yaml, roles.yaml, schema.json already" in refused.err
    assert (policies / "roles.yaml").read_text() == before
    assert instance.run("export", policies, "--force").code == 0
    assert (policies / "roles.yaml").read_text() != before
    assert (policies / "expectations.yaml").exists()


def test_an_export_beside_other_files_says_so(instance: Instance, policies: Path) -> None:
    (policies / "roles.yaml").rename(policies / "people.yaml")
    exported = instance.run("export", policies, "--force")
    assert exported.code == 0
    assert f"There are other policy files in {policies} as well." in exported.err
    assert "is defined already in" in exported.err


def test_the_schema_is_printed() -> None:
    printed = scopegate("policy", "schema")
    assert (printed.code, printed.out) == (0, schema_text())
