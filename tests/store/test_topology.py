"""Who is in charge of what, as those say who decide it."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from scopegate.store.location import Address, Socket
from scopegate.store.topology import SLOTS, Slots, Topology, Unserved, read_slots, told_most

A, B = Address("10.0.0.1", 7000), Address("10.0.0.2", 7000)
ASKED = Address("seed", 7001)
SLOT_OF_000 = key_slot(b"000")
HALVES = Topology((Slots(0, 8191, A), Slots(8192, SLOTS - 1, B)))


def test_one_server_has_all_slots() -> None:
    for server in (A, Socket("/run/redis.sock")):
        topology = Topology.of_one(server)
        assert topology.servers == {server}
        assert {topology.server_of(f"{number:03d}") for number in range(1000)} == {server}


def test_each_slot_is_looked_up_by_the_hash_tag() -> None:
    for number in range(1000):
        tag = f"{number:03d}"
        assert HALVES.server_of(tag) == (A if key_slot(tag.encode()) < 8192 else B)


@pytest.mark.parametrize(
    "slots",
    [
        (),
        (Slots(0, SLOT_OF_000 - 1, A), Slots(SLOT_OF_000 + 1, SLOTS - 1, B)),
        (Slots(0, SLOT_OF_000 - 1, A),),
        (Slots(SLOT_OF_000 + 1, SLOTS - 1, B),),
    ],
)
def test_a_slot_that_nobody_has_is_nobodys(slots: tuple[Slots, ...]) -> None:
    with pytest.raises(Unserved):
        Topology(slots).server_of("000")


def test_an_answer_is_read_whatever_its_order_and_its_replicas() -> None:
    answer = [
        [8192, SLOTS - 1, [b"10.0.0.2", 7000, b"id-b", []], [b"10.0.0.9", 7000, b"id-r", []]],
        [0, 8191, [b"10.0.0.1", 7000, b"id-a", []]],
    ]
    assert read_slots(answer, ASKED) == HALVES
    without_replica = [answer[1], answer[0][:3]]
    assert read_slots(without_replica, ASKED) == HALVES


@pytest.mark.parametrize("host", [b"", None])
def test_a_server_that_does_not_know_its_own_host_has_the_one_that_was_asked(host: bytes | None) -> None:
    found = read_slots([[0, SLOTS - 1, [host, 7000, b"id", []]]], ASKED)
    assert found == Topology.of_one(Address("seed", 7000))


@pytest.mark.parametrize("answer", [None, 1, [1], [[0, 1]], [[0, 1, []]], [[0, 1, [b"h", b"x"]]], b"OK"])
def test_what_is_no_map_is_refused(answer: object) -> None:
    with pytest.raises(Unserved):
        read_slots(answer, ASKED)  # type: ignore[arg-type]


def test_what_most_say_counts_and_a_tie_is_no_answer() -> None:
    other = Topology.of_one(A)
    assert told_most([HALVES]) == HALVES
    assert told_most([other, HALVES, HALVES]) == HALVES
    for told in ([], [HALVES, other], [HALVES, other, HALVES, other]):
        with pytest.raises(Unserved):
            told_most(told)
