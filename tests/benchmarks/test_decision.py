"""What a decision costs, from the text of a key to a Decision, and that rules do not make it dearer."""

from __future__ import annotations

import secrets
import statistics
import timeit
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from scopegate.core import keys
from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.credentials import presented_key
from scopegate.core.decision import Decision, Scope, decide
from scopegate.core.keys import KeyRecord, KeyType, Rule
from scopegate.core.principal import Principal
from scopegate.core.request import canonicalize, host_field

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.benchmark

RULES = (1, 10, 100, 1_000)
ROUNDS = 15
CALLS = 2_000
NOW = datetime(2027, 1, 1, tzinfo=UTC)
CATALOGUE = Catalogue([Endpoint(frozenset({"GET"}), "/api/*", frozenset({"recordings.view"}))])
MARIA = Principal("maria", active=True, privileges=frozenset({"recordings.view"}))


def decision(rules: int) -> Callable[[], Decision]:
    """A request that the last of `rules` rules of a user-bound key admits."""
    key = keys.mint("000", secrets.choice)
    record = KeyRecord(
        id=key.id,
        tenant="default",
        type=KeyType.CUSTOM,
        digest=keys.digest(key),
        description="benchmark",
        created_at=NOW,
        user="maria",
        rules=tuple(Rule("GET", f"/api/recordings/{number}/*") for number in range(rules)),
    )
    scope = Scope(record)
    path = f"/api/recordings/{rules - 1}/audio.wav".encode()
    headers = [(b"host", b"api.example.com"), (b"accept", b"*/*"), (b"x-api-key", key.text.encode())]

    def judge() -> Decision:
        request = canonicalize("GET", path, host=host_field(headers, http_version="1.1"))
        presented = keys.parse(presented_key(headers))
        assert presented is not None
        return decide(
            request,
            digest=keys.digest(presented),
            scope=scope,
            principal=MARIA,
            catalogue=CATALOGUE,
            now=NOW,
        )

    return judge


def test_a_thousand_rules_cost_less_than_twice_one() -> None:
    judges = {rules: decision(rules) for rules in RULES}
    assert all(judge().allowed for judge in judges.values())
    microseconds: dict[int, list[float]] = {rules: [] for rules in RULES}
    for _ in range(ROUNDS):  # interleaved, so that a slow moment of the machine meets all of them
        for rules, judge in judges.items():
            microseconds[rules].append(timeit.timeit(judge, number=CALLS) / CALLS * 1e6)
    medians = {rules: statistics.median(measured) for rules, measured in microseconds.items()}
    print()
    for rules, median in medians.items():
        print(f"{rules:>5} rules  {median:6.2f} us  {median / medians[1]:5.2f} x one rule")
    assert medians[1_000] < 2 * medians[1]
