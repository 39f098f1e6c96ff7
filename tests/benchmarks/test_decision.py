"""What a decision costs, from a request to its verdict, and that neither rules nor keys make it dearer."""

from __future__ import annotations

import itertools
import random
import secrets
import statistics
import timeit
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import pytest
from redis.asyncio import Redis

from scopegate.core import keys
from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.decision import Scope
from scopegate.core.keys import KeyRecord, KeyText, KeyType, Rule
from scopegate.core.principal import Principal
from scopegate.enforcer import Enforcer
from scopegate.store.liveaccess import LiveAccess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scopegate.enforcer import Verdict
    from scopegate.store.access import StoredAccess

    Judge = Callable[[], Verdict | None]

pytestmark = pytest.mark.benchmark

RULES = (1, 10, 100, 1_000)
KEYS = (10, 1_000, 100_000)
ASKED = 1_000  # keys that the requests present in turn
ROUNDS = 15
CALLS = 2_000
NOW = datetime(2027, 1, 1, tzinfo=UTC)
CATALOGUE = Catalogue([Endpoint(frozenset({"GET"}), "/api/*", frozenset({"recordings.view"}))])
MARIA = Principal("maria", active=True, privileges=frozenset({"recordings.view"}))


def live_access(scopes: list[Scope]) -> LiveAccess:
    """A live view that holds `scopes` and Maria, and has nobody to ask."""
    access = LiveAccess(cast("StoredAccess", None), Redis())
    access.connected()
    for scope in scopes:
        access._scopes.put(scope.record.id, scope)
    access._new_users("000").put("maria", (MARIA, CATALOGUE))
    return access


def bound_key(**fields: object) -> tuple[KeyText, Scope]:
    """A key that is bound to Maria."""
    key = keys.mint("000", secrets.choice)
    facts = {"id": key.id, "digest": keys.digest(key), "user": "maria", "created_at": NOW, **fields}
    record = KeyRecord(tenant="default", description="benchmark", **facts)  # type: ignore[arg-type]
    return key, Scope(record)


def question(access: LiveAccess, path: bytes, asked: list[KeyText]) -> Judge:
    """A request as a client sends it, with the next of `asked` each time."""
    enforcer = Enforcer()
    heads = itertools.cycle(
        [
            (b"host", b"api.example.com"),
            (b"user-agent", b"python-requests/2.32"),
            (b"accept-encoding", b"gzip, deflate"),
            (b"accept", b"*/*"),
            (b"x-api-key", key.text.encode()),
        ]
        for key in asked
    )

    def judge() -> Verdict | None:
        presented = enforcer.read(next(heads), http_version="1.1")
        return enforcer.judge_known(access, presented, "GET", path, query=b"")

    return judge


def measured(judges: Mapping[int, Judge], unit: str) -> dict[int, float]:
    """The median of a verdict's time in each case, in microseconds."""
    for judge in judges.values():
        verdict = judge()
        assert verdict is not None
        assert verdict.decision.allowed
    microseconds: dict[int, list[float]] = {number: [] for number in judges}
    for _ in range(ROUNDS):  # interleaved, so that a slow moment of the machine meets all of them
        for number, judge in judges.items():
            microseconds[number].append(timeit.timeit(judge, number=CALLS) / CALLS * 1e6)
    medians = {number: statistics.median(times) for number, times in microseconds.items()}
    first = next(iter(medians.values()))
    print()
    for number, median in medians.items():
        print(f"{number:>7} {unit}  {median:6.2f} us  {median / first:5.2f} x the first")
    return medians


def test_a_thousand_rules_cost_less_than_twice_one() -> None:
    judges: dict[int, Judge] = {}
    for number in RULES:
        rules = tuple(Rule("GET", f"/api/recordings/{row}/*") for row in range(number))
        key, scope = bound_key(type=KeyType.CUSTOM, rules=rules)
        path = f"/api/recordings/{number - 1}/audio.wav".encode()
        judges[number] = question(live_access([scope]), path, [key])
    medians = measured(judges, "rules")
    assert medians[1_000] < 2 * medians[1]


def test_a_hundred_thousand_keys_cost_less_than_twice_ten() -> None:
    judges: dict[int, Judge] = {}
    for number in KEYS:
        bound = [bound_key(type=KeyType.EXTERNAL) for _ in range(number)]
        asked = random.choices([key for key, _ in bound], k=ASKED)
        judges[number] = question(live_access([scope for _, scope in bound]), b"/api/recordings", asked)
    medians = measured(judges, "keys ")
    assert medians[100_000] < 2 * medians[10]
