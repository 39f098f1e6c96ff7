"""``scopegate key rules``, ``edit`` and ``duplicate``, run as a person or a script runs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cli.conftest import Instance

CUSTOM = ("--type", "custom", "--url", "/api/recordings/*", "--method", "GET")
RECORDINGS = {"method": "GET", "url": "/api/recordings/*"}
NOTES = {"method": "POST", "url": "/api/notes"}
ADD_NOTES = ("--url", "/api/notes", "--method", "POST")


@pytest.fixture(scope="module", params=["local", "remote"])
def instance(request: pytest.FixtureRequest) -> Instance:
    """Through the store, and over HTTP: a command does the same either way."""
    instance: Instance = request.getfixturevalue(request.param)
    return instance


def test_rules_are_listed_added_and_removed(instance: Instance) -> None:
    key_id = instance.create(*CUSTOM)["id"]
    added = instance.data("key", "rules", "add", key_id, *ADD_NOTES)
    assert added["rules"] == [RECORDINGS, NOTES]
    assert added == instance.shown(key_id)
    assert instance.data("key", "rules", "list", key_id) == [{"row": 1, **RECORDINGS}, {"row": 2, **NOTES}]
    listed = instance.run("key", "rules", "list", key_id)
    assert [line.split() for line in listed.out.splitlines()] == [
        ["ROW", "METHOD", "URL"],
        ["1", "GET", "/api/recordings/*"],
        ["2", "POST", "/api/notes"],
    ]
    removed = instance.data("key", "rules", "remove", key_id, "--row", "1")
    assert removed["rules"] == [NOTES]
    instance.data("key", "rules", "add", key_id, "--url", "/x", "--method", "GET")
    assert instance.data("key", "rules", "remove", key_id, *ADD_NOTES)["rules"] == [
        {"method": "GET", "url": "/x"}
    ]


def test_the_last_rule_wants_a_confirmation(instance: Instance) -> None:
    key_id = instance.create(*CUSTOM)["id"]
    refused = instance.run("key", "rules", "remove", key_id, "--row", "1", stdin="y\n")
    assert (refused.code, refused.out) == (2, "")
    assert "--yes" in refused.err
    assert instance.data("key", "show", key_id)["rules"] == [RECORDINGS]
    removed = instance.run("key", "rules", "remove", key_id, "--row", "1", "--yes", "-o", "json")
    assert json.loads(removed.out)["rules"] == []
    assert "opens nothing" in removed.err
    listed = instance.run("key", "rules", "list", key_id)
    assert (listed.code, listed.out) == (0, "")
    assert "opens nothing" in listed.err
    assert instance.run("explain", "--key-id", key_id, "GET", "/api/recordings/1").code == 1


def test_a_key_of_another_type_has_no_rules(instance: Instance) -> None:
    key_id = instance.create()["id"]
    assert instance.data("key", "rules", "list", key_id) == []
    assert "opens every URL" in instance.run("key", "rules", "list", key_id).err
    for args in (("add", key_id, *ADD_NOTES), ("remove", key_id, "--row", "1")):
        refused = instance.run("key", "rules", *args, "-o", "json")
        assert (refused.code, json.loads(refused.err)["code"]) == (6, "rules_only_for_custom")


@pytest.mark.parametrize(
    ("args", "code", "slug"),
    [
        (("add", "--url", "/api/recordings/*", "--method", "GET"), 6, "rule_duplicate"),
        (("add", "--url", "/a?b", "--method", "GET"), 6, None),
        (("add", "--url", "/a", "--url", "/b", "--method", "GET"), 6, "invalid"),
        (("add",), 2, "usage"),
        (("remove",), 2, "usage"),
        (("remove", "--row", "2"), 3, "not_found"),
        (("remove", "--row", "0"), 3, "not_found"),
        (("remove", "--row", "x"), 2, "usage"),
        (("remove", *ADD_NOTES), 3, "not_found"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_change_of_rules_that_cannot_be_is_refused(
    instance: Instance, args: tuple[str, ...], code: int, slug: str | None
) -> None:
    key_id = instance.create(*CUSTOM)["id"]
    refused = instance.run("key", "rules", args[0], key_id, *args[1:], "-o", "json")
    assert (refused.code, refused.out) == (code, "")
    assert slug in {None, json.loads(refused.err)["code"]}
    assert instance.data("key", "show", key_id)["rules"] == [RECORDINGS]


def test_rules_are_not_added_while_the_feature_is_off(instance: Instance) -> None:
    key_id, other = instance.create(*CUSTOM)["id"], instance.create()["id"]
    instance.data("flag", "scoped-api", "off")
    refused = instance.run("key", "rules", "add", key_id, *ADD_NOTES, "-o", "json")
    never = instance.run("key", "rules", "add", other, *ADD_NOTES, "-o", "json")
    instance.data("flag", "scoped-api", "on")
    assert (refused.code, json.loads(refused.err)["code"]) == (4, "feature_disabled")
    assert (never.code, json.loads(never.err)["code"]) == (6, "rules_only_for_custom")


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--description", "Another"), {"description": "Another"}),
        (("--expires", "2032-01-01T00:00Z"), {"expires_at": "2032-01-01T00:00:00Z"}),
        (("--expires", "never"), {"expires_at": None, "delete_at": None}),
        (("--user", "tom"), {"user": "tom"}),
        (("--user", "all"), {"user": None}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_edit_changes_what_is_named(
    instance: Instance, args: tuple[str, ...], expected: dict[str, Any]
) -> None:
    created = instance.create("--user", "maria", "--expires", "30d")
    edited = instance.data("key", "edit", created["id"], *args)
    assert {name: edited[name] for name in expected} == expected
    kept = created.keys() - expected.keys() - {"secret", "delete_at"}
    assert {name: edited[name] for name in kept} == {name: created[name] for name in kept}
    assert instance.shown(created["id"]) == edited


@pytest.mark.parametrize(
    ("kind", "args", "code", "slug"),
    [
        ("external", (), 2, "usage"),
        ("external", ("--description", ""), 6, "description_required"),
        ("external", ("--expires", "2020-01-01T00:00Z"), 6, "expiry_in_past"),
        ("external", ("--user", "stranger"), 6, "user_not_found"),
        ("desktop", ("--expires", "30d"), 6, "expiry_not_allowed_for_desktop"),
        ("desktop", ("--user", "tom"), 6, "user_not_allowed_for_desktop"),
    ],
)
def test_an_edit_that_breaks_a_rule_is_refused(
    instance: Instance, kind: str, args: tuple[str, ...], code: int, slug: str
) -> None:
    key_id = instance.create("--type", kind)["id"]
    before = instance.data("key", "show", key_id)
    refused = instance.run("key", "edit", key_id, *args, "-o", "json")
    assert (refused.code, refused.out, json.loads(refused.err)["code"]) == (code, "", slug)
    assert instance.data("key", "show", key_id) == before


def test_duplicate(instance: Instance) -> None:
    created = instance.create(*CUSTOM, "--expires", "30d", "--user", "maria")
    copied = instance.data("key", "duplicate", created["id"], "--description", "A copy")
    assert copied["secret"].split("_")[1] == copied["id"] != created["id"]
    assert copied["description"] == "A copy"
    kept = created.keys() - {"id", "secret", "description", "created_at"}
    assert {name: copied[name] for name in kept} == {name: created[name] for name in kept}
    shown = instance.run("key", "duplicate", created["id"], "--description", "Another copy")
    assert "Copy the secret now" in shown.err
