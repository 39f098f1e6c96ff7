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

from benchmarks.report import Part, Unit, at_most, table
from scopegate.core import keys
from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.decision import Scope
from scopegate.core.keys import KeyRecord, KeyText, KeyType, Rule
from scopegate.core.principal import Principal
from scopegate.enforcer import Enforcer, Presented
from scopegate.store.liveaccess import LiveAccess
from scopegate.store.location import locate
from scopegate.store.servers import Servers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scopegate.core.headers import Field
    from scopegate.enforcer import Verdict
    from scopegate.store.access import StoredAccess

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
    access = LiveAccess(cast("StoredAccess", None), Servers.at(locate("redis://")))
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


class Question:
    """A request as a client sends it, with the next of `asked` each time, and the ways to judge it."""

    def __init__(self, access: LiveAccess, path: bytes, asked: list[KeyText]) -> None:
        self._access = access
        self._path = path
        self._enforcer = Enforcer()
        heads = [self._head(key) for key in asked]
        self._heads = itertools.cycle(heads)
        self._texts = itertools.cycle([key.text for key in asked])
        self._presented = itertools.cycle([self._enforcer.read(head, http_version="1.1") for head in heads])

    @staticmethod
    def _head(key: KeyText) -> list[Field]:
        return [
            (b"host", b"api.example.com"),
            (b"user-agent", b"python-requests/2.32"),
            (b"accept-encoding", b"gzip, deflate"),
            (b"accept", b"*/*"),
            (b"x-api-key", key.text.encode()),
        ]

    def whole(self) -> Verdict | None:
        """With its five fields read anew."""
        return self._judge(self._enforcer.read(next(self._heads), http_version="1.1"))

    def from_the_key(self) -> Verdict | None:
        """From the text of the key on."""
        key = keys.parse(next(self._texts))
        assert key is not None
        return self._judge(Presented(None, b"api.example.com", key, keys.digest(key)))

    def repeated(self) -> Verdict | None:
        """With the fields of a request before it on its connection."""
        return self._judge(next(self._presented))

    def _judge(self, presented: Presented) -> Verdict | None:
        return self._enforcer.judge_known(self._access, presented, "GET", self._path, query=b"")


WAYS: dict[str, Callable[[Question], Callable[[], Verdict | None]]] = {
    "fields read anew": lambda question: question.whole,
    "from the key on": lambda question: question.from_the_key,
    "fields as before": lambda question: question.repeated,
}


def test_what_a_decision_costs() -> None:
    questions = {f"{number:,} rules": ruled(number) for number in RULES}
    questions |= {f"{number:,} keys": keyed(number) for number in KEYS}
    times = measured(questions)
    first, *_, last = (f"{number:,} rules" for number in RULES)
    few, *_, many = (f"{number:,} keys" for number in KEYS)
    microseconds = Unit("us", 1)
    rows = [
        at_most("A decision, from the text of the key", times[last]["from the key on"], 6.0, microseconds),
        at_most(f"{last} beside {first}", _ratio(times, last, first), 1.25, Unit("x")),
        at_most(f"{many} beside {few}", _ratio(times, many, few), 1.25, Unit("x")),
    ]
    lines = [(name, *(f"{ways[way]:.1f} us" for way in WAYS)) for name, ways in times.items()]
    Part(6, "decision", "A decision alone", rows, table(("A key with, or among", *WAYS), lines)).publish()
    assert _ratio(times, last, first) < 2
    assert _ratio(times, many, few) < 2


def ruled(number: int) -> Question:
    """A request that the last rule of a key with `number` rules admits."""
    rules = tuple(Rule("GET", f"/api/recordings/{row}/*") for row in range(number))
    key, scope = bound_key(type=KeyType.CUSTOM, rules=rules)
    return Question(live_access([scope]), f"/api/recordings/{number - 1}/audio.wav".encode(), [key])


def keyed(number: int) -> Question:
    """Requests with keys without rules, of which the view holds `number`."""
    bound = [bound_key(type=KeyType.EXTERNAL) for _ in range(number)]
    asked = random.choices([key for key, _ in bound], k=ASKED)
    return Question(live_access([scope for _, scope in bound]), b"/api/recordings", asked)


def measured(questions: Mapping[str, Question]) -> dict[str, dict[str, float]]:
    """The median time of a verdict, in microseconds, by question and way."""
    judges = {
        (name, way): choose(question) for name, question in questions.items() for way, choose in WAYS.items()
    }
    for judge in judges.values():
        verdict = judge()
        assert verdict is not None
        assert verdict.decision.allowed
    times: dict[tuple[str, str], list[float]] = {case: [] for case in judges}
    for _ in range(ROUNDS):  # interleaved, so that a slow moment of the machine meets all of them
        for case, judge in judges.items():
            times[case].append(timeit.timeit(judge, number=CALLS) / CALLS * 1e6)
    return {name: {way: statistics.median(times[name, way]) for way in WAYS} for name in questions}


def _ratio(times: Mapping[str, Mapping[str, float]], one: str, other: str) -> float:
    return times[one]["from the key on"] / times[other]["from the key on"]
