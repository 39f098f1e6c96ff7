"""``scopegate key``, run as a person or a script runs it."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from e2e.processes import DEADLINE, SCOPEGATE, environment

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Instance

SECRET = re.compile(r"\bsg_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}\b")
FIELDS = {
    "id", "type", "state", "description", "user", "created_at", "expires_at", "delete_at",
    "retiring_until", "rules",
}  # fmt: skip
KNOWN_LATER = {"last_used", "secrets", "etag"}
CUSTOM = ("--type", "custom", "--url", "/api/recordings/*", "--method", "GET")


@pytest.fixture(scope="module", params=["local", "remote"])
def instance(request: pytest.FixtureRequest) -> Instance:
    """Through the store, and over HTTP: a command does the same either way."""
    instance: Instance = request.getfixturevalue(request.param)
    return instance


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--type", "desktop"), {"type": "desktop", "user": None, "rules": []}),
        (("--type", "external"), {"type": "external", "user": None, "rules": []}),
        (("--type", "external", "--user", "tom"), {"type": "external", "user": "tom"}),
        (
            (*CUSTOM, "--url", "https://api.example.com/api/*", "--method", "POST"),
            {
                "type": "custom",
                "rules": [
                    {"method": "GET", "url": "/api/recordings/*"},
                    {"method": "POST", "url": "https://api.example.com/api/*"},
                ],
            },
        ),
        (
            ("--type", "external", "--expires", "2031-03-31T23:59+02:00"),
            {"expires_at": "2031-03-31T21:59:00Z", "delete_at": "2031-04-07T21:59:00Z"},
        ),
    ],
    ids=["desktop", "external", "one user", "custom", "expiring"],
)
def test_a_key_of_each_type_is_active_at_once(
    instance: Instance, args: tuple[str, ...], expected: dict[str, Any]
) -> None:
    created = instance.create(*args, description="Created for Face-to-Face recording")
    secret = created.pop("secret")
    assert set(created) == FIELDS
    assert SECRET.fullmatch(secret)
    assert secret.split("_")[1] == created["id"]
    assert created["state"] == "active"
    assert created["description"] == "Created for Face-to-Face recording"
    assert {name: created[name] for name in expected} == expected
    shown = instance.data("key", "show", created["id"])
    assert {name: shown[name] for name in FIELDS} == created
    assert set(shown) == FIELDS | KNOWN_LATER
    assert shown["last_used"]["known"] != "used"


def test_the_secret_is_shown_once_and_in_no_later_answer(instance: Instance) -> None:
    created = instance.run("key", "create", "--type", "external", "--description", "Shown once")
    assert created.code == 0
    (secret,) = SECRET.findall(created.out)
    assert secret not in created.err
    assert "Copy the secret now" in created.err
    key_id = secret.split("_")[1]
    answers = instance.run_all(
        ("key", "list"),
        ("key", "list", "-o", "json"),
        ("key", "show", key_id),
        ("key", "show", key_id, "-o", "json"),
        ("key", "enable", key_id),
        ("key", "enable", key_id, "-o", "json"),
        ("key", "extend", key_id, "--expires", "30d"),
        ("explain", "--key-id", key_id, "GET", "/api/status"),
        ("explain", "--key-id", key_id, "GET", "/api/status", "-o", "json"),
    )
    answers.append(instance.run("key", "delete", key_id, "--yes"))
    for answer in answers:
        assert answer.code == 0, answer
        assert secret.rpartition("_")[2] not in answer.out + answer.err
    assert sum(key_id in answer.out + answer.err for answer in answers) == 8


def test_a_secret_file_is_private_and_holds_the_secret_alone(instance: Instance, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    umask = os.umask(0)
    try:
        created = instance.run(
            "key", "create", "--type", "external", "--description", "x", "--secret-file", file
        )
    finally:
        os.umask(umask)
    assert created.code == 0
    assert not SECRET.search(created.out + created.err)
    assert SECRET.fullmatch(file.read_text().removesuffix("\n"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_secret_file_leaves_null_in_json(instance: Instance, tmp_path: Path) -> None:
    created = instance.create("--secret-file", str(tmp_path / "secret"))
    assert created["secret"] is None


@pytest.mark.parametrize("place", ["taken", "missing/secret"])
def test_no_key_is_created_for_a_secret_that_has_no_place(
    instance: Instance, tmp_path: Path, place: str
) -> None:
    (tmp_path / "taken").write_text("precious")
    before = [key["id"] for key in instance.data("key", "list")]
    refused = instance.run(
        "key", "create", "--type", "external", "--description", "x", "--secret-file", tmp_path / place
    )
    assert refused.code == 6
    assert refused.out == ""
    assert refused.err.startswith(f"error: Cannot create {tmp_path / place}: ")
    assert [key["id"] for key in instance.data("key", "list")] == before
    assert (tmp_path / "taken").read_text() == "precious"


def test_no_secret_file_is_left_where_no_key_was_created(instance: Instance, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    refused = instance.run("key", "create", "--type", "external", "--description", "", "--secret-file", file)
    assert refused.code == 6
    assert not file.exists()


def test_the_list_is_a_table_of_one_line_a_key_newest_first(instance: Instance) -> None:
    first = instance.create(*CUSTOM, description="The first of two")["id"]
    second = instance.create("--user", "tom", "--expires", "2031-01-01T00:00Z", description="Second")["id"]
    head, *rows = instance.run("key", "list").out.splitlines()
    assert re.split(r"  +", head) == [
        "ID", "TYPE", "STATE", "USER", "EXPIRES", "LAST USED", "RULES", "DESCRIPTION",
    ]  # fmt: skip
    assert len(rows) == len(instance.data("key", "list"))
    cells = [re.split(r"  +", row) for row in rows[:2]]
    # Whether the gateway of this instance has begun to count, or none ever did.
    assert {row.pop(5) for row in cells} <= {"never", "unknown"}
    assert cells[0] == [second, "external", "active", "tom", "2031-01-01T00:00:00Z", "-", "Second"]
    assert cells[1] == [first, "custom", "active", "all", "never", "1", "The first of two"]


def test_a_key_is_found_by_how_its_id_begins(instance: Instance) -> None:
    key_id = instance.create()["id"]
    assert instance.data("key", "show", key_id[:9])["id"] == key_id


def test_an_id_that_begins_several_keys_is_refused_with_their_ids(instance: Instance) -> None:
    ids = {instance.create()["id"], instance.create()["id"]}
    refused = instance.run("key", "show", "000")
    assert refused.code == 6
    assert all(key_id in refused.err for key_id in ids)


def test_disable_and_enable(instance: Instance) -> None:
    key_id = instance.create()["id"]
    assert instance.data("key", "disable", key_id)["state"] == "disabled"
    assert instance.data("key", "show", key_id)["state"] == "disabled"
    assert instance.data("key", "enable", key_id)["state"] == "active"


def test_extend(instance: Instance) -> None:
    key_id = instance.create("--expires", "1h")["id"]
    later = instance.data("key", "extend", key_id, "--expires", "2032-01-01T00:00Z")
    assert later["expires_at"] == "2032-01-01T00:00:00Z"
    never = instance.data("key", "extend", key_id, "--expires", "never")
    assert never["expires_at"] is None
    assert never["delete_at"] is None


def test_rotate(instance: Instance) -> None:
    created = instance.create("--user", "tom", "--expires", "30d")
    rotated = instance.run("key", "rotate", created["id"][:8])
    assert rotated.code == 0
    (secret,) = SECRET.findall(rotated.out)
    assert secret != created["secret"]
    assert secret.split("_")[1] == created["id"]
    assert "Copy the secret now" in rotated.err
    shown = instance.data("key", "show", created["id"])
    assert f"old secret   valid until {shown['retiring_until']}" in rotated.out
    unchanged = FIELDS - {"retiring_until"}
    assert {name: shown[name] for name in unchanged} == {name: created[name] for name in unchanged}
    (listed,) = (key for key in instance.data("key", "list") if key["id"] == created["id"])
    del shown["etag"]
    assert listed == shown


def test_an_overlap_is_a_day_unless_something_else_is_said(instance: Instance) -> None:
    def left(*args: str) -> timedelta:
        key = instance.data("key", "rotate", instance.create()["id"], *args)
        return datetime.fromisoformat(key["retiring_until"]) - datetime.now(UTC)

    for given, meant in (
        ((), timedelta(days=1)),
        (("--overlap", "7d"), timedelta(days=7)),
        (("--overlap", "90m"), timedelta(minutes=90)),
    ):
        assert meant - timedelta(minutes=1) < left(*given) <= meant


def test_a_secret_that_ends_at_once_wants_a_confirmation(instance: Instance) -> None:
    at_once = instance.create()["id"]
    again = instance.data("key", "rotate", instance.create()["id"])["id"]
    before = instance.data("key", "list")
    for command in (("key", "rotate", at_once, "--overlap", "0"), ("key", "rotate", again)):
        refused = instance.run(*command, stdin="y\n")
        assert (refused.code, refused.out) == (2, "")
        assert "--yes" in refused.err
    assert instance.data("key", "list") == before
    assert instance.data("key", "rotate", at_once, "--overlap", "0", "--yes")["retiring_until"] is None
    rotated = instance.run("key", "rotate", again, "--yes", "-o", "json")
    assert SECRET.search(rotated.out)
    assert rotated.err.startswith("warning: The secret that was retiring")
    assert "only two secrets are ever valid" in rotated.err


def test_a_rotated_secret_can_go_into_a_file(instance: Instance, tmp_path: Path) -> None:
    key_id = instance.create()["id"]
    rotated = instance.data("key", "rotate", key_id, "--secret-file", tmp_path / "secret")
    assert rotated["secret"] is None
    assert (tmp_path / "secret").read_text().split("_")[1] == key_id
    refused = instance.run("key", "rotate", key_id, "--yes", "--secret-file", tmp_path / "secret")
    assert refused.code == 6
    assert instance.data("key", "show", key_id)["retiring_until"] == rotated["retiring_until"]


@pytest.mark.parametrize("overlap", ["8d", "169h", "-1h", "soon", "1w", "24", "0h", ""])
def test_an_overlap_that_is_none_is_refused(instance: Instance, overlap: str) -> None:
    refused = instance.run("key", "rotate", "000", "--overlap", overlap, "-o", "json")
    assert (refused.code, refused.out) == (6, "")
    problem = json.loads(refused.err)
    assert problem["field"] == "overlap"
    assert "7d" in problem["hint"]


def test_delete_wants_a_confirmation_where_nobody_can_be_asked(instance: Instance) -> None:
    key_id = instance.create()["id"]
    refused = instance.run("key", "delete", key_id, stdin="y\n")
    assert (refused.code, refused.out) == (2, "")
    assert "--yes" in refused.err
    assert instance.data("key", "delete", key_id, "-y") == {"id": key_id, "state": "deleted"}
    assert instance.run("key", "show", key_id).code == 3


@pytest.mark.parametrize(("answer", "code", "left"), [(b"y\n", 0, False), (b"n\n", 130, True)])
def test_delete_asks_on_a_terminal(instance: Instance, answer: bytes, code: int, *, left: bool) -> None:
    key_id = instance.create(description="Kiosk")["id"]
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        done = subprocess.run(
            [*SCOPEGATE, "key", "delete", key_id, *instance.place],
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
    assert f"Delete {key_id} (Kiosk) for good?" in done.stderr
    assert done.stdout == ""
    assert (instance.run("key", "show", key_id).code == 0) is left


def test_privileges_that_a_user_partly_lacks_are_a_warning(instance: Instance) -> None:
    created = instance.run(
        "key", "create", "--type", "custom", "--description", "x", "--user", "tom",
        "--url", "/api/*", "--method", "GET", "-o", "json",
    )  # fmt: skip
    assert created.code == 0
    assert json.loads(created.out)["user"] == "tom"
    assert created.err.startswith("warning: ")
    assert "reports.view" in created.err


def test_a_rule_that_its_user_cannot_use_is_refused_with_the_privilege(instance: Instance) -> None:
    refused = instance.run(
        "key", "create", "--type", "custom", "--description", "x", "--user", "tom",
        "--url", "/api/reports/*", "--method", "GET",
    )  # fmt: skip
    assert (refused.code, refused.out) == (6, "")
    assert "reports.view" in refused.err
