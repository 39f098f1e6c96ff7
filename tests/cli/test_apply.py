"""``scopegate apply``, ``diff`` and ``test``: policy files into force, or not at all."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from cli.conftest import POLICIES
from e2e.processes import scopegate

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Instance


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A copy of the repository's policy files."""
    return shutil.copytree(POLICIES, tmp_path / "policies")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def widen(policies: Path) -> None:
    """Give agents, of whom Tom is one, a privilege that they do not have."""
    edit(
        policies / "roles.yaml",
        "privileges: [recordings.view]\n",
        "privileges: [recordings.view, users.view]\n",
    )


def privileges(instance: Instance) -> object:
    return instance.data("user", "show", "tom")["privileges"]


def test_what_is_in_force_changes_nothing(instance: Instance) -> None:
    applied = instance.run("apply", POLICIES)
    assert (applied.code, applied.out, applied.err) == (0, "", "Nothing to change.\n")
    assert instance.data("apply", POLICIES) == []
    assert instance.data("diff", POLICIES) == []


def test_diff_tells_the_changes_and_apply_makes_them(instance: Instance, policies: Path) -> None:
    widen(policies)
    compared = instance.run("diff", policies)
    assert (compared.code, compared.err) == (1, "")
    assert "agent" in compared.out
    assert privileges(instance) == ["recordings.view"]
    applied = instance.run("apply", policies)
    assert (applied.code, applied.out, applied.err) == (0, compared.out, "1 changes applied.\n")
    assert privileges(instance) == ["recordings.view", "users.view"]
    assert len(instance.data("apply", POLICIES)) == 1
    assert privileges(instance) == ["recordings.view"]


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
    assert privileges(instance) == ["recordings.view"]


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
    assert privileges(instance) == ["recordings.view"]


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


def test_a_directory_that_is_not_there_is_a_usage_error(instance: Instance, tmp_path: Path) -> None:
    refused = instance.run("apply", tmp_path / "nowhere")
    assert (refused.code, refused.out) == (2, "")
    assert "nowhere" in refused.err
