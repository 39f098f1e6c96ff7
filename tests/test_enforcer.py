"""One join of facts and rules, whether the facts are at hand or have to be asked for."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.core import keys
from scopegate.core.attempts import FAILURES
from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.decision import Scope
from scopegate.core.errors import MatchingFailed, StoreUnavailable
from scopegate.core.keys import KeyRecord, KeyText, KeyType, RetiringSecret, Rule
from scopegate.core.limits import Limits
from scopegate.core.principal import Principal
from scopegate.core.reasons import Reason
from scopegate.enforcer import Enforcer, Verdict
from scopegate.store.view import NOT_KNOWN

if TYPE_CHECKING:
    from scopegate.enforcer import Entitlement
    from scopegate.store.view import NotKnown

NOW = datetime(2027, 1, 1, tzinfo=UTC)
CATALOGUE = Catalogue(
    [
        Endpoint(frozenset({"GET"}), "/api/recordings/*", frozenset({"recordings.view"})),
        Endpoint(frozenset({"GET"}), "/api/reports/*", frozenset({"reports.view"})),
    ]
)
PRINCIPALS = {
    "maria": Principal("maria", active=True, privileges=frozenset({"recordings.view"})),
    "ana": Principal("ana", active=False, privileges=frozenset()),
}


class Facts:
    """An access source that holds its facts; `known` says which of them are at hand."""

    def __init__(self) -> None:
        self.scopes: dict[str, Scope] = {}
        self.known = {"scope", "user"}
        self.asked: list[str] = []
        self.looked_up = 0
        self.fails = False

    def put(self, key: KeyText, **fields: Any) -> KeyText:
        record = KeyRecord(
            id=key.id,
            tenant="default",
            type=KeyType.EXTERNAL,
            digest=keys.digest(key),
            description="d",
            created_at=NOW,
        )
        self.scopes[key.id] = Scope(replace(record, **fields))
        return key

    async def scope(self, key: KeyText) -> Scope | None:
        self._ask("scope")
        return self.scopes.get(key.id)

    async def of_user(self, _tenant_tag: str, user_id: str) -> Entitlement:
        self._ask("user")
        return PRINCIPALS.get(user_id), CATALOGUE

    def known_scope(self, key: KeyText) -> Scope | NotKnown | None:
        self.looked_up += 1
        return self.scopes.get(key.id) if "scope" in self.known else NOT_KNOWN

    def known_user(self, _tenant_tag: str, user_id: str) -> Entitlement | None:
        return (PRINCIPALS.get(user_id), CATALOGUE) if "user" in self.known else None

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.fails:
            raise StoreUnavailable("cut off")


def mint() -> KeyText:
    return keys.mint("000", secrets.choice)


@pytest.fixture
def facts() -> Facts:
    return Facts()


LIMITS = Limits(target=100, fields=8, body=10)
ENFORCER = Enforcer(clock=lambda: NOW, limits=LIMITS)
_READING = ("path_", "request_", "http_", "original_", "proxy_")
RULES = (Rule("GET", "/api/recordings/*"), Rule("GET", "https://gw.test/api/*"))


def request(key: KeyText | str, **changes: Any) -> dict[str, Any]:
    text = key if isinstance(key, str) else key.text
    extra = changes.pop("extra", [])
    return {
        "method": "GET",
        "raw_path": b"/api/recordings/1",
        "query": b"",
        "headers": [(b"host", b"gw.test"), (b"x-api-key", text.encode()), *extra],
        "http_version": "1.1",
        **changes,
    }


def cases(facts: Facts) -> dict[str, tuple[dict[str, Any], Reason]]:
    custom = facts.put(mint(), type=KeyType.CUSTOM, rules=RULES, user="maria")
    narrow = facts.put(mint(), type=KeyType.CUSTOM, rules=RULES[:1], user="maria")
    external = facts.put(mint(), user="maria")
    forged = mint()
    facts.scopes[forged.id] = facts.scopes[external.id]
    rotated = {until: mint() for until in (NOW, NOW + timedelta(seconds=1))}
    for until, key in rotated.items():
        facts.put(key, digest=keys.digest(mint()), retiring=RetiringSecret(keys.digest(key), until))
    rotating = facts.put(
        mint(), digest=keys.digest(mint()), retiring=RetiringSecret(keys.digest(mint()), max(rotated))
    )
    bad = [(b"content-length", b"1"), (b"content-length", b"1")]
    return {
        "allowed": (request(custom), Reason.ALLOWED),
        "allowed to HEAD": (request(custom, method="HEAD"), Reason.ALLOWED),
        "to anybody": (request(facts.put(mint())), Reason.ALLOWED),
        "framing": (request("", extra=bad), Reason.FRAMING_MALFORMED),
        "target": (request("", query=b"q" * 100), Reason.TARGET_TOO_LONG),
        "head": (request("", extra=[(b"a", b"")] * 8), Reason.HEAD_TOO_LARGE),
        "body": (request("", extra=[(b"content-length", b"11")]), Reason.BODY_TOO_LARGE),
        "method": (request("", method="TRACE"), Reason.METHOD_UNSUPPORTED),
        "path": (request("", raw_path=b"/a//b"), Reason.PATH_EMPTY_SEGMENT),
        "query": (request("", query=b"#"), Reason.QUERY_MALFORMED),
        "host": (request("", headers=[]), Reason.HOST_MALFORMED),
        "no key": (request("", headers=[(b"host", b"h")]), Reason.KEY_MISSING),
        "two keys": (request(custom, extra=[(b"x-api-key", b"")]), Reason.KEY_AMBIGUOUS),
        "garbage": (request("nonsense"), Reason.KEY_MALFORMED),
        "nobody's": (request(mint()), Reason.KEY_UNKNOWN),
        "forged": (request(forged), Reason.KEY_SECRET_WRONG),
        "forged while another retires": (request(rotating), Reason.KEY_SECRET_WRONG),
        "retired": (request(rotated[min(rotated)]), Reason.KEY_SECRET_WRONG),
        "retiring": (request(rotated[max(rotated)]), Reason.ALLOWED),
        "disabled": (request(facts.put(mint(), enabled=False)), Reason.KEY_DISABLED),
        "expired": (request(facts.put(mint(), expires_at=NOW)), Reason.KEY_EXPIRED),
        "deleted": (request(facts.put(mint(), expires_at=NOW - timedelta(days=7))), Reason.KEY_DELETED),
        "url": (request(narrow, raw_path=b"/api/reports/1"), Reason.URL_NOT_ALLOWED),
        "verb": (request(custom, method="POST"), Reason.METHOD_NOT_ALLOWED),
        "gone": (request(facts.put(mint(), user="kim")), Reason.USER_UNKNOWN),
        "inactive": (request(facts.put(mint(), user="ana")), Reason.USER_INACTIVE),
        "unlisted": (request(custom, raw_path=b"/api/other"), Reason.ENDPOINT_UNLISTED),
        "privilege": (request(custom, raw_path=b"/api/reports/1"), Reason.PRIVILEGE_MISSING),
    }


async def judge(facts: Facts, asked: dict[str, Any]) -> Verdict:
    presented = ENFORCER.read(asked["headers"], http_version=asked["http_version"])
    return await ENFORCER.judge(facts, presented, asked["method"], asked["raw_path"], query=asked["query"])


def judge_known(facts: Facts, asked: dict[str, Any]) -> Verdict | None:
    presented = ENFORCER.read(asked["headers"], http_version=asked["http_version"])
    return ENFORCER.judge_known(facts, presented, asked["method"], asked["raw_path"], query=asked["query"])


@pytest.mark.parametrize("name", list(cases(Facts())))
async def test_what_is_known_is_judged_as_what_was_asked_for(facts: Facts, name: str) -> None:
    asked, reason = cases(facts)[name]
    verdict = judge_known(facts, asked)
    assert verdict is not None
    assert verdict.decision.reason is reason
    assert facts.asked == []
    assert await judge(facts, asked) == verdict


def test_every_reason_to_refuse_a_canonical_request_is_among_the_cases(facts: Facts) -> None:
    seen = {reason for _, reason in cases(facts).values()}
    others = {
        Reason.STORE_UNAVAILABLE,
        Reason.PRIVILEGES_UNAVAILABLE,
        Reason.MATCHING_FAILED,
        Reason.INTERNAL_ERROR,
        Reason.TOO_MANY_FAILURES,
    }
    missing = set(Reason) - seen - others
    # Before the reading of a request there are its server's refusals and the many of paths.
    assert {reason for reason in missing if not reason.startswith(_READING)} == set()


@pytest.mark.parametrize(
    ("known", "asked"),
    [(set(), ["scope", "user"]), ({"user"}, ["scope", "user"]), ({"scope"}, ["scope", "user"])],
)
async def test_where_a_fact_is_not_at_hand_somebody_has_to_ask(
    facts: Facts, known: set[str], asked: list[str]
) -> None:
    allowed, _ = cases(facts)["allowed"]
    facts.known = known
    assert judge_known(facts, allowed) is None
    assert (await judge(facts, allowed)).decision.allowed
    assert facts.asked == asked


@pytest.mark.parametrize("name", ["nobody's", "forged", "to anybody"])
async def test_nobody_is_looked_up_before_the_secret_is_proved(facts: Facts, name: str) -> None:
    asked, reason = cases(facts)[name]
    facts.known = {"scope"}
    verdict = judge_known(facts, asked)
    assert verdict is not None
    assert verdict.decision.reason is reason
    await judge(facts, asked)
    assert facts.asked == ["scope"]


async def test_a_store_that_fails_refuses_whatever_is_not_known(facts: Facts) -> None:
    asked, _ = cases(facts)["allowed"]
    facts.fails = True
    assert (await judge(facts, asked)).decision.reason is Reason.STORE_UNAVAILABLE
    assert judge_known(facts, asked) is not None


@pytest.mark.parametrize("part", ["rules", "catalogue"])
async def test_what_could_not_be_matched_allows_nothing(
    facts: Facts, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    asked, _ = cases(facts)["allowed"]
    where, name = (Scope, "admitting_rule") if part == "rules" else (Catalogue, "required")

    def out_of_memory(*_args: object) -> None:
        raise MatchingFailed("out of memory")

    monkeypatch.setattr(where, name, out_of_memory)
    verdict = judge_known(facts, asked)
    assert verdict is not None
    assert verdict.decision.reason is Reason.MATCHING_FAILED
    assert await judge(facts, asked) == verdict


def test_judging_what_is_known_needs_no_event_loop(facts: Facts) -> None:
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    verdict = judge_known(facts, cases(facts)["allowed"][0])
    assert verdict is not None
    assert verdict.decision.allowed


# Failed authentication

ORIGIN = bytes([8, 8, 4, 4])
WRONG = ("garbage", "nobody's", "forged", "forged while another retires", "retired", "deleted")


class Work:
    """Counts the steps that a judgement takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.digests = self.comparisons = 0
        sha256, compare = hashlib.sha256, hmac.compare_digest

        def counted_sha256(data: bytes) -> Any:
            self.digests += 1
            return sha256(data)

        def counted_compare(one: str, other: str) -> bool:
            self.comparisons += 1
            assert len(one) == len(other) == 64
            return compare(one, other)

        monkeypatch.setattr(hashlib, "sha256", counted_sha256)
        monkeypatch.setattr(hmac, "compare_digest", counted_compare)


@pytest.mark.parametrize("known", [{"scope"}, set()], ids=["known", "asked for"])
@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_key_takes_one_digest_one_look_up_and_two_comparisons(
    facts: Facts, monkeypatch: pytest.MonkeyPatch, name: str, known: set[str]
) -> None:
    asked, reason = cases(facts)[name]
    assert reason in FAILURES
    facts.known = known
    work = Work(monkeypatch)
    presented = ENFORCER.read(asked["headers"], http_version="1.1")
    question = (asked["method"], asked["raw_path"])
    verdict = ENFORCER.judge_known(facts, presented, *question, query=b"")
    if not known:
        assert verdict is None
        verdict = await ENFORCER.judge(facts, presented, *question, query=b"")
    assert verdict is not None
    assert verdict.decision.reason is reason
    assert (work.digests, facts.looked_up, work.comparisons) == (1, 1, 2)
    assert facts.asked == ([] if known else ["scope"])


@pytest.mark.parametrize("pepper", [None, b"pepper"])
@pytest.mark.parametrize("text", ["", "nonsense", "\xe4" * 300, "sg_" + "0" * 40_000])
def test_garbage_is_looked_up_as_a_key_that_nobody_can_have(text: str, pepper: bytes | None) -> None:
    key, digest = keys.stand_in(text, pepper=pepper)
    assert (len(key.id), len(digest)) == (keys.ID_LENGTH, keys.DIGEST_LENGTH)
    assert not set(key.id) <= set(keys.BASE62)
    assert digest.startswith(key.id)


async def test_garbage_that_begins_with_a_right_key_is_garbage(facts: Facts) -> None:
    key = facts.put(mint())
    for text in (key.text + "x", f"{key.text} {key.text}"):
        verdict = judge_known(facts, request(text))
        assert verdict is not None
        assert verdict.decision.reason is Reason.KEY_MALFORMED
        assert verdict == await judge(facts, request(text))


async def test_garbage_is_garbage_though_nobody_answers(facts: Facts) -> None:
    facts.fails = True
    assert (await judge(facts, request("nonsense"))).decision.reason is Reason.KEY_MALFORMED


class Door:
    """An enforcer with a limit, asked as the two shells ask it."""

    def __init__(self, facts: Facts, *, failure_limit: int = 3) -> None:
        self.now = 1_000_000_000
        self._facts = facts
        self._enforcer = Enforcer(
            clock=lambda: NOW, ticks=lambda: self.now, limits=LIMITS, failure_limit=failure_limit
        )

    async def __call__(self, asked: dict[str, Any], origin: bytes | None = ORIGIN) -> Verdict:
        enforcer, facts = self._enforcer, self._facts
        presented = enforcer.read(asked["headers"], http_version="1.1")
        question = (asked["method"], asked["raw_path"])
        verdict = enforcer.judge_known(facts, presented, *question, query=asked["query"])
        verdict = verdict or enforcer.unasked(facts, presented, origin)
        verdict = verdict or await enforcer.judge(facts, presented, *question, query=asked["query"])
        return enforcer.bounded(verdict, origin)

    async def reasons(self, *asked: dict[str, Any], origin: bytes | None = ORIGIN) -> list[Reason]:
        return [(await self(one, origin)).decision.reason for one in asked]


@pytest.mark.parametrize("known", [{"scope", "user"}, set()], ids=["known", "asked for"])
@pytest.mark.parametrize("name", WRONG)
async def test_wrong_keys_are_refused_as_such_up_to_the_limit(
    facts: Facts, name: str, known: set[str]
) -> None:
    asked, reason = cases(facts)[name]
    facts.known = known
    door = Door(facts)
    assert await door.reasons(*[asked] * 5) == [reason] * 3 + [Reason.TOO_MANY_FAILURES] * 2
    assert len(facts.asked) == (0 if known else 3)
    assert (await door(asked)).retry_after == 20
    assert await door.reasons(asked, origin=b"another") == [reason]
    door.now += 20_000_000_000
    assert await door.reasons(asked, asked) == [reason, Reason.TOO_MANY_FAILURES]


async def test_all_kinds_of_wrong_keys_count_together(facts: Facts) -> None:
    door = Door(facts, failure_limit=len(WRONG))
    asked = [cases(facts)[name][0] for name in WRONG]
    assert await door.reasons(*asked) == [cases(facts)[name][1] for name in WRONG]
    assert set(await door.reasons(*asked)) == {Reason.TOO_MANY_FAILURES}


async def test_nothing_else_counts(facts: Facts) -> None:
    others = [(asked, reason) for asked, reason in cases(facts).values() if reason not in FAILURES]
    door = Door(facts, failure_limit=1)
    for _ in range(3):
        for asked, reason in others:
            assert await door.reasons(asked) == [reason]
    garbage, reason = cases(facts)["garbage"]
    assert await door.reasons(garbage) == [reason]


@pytest.mark.parametrize(("origin", "failure_limit"), [(None, 1), (ORIGIN, 0)])
async def test_without_an_origin_or_a_limit_nothing_is_too_many(
    facts: Facts, origin: bytes | None, failure_limit: int
) -> None:
    door = Door(facts, failure_limit=failure_limit)
    garbage, reason = cases(facts)["garbage"]
    for facts.known in ({"scope"}, set()):
        assert set(await door.reasons(*[garbage] * 50, origin=origin)) == {reason}


async def test_a_right_key_passes_where_others_fail_too_often(facts: Facts) -> None:
    right, _ = cases(facts)["allowed"]
    stranger, _ = cases(facts)["to anybody"]
    garbage, reason = cases(facts)["garbage"]
    door = Door(facts, failure_limit=1)

    assert await door.reasons(garbage, right, garbage) == [reason, Reason.ALLOWED, Reason.TOO_MANY_FAILURES]
    facts.known = {"scope"}  # the key is known, and its user has to be asked for
    assert await door.reasons(right) == [Reason.ALLOWED]
    facts.known = set()  # nothing is known any more, but that the key was right
    assert await door.reasons(right) == [Reason.ALLOWED]
    facts.asked.clear()
    assert await door.reasons(stranger, garbage) == [Reason.TOO_MANY_FAILURES] * 2
    assert facts.asked == []
    assert await door.reasons(stranger, origin=b"another") == [Reason.ALLOWED]
    assert await door.reasons(stranger) == [Reason.ALLOWED]


async def test_the_keys_that_are_remembered_to_be_right_are_bounded(
    facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scopegate.enforcer._PROVED", 2)
    first, second, third = (request(facts.put(mint())) for _ in range(3))
    facts.known = set()
    door = Door(facts, failure_limit=1)
    assert await door.reasons(first, second, third, third) == [Reason.ALLOWED] * 4
    assert len(door._enforcer._proved) == 2
    await door.reasons(request("nonsense"))
    assert await door.reasons(first, second, third) == [
        Reason.TOO_MANY_FAILURES,
        Reason.ALLOWED,
        Reason.ALLOWED,
    ]
