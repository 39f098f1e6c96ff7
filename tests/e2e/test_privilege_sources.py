"""A privilege that a source takes away is gone within the bound of that source, in running gateways."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from e2e.gateways import serving, upstream_server
from e2e.processes import DEADLINE, scopegate, wait_until
from e2e.test_lag import metric
from privilegeserver import PrivilegeServer, privilege_server
from wire.frames import echo_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.gateways import Gateway, Upstream

RECORDINGS = "/api/recordings/1"
VIEW = "recordings.view"
AGENTS = f'permit(principal in Role::"agent", action == Action::"{VIEW}", resource);'


@pytest.fixture
def source() -> Iterator[PrivilegeServer]:
    with privilege_server() as server:
        yield server


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_server() as server:
        yield server


@contextmanager
def asking(directory: Path, upstream: str, env: dict[str, str], *args: str) -> Iterator[Gateway]:
    with serving(directory, upstream, *args, env=env) as gateway:
        gateway.fill()
        yield gateway


def at_age(source: PrivilegeServer, seconds: float) -> dict[str, str]:
    return {**source.settings, "SCOPEGATE_PRIVILEGE_MAX_AGE": str(seconds)}


def outcome(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, "" if answer.is_success else answer.json()["code"]


ALLOWED = (200, "")


def test_over_http_without_an_age_each_request_sees_what_the_source_says_now(
    tmp_path: Path, upstream: Upstream, source: PrivilegeServer
) -> None:
    source.let("maria", VIEW)
    with asking(tmp_path, upstream.url, at_age(source, 0), "--workers", "2") as gateway:
        bound = gateway.create_key("--user", "maria")["secret"]
        free = gateway.create_key()["secret"]

        def get(key: str) -> tuple[int, str]:
            return outcome(gateway.get(RECORDINGS, key))

        assert get(bound) == ALLOWED
        source.let("maria", "recordings.edit")
        assert get(bound) == (403, "privilege_missing")
        source.let("maria", VIEW, "recordings.edit")
        assert get(bound) == ALLOWED
        source.deactivate("maria")
        assert get(bound) == (403, "user_inactive")
        del source.says["/default/maria"]
        assert get(bound) == (403, "user_unknown")
        source.let("maria", VIEW)
        assert get(bound) == ALLOWED

        gateway.cli("user", "deactivate", "maria")
        asked = len(source.asked)
        wait_until(lambda: get(bound) == (403, "user_inactive"), "the directory forbids")
        assert get(bound) == (403, "user_inactive")
        assert len(source.asked) <= asked + 1  # a worker that had not heard yet
        gateway.cli("user", "activate", "maria")
        wait_until(lambda: get(bound) == ALLOWED, "the directory lets the source decide")

        source.broken = True
        refused = gateway.get(RECORDINGS, bound)
        assert outcome(refused) == (503, "privileges_unavailable")
        assert refused.headers["Retry-After"] == "1"
        assert get(free) == ALLOWED
        source.broken = False
        wait_until(lambda: get(bound) == ALLOWED, "the source is asked again")

        assert metric(gateway, "privilege_questions_total", outcome="answered") >= 6
        assert metric(gateway, "privilege_questions_total", outcome="failed") >= 1
        assert set(source.asked) == {"/default/maria"}
        assert not any(bound in head or free in head for head in source.heads)
        assert "what-only-scopegate-has" not in gateway.process.err + gateway.process.out


def test_over_http_a_privilege_is_gone_when_its_answer_is_too_old(
    tmp_path: Path, upstream: Upstream, source: PrivilegeServer
) -> None:
    source.let("maria", VIEW)
    with asking(tmp_path, upstream.url, at_age(source, 1)) as gateway:
        key = gateway.create_key("--user", "maria")["secret"]
        assert outcome(gateway.get(RECORDINGS, key)) == ALLOWED
        asked = len(source.asked)
        source.let("maria")
        removed = time.monotonic()
        while time.monotonic() <= removed + 1:
            outcome(gateway.get(RECORDINGS, key))
        assert outcome(gateway.get(RECORDINGS, key)) == (403, "privilege_missing")
        assert len(source.asked) < asked + 10  # in hundreds of requests


@pytest.mark.parametrize("what", ["removed", "broken", "deactivated"])
def test_over_http_what_is_open_ends_as_well(
    tmp_path: Path, upstream: Upstream, source: PrivilegeServer, what: str
) -> None:
    source.let("maria", VIEW)
    with echo_server() as echo:
        places = [{"url": f"http://127.0.0.1:{echo}", "prefix": "/api/recordings/echo"}]
        env = {
            **at_age(source, 0.5),
            "SCOPEGATE_UPSTREAMS": json.dumps(places),
            "SCOPEGATE_PRIVILEGE_TIMEOUT": "1",
        }
        with asking(tmp_path, upstream.url, env) as gateway:
            key = gateway.create_key("--user", "maria")["secret"]
            url = f"ws://127.0.0.1:{gateway.port}/api/recordings/echo"
            with connect(url, additional_headers={"X-API-Key": key}, proxy=None) as socket:
                asked = len(source.asked)
                wait_until(lambda: len(source.asked) > asked + 3, "the source is asked again and again")
                socket.send("hello")
                assert socket.recv(DEADLINE) == "hello"
                if what == "removed":
                    source.let("maria")
                elif what == "broken":
                    source.broken = True
                else:
                    gateway.cli("user", "deactivate", "maria")
                with pytest.raises(ConnectionClosed) as closed:
                    socket.recv(DEADLINE)
            code = {
                "removed": "privilege_missing",
                "broken": "privileges_unavailable",
                "deactivated": "user_inactive",
            }
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, code[what])


def test_a_key_is_bound_and_explained_by_what_the_source_says(
    tmp_path: Path, upstream: Upstream, source: PrivilegeServer
) -> None:
    source.let("maria", "reports.view")
    source.let("nora", VIEW)  # whom the directory does not know
    env = source.settings
    with asking(tmp_path, upstream.url, env) as gateway:
        gateway.cli("flag", "scoped-api", "on")

        def cli(*args: str) -> Any:
            return scopegate(*args, *gateway.store, env=env)

        def create(user: str) -> Any:
            rule = ("--url", "/api/recordings/*", "--method", "GET", "--user", user, "-o", "json")
            return cli("key", "create", "--type", "custom", "--description", "d", *rule)

        refused = create("maria")  # who has the privilege by the role that the directory gives
        assert refused.code == 6
        assert VIEW in refused.err
        key = json.loads(create("nora").out)
        assert outcome(gateway.get(RECORDINGS, key["secret"])) == ALLOWED
        assert create("zoe").code == 6

        explained = cli("explain", "--key-id", key["id"], "GET", RECORDINGS, "-o", "json")
        steps = {step["check"]: step["detail"] for step in json.loads(explained.out)["steps"]}
        assert "the source http said so" in steps["user"]
        shown = json.loads(cli("user", "show", "maria", "-o", "json").out)
        assert shown["privileges"] == ["reports.view"]

        source.broken = True
        assert create("nora").code == 7
        explained = cli("explain", "--key-id", key["id"], "GET", RECORDINGS, "-o", "json")
        assert explained.code == 1
        told = json.loads(explained.out)
        assert told["reason"] == "privileges_unavailable"
        assert any("the status is 500" in step["detail"] for step in told["steps"])
        answer = gateway.ask("/readyz")
        assert answer.status_code == 200


def test_cedar_policies_decide_and_are_followed(tmp_path: Path, upstream: Upstream) -> None:
    policies = tmp_path / "cedar"
    policies.mkdir()
    file = policies / "agents.cedar"
    file.write_text(AGENTS)
    env = {
        "SCOPEGATE_PRIVILEGE_SOURCE": "cedar",
        "SCOPEGATE_PRIVILEGE_POLICIES": str(policies),
        "SCOPEGATE_PRIVILEGE_MAX_AGE": "0.2",
    }
    with asking(tmp_path, upstream.url, env, "--workers", "2") as gateway:
        gateway.cli("user", "add-role", "maria", "agent")
        key = gateway.create_key("--user", "maria")["secret"]

        def becomes(expected: tuple[int, str]) -> None:
            wait_until(
                lambda: [outcome(gateway.get(RECORDINGS, key)) for _ in range(8)] == [expected] * 8,
                f"{expected}",
            )

        becomes(ALLOWED)
        gateway.cli("user", "remove-role", "maria", "agent")
        becomes((403, "privilege_missing"))
        gateway.cli("user", "add-role", "maria", "agent")
        becomes(ALLOWED)
        gateway.cli("user", "deactivate", "maria")
        becomes((403, "user_inactive"))
        gateway.cli("user", "activate", "maria")
        becomes(ALLOWED)
        with httpx.stream(
            "GET",
            f"{gateway.url}/stream",
            headers={"X-API-Key": gateway.create_key()["secret"]},
            trust_env=False,
        ) as other:
            assert other.status_code == 200
            _replace(file, AGENTS.replace("agent", "supervisors"))
            becomes((403, "privilege_missing"))
            _replace(file, "permit(principal, action resource);")
            becomes((503, "privileges_unavailable"))
            _replace(file, AGENTS)
            becomes(ALLOWED)
            assert next(other.iter_raw())  # whom no user is bound to goes on
        assert "agents.cedar" in gateway.process.err


def _replace(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


@pytest.mark.parametrize(
    ("env", "setting"),
    [
        ({"SOURCE": "http"}, "privilege_url"),
        ({"SOURCE": "http", "URL": "https://id.example.com/"}, "privilege_url"),
        ({"SOURCE": "cedar"}, "privilege_policies"),
        ({"SOURCE": "cedar", "POLICIES": "/nowhere"}, "privilege_policies"),
        ({"SOURCE": "cedar", "POLICIES": "HERE"}, "privilege_policies"),
        ({"SOURCE": "ldap"}, "privilege_source"),
        ({"URL": "https://id.example.com/{user}"}, "privilege_url"),
        ({"TOKEN": "s3cret"}, "privilege_token"),
        ({"SOURCE": "cedar", "STALE_IF_ERROR": "5", "POLICIES": "HERE"}, "privilege_stale_if_error"),
        ({"SOURCE": "http", "URL": "https://id.example.com/{user}", "MAX_AGE": "-1"}, "privilege_max_age"),
        ({"SOURCE": "http", "URL": "http://id.example.com/{user}", "TOKEN": "s3cret"}, "privilege_token"),
    ],
)
def test_a_source_that_cannot_be_asked_is_refused_at_the_start(
    tmp_path: Path, env: dict[str, str], setting: str
) -> None:
    (tmp_path / "broken.cedar").write_text("permit(principal, action resource);")
    given = {f"SCOPEGATE_PRIVILEGE_{name}": value for name, value in env.items()}
    if given.get("SCOPEGATE_PRIVILEGE_POLICIES") == "HERE":
        given["SCOPEGATE_PRIVILEGE_POLICIES"] = str(tmp_path)
    refused = scopegate(
        *("serve", "--upstream", "http://127.0.0.1:9", "--data-dir", tmp_path / "data"), env=given
    )
    assert refused.code == 2
    assert setting in refused.err
    assert "s3cret" not in refused.err
