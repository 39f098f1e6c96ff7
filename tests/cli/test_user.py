"""``scopegate user`` and ``scopegate flag``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.conftest import Instance


def test_users_are_listed_with_what_they_hold(instance: Instance) -> None:
    table = instance.run("user", "list").out.splitlines()
    assert table[0].split() == ["ID", "NAME", "ORGANIZATION", "STATUS", "GROUPS", "ROLES"]
    assert [line.split()[0] for line in table[1:]] == ["ana", "maria", "tom"]
    assert [user["id"] for user in instance.data("user", "list")] == ["ana", "maria", "tom"]


def test_a_user_is_shown_with_the_privileges_held_now(instance: Instance) -> None:
    tom = instance.data("user", "show", "tom")
    assert tom["groups"] == ["agents"]
    assert tom["roles"] == []
    assert tom["privileges"] == ["recordings.view"]
    shown = instance.run("user", "show", "tom").out
    assert "privileges    recordings.view\n" in shown


def test_a_role_is_given_and_taken(instance: Instance) -> None:
    given = instance.data("user", "add-role", "tom", "supervisor")
    assert given["roles"] == ["supervisor"]
    assert "reports.view" in given["privileges"]
    taken = instance.data("user", "remove-role", "tom", "supervisor")
    assert taken["roles"] == []
    assert taken["privileges"] == ["recordings.view"]


def test_an_inactive_user_has_no_privileges(instance: Instance) -> None:
    gone = instance.data("user", "deactivate", "ana")
    assert (gone["active"], gone["privileges"]) == (False, [])
    back = instance.data("user", "activate", "ana")
    assert back["active"] is True
    assert "users.edit" in back["privileges"]


def test_the_flag_gates_new_custom_keys_and_leaves_old_ones_working(instance: Instance) -> None:
    custom = ("--type", "custom", "--url", "/api/status", "--method", "GET")
    old = instance.create(*custom)["id"]
    assert instance.data("flag", "scoped-api", "off") == {"scoped_api": False}
    refused = instance.run("key", "create", *custom, "--description", "x")
    assert refused.code == 4
    assert "scopegate flag scoped-api on" in refused.err
    assert instance.run("explain", "--key-id", old, "GET", "/api/status").code == 0
    assert instance.run("flag", "scoped-api").out == "scoped-api  off\n"
    assert instance.run("flag", "scoped-api", "on").out == "scoped-api  on\n"
    assert instance.data("flag", "scoped-api") == {"scoped_api": True}
    instance.create(*custom)


def test_a_user_is_added_and_deleted(instance: Instance) -> None:
    person = ("--name", "Lou Reyes", "--organization", "IT", "--role", "agent", "--group", "quality")
    added = instance.data("user", "add", "lou", *person)
    assert (added["name"], added["roles"], added["groups"]) == ("Lou Reyes", ["agent"], ["quality"])
    assert "reports.view" in added["privileges"]
    key = instance.create("--type", "external", "--user", "lou")["id"]
    assert instance.run("explain", "--key-id", key, "GET", "/api/recordings/1").code == 0
    again = instance.run("user", "add", "lou", *person)
    assert (again.code, again.out) == (5, "")
    assert instance.run("user", "delete", "lou").code == 2  # nobody is there to confirm it
    assert instance.run("user", "delete", "lou", "--yes").code == 0
    assert instance.run("user", "show", "lou").code == 3
    assert "user_unknown" in instance.run("explain", "--key-id", key, "GET", "/api/recordings/1").out


def test_a_user_gets_only_roles_and_groups_that_are_defined(instance: Instance) -> None:
    for option in ("--role", "--group"):
        refused = instance.run("user", "add", "lou", "--name", "Lou", option, "nobody-defined-it")
        assert refused.code == 6
        assert "nobody-defined-it" in refused.err
    assert instance.run("user", "show", "lou").code == 3
    assert instance.run("user", "add", "two words", "--name", "Lou").code == 6
