"""Drift: which keys cover what an API adds, and how much of it they open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scopegate.core import drift as module
from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.decision import Scope, decide_in
from scopegate.core.drift import Drift, Extent, Situation, drift
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import KeyRecord, KeyType, Rule
from scopegate.core.operations import Operation
from scopegate.core.principal import Principal
from scopegate.core.reasons import Reason
from scopegate.core.request import CanonicalRequest
from scopegate.core.wildcard import UrlPattern

if TYPE_CHECKING:
    from collections.abc import Sequence

T0 = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
KIM = Principal("kim", active=True, privileges=frozenset({"read"}))
INACTIVE = Principal("ina", active=False, privileges=frozenset({"read"}))


def operation(label: str, *privileges: str) -> Operation:
    method, url = label.split()
    return Operation(method=method, url=url, privileges=frozenset(privileges))


def entry(label: str, *privileges: str) -> Endpoint:
    methods, url = label.split()
    return Endpoint(frozenset(methods.split(",")), url, frozenset(privileges))


def key(key_id: str, *rules: str, user: str | None = "kim", kind: KeyType | None = None) -> KeyRecord:
    return KeyRecord(
        id=key_id,
        tenant="t",
        type=kind or (KeyType.CUSTOM if rules else KeyType.EXTERNAL),
        digest="d",
        description=key_id,
        created_at=T0,
        user=user,
        rules=tuple(Rule(*rule.split()) for rule in rules),
    )


def found(
    now: Sequence[str],
    *records: KeyRecord,
    was: Sequence[str] | None = (),
    catalogue: Sequence[Endpoint] = (),
    unlisted: bool = False,
) -> Drift:
    principals = {principal.user_id: principal for principal in (KIM, INACTIVE)}
    situation = Situation(records, principals, Catalogue(catalogue, unlisted_allowed=unlisted), T0)
    before = None if was is None else [operation(label) for label in was]
    return drift([operation(label, "read") for label in now], before, situation)


def told(drifted: Drift) -> list[tuple[str, str, tuple[int, ...], bool, str]]:
    """Operation, key, rows, whether wholly, and how much is open, of each reach."""
    return [
        (one.operation.label, reach.record.id, reach.rows, reach.wholly, str(reach.opens))
        for one in drifted.added
        for reach in one.reaches
    ]


NEW = "GET /pets/*/photos"
LISTED = (entry("GET /pets/*", "read"),)


def test_what_was_there_before_is_not_new() -> None:
    drifted = found([NEW, "GET /pets/*"], was=["GET /pets/*"])
    assert [one.operation.label for one in drifted.added] == [NEW]
    assert [one.operation.label for one in found([NEW, NEW], was=[]).added] == [NEW]


def test_a_method_is_part_of_an_operation() -> None:
    assert [one.operation.label for one in found(["POST /pets"], was=["GET /pets"]).added] == ["POST /pets"]


@pytest.mark.parametrize(
    ("rules", "rows", "wholly"),
    [
        (["GET /pets/*"], (1,), True),
        (["GET /pets/*/photos"], (1,), True),
        (["GET *"], (1,), True),
        (["GET /pets/7/*"], (1,), False),
        (["GET /pets/7/photos", "POST /pets/*", "GET /*"], (1, 3), True),
        (["GET /*/8/photos", "GET /pets/7/photos"], (1, 2), False),
        (["GET /pets"], (), None),
        (["POST /pets/*"], (), None),
        (["GET /petshop/*"], (), None),
        (["GET https://h/pets/*"], (1,), False),
    ],
)
def test_rules_cover_a_new_operation_by_what_they_match(
    rules: list[str], rows: tuple[int, ...], *, wholly: bool | None
) -> None:
    reaches = told(found([NEW], key("k", *rules), catalogue=LISTED))
    assert reaches == ([(NEW, "k", rows, wholly, "all")] if rows else [])


def test_a_rule_for_get_covers_head() -> None:
    drifted = found(["HEAD /pets/*"], key("k", "GET /pets/*"), catalogue=LISTED)
    assert told(drifted) == [("HEAD /pets/*", "k", (1,), True, "all")]


@pytest.mark.parametrize(
    ("catalogue", "opens", "reason", "missing"),
    [
        ([entry("GET /pets/*", "read")], Extent.ALL, Reason.ALLOWED, ()),
        ([entry("*  /pets/*".replace("  ", " "))], Extent.ALL, Reason.ALLOWED, ()),
        ([], Extent.NONE, Reason.ENDPOINT_UNLISTED, ()),
        ([entry("POST /pets/*")], Extent.NONE, Reason.ENDPOINT_UNLISTED, ()),
        ([entry("GET /pets/*", "admin")], Extent.NONE, Reason.PRIVILEGE_MISSING, ("admin",)),
        (
            [entry("GET /pets/*", "read"), entry("GET /*/photos", "admin")],
            Extent.NONE,
            Reason.PRIVILEGE_MISSING,
            ("admin",),
        ),
        (
            [entry("GET /pets/*", "read"), entry("GET /pets/7/*", "admin")],
            Extent.PART,
            Reason.PRIVILEGE_MISSING,
            ("admin",),
        ),
        ([entry("GET /pets/7/*", "read")], Extent.PART, Reason.ENDPOINT_UNLISTED, ()),
        ([entry("GET https://h/pets/*", "read")], Extent.PART, Reason.ENDPOINT_UNLISTED, ()),
    ],
)
def test_the_catalogue_in_force_decides_what_the_user_may_call(
    catalogue: list[Endpoint], opens: Extent, reason: Reason, missing: tuple[str, ...]
) -> None:
    for record in (key("custom", "GET /pets/*"), key("external")):
        ((added,),) = (found([NEW], record, catalogue=catalogue).added,)
        (reach,) = added.reaches
        assert (reach.opens, reach.reason, reach.missing) == (opens, reason, missing)


def test_of_a_rule_that_covers_a_part_only_that_part_counts() -> None:
    catalogue = [entry("GET /pets/7/*", "read"), entry("GET /pets/8/*", "admin")]
    drifted = found([NEW], key("seven", "GET /pets/7/*"), key("eight", "GET /pets/8/*"), catalogue=catalogue)
    assert [line[-1] for line in told(drifted)] == ["all", "none"]


def test_where_unlisted_endpoints_are_open_only_entries_refuse() -> None:
    assert [line[-1] for line in told(found([NEW], key("k"), unlisted=True))] == ["all"]
    refused = [entry("GET /pets/7/*", "admin")]
    assert [line[-1] for line in told(found([NEW], key("k"), catalogue=refused, unlisted=True))] == ["part"]


def test_a_custom_key_of_no_user_opens_what_its_rules_cover() -> None:
    (reach,) = found([NEW], key("k", "GET /pets/7/*", user=None)).added[0].reaches
    assert (reach.opens, reach.reason, reach.would_miss) == (Extent.ALL, Reason.ALLOWED, ())


@pytest.mark.parametrize(("user", "reason"), [("nobody", Reason.USER_UNKNOWN), ("ina", Reason.USER_INACTIVE)])
def test_a_key_whose_user_may_nothing_opens_nothing(user: str, reason: Reason) -> None:
    drifted = found([NEW], key("k", "GET /pets/*", user=user), catalogue=LISTED)
    (reach,) = drifted.added[0].reaches
    assert (reach.opens, reach.reason, reach.would_miss) == (Extent.NONE, reason, ("read",))
    assert not drifted.grows


def test_what_the_description_asks_for_is_told_beside_what_is_in_force() -> None:
    situation = Situation([key("k")], {"kim": KIM}, Catalogue(LISTED), T0)
    (added,) = drift([operation(NEW, "read", "photos")], [], situation).added
    assert (added.reaches[0].opens, added.reaches[0].would_miss) == (Extent.ALL, ("photos",))


@pytest.mark.parametrize("kind", [KeyType.DESKTOP, KeyType.EXTERNAL])
def test_keys_without_rules_and_user_open_everything(kind: KeyType) -> None:
    record = key("k", user=None, kind=kind)
    drifted = found([NEW], record)
    assert drifted.unbounded == (record,)
    assert told(drifted) == []
    assert drifted.grows
    assert not found([NEW], record, was=[NEW]).grows


def test_keys_that_are_disabled_or_expired_count_and_deleted_ones_do_not() -> None:
    def expired(key_id: str, ago: timedelta) -> KeyRecord:
        record = key(key_id, "GET /pets/*")
        return KeyRecord(
            **{name: getattr(record, name) for name in record.__slots__} | {"expires_at": T0 - ago}
        )

    records = [expired("expired", timedelta(days=1)), expired("deleted", timedelta(days=8))]
    assert [line[1] for line in told(found([NEW], *records, catalogue=LISTED))] == ["expired"]


def test_nothing_grows_where_nothing_opens() -> None:
    assert not found([NEW], key("k", "GET /pets/*"), catalogue=[]).grows
    assert found([NEW], key("k", "GET /pets/*"), catalogue=LISTED).grows


def test_what_is_gone_leaves_rules_idle() -> None:
    record = key("k", "GET /old/*", "GET /pets/*", "POST /old/*", "GET /never/*")
    drifted = found(["GET /pets/*"], record, was=["GET /old/*/x", "GET /pets/*"])
    assert [one.label for one in drifted.removed] == ["GET /old/*/x"]
    assert [(idle.record.id, idle.row) for idle in drifted.idle] == [("k", 1)]


def test_without_what_was_before_the_catalogue_says_it() -> None:
    catalogue = [entry("GET /pets/*", "read"), entry("GET,POST /old", "read"), entry("* /any", "read")]
    drifted = found(["GET /pets/*", NEW, "PUT /any"], was=None, catalogue=catalogue)
    assert [one.operation.label for one in drifted.added] == [NEW]
    gone = {one.label for one in drifted.removed}
    assert {"GET /old", "POST /old", "GET /any"} <= gone
    assert not {"GET /pets/*", "PUT /any"} & gone


def test_a_wide_entry_is_not_gone_as_long_as_there_is_something_of_it() -> None:
    drifted = found(["GET /pets/1"], was=None, catalogue=[entry("GET /pets/*", "read")])
    assert [one.operation.label for one in drifted.added] == ["GET /pets/1"]
    assert drifted.removed == ()


def test_an_operation_that_is_read_in_two_ways_stands_for_itself() -> None:
    records = [key("wide", "GET /pets/*"), key("narrow", "GET /pets/7;v=1")]
    drifted = found(["GET /pets/7;v=1"], *records, catalogue=LISTED)
    # Whatever cuts parameters off would see /pets/7, which the narrow rule does not open.
    assert told(drifted) == [("GET /pets/7;v=1", "wide", (1,), True, "all")]


def test_more_than_can_be_compared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_COMPARISONS", 1)
    with pytest.raises(InvalidInput) as refused:
        found([NEW, "GET /b"], key("k", "GET /a", "GET /b"))
    assert (refused.value.field, refused.value.code) == ("operations", "too_many_operations")


def test_more_than_can_be_told_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REACHES", 1)
    with pytest.raises(InvalidInput):
        found([NEW], key("a"), key("b"))


def test_what_takes_too_much_to_decide_counts_as_covered_and_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATES", 0)
    drifted = found([NEW], key("k", "GET /pets/*/*/photos"), catalogue=LISTED)
    assert [line[1] for line in told(drifted)] == ["k"]
    assert drifted.grows


PIECES = ("a", "b", "*")
urls = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
entries = st.builds(
    Endpoint, st.just(frozenset({"GET"})), urls, st.frozensets(st.sampled_from(["read", "admin"]), max_size=1)
)
# All that is short enough to tell patterns over these pieces apart.
REQUESTS = [
    CanonicalRequest("GET", "/" + "/".join(parts))
    for length in range(1, 6)
    for parts in product(("a", "b", "c"), repeat=length)
]


@settings(max_examples=100)
@given(urls, st.lists(urls, max_size=2), st.lists(entries, max_size=4), st.booleans())
def test_the_extent_is_what_the_gateway_does(
    url: str,
    rules: list[str],
    listed: list[Endpoint],
    unlisted: bool,  # noqa: FBT001 -- drawn
) -> None:
    record = key("k", *(f"GET {rule}" for rule in dict.fromkeys(rules)))
    drifted = found([f"GET {url}"], record, catalogue=listed, unlisted=unlisted)
    catalogue = Catalogue(listed, unlisted_allowed=unlisted)
    pattern, scope = UrlPattern.parse(url), Scope(record)
    covered = [
        request
        for request in REQUESTS
        if pattern.matches(path=request.path, host=None)
        and (record.type is not KeyType.CUSTOM or scope.admitting_rule(request) is not None)
    ]
    decisions = {decide_in(scope, request, KIM, catalogue).allowed for request in covered}
    extents = {(True,): Extent.ALL, (False,): Extent.NONE, (False, True): Extent.PART}
    expected = [extents[tuple(sorted(decisions))]] if covered else []
    assert [reach.opens for reach in drifted.added[0].reaches] == expected
