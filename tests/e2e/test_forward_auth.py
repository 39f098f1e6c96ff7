"""Scopegate behind other proxies that ask it, as real processes with the configurations of the guide."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conftest import find_free_port
from e2e.gateways import Gateway, Upstream, upstream_server
from e2e.processes import SCOPEGATE, running, scopegate, wait_until
from e2e.proxies import caddy, nginx, traefik
from scopegate.store.embedded import socket_url
from wire.wires import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wire.wires import Message

PROXIES = {"traefik": traefik, "nginx": nginx, "caddy": caddy}
DIALECTS = {"nginx": "original"}
ALLOWED = "/api/recordings/1"


@contextmanager
def answering(
    directory: Path, *args: str, dialect: str = "forwarded", trusted: str = "127.0.0.1"
) -> Iterator[tuple[Gateway, int]]:
    """A ``scopegate serve`` that other proxies ask, without a data plane, and where they do."""
    asked, admin_port = find_free_port(), find_free_port()
    store = ("--data-dir", str(directory / "data"))
    environment = {"SCOPEGATE_TRUSTED_PROXIES": trusted, "SCOPEGATE_FORWARD_AUTH_DIALECT": dialect}
    with running(
        *(*SCOPEGATE, "serve", "--forward-auth-listen", f"127.0.0.1:{asked}"),
        *("--admin-listen", f"127.0.0.1:{admin_port}", *store, *args),
        directory=directory / "serve",
        env=environment,
    ) as process:
        wait_until(lambda: "Ctrl-C stops it." in process.err, "it starts", process=process)
        yield Gateway(process, 0, admin_port, store, socket_url(directory / "data")), asked


@dataclass(frozen=True)
class Site:
    """A proxy in front of an upstream, which asks Scopegate."""

    name: str
    port: int
    gateway: Gateway
    upstream: Upstream
    custom: str
    bound: str

    def send(self, target: str, *fields: str, method: str = "GET", key: str | None = None) -> Message:
        lines = [f"{method} {target} HTTP/1.1", "Host: gw.test", *fields, "Connection: close"]
        if key is not None:
            lines.append(f"X-API-Key: {key}")
        with connect(self.port) as wire:
            wire.send("\r\n".join([*lines, "", ""]).encode())
            return wire.answer()


@pytest.fixture(scope="module", params=list(PROXIES))
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    name: str = request.param
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sg-")))
        upstream = stack.enter_context(upstream_server())
        gateway, asked = stack.enter_context(answering(directory, dialect=DIALECTS.get(name, "forwarded")))
        gateway.fill()
        gateway.cli("flag", "scoped-api", "on")
        custom = gateway.create_key(
            "--type", "custom", "--url", "http://gw.test/api/recordings/*", "--method", "GET"
        )
        bound = gateway.create_key("--user", "maria")
        port = stack.enter_context(PROXIES[name](directory, asked=asked, upstream=upstream.server_port))
        found = Site(name, port, gateway, upstream, custom["secret"], bound["secret"])
        wait_until(lambda: found.send("/").status != 404, "the proxy has its routes")
        yield found


def arrived(answer: Message) -> dict[str, Any]:
    """What the upstream saw; names in lower case."""
    assert answer.status == 200, answer
    seen: dict[str, Any] = json.loads(answer.body)
    seen["headers"] = {name.lower(): value for name, value in seen["headers"].items()}
    return seen


def test_what_the_key_opens_arrives_with_its_identity_and_without_the_key(site: Site) -> None:
    seen = arrived(site.send(f"{ALLOWED}?part=2", key=site.bound))
    assert seen["path"] == f"{ALLOWED}?part=2"
    assert seen["headers"]["x-scopegate-user"] == "maria"
    assert seen["headers"]["x-scopegate-tenant"] == "default"
    assert site.bound.startswith(f"sg_{seen['headers']['x-scopegate-key-id']}_")
    assert seen["headers"]["x-request-id"]
    assert site.bound not in json.dumps(seen)


def test_the_host_of_the_client_is_what_a_rule_speaks_of(site: Site) -> None:
    assert arrived(site.send(ALLOWED, key=site.custom))["path"] == ALLOWED


@pytest.mark.parametrize(
    ("target", "method"),
    [("/api/users", "GET"), (f"/api/users?x={ALLOWED}", "GET"), (ALLOWED, "POST"), (ALLOWED, "DELETE")],
)
def test_what_it_does_not_open_is_refused(site: Site, target: str, method: str) -> None:
    assert site.send(target, "Content-Length: 0", method=method, key=site.custom).status == 403


@pytest.mark.parametrize(
    "target",
    [
        "/api/recordings/../users",
        "/api/recordings/%2e%2e/users",
        "/api/recordings/..%2fusers",
        "/api/recordings/..;x/users",
        "/api//recordings/1",
        "//api/recordings/1",
        "http://gw.test/api/users",
        "http://gw.test/api/recordings/../users",
    ],
)
def test_a_path_of_several_readings_is_refused_or_forwarded_in_the_one_that_was_judged(
    site: Site, target: str
) -> None:
    """Traefik resolves and merges before it asks, and forwards what it asked about."""
    answer = site.send(target, key=site.custom)
    if answer.status == 200:
        assert site.name == "traefik"
        assert arrived(answer)["path"] == ALLOWED
    else:
        assert answer.status in {400, 403}


@pytest.mark.parametrize("key", [None, "sg_nope"])
def test_without_a_key_the_client_is_told_how_to_send_one(site: Site, key: str | None) -> None:
    answer = site.send(ALLOWED, key=key)
    assert answer.status == 401
    assert answer.values(b"www-authenticate")[0].startswith(b"Bearer")


@pytest.mark.parametrize(
    "field",
    [
        f"X-Forwarded-Uri: {ALLOWED}",
        f"X_Forwarded_Uri: {ALLOWED}",
        f"X-Original-URI: {ALLOWED}",
        f"X-Original-URL: http://gw.test{ALLOWED}",
        f"X-Rewrite-URL: {ALLOWED}",
    ],
)
def test_a_forged_target_opens_nothing(site: Site, field: str) -> None:
    assert site.send("/api/users", field, key=site.custom).status in {400, 403}


@pytest.mark.parametrize("field", ["X-Forwarded-Method: GET", "X-Original-Method: GET"])
def test_a_forged_method_opens_nothing(site: Site, field: str) -> None:
    answer = site.send(ALLOWED, field, "Content-Length: 0", method="POST", key=site.custom)
    assert answer.status in {400, 403}


@pytest.mark.parametrize("spelling", ["X-Scopegate-User", "x-scopegate-user", "X_Scopegate_User"])
@pytest.mark.parametrize("which", ["custom", "bound"])
def test_a_forged_identity_does_not_arrive(site: Site, spelling: str, which: str) -> None:
    """With a key that has no user, as well."""
    answer = site.send(ALLOWED, f"{spelling}: root", "X-Scopegate-Tenant: root", key=getattr(site, which))
    if "_" in spelling and answer.status == 400:
        return
    seen = arrived(answer)
    assert seen["headers"].get("x-scopegate-user", "") == {"custom": "", "bound": "maria"}[which]
    assert "root" not in json.dumps(seen)


def test_the_body_is_the_upstreams_alone(site: Site) -> None:
    """A question never says how long the body of its request is and then lacks it."""
    key = site.gateway.create_key("--type", "desktop")["secret"]
    with connect(site.port) as wire:
        for _ in range(3):
            wire.send(
                b"GET /api/x HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 5\r\n"
                b"X-API-Key: %b\r\n\r\nhello" % key.encode()
            )
            assert arrived(wire.answer())["path"] == "/api/x"


def test_a_handshake_is_asked_about_like_a_get(site: Site) -> None:
    handshake = (
        *("Upgrade: websocket", "Sec-WebSocket-Version: 13"),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    for key, target, status in (
        (site.custom, ALLOWED, 200),  # the upstream takes it for a GET
        (site.custom, "/api/users", 403),
        ("sg_nope", ALLOWED, 401),
    ):
        with connect(site.port) as wire:
            lines = [f"GET {target} HTTP/1.1", "Host: gw.test", *handshake, f"X-API-Key: {key}"]
            wire.send("\r\n".join([*lines, "Connection: Upgrade", "", ""]).encode())
            assert wire.answer().status == status


def test_a_revoked_key_is_refused_at_once(site: Site) -> None:
    key = site.gateway.create_key("--type", "desktop")
    assert site.send("/", key=key["secret"]).status == 200
    site.gateway.cli("key", "disable", key["id"])
    assert site.send("/", key=key["secret"]).status == 401


def test_nothing_but_what_is_asked_for_listens() -> None:
    with tempfile.TemporaryDirectory(prefix="sg-") as path, answering(Path(path)) as (gateway, asked):
        assert f"Proxies ask at http://127.0.0.1:{asked}, from 127.0.0.1/32" in gateway.process.err
        assert gateway.ask("/readyz").status_code == 200
        assert "scopegate_decisions_total" in gateway.ask("/metrics").text
        assert not [line for line in gateway.process.group() if "worker" in line]
        assert gateway.process.stop() == 0


def test_nobody_may_ask_until_somebody_is_named() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="sg-") as path,
        answering(Path(path), trusted="") as (gateway, asked),
    ):
        assert "until trusted_proxies (SCOPEGATE_TRUSTED_PROXIES) names them" in gateway.process.err
        with connect(asked) as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = wire.answer()
        assert answer.status == 403
        assert json.loads(answer.body)["code"] == "proxy_untrusted"


def test_beside_a_data_plane_both_answer() -> None:
    port = find_free_port()
    with (
        upstream_server() as upstream,
        tempfile.TemporaryDirectory(prefix="sg-") as path,
        answering(Path(path), "--upstream", upstream.url, "--listen", f"127.0.0.1:{port}") as (
            gateway,
            asked,
        ),
    ):
        key = gateway.create_key()["secret"]
        for place, fields in (
            (port, b""),
            (asked, b"X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /x\r\nX-Forwarded-Host: a\r\n"),
        ):
            with connect(place) as wire:
                wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\n%bX-API-Key: %b\r\n\r\n" % (fields, key.encode()))
                assert wire.answer().status == 200
        assert gateway.process.stop() == 0


def test_an_address_for_two_listeners_is_refused(tmp_path: Path) -> None:
    address = f"127.0.0.1:{find_free_port()}"
    refused = scopegate(
        *("serve", "--forward-auth-listen", address, "--admin-listen", address),
        *("--data-dir", str(tmp_path)),
    )
    assert refused.code == 2
    assert "forward_auth_listen (--forward-auth-listen, SCOPEGATE_FORWARD_AUTH_LISTEN): " in refused.err
    assert "the control plane does" in refused.err
