"""``scopegate explain``: the answer, its reasons, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cli.conftest import Instance


@pytest.fixture(scope="module", params=["local", "remote"])
def instance(request: pytest.FixtureRequest) -> Instance:
    """Through the store, and over HTTP: a command does the same either way."""
    instance: Instance = request.getfixturevalue(request.param)
    return instance


@pytest.fixture(scope="module")
def keys(instance: Instance) -> dict[str, str]:
    """The ids of one key for each case."""
    keys = {
        "custom": instance.create("--type", "custom", "--url", "/api/recordings/*", "--method", "GET"),
        "tom": instance.create("--user", "tom"),
        "desktop": instance.create("--type", "desktop"),
        "disabled": instance.create(),
    }
    instance.data("key", "disable", keys["disabled"]["id"])
    return {name: key["id"] for name, key in keys.items()}


@pytest.mark.parametrize(
    ("key", "method", "url", "reason", "status"),
    [
        ("custom", "GET", "/api/recordings/1?x=1", "allowed", None),
        ("custom", "HEAD", "https://any.example/api/recordings/1", "allowed", None),
        ("desktop", "DELETE", "/anything", "allowed", None),
        ("custom", "GET", "/api/users", "url_not_allowed", 403),
        ("custom", "POST", "/api/recordings/1", "method_not_allowed", 403),
        ("custom", "GET", "/api/recordings/../users", "path_dot_segment", 400),
        ("tom", "GET", "/api/reports/1", "privilege_missing", 403),
        ("tom", "GET", "/api/billing", "endpoint_unlisted", 403),
        ("disabled", "GET", "/api/status", "key_disabled", 401),
    ],
)
def test_explain_tells_the_decision(
    instance: Instance, keys: dict[str, str], key: str, method: str, url: str, reason: str, status: int | None
) -> None:
    explained = instance.run("explain", "--key-id", keys[key], method, url)
    answer, head, *steps = explained.out.splitlines()
    assert explained.code == (0 if status is None else 1)
    assert answer == ("ALLOWED" if status is None else f"REFUSED with {status}: {reason}")
    assert head.split() == ["CHECK", "OK", "WHY"]
    assert [step.split()[0] for step in steps] == [
        "request", "credential", "key", "scope", "user", "privileges",
    ]  # fmt: skip
    failed = [step for step in steps if step.split()[1] == "NO"]
    assert len(failed) == (0 if status is None else 1)
    assert all(reason in step for step in failed)


def test_json_has_the_checks_the_rule_and_what_is_missing(instance: Instance, keys: dict[str, str]) -> None:
    allowed = instance.data("explain", "--key-id", keys["custom"], "GET", "/api/recordings/1")
    assert (allowed["allowed"], allowed["reason"], allowed["rule"]) == (True, "allowed", 1)
    assert allowed["steps"][3] == {
        "check": "scope",
        "outcome": "passed",
        "detail": "row 1: GET /api/recordings/*",
    }
    refused = instance.run("explain", "--key-id", keys["tom"], "GET", "/api/reports/1", "-o", "json")
    assert refused.code == 1
    assert '"missing_privileges": [\n    "reports.view"\n  ]' in refused.out
    assert refused.err == ""
