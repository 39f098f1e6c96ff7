"""``scopegate group``, ``role``, ``org``, and what ``user`` changes, through the store and over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cli.conftest import Instance


@pytest.fixture(params=["local", "remote"])
def instance(request: pytest.FixtureRequest) -> Instance:
    found: Instance = request.getfixturevalue(request.param)
    return found


def test_a_group_has_its_life(instance: Instance) -> None:
    added = instance.data("group", "add", "wien", "--name", "Wien")
    assert (added["name"], added["members"]) == ("Wien", 0)
    assert instance.run("group", "add", "wien").code == 5
    assert instance.data("group", "add-member", "wien", "tom", "ana")["members"] == 2
    assert [one["id"] for one in instance.data("user", "search", "--group", "wien")] == ["ana", "tom"]
    assert instance.data("group", "remove-member", "wien", "ana")["members"] == 1
    assert instance.run("group", "add-member", "wien", "nobody").code == 3
    assert "wien" in [one["id"] for one in instance.data("group", "list")]
    table = instance.run("group", "list", "-q", "wien").out.splitlines()
    assert [line.split() for line in table] == [
        ["ID", "NAME", "MEMBERS", "ROLES", "KNOWN", "TO"],
        ["wien", "Wien", "1", "-", "directory"],
    ]
    assert "directory" in instance.run("group", "show", "wien").out
    assert instance.run("group", "delete", "wien").code == 2
    assert instance.run("group", "delete", "wien", "--yes", "--dry-run").code == 0
    assert instance.data("group", "show", "wien")["members"] == 1
    assert instance.run("group", "delete", "wien", "--yes").code == 0
    assert instance.run("group", "show", "wien").code == 3
    assert "wien" not in instance.data("user", "show", "tom")["groups"]


def test_roles_and_organizations_are_shown(instance: Instance) -> None:
    roles = {one["name"]: one for one in instance.data("role", "list")}
    assert roles["agent"]["groups"] == ["agents", "quality"][: len(roles["agent"]["groups"])]
    assert instance.data("role", "show", "agent") == roles["agent"]
    assert instance.run("role", "show", "nope").code == 3
    assert "PRIVILEGES" in instance.run("role", "list").out
    tops = instance.data("org", "list")
    assert tops
    assert all("/" not in one["path"] for one in tops)
    assert instance.run("org", "list", "Nowhere").out == ""


def test_a_user_is_edited_if_it_is_the_one_that_was_seen(instance: Instance) -> None:
    seen = instance.data("user", "show", "tom")["etag"]
    edited = instance.data("user", "edit", "tom", "--organization", "Sales/Graz", "--user-name", "TL")
    assert (edited["organization"], edited["user_name"]) == ("Sales/Graz", "TL")
    assert instance.run("user", "edit", "tom", "--name", "T", "--if-match", seen).code == 5
    assert instance.run("user", "edit", "tom").code == 2
    assert instance.run("user", "edit", "ana", "--user-name", "tl").code == 5
    assert instance.run("user", "edit", "tom", "--organization", "a//b").code == 6
    assert instance.data("user", "edit", "tom", "--user-name", "")["user_name"] is None
    graz = {"path": "Sales/Graz", "people": 1, "is_parent": False}
    assert graz in instance.data("org", "list", "Sales")
    shown = instance.data("user", "deactivate", "tom")
    assert shown["active"] is False
    assert instance.data("user", "activate", "tom")["active"] is True
