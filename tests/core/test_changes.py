from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.catalogue import Endpoint
from scopegate.core.changes import Area, Change, ChangeKind, Value, plan
from scopegate.core.policies import Policies

names = st.sampled_from(["a", "b", "c.d", "E:1"])
privileges = st.frozensets(names, max_size=3)
endpoints = st.builds(
    Endpoint,
    st.frozensets(st.sampled_from(["GET", "POST", "*"]), min_size=1),
    st.sampled_from(["/a", "/a/*", "*", "https://h/a"]),
    privileges,
    st.sampled_from(["", "", "Say a", "Say b"]),
)


@st.composite
def policies(draw: st.DrawFn) -> Policies:
    entries = draw(st.lists(endpoints, max_size=4, unique_by=lambda entry: (entry.methods, entry.url)))
    roles = draw(st.dictionaries(names, privileges, max_size=3))
    some_roles = st.frozensets(st.sampled_from(sorted(roles))) if roles else st.just(frozenset())
    groups = draw(st.dictionaries(names, some_roles, max_size=3))
    return Policies(tuple(entries), draw(st.booleans()), roles, groups)


EMPTY = Policies()


def facts(of: Policies) -> dict[tuple[Area, str], tuple[Value, str]]:
    """What policies say, as the plan that makes them of nothing tells it."""
    told = {
        (change.area, change.name): (change.after or (), summaries(change)[1]) for change in plan(EMPTY, of)
    }
    return {(Area.SETTING, "unlisted_endpoints"): (("deny",), "")} | told


def summaries(change: Change) -> tuple[str, str]:
    return ("", "") if change.summaries is None else change.summaries


@given(policies(), policies())
def test_a_plan_is_empty_just_where_nothing_differs(one: Policies, other: Policies) -> None:
    assert plan(one, one) == ()
    assert (plan(one, other) == ()) is (one == other)


@given(policies(), policies())
def test_what_is_not_said_of_unlisted_endpoints_does_not_change(current: Policies, desired: Policies) -> None:
    silent = replace(desired, unlisted_allowed=None)
    kept = replace(desired, unlisted_allowed=current.unlisted_allowed)
    assert plan(current, silent) == plan(current, kept)


@given(policies(), policies())
def test_performing_a_plan_makes_the_desired_of_the_current(current: Policies, desired: Policies) -> None:
    state = facts(current)
    for change in plan(current, desired):
        subject = (change.area, change.name)
        names, summary = state.get(subject, (None, ""))
        assert names == change.before
        if change.summaries is not None:
            assert summary == change.summaries[0]
            summary = change.summaries[1]
        if change.after is None:
            del state[subject]
        else:
            state[subject] = change.after, summary
    assert state == facts(desired)


@given(policies(), policies())
def test_the_way_back_undoes_the_way_there_in_the_same_order(one: Policies, other: Policies) -> None:
    there, back = plan(one, other), plan(other, one)
    assert [(c.subject, c.before, c.after, summaries(c)) for c in there] == [
        (c.subject, c.after, c.before, summaries(c)[::-1]) for c in back
    ]


@given(policies(), policies())
def test_a_change_is_of_the_kind_that_its_sides_say(one: Policies, other: Policies) -> None:
    for change in plan(one, other):
        assert (change.kind is ChangeKind.ADD) is (change.before is None)
        assert (change.kind is ChangeKind.REMOVE) is (change.after is None)
        assert change.before != change.after or change.summaries is not None
        assert "\n" not in change.describe()


def test_changes_come_by_area_then_by_url_or_name() -> None:
    desired = Policies(
        (
            Endpoint(frozenset({"POST"}), "/api/a"),
            Endpoint(frozenset({"GET"}), "/api/b"),
            Endpoint(frozenset({"GET"}), "/api/a"),
        ),
        unlisted_allowed=True,
        roles={"b": frozenset(), "a": frozenset()},
        groups={"g": frozenset()},
    )
    assert [change.subject for change in plan(EMPTY, desired)] == [
        "setting unlisted_endpoints",
        "endpoint GET /api/a",
        "endpoint POST /api/a",
        "endpoint GET /api/b",
        "role a",
        "role b",
        "group g",
    ]


def test_an_entry_with_other_methods_is_another_entry() -> None:
    current = Policies((Endpoint(frozenset({"GET"}), "/a"),))
    desired = Policies((Endpoint(frozenset({"GET", "POST"}), "/a"),))
    assert [(change.kind, change.name) for change in plan(current, desired)] == [
        (ChangeKind.REMOVE, "GET /a"),
        (ChangeKind.ADD, "GET,POST /a"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, (), False),
        (None, ("a",), False),
        (("a",), ("a", "b"), False),
        (("a",), ("b",), True),
        (("a", "b"), ("a",), True),
        (("a",), None, True),
        ((), None, True),
    ],
)
def test_a_change_takes_something_away_or_only_adds(
    before: Value | None, after: Value | None, *, expected: bool
) -> None:
    assert Change(ChangeKind.CHANGE, Area.ROLE, "agent", before, after).takes_away is expected


ENDPOINT, ROLE, GROUP = "GET /a", "agent", "agents"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (Change(ChangeKind.ADD, Area.ENDPOINT, ENDPOINT, None, ("x", "y")), "+ endpoint GET /a: x, y"),
        (
            Change(ChangeKind.ADD, Area.ENDPOINT, ENDPOINT, None, ()),
            "+ endpoint GET /a: open to every active user",
        ),
        (
            Change(ChangeKind.CHANGE, Area.ENDPOINT, ENDPOINT, ("x",), ()),
            "~ endpoint GET /a: -x (now open to every active user)",
        ),
        (Change(ChangeKind.REMOVE, Area.ENDPOINT, ENDPOINT, ("x",), None), "- endpoint GET /a: x"),
        (
            Change(ChangeKind.CHANGE, Area.ROLE, ROLE, ("a", "b"), ("b", "c")),
            "~ role agent: +c -a (now b, c)",
        ),
        (Change(ChangeKind.CHANGE, Area.ROLE, ROLE, ("a",), ()), "~ role agent: -a (now none)"),
        (Change(ChangeKind.ADD, Area.ROLE, ROLE, None, ()), "+ role agent: none"),
        (
            Change(ChangeKind.ADD, Area.ENDPOINT, ENDPOINT, None, ("x",), ("", "List all")),
            '+ endpoint GET /a: x; summary "List all"',
        ),
        (
            Change(ChangeKind.CHANGE, Area.ENDPOINT, ENDPOINT, ("x",), ("x",), ("List", "List all")),
            '~ endpoint GET /a: summary "List" -> "List all"',
        ),
        (
            Change(ChangeKind.CHANGE, Area.ENDPOINT, ENDPOINT, ("x",), ("y",), ("List", "")),
            '~ endpoint GET /a: +y -x (now y); summary "List" -> none',
        ),
        (
            Change(ChangeKind.REMOVE, Area.ENDPOINT, ENDPOINT, ("x",), None, ("List", "")),
            "- endpoint GET /a: x",
        ),
        (Change(ChangeKind.REMOVE, Area.GROUP, GROUP, (), None), "- group agents: none"),
        (
            Change(ChangeKind.CHANGE, Area.SETTING, "unlisted_endpoints", ("deny",), ("allow",)),
            "~ setting unlisted_endpoints: deny -> allow",
        ),
    ],
)
def test_a_change_is_told_in_one_line(change: Change, line: str) -> None:
    assert change.describe() == line
