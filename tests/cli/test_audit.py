"""``scopegate audit``: who changed what, and whether the log is whole."""

from __future__ import annotations

import json
import os
import pwd
import socket
import stat
from typing import TYPE_CHECKING, Any

import redis

from conftest import find_free_port
from e2e.processes import scopegate
from scopegate.store import layout

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Instance

LOG = layout.audit("000")
OPERATOR = f"cli:{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"


def listed(instance: Instance, *args: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = instance.data("audit", "list", *args)
    return entries


def test_each_command_is_entered_with_who_where_and_why(instance: Instance) -> None:
    key_id = instance.create("--reason", "a new tool")["id"]
    forged = {"USER": "somebody", "LOGNAME": "somebody", "SUDO_USER": "somebody"}
    assert instance.run("key", "disable", key_id, "--reason", "leaked", env=forged).code == 0
    assert instance.run("key", "extend", key_id, "--expires", "90d").code == 0
    assert instance.run("key", "delete", key_id, "--yes").code == 0
    entries = listed(instance, "--key", key_id)
    assert [(one["action"], one["reason"]) for one in entries] == [
        *(
            ("key.delete", None),
            ("key.extend", None),
            ("key.disable", "leaked"),
            ("key.create", "a new tool"),
        ),
    ]
    assert {(one["actor"], one["origin"]) for one in entries} == {(OPERATOR, "cli")}
    assert entries[2]["changed"] == {"enabled": {"before": True, "after": False}}


def test_no_secret_and_no_digest_is_in_it(instance: Instance) -> None:
    created = instance.create()
    with redis.Redis.from_url(instance.url) as client:
        stored = str(client.lrange(LOG, 0, -1))
        record = json.loads(str(client.get(layout.key_record("000", created["id"])), "utf-8"))
    assert created["secret"] not in stored
    assert record["digest"] not in stored


def test_what_becomes_of_a_key_is_entered(instance: Instance) -> None:
    assert instance.run("flag", "scoped-api", "on").code == 0
    key_id = instance.create("--type", "custom", "--url", "/a", "--method", "GET")["id"]
    rotated = instance.data("key", "rotate", key_id, "--overlap", "1h", "--reason", "yearly")
    instance.data("key", "rules", "add", key_id, "--url", "/b", "--method", "POST")
    instance.data("key", "rules", "remove", key_id, "--row", "1")
    instance.data("key", "edit", key_id, "--description", "Another")
    copy = instance.data("key", "duplicate", key_id, "--description", "A copy")
    entries = listed(instance, "--key", key_id)
    assert [one["action"] for one in entries] == [
        *("key.edit", "key.rules", "key.rules", "key.rotate", "key.create"),
    ]
    rotation = entries[3]
    assert rotation["reason"] == "yearly"
    assert rotation["changed"]["digest"] == {"before": "(not shown)", "after": "(not shown)"}
    assert rotation["changed"]["retiring_until"]["after"] is not None
    assert set(rotation["changed"]) == {"digest", "retiring_until"}
    assert [one["action"] for one in listed(instance, "--key", copy["id"])] == ["key.create"]
    with redis.Redis.from_url(instance.url) as client:
        stored = str(client.lrange(LOG, 0, -1))
    assert rotated["secret"] not in stored
    assert copy["secret"] not in stored


def test_users_roles_policies_and_flags_are_entered(instance: Instance) -> None:
    for args in (
        ("user", "add", "zoe", "--name", "Zoë"),
        ("user", "add-role", "zoe", "supervisor"),
        ("user", "deactivate", "zoe"),
        ("user", "delete", "zoe", "--yes"),
        ("flag", "scoped-api", "off"),
        ("flag", "scoped-api", "on", "--reason", "scoped keys are wanted"),
        ("flag", "scoped-api", "on"),
    ):
        finished = instance.run(*args)
        assert finished.code == 0, finished
    assert [one["action"] for one in listed(instance, "--limit", "6")] == [
        *("flag.set", "flag.set", "user.delete", "user.deactivate", "user.role.add", "user.add")
    ]
    policies = [one for one in listed(instance, "--actor", "system") if one["action"] == "policies.apply"]
    assert "role supervisor" in policies[0]["changed"]


def test_a_selection_takes_what_all_of_it_says(instance: Instance) -> None:
    key_id = instance.create()["id"]
    assert len(listed(instance, "--key", key_id[:8])) == 1
    assert listed(instance, "--key", key_id, "--actor", "nobody") == []
    assert len(listed(instance, "--key", key_id, "--since", "1h")) == 1
    assert listed(instance, "--since", "2100-01-01T00:00Z") == []
    assert len(listed(instance, "--limit", "2")) == 2
    refused = instance.run("audit", "list", "--since", "yesterday")
    assert (refused.code, refused.out) == (6, "")


def test_it_is_shown_as_a_table_and_as_lines(instance: Instance) -> None:
    key_id = instance.create()["id"]
    instance.run("key", "disable", key_id, "--reason", "leaked")
    table = instance.run("audit", "list", "--key", key_id).out.splitlines()
    assert table[0].split() == ["SEQUENCE", "AT", "ACTOR", "ACTION", "TARGET", "CHANGED", "REASON"]
    assert table[1].split()[2:] == [
        *(OPERATOR, "key.disable", "key", key_id, "enabled:", "true", "->", "false", "leaked")
    ]
    lines = instance.run("audit", "list", "--key", key_id, "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["key.disable", "key.create"]
    with redis.Redis.from_url(instance.url) as client:
        assert lines[0].encode() in client.lrange(LOG, 0, -1)
    nothing = instance.run("audit", "list", "--actor", "nobody")
    assert (nothing.code, nothing.out) == (0, "")


def test_a_reason_is_one_line(instance: Instance) -> None:
    for reason in ("two\nlines", "\x1b[31m", "x" * 501):
        refused = instance.run("flag", "scoped-api", "on", "--reason", reason)
        assert (refused.code, refused.out) == (2, "")


def test_a_whole_log_is_0_and_its_export_stands_by_itself(instance: Instance, tmp_path: Path) -> None:
    instance.create()
    whole = instance.data("audit", "verify")
    assert whole["whole"]
    file = tmp_path / "audit.jsonl"
    exported = instance.data("audit", "export", "--file", file)
    assert (exported["sequence"], exported["hash"]) == (whole["sequence"], whole["hash"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert instance.run("audit", "export", "--file", file).code == 6
    by_itself = scopegate("audit", "verify", "--file", file, "-o", "json")
    assert by_itself.code == 0
    assert json.loads(by_itself.out) == whole
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:1] + lines[2:]))
    broken = scopegate("audit", "verify", "--file", file)
    assert broken.code == 1
    assert "broken at 2: entries are missing" in broken.out
    file.write_bytes(b"".join(lines[1:]))
    assert scopegate("audit", "verify", "--file", file).code == 0, "retention may have taken the first"
    file.write_bytes(b"\xff\n")
    assert scopegate("audit", "verify", "--file", file).code == 1


def test_a_log_that_was_changed_is_1_and_says_where(instance: Instance, tmp_path: Path) -> None:
    instance.create()
    with redis.Redis.from_url(instance.url) as client:
        before = client.lindex(LOG, 1)
        assert isinstance(before, bytes)
        client.lset(LOG, 1, before.replace(b"system", b"nobody"))
        broken, listing = instance.run("audit", "verify", "-o", "json"), instance.run("audit", "list")
        client.lset(LOG, 1, "garbage")
        unreadable = instance.run("audit", "list", "--limit", "1000")
        exported = instance.run("audit", "export", "--file", tmp_path / "broken.jsonl")
        client.lset(LOG, 1, before)
    assert broken.code == 1
    said = json.loads(broken.out)
    assert (said["whole"], said["broken_at"], said["what"]) == (False, 2, "the entry was changed")
    assert listing.code == 0
    assert exported.code == 0, "it is what somebody will want to look at"
    assert scopegate("audit", "verify", "--file", tmp_path / "broken.jsonl").code == 1
    assert (unreadable.code, unreadable.out) == (7, "")
    assert "hint: Find it with: scopegate audit verify" in unreadable.err
    assert instance.run("audit", "verify").code == 0


def test_a_store_that_does_not_answer_is_7(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{find_free_port()}"
    file = tmp_path / "audit.jsonl"
    for args in (("list",), ("verify",), ("export", "--file", str(file))):
        refused = scopegate("audit", *args, "--redis-url", url)
        assert (refused.code, refused.out) == (7, "")
    assert not file.exists()


def test_retention_is_a_setting(instance: Instance) -> None:
    refused = instance.run("user", "list", env={"SCOPEGATE_AUDIT_RETENTION": "10"})
    assert (refused.code, refused.out) == (2, "")
    assert "audit_retention (SCOPEGATE_AUDIT_RETENTION)" in refused.err
