from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.catalogue import Endpoint
from scopegate.core.errors import InvalidInput
from scopegate.core.policies import Expectation, Policies, Verdict, endpoint_label, judge, require_name
from scopegate.core.principal import User
from scopegate.core.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable


def entry(methods: str, url: str, *privileges: str) -> Endpoint:
    return Endpoint(frozenset(methods.split(",")), url, frozenset(privileges))


POLICIES = Policies(
    endpoints=(
        entry("GET", "/api/recordings/*", "recordings.view"),
        entry("*", "/api/recordings/archive/*", "archive.access"),
        entry("GET", "/api/status"),
        entry("GET", "https://intern.example/api/salaries", "salaries.view"),
    ),
    roles={
        "agent": frozenset({"recordings.view"}),
        "archivist": frozenset({"archive.access"}),
        "payroll": frozenset({"salaries.view"}),
    },
    groups={"agents": frozenset({"agent"})},
)
USERS = {
    user.id: user
    for user in (
        User(id="ada", name="Ada", groups=frozenset({"agents"})),
        User(id="arno", name="Arno", groups=frozenset({"agents"}), roles=frozenset({"archivist"})),
        User(id="pia", name="Pia", roles=frozenset({"payroll"})),
        User(id="nina", name="Nina", roles=frozenset({"agent"}), active=False),
    )
}


@pytest.mark.parametrize("name", ["a", "recordings.view", "Sales:EU_2-x", "0", "x" * 100])
def test_a_name_is_taken_as_it_is(name: str) -> None:
    assert require_name("roles", name) == name


@pytest.mark.parametrize("name", ["", "x" * 101, "a b", "a/b", "a\n", "é", "*", "a@b", "\x00"])
def test_what_is_no_name_is_refused_on_its_field(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        require_name("groups", name)
    assert (caught.value.field, caught.value.code) == ("groups", "name_invalid")
    assert len(caught.value.message) < 80


@pytest.mark.parametrize(
    ("field", "build"),
    [
        ("endpoints", lambda: Policies((entry("GET", "/a", "not a name"),))),
        ("roles", lambda: Policies(roles={"not a name": frozenset()})),
        ("roles", lambda: Policies(roles={"agent": frozenset({"not a name"})})),
        ("groups", lambda: Policies(groups={"not a name": frozenset()})),
    ],
)
def test_every_name_is_checked(field: str, build: Callable[[], Policies]) -> None:
    with pytest.raises(InvalidInput) as caught:
        build()
    assert (caught.value.field, caught.value.code) == (field, "name_invalid")


def test_a_group_with_undefined_roles_is_refused_and_they_are_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        Policies(roles={"agent": frozenset()}, groups={"agents": frozenset({"agent", "b", "a"})})
    assert caught.value.code == "role_undefined"
    assert caught.value.message == "The group 'agents' names undefined roles: a, b."


@pytest.mark.parametrize("url", ["/api/a", "/api/%61"])
def test_two_entries_with_one_method_and_one_canonical_url_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Policies((entry("GET,POST", "/api/a", "x"), entry("POST,GET", url)))
    assert caught.value.message == "GET,POST /api/a is listed twice."


def test_entries_may_overlap() -> None:
    both = Policies((entry("GET,POST", "/api/a", "x"), entry("GET", "/api/a", "y")))
    assert [endpoint_label(endpoint) for endpoint in both.endpoints] == ["GET /api/a", "GET,POST /api/a"]


def test_policies_written_in_another_order_are_equal() -> None:
    one, other = entry("GET", "/a"), entry("GET", "/b")
    a, b = frozenset({"x"}), frozenset({"y"})
    assert Policies((one, other), roles={"a": a, "b": b}) == Policies((other, one), roles={"b": b, "a": a})


def test_policies_do_not_change_with_the_mappings_that_they_were_made_of() -> None:
    roles = {"agent": frozenset({"x"})}
    policies = Policies(roles=roles)
    roles["agent"] = frozenset({"everything"})
    assert policies.roles["agent"] == {"x"}


def test_no_policies_deny_every_user() -> None:
    [verdict] = judge(Policies(), USERS, [Expectation("ada", "GET", "/", allowed=False)])
    assert verdict.decision.reason is Reason.ENDPOINT_UNLISTED


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ada GET /api/recordings/1 -> allow", Reason.ALLOWED),
        ("ada HEAD /api/recordings/1 -> allow", Reason.ALLOWED),
        ("ada GET /api/%72ecordings/1 -> allow", Reason.ALLOWED),
        ("ada POST /api/recordings/1 -> deny", Reason.ENDPOINT_UNLISTED),
        ("ada GET /api/recordings/archive/1 -> deny", Reason.PRIVILEGE_MISSING),
        ("arno GET /api/recordings/archive/1 -> allow", Reason.ALLOWED),
        ("ada GET /api/recordings;x/archive/1 -> deny", Reason.ENDPOINT_UNLISTED),
        ("ada GET /api/recordings/archive;x/1 -> deny", Reason.PRIVILEGE_MISSING),
        ("ada GET /api/status -> allow", Reason.ALLOWED),
        ("nina GET /api/status -> deny", Reason.USER_INACTIVE),
        ("nobody GET /api/status -> deny", Reason.USER_UNKNOWN),
        ("pia GET https://intern.example/api/salaries -> allow", Reason.ALLOWED),
        ("ada GET https://intern.example/api/salaries -> deny", Reason.PRIVILEGE_MISSING),
        ("pia GET https://other.example/api/salaries -> deny", Reason.ENDPOINT_UNLISTED),
        ("pia GET /api/salaries -> deny", Reason.ENDPOINT_UNLISTED),
    ],
)
def test_an_expectation_is_judged_like_a_request_of_its_user(line: str, reason: Reason) -> None:
    expectation = Expectation.parse(line)
    [verdict] = judge(POLICIES, USERS, [expectation])
    assert verdict.decision.reason is reason
    assert verdict.holds

    [opposite] = judge(
        POLICIES,
        USERS,
        [
            Expectation(
                expectation.principal, expectation.method, expectation.url, allowed=not expectation.allowed
            )
        ],
    )
    assert not opposite.holds


def test_unlisted_endpoints_can_be_allowed() -> None:
    opened = Policies(unlisted_allowed=True)
    [verdict] = judge(opened, USERS, [Expectation.parse("ada GET /api/x -> allow")])
    assert verdict.holds


def test_verdicts_come_in_the_order_of_the_expectations() -> None:
    expectations = [Expectation.parse(f"ada GET /api/recordings/{i} -> allow") for i in range(5)]
    assert [verdict.expectation for verdict in judge(POLICIES, USERS, expectations)] == expectations


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "ada GET /api/recordings/archive/1 -> allow",
            (
                "f.yaml:3: ada GET /api/recordings/archive/1 -> allow: fails,"
                " the answer is deny (privilege_missing: archive.access)"
            ),
        ),
        (
            "ada GET /api/status -> deny",
            "f.yaml:3: ada GET /api/status -> deny: fails, the answer is allow (allowed)",
        ),
        ("ada GET /api/status -> allow", "f.yaml:3: ada GET /api/status -> allow: holds (allowed)"),
    ],
)
def test_a_verdict_tells_where_what_and_why(line: str, told: str) -> None:
    [verdict] = judge(POLICIES, USERS, [Expectation.parse(line, source="f.yaml:3")])
    assert verdict.describe() == told


def test_a_verdict_without_a_source_starts_with_the_expectation() -> None:
    [verdict] = judge(POLICIES, USERS, [Expectation("ada", "GET", "/api/status", allowed=True)])
    assert isinstance(verdict, Verdict)
    assert verdict.describe() == "ada GET /api/status -> allow: holds (allowed)"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("", "expectation"),
        ("ada GET /api/x", "expectation"),
        ("ada GET /api/x -> maybe", "expectation"),
        ("ada GET /api/x => allow", "expectation"),
        ("ada GET /api/x -> allow please", "expectation"),
        ("ada GET /api/a b -> allow", "expectation"),
        ("a/b GET /api/x -> allow", "principal"),
        ("ada get /api/x -> allow", "method"),
        ("ada TRACE /api/x -> deny", "method"),
        ("ada GET /api/* -> allow", "url"),
        ("ada GET /api/x?y=1 -> deny", "url"),
        ("ada GET /api/../admin -> deny", "url"),
        ("ada GET api/x -> deny", "url"),
    ],
)
def test_what_is_no_expectation_is_refused(line: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Expectation.parse(line)
    assert caught.value.field == field
    assert caught.value.hint


@given(
    principal=st.from_regex(r"[A-Za-z0-9._:-]{1,100}", fullmatch=True),
    method=st.sampled_from(["GET", "HEAD", "POST", "DELETE"]),
    url=st.from_regex(r"(https://[a-z]{1,8}(:81)?)?/([a-z0-9]{1,5}/){0,3}[a-z%41]{0,5}", fullmatch=True),
    allowed=st.booleans(),
)
def test_an_expectation_reads_what_it_writes(principal: str, method: str, url: str, allowed: bool) -> None:  # noqa: FBT001 -- given by name
    try:
        expectation = Expectation(principal, method, url, allowed=allowed)
    except InvalidInput:
        return
    assert Expectation.parse(str(expectation)) == expectation
