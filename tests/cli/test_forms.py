"""The forms of an answer, several keys at once, rehearsals, and keys that are named otherwise than by id."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, get_args

import pytest
import yaml

from scopegate.cli.key import SORTS
from scopegate.client import schemas

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Instance

EXTERNAL = ("key", "create", "--type", "external", "--description")
CUSTOM = ("--type", "custom", "--allow", "GET /api/recordings/*")


@pytest.fixture(scope="module", params=["local", "remote"])
def instance(request: pytest.FixtureRequest) -> Instance:
    """Through the store, and over HTTP: a command does the same either way."""
    instance: Instance = request.getfixturevalue(request.param)
    return instance


def test_a_list_has_every_form(instance: Instance) -> None:
    ids = [instance.create(description=f"Form {number}")["id"] for number in range(2)]
    only = ("key", "list", "--q", "Form ", "--sort", "created_at")
    by_form = {
        form: answer.out
        for form, answer in zip(
            ("json", "yaml", "jsonl", "name", "wide"),
            instance.run_all(*((*only, "-o", form) for form in ("json", "yaml", "jsonl", "name", "wide"))),
            strict=True,
        )
    }
    listed = json.loads(by_form["json"])
    assert {key["id"] for key in listed} == set(ids)
    assert yaml.safe_load(by_form["yaml"]) == listed
    assert [json.loads(line) for line in by_form["jsonl"].splitlines()] == listed
    assert by_form["name"].split() == [key["id"] for key in listed]
    assert "CREATED" in by_form["wide"].splitlines()[0]
    assert instance.run(*only, "--field", "description").out.split("\n")[:2] == [
        key["description"] for key in listed
    ]
    nothing = instance.run("key", "list", "--q", "nothing is called so", "-o", "json")
    assert (nothing.code, json.loads(nothing.out)) == (0, [])


def test_a_field_is_printed_as_it_is(instance: Instance) -> None:
    made = instance.run(*EXTERNAL, "Field", "--field", "secret")
    assert made.code == 0
    assert made.out.startswith("sg_")
    key_id = made.out.split("_")[1]
    assert instance.run("key", "show", key_id, "--field", "state").out == "active\n"
    refused = instance.run("key", "show", key_id, "--field", "colour")
    assert (refused.code, refused.out) == (2, "")
    assert "description" in refused.err


@pytest.mark.parametrize(
    "form", [("-o", "name"), ("--field", "id"), ("--field", "secrte")], ids=lambda form: form[-1]
)
def test_a_form_that_would_lose_the_secret_is_refused_before_there_is_one(
    instance: Instance, form: tuple[str, str], tmp_path: Path
) -> None:
    before = instance.data("key", "quota")["used"]
    refused = instance.run(*EXTERNAL, "Lost", *form)
    assert (refused.code, refused.out) == (2, "")
    assert instance.data("key", "quota")["used"] == before
    if form[-1] != "secrte":
        kept = instance.run(*EXTERNAL, "Kept", *form, "--secret-file", tmp_path / "secret")
        assert kept.code == 0
        assert kept.out.strip() == (tmp_path / "secret").read_text().split("_")[1]


def test_several_keys_at_once(instance: Instance) -> None:
    ids = [instance.create()["id"] for _ in range(3)]
    done = instance.run("key", "disable", *ids, "-o", "json")
    assert done.code == 0
    assert [(one["id"], one["state"]) for one in json.loads(done.out)] == [(key, "disabled") for key in ids]
    partly = instance.run("key", "enable", ids[0], "zzzzzzzzzzzz", ids[1])
    assert partly.code == 8
    assert "error: zzzzzzzzzzzz: There is no key" in partly.err
    assert ids[1] in partly.out
    assert instance.data("key", "show", ids[1])["state"] == "active"
    unasked = instance.run("key", "delete", *ids)
    assert (unasked.code, unasked.out) == (2, "")
    assert instance.run("key", "rm", *ids, "--yes").code == 0
    none = instance.run("key", "disable", *ids)
    assert (none.code, none.out) == (3, "")


def test_a_rehearsal_changes_nothing(instance: Instance, tmp_path: Path) -> None:
    key = instance.create(*CUSTOM)["id"]
    before = instance.shown(key), instance.data("key", "quota")
    settled = instance.data("flag", "scoped-api")
    file = tmp_path / "secret"
    for args in (
        (*EXTERNAL, "x", "--secret-file", str(file)),
        ("key", "edit", key, "--description", "Other"),
        ("key", "disable", key),
        ("key", "extend", key, "--expires", "30d"),
        ("key", "rotate", key, "--overlap", "0"),
        ("key", "duplicate", key, "--description", "Copy"),
        ("key", "rules", "add", key, "--allow", "GET /x"),
        ("key", "rules", "set", key, "--allow", "GET /x"),
        ("key", "rules", "remove", key, "--row", "1"),
        ("key", "delete", key),
        ("flag", "scoped-api", "off"),
        ("tenant", "create", "acme"),
        ("tenant", "settings", "default", "--key-limit", "200"),
        ("admin", "create", "--name", "N", "--email", "n@x.org", "--role", "auditor"),
    ):
        rehearsed = instance.run(*args, "--dry-run", "-o", "json")
        assert rehearsed.code == 0, (args, rehearsed)
        assert "Nothing was changed" in rehearsed.err
        assert json.loads(rehearsed.out).get("secret") is None
    assert not file.exists()
    assert (instance.shown(key), instance.data("key", "quota")) == before
    assert instance.data("flag", "scoped-api") == settled
    assert instance.run("tenant", "show", "acme").code == 3
    refused = instance.run("key", "edit", key, "--user", "stranger", "--dry-run")
    assert (refused.code, refused.out) == (6, "")


def test_a_version_that_is_gone_is_a_conflict(instance: Instance) -> None:
    key = instance.create()["id"]
    etag = instance.data("key", "show", key)["etag"]
    assert instance.run("key", "edit", key, "--description", "Mine", "--if-match", etag).code == 0
    for args in (("edit", key, "--description", "Theirs"), ("disable", key), ("delete", key, "--yes")):
        stale = instance.run("key", *args, "--if-match", etag, "-o", "json")
        assert (stale.code, stale.out, json.loads(stale.err)["code"]) == (5, "", "etag_mismatch")
    assert instance.data("key", "show", key)["description"] == "Mine"


def test_a_key_is_found_by_its_description(instance: Instance) -> None:
    key = instance.create(description="Only one is called so")["id"]
    assert instance.data("key", "get", "Only one is called so")["id"] == key
    twins = {instance.create(description="Twin of another")["id"] for _ in range(2)}
    refused = instance.run("key", "show", "Twin of another")
    assert (refused.code, refused.out) == (6, "")
    assert all(twin in refused.err for twin in twins)
    assert instance.run("key", "show", "Nothing is called so").code == 3


def test_what_may_be_a_secret_is_not_repeated(instance: Instance) -> None:
    secret = instance.create()["secret"]
    for text in (secret, secret.rpartition("_")[2], secret[:-1]):
        refused = instance.run("key", "show", text)
        assert (refused.code, refused.out) == (6, "")
        assert text not in refused.err.partition("error: ")[2]


def test_filters(instance: Instance) -> None:
    key = instance.create("--user", "tom", description="Filter me")["id"]
    other = instance.create(*CUSTOM, description="Filter me too")["id"]
    instance.data("key", "disable", other)

    def names(*args: str) -> list[str]:
        return instance.run("key", "list", "--q", "filter me", *args, "-o", "name").out.split()

    assert names("--sort", "description") == [key, other]
    assert names("--sort", "-description") == [other, key]
    assert names("--type", "custom") == [other]
    assert names("--state", "active") == [key]
    assert names("--user", "tom") == [key]
    assert names("--state", "active", "--state", "disabled", "--type", "external") == [key]
    assert instance.run("key", "list", "--idle", "soon").code == 6
    assert instance.run("key", "list", "--idle", "90d").code == 0
    assert set(SORTS) == set(get_args(schemas.KeySort))


def test_the_same_creation_twice_makes_one_key(instance: Instance) -> None:
    once = (*EXTERNAL, "Once", "--idempotency-key", f"deploy-{bool(instance.env)}", "-o", "json")
    first, again = instance.run(*once), instance.run(*once)
    assert (first.code, again.code) == (0, 0)
    made, replayed = json.loads(first.out), json.loads(again.out)
    assert made["id"] == replayed["id"]
    assert made["secret"] is not None
    assert replayed["secret"] is None
    assert "shown then" in again.err


def test_check_is_a_line_or_an_exit_code(instance: Instance) -> None:
    made = instance.create(*CUSTOM)
    allowed = instance.run("check", "GET", "/api/recordings/1", "--key", made["id"])
    assert (allowed.code, allowed.out) == (0, "allowed\n")
    refused = instance.run("check", "GET", "/api/users", "--key", made["id"])
    assert (refused.code, refused.out) == (1, "refused: url_not_allowed\n")
    quiet = instance.run("check", "GET", "/api/users", "--key-stdin", "-q", stdin=f"{made['secret']}\n")
    assert (quiet.code, quiet.out, quiet.err) == (1, "", "")
    tested = instance.run("key", "test", made["id"], "GET", "/api/recordings/1")
    assert (tested.code, tested.out.splitlines()[0]) == (0, "ALLOWED")
    for stdin in ("", "nonsense\n", made["secret"][3:]):
        unread = instance.run("check", "GET", "/", "--key-stdin", stdin=stdin)
        assert (unread.code, unread.out) == (6, "")
        assert made["secret"][3:] not in unread.err
    assert instance.run("check", "GET", "/").code == 2


def test_rules_are_set(instance: Instance) -> None:
    key = instance.create(*CUSTOM)["id"]
    changed = instance.data(
        "key", "rules", "set", key, "--allow", "GET /a", "--url", "/b", "--method", "POST"
    )
    assert changed["rules"] == [{"method": "GET", "url": "/a"}, {"method": "POST", "url": "/b"}]
    refused = instance.run("key", "rules", "set", key, "--allow", "/a", "-o", "json")
    assert (refused.code, json.loads(refused.err)["field"]) == (6, "allow")
    assert instance.run("key", "rules", "set", key).code == 2


def test_usage_quota_and_people(instance: Instance) -> None:
    key = instance.create()["id"]
    assert instance.data("key", "usage", key)["allowed"] == 0
    assert instance.run("key", "usage", key).out.splitlines()[0].split() == [
        "SINCE",
        "ALLOWED",
        "REFUSED",
        "WHY",
    ]
    told = instance.data("key", "quota")
    assert told["used"] + told["left"] == told["limit"] == 300
    assert "300" in instance.run("key", "quota").out
    assert [one["id"] for one in instance.data("user", "search", "mar")] == ["maria"]
    assert instance.run("user", "search", "--filter", "nonsense").code == 6


def test_tenants_have_keys_and_settings_of_their_own(instance: Instance) -> None:
    tenant = "north-http" if instance.env else "north"
    assert instance.data("tenant", "create", tenant, "--name", "North")["name"] == "North"
    made = instance.create("--tenant", tenant)
    assert instance.run("key", "list", "--tenant", tenant, "-o", "name").out.split() == [made["id"]]
    assert instance.run("key", "show", made["id"]).code == 3
    changed = instance.data("tenant", "settings", tenant, "--default-lifetime", "30", "--max-lifetime", "90")
    assert (changed["default_lifetime"], changed["max_lifetime"]) == (30, 90)
    assert instance.create("--tenant", tenant)["expires_at"] is not None
    assert instance.run(*EXTERNAL, "x", "--tenant", tenant, "--expires", "never").code == 6
    assert instance.data("tenant", "rename", tenant, "South")["name"] == "South"
    assert instance.run("tenant", "settings", tenant, "--max-lifetime", "soon").code == 6
    nobody = instance.run("key", "list", "--tenant", "nowhere", "-o", "json")
    assert (nobody.code, json.loads(nobody.err)["code"]) == (3, "not_found")


def test_a_preview_tells_all_and_makes_no_key(instance: Instance) -> None:
    before = instance.data("key", "quota")
    well = instance.run("key", "preview", *CUSTOM, "--description", "x", "--user", "maria")
    assert well.code == 0, well
    assert "/api/recordings/*" in well.out
    ill = instance.run("key", "preview", "--type", "custom", "-o", "json")
    assert ill.code == 1
    assert {one["code"] for one in json.loads(ill.out)["problems"]} >= {
        "description_required",
        "rules_required",
    }
    assert instance.data("key", "quota") == before


def test_keys_go_out_and_come_in(instance: Instance, tmp_path: Path) -> None:
    place = ("--tenant", "coming-http" if instance.env else "coming")
    assert instance.run("tenant", "create", place[1]).code == 0
    assert instance.run("flag", "scoped-api", "on", *place).code == 0
    secret = instance.create(*place, *CUSTOM, description="Goes out")["secret"]
    instance.create(*place, "--expires", "2031-01-01T00:00Z", description="Goes out too")
    file = tmp_path / "keys.yaml"
    assert instance.data("key", "export", str(file), *place)["keys"] == 2
    assert secret.rpartition("_")[2] not in file.read_text()
    assert instance.run("key", "export", str(file), *place).code == 6
    assert yaml.safe_load(instance.run("key", "export", *place).out) == yaml.safe_load(file.read_text())
    rehearsed = instance.run("key", "import", str(file), "--dry-run", *place)
    assert rehearsed.code == 0, rehearsed
    assert instance.data("key", "quota", *place)["used"] == 2
    secrets = tmp_path / "secrets"
    done = instance.data("key", "import", str(file), "--secrets-dir", str(secrets), *place)
    assert {path.name for path in secrets.iterdir()} == {one["id"] for one in done}
    assert all(one["secret"] is None for one in done)
    assert (secrets / done[0]["id"]).read_text().startswith(f"sg_{done[0]['id']}_")
    assert instance.data("key", "quota", *place)["used"] == 4
    documents = yaml.safe_load(file.read_text())
    documents["keys"][0]["description"] = ""
    file.write_text(yaml.safe_dump(documents))
    partly = instance.run("key", "import", str(file), *place)
    assert partly.code == 8
    assert "error: row 1: " in partly.err
    assert "sg_" in partly.out
    file.write_text("- nothing")
    assert instance.run("key", "import", str(file), *place).code == 6
