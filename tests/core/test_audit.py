"""The chain of hashes: whatever is done to entries is found. Entries tell what was done, and no secret."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core import audit, deeds
from scopegate.core.audit import START, Author, Bounds, Entry, Link, Selection, verify
from scopegate.core.catalogue import Endpoint
from scopegate.core.changes import plan
from scopegate.core.deeds import Action, Deed
from scopegate.core.keys import KeyRecord, KeyType, Rule
from scopegate.core.policies import Policies
from scopegate.core.principal import User

NOW = datetime(2027, 1, 1, 12, 0, tzinfo=UTC)
DIGEST = "d1" * 32
KEY = KeyRecord(
    id="000000000001",
    tenant="default",
    type=KeyType.CUSTOM,
    digest=DIGEST,
    description="A key",
    created_at=NOW,
    rules=(Rule("GET", "/a"),),
)
KIM = User(id="kim", name="Kim", roles=frozenset({"agent"}))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
some_deeds = st.builds(
    Deed,
    st.sampled_from(Action),
    st.sampled_from(["key", "user", "flag"]),
    texts,
    st.dictionaries(texts, st.fixed_dictionaries({"before": st.none() | texts, "after": st.integers()})),
)
authors = st.builds(Author, texts, texts, st.none() | texts)


def chained(steps: list[tuple[Author, Deed]], start: Link = START) -> tuple[list[bytes], Bounds]:
    head, lines = start, []
    for author, deed in steps:
        entry = Entry(sequence=head.sequence + 1, previous=head.hash, at=NOW, author=author, deed=deed)
        line, head = entry.seal()
        lines.append(line)
    return lines, Bounds(start, head)


starts = st.just(START) | st.builds(
    Link, st.integers(1, 10**9), st.text("0123456789abcdef", min_size=64, max_size=64)
)
chains = st.builds(chained, st.lists(st.tuples(authors, some_deeds), min_size=1, max_size=8), starts)
anything = st.data()


@given(chains)
def test_a_chain_that_nobody_touched_is_whole(chain: tuple[list[bytes], Bounds]) -> None:
    lines, bounds = chain
    assert verify(lines, bounds) is None
    assert [audit.link(audit.parse(line)).sequence for line in lines] == list(
        range(bounds.anchor.sequence + 1, bounds.head.sequence + 1)
    )


@given(chains, anything)
def test_any_removal_is_found_where_it_is(chain: tuple[list[bytes], Bounds], data: st.DataObject) -> None:
    lines, bounds = chain
    place = data.draw(st.integers(0, len(lines) - 1))
    broken = verify(lines[:place] + lines[place + 1 :], bounds)
    assert broken is not None
    assert broken.sequence == bounds.anchor.sequence + 1 + place


@given(chains, anything)
def test_any_changed_byte_is_found_where_it_is(
    chain: tuple[list[bytes], Bounds], data: st.DataObject
) -> None:
    lines, bounds = chain
    place = data.draw(st.integers(0, len(lines) - 1))
    line = bytearray(lines[place])
    line[data.draw(st.integers(0, len(line) - 1))] ^= data.draw(st.integers(1, 255))
    broken = verify([*lines[:place], bytes(line), *lines[place + 1 :]], bounds)
    assert broken is not None
    assert broken.sequence == bounds.anchor.sequence + 1 + place


@given(chains, anything)
def test_an_entry_that_was_changed_and_sealed_anew_is_found(
    chain: tuple[list[bytes], Bounds], data: st.DataObject
) -> None:
    lines, bounds = chain
    place = data.draw(st.integers(0, len(lines) - 1))
    said = audit.parse(lines[place])
    forged, _ = Entry(
        sequence=said["sequence"],
        previous=said["previous"],
        at=NOW + timedelta(seconds=1),
        author=Author(said["actor"], said["origin"], said["reason"]),
        deed=Deed(Action(said["action"]), said["target"]["kind"], said["target"]["id"], said["changed"]),
    ).seal()
    broken = verify([*lines[:place], forged, *lines[place + 1 :]], bounds)
    assert broken is not None
    # By the next entry, which follows another one, or at the end by the head.
    assert broken.sequence in {said["sequence"], said["sequence"] + 1}


@given(chains, anything)
def test_any_swap_is_found_where_it_begins(chain: tuple[list[bytes], Bounds], data: st.DataObject) -> None:
    lines, bounds = chain
    one, other = sorted(data.draw(st.tuples(*[st.integers(0, len(lines) - 1)] * 2)))
    swapped = list(lines)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    broken = verify(swapped, bounds)
    if one == other:
        assert broken is None
    else:
        assert broken is not None
        assert broken.sequence == bounds.anchor.sequence + 1 + one


@given(chains, chains, anything)
def test_any_insertion_is_found_where_it_is(
    chain: tuple[list[bytes], Bounds], other: tuple[list[bytes], Bounds], data: st.DataObject
) -> None:
    lines, bounds = chain
    place = data.draw(st.integers(0, len(lines)))
    line = data.draw(st.sampled_from(lines + other[0]) | st.binary(max_size=40))
    broken = verify([*lines[:place], line, *lines[place:]], bounds)
    due = bounds.anchor.sequence + 1 + place
    assert broken is not None
    # What itself would fit there, as one more of the same entry does, is told by what then stands behind it.
    assert broken.sequence in {due, due + 1}


@given(chains, starts)
def test_other_bounds_are_found(chain: tuple[list[bytes], Bounds], other: Link) -> None:
    lines, bounds = chain
    assert (verify(lines, Bounds(other, bounds.head)) is None) is (other == bounds.anchor)
    assert (verify(lines, Bounds(bounds.anchor, other)) is None) is (other == bounds.head)


@given(chains, anything)
def test_what_retention_left_is_whole(chain: tuple[list[bytes], Bounds], data: st.DataObject) -> None:
    lines, bounds = chain
    gone = data.draw(st.integers(1, len(lines)))
    anchor = audit.link(audit.parse(lines[gone - 1]))
    assert verify(lines[gone:], Bounds(anchor, bounds.head)) is None
    if gone < len(lines):
        assert audit.anchor_of(lines[gone]) == anchor


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"null", b"\xff", b'{"a":NaN}', b"[" * 100_000, b'{"sequence":1,"sequence":1}'],
    ids=lambda line: line[:20].decode("latin-1"),
)
def test_what_is_no_entry_cannot_be_read(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        audit.parse(line)
    assert audit.anchor_of(line) == START
    broken = verify([line], Bounds())
    assert broken is not None
    assert broken.what == "the entry cannot be read"


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": True},
        {"sequence": "1"},
        {"target": None},
        {"target": {"kind": "key"}},
        {"changed": []},
        {"changed": {"enabled": True}},
        {"changed": {"enabled": {"after": True}}},
        {"reason": 1},
        {"at": 1},
        {"hash": None},
    ],
    ids=str,
)
def test_an_entry_of_another_form_cannot_be_read(change: dict[str, Any]) -> None:
    [line], _ = chained([(audit.SYSTEM, deeds.key_created(KEY))])
    said = {**json.loads(line), **change}
    with pytest.raises(ValueError, match="no entry"):
        audit.parse(json.dumps(said, separators=(",", ":"), sort_keys=True).encode())


# What entries say


@pytest.mark.parametrize(
    ("change", "action", "changed"),
    [
        ({"enabled": False}, "key.disable", {"enabled": (True, False)}),
        (
            {"expires_at": NOW},
            "key.extend",
            {"expires_at": (None, "2027-01-01T12:00:00.000Z")},
        ),
        ({"rules": ()}, "key.rules", {"rules": ([{"method": "GET", "url": "/a"}], [])}),
        (
            {"description": "B", "user": "kim"},
            "key.edit",
            {"description": ("A key", "B"), "user": (None, "kim")},
        ),
        ({"digest": "d2" * 32}, "key.rotate", {"digest": ("(not shown)", "(not shown)")}),
    ],
    ids=str,
)
def test_an_entry_says_what_became_of_a_key(
    change: dict[str, Any], action: str, changed: dict[str, tuple[Any, Any]]
) -> None:
    deed = deeds.key_changed(KEY, replace(KEY, **change))
    assert deed is not None
    assert (deed.action, deed.kind, deed.id) == (action, "key", KEY.id)
    assert deed.changed == {name: {"before": old, "after": new} for name, (old, new) in changed.items()}


def test_a_key_that_is_enabled_again_is_enabled() -> None:
    deed = deeds.key_changed(replace(KEY, enabled=False), KEY)
    assert deed is not None
    assert deed.action is Action.KEY_ENABLE


def test_no_entry_has_a_digest() -> None:
    other = replace(KEY, digest="d2" * 32, enabled=False)
    for deed in (deeds.key_created(KEY), deeds.key_changed(KEY, other), deeds.key_deleted(KEY.id, KEY)):
        assert deed is not None
        [line], _ = chained([(audit.SYSTEM, deed)])
        assert DIGEST.encode() not in line
        assert other.digest.encode() not in line


@pytest.mark.parametrize(
    ("change", "action"),
    [
        ({"roles": frozenset({"agent", "editor"})}, "user.role.add"),
        ({"roles": frozenset()}, "user.role.remove"),
        ({"roles": frozenset({"editor"})}, "user.edit"),
        ({"active": False}, "user.deactivate"),
        ({"name": "K"}, "user.edit"),
    ],
    ids=["more roles", "fewer roles", "other roles", "inactive", "another name"],
)
def test_an_entry_says_what_became_of_a_user(change: dict[str, Any], action: str) -> None:
    deed = deeds.user_changed(KIM, replace(KIM, **change))
    assert deed is not None
    assert (deed.action, deed.kind, deed.id, list(deed.changed)) == (action, "user", "kim", list(change))


def test_what_changes_nothing_is_nothing_done() -> None:
    assert deeds.key_changed(KEY, KEY) is None
    assert deeds.user_changed(KIM, KIM) is None
    assert deeds.user_put(KIM, KIM) is None
    assert deeds.policies_applied(plan(Policies(), Policies())) is None
    assert deeds.flag_set("f", before=True, after=True) is None


def test_an_entry_of_policies_has_each_subject_before_and_after() -> None:
    desired = Policies(roles={"agent": frozenset({"b", "a"})})
    deed = deeds.policies_applied(plan(Policies(), desired))
    assert deed is not None
    assert deed.changed == {"role agent": {"before": None, "after": ["a", "b"]}}


def test_an_entry_of_policies_has_what_an_endpoint_is_said_to_be_for() -> None:
    def said(summary: str) -> Policies:
        return Policies((Endpoint(frozenset({"GET"}), "/a", summary=summary),))

    deed = deeds.policies_applied(plan(said("Old"), said("New")))
    assert deed is not None
    assert deed.changed == {"summary of endpoint GET /a": {"before": "Old", "after": "New"}}


@pytest.mark.parametrize(
    ("selection", "admitted"),
    [
        (Selection(), True),
        (Selection(key_id="0000"), True),
        (Selection(key_id="1"), False),
        (Selection(actor="system"), True),
        (Selection(actor="syste"), False),
        (Selection(since=NOW), True),
        (Selection(since=NOW + timedelta(milliseconds=1)), False),
    ],
    ids=str,
)
def test_a_selection_admits_what_all_of_it_says(selection: Selection, *, admitted: bool) -> None:
    [line], _ = chained([(audit.SYSTEM, deeds.key_created(KEY))])
    assert selection.admits(audit.parse(line)) is admitted


@pytest.mark.parametrize("at", ["yesterday", "2027-01-01T12:00:00"])
def test_an_entry_of_an_unknown_moment_is_not_selected_by_it(at: str) -> None:
    [line], _ = chained([(audit.SYSTEM, deeds.key_created(KEY))])
    said = {**audit.parse(line), "at": at}
    assert Selection().admits(said)
    with pytest.raises(ValueError, match=r"."):
        Selection(since=NOW).admits(said)


def test_a_user_is_no_key() -> None:
    [line], _ = chained([(audit.SYSTEM, deeds.user_added(KIM))])
    assert not Selection(key_id="k").admits(audit.parse(line))
