from __future__ import annotations

import fnmatch
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.test_changes import policies
from scopegate.core.catalogue import Endpoint
from scopegate.core.changes import Area, ChangeKind, plan
from scopegate.core.errors import InvalidInput
from scopegate.core.merging import Kept, Merged, Selector, merge
from scopegate.core.policies import Policies, endpoint_label

if TYPE_CHECKING:
    from collections.abc import Mapping

AREAS = (Area.ENDPOINT, Area.ROLE, Area.GROUP)
selectors = st.builds(
    Selector,
    st.sampled_from([None, *AREAS]),
    st.sampled_from(["*", "a", "/a*", "GET *", "c.*", "*d", "*"]),
)
prunings = st.lists(selectors, max_size=3)


def subjects(of: Policies) -> set[tuple[Area, str]]:
    return {
        *((Area.ENDPOINT, endpoint_label(endpoint)) for endpoint in of.endpoints),
        *((Area.ROLE, name) for name in of.roles),
        *((Area.GROUP, name) for name in of.groups),
    }


def merged(current: Policies, said: Policies, prune: list[Selector]) -> Merged | None:
    """What comes out, or None where a role would go that a group holds which stays."""

    def goes(area: Area, name: str, named: Mapping[str, object]) -> bool:
        return name not in named and any(selector.admits(area, name) for selector in prune)

    if not any(
        goes(Area.ROLE, role, said.roles)
        for group, held in current.groups.items()
        if group not in said.groups and not goes(Area.GROUP, group, said.groups)
        for role in held
    ):
        return merge(current, said, prune)
    with pytest.raises(InvalidInput) as refused:
        merge(current, said, prune)
    assert refused.value.code == "role_in_use"
    return None


@given(policies(), policies(), prunings)
def test_what_is_said_holds_and_what_is_not_said_changes_only_by_going(
    current: Policies, said: Policies, prune: list[Selector]
) -> None:
    result = merged(current, said, prune)
    if result is None:
        return
    named = subjects(said)
    for change in plan(said, result.policies):
        assert (change.area, change.name) not in named
        assert change.kind is ChangeKind.ADD
    for change in plan(current, result.policies):
        subject = (change.area, change.name)
        if change.area is Area.SETTING or subject in named:
            continue
        assert change.kind is ChangeKind.REMOVE
        assert any(selector.admits(*subject) for selector in prune)
    kept = {(one.area, one.name) for one in result.kept}
    assert kept == subjects(result.policies) - named
    assert not any(selector.admits(*subject) for subject in kept for selector in prune)


@given(policies(), policies())
def test_without_a_selector_nothing_goes(current: Policies, said: Policies) -> None:
    changes = plan(current, merge(current, said).policies)
    assert ChangeKind.REMOVE not in {change.kind for change in changes}


@given(policies(), policies())
def test_with_all_pruned_only_what_is_said_is_left(current: Policies, said: Policies) -> None:
    assert merge(current, said, [Selector()]) == Merged(said, ())


@given(policies(), policies(), prunings)
def test_a_second_time_changes_nothing(current: Policies, said: Policies, prune: list[Selector]) -> None:
    once = merged(current, said, prune)
    if once is not None:
        assert merge(once.policies, said, prune) == once


@given(policies(), policies())
def test_what_is_not_said_of_unlisted_endpoints_stays(current: Policies, said: Policies) -> None:
    silent = replace(said, unlisted_allowed=None)
    assert merge(current, silent).policies.unlisted_allowed is current.unlisted_allowed


CURRENT = Policies(
    (
        Endpoint(frozenset({"GET"}), "/old/*", frozenset({"x"})),
        Endpoint(frozenset({"GET", "POST"}), "/notes", frozenset({"x"})),
    ),
    roles={"agent": frozenset({"x", "y"}), "temp-1": frozenset({"z"}), "temp-2": frozenset()},
    groups={"agents": frozenset({"agent"}), "interns": frozenset({"temp-1"})},
)
SAID = Policies(roles={"agent": frozenset({"x"})}, unlisted_allowed=None)


def test_a_plan_tells_what_is_kept() -> None:
    kept = merge(CURRENT, SAID).kept
    assert [one.describe() for one in kept] == [
        "= endpoint GET,POST /notes: kept, for no file names it",
        "= endpoint GET /old/*: kept, for no file names it",
        "= role temp-1: kept, for no file names it",
        "= role temp-2: kept, for no file names it",
        "= group agents: kept, for no file names it",
        "= group interns: kept, for no file names it",
    ]


@pytest.mark.parametrize(
    ("texts", "gone"),
    [
        (("endpoint",), {"GET /old/*", "GET,POST /notes"}),
        (("endpoint:/old/*",), {"GET /old/*"}),
        (("endpoint:GET,POST /notes",), {"GET,POST /notes"}),
        (("endpoint:GET *",), {"GET /old/*"}),
        (("endpoint:old",), set()),
        (("role:temp-2",), {"temp-2"}),
        (("role:temp-*", "group:interns"), {"temp-1", "temp-2", "interns"}),
        (("role", "group"), {"temp-1", "temp-2", "agents", "interns"}),
        (("all",), {"GET /old/*", "GET,POST /notes", "temp-1", "temp-2", "agents", "interns"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_selectors_say_what_goes(texts: tuple[str, ...], gone: set[str]) -> None:
    after = merge(CURRENT, SAID, [Selector.parse(text) for text in texts]).policies
    assert {name for _, name in subjects(CURRENT) - subjects(after)} == gone


def test_a_role_that_a_group_still_holds_cannot_go() -> None:
    with pytest.raises(InvalidInput) as refused:
        merge(CURRENT, SAID, [Selector.parse("role:temp-*")])
    assert refused.value.message == "The group 'interns' stays and holds the role 'temp-1', which would go."
    assert refused.value.hint is not None
    assert "--prune group:interns" in refused.value.hint


@pytest.mark.parametrize("text", ["", "users", "roles", "role:", "all:", "all:x", "setting", ":x", "Role"])
def test_a_selector_that_selects_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Selector.parse(text)
    assert refused.value.code == "selector_invalid"


def test_a_name_may_have_a_colon() -> None:
    assert Selector.parse("role:a:b") == Selector(Area.ROLE, "a:b")
    assert Kept(Area.ROLE, "a:b").subject == "role a:b"


@given(
    st.text(alphabet="ab*", max_size=6),
    st.text(alphabet="ab*", max_size=8),
)
def test_a_star_stands_for_any_run_and_nothing_else_is_special(pattern: str, name: str) -> None:
    expected = fnmatch.fnmatchcase(name, pattern)
    assert Selector(Area.ROLE, pattern).admits(Area.ROLE, name) is expected


@pytest.mark.parametrize("pattern", ["[a]", "?", "a.", "A"])
def test_other_wildcards_are_letters(pattern: str) -> None:
    assert not Selector(Area.ROLE, pattern).admits(Area.ROLE, "a")
    assert Selector(Area.ROLE, pattern).admits(Area.ROLE, pattern)
