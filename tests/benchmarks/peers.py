"""The gateways that are compared, each as one process on one core, in front of the same upstream.

All but Traefik authorize: Scopegate by a custom key with 50 rules that is bound to a user, whose
privileges it looks up; Envoy by its own filters for API keys and RBAC with the same 50 rules;
Express Gateway by a key with the 50 scopes of as many API endpoints.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from benchmarks.expressgateway import express_gateway
from benchmarks.programs import Missing, cores, find, on_core, require, running
from conftest import find_free_port
from scopegate.commands import Commands
from scopegate.core.catalogue import Endpoint
from scopegate.core.keys import KeyType, Rule
from scopegate.core.policies import Policies
from scopegate.core.principal import User
from scopegate.store import Store
from scopegate.store.embedded import socket_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

RULES = 50
FIFTY_RULES = tuple(Rule("GET", f"/api/recordings/{number}/*") for number in range(RULES))
PATH = f"/api/recordings/{RULES - 1}/audio"
OURS = "Scopegate"
ENVOY, TRAEFIK, EXPRESS = "Envoy, api_key_auth + RBAC", "Traefik, no authorization", "Express Gateway"
_ANSWER_TIMEOUT = 20.0  # seconds
_ANSWER = json.dumps({"id": "1", "agent": "tom", "customer": "+43 1 5550101", "seconds": 184})


@dataclass(frozen=True)
class Gateway:
    """A running gateway, where to call it, with which key, and its first process."""

    name: str
    port: int
    key: str = field(repr=False)
    pid: int = 0

    def url(self, path: str = PATH) -> str:
        """The URL of a path."""
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def all_gateways(directory: Path) -> Iterator[tuple[list[Gateway], dict[str, str]]]:
    """Every gateway of which this machine has the program, running; and why others are missing."""
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        upstream = stack.enter_context(json_upstream(directory))
        ours = stack.enter_context(scopegate(directory, upstream))
        gateways = [ours]
        peers: dict[str, AbstractContextManager[Gateway]] = {
            ENVOY: _envoy(directory, upstream, ours.key),
            TRAEFIK: _traefik(directory, upstream, ours.key),
            EXPRESS: _express_gateway(directory, upstream),
        }
        for name, peer in peers.items():
            try:
                gateways.append(stack.enter_context(peer))
            except Missing as reason:
                missing[name] = str(reason)
        for gateway in gateways:
            wait_until_it_answers(gateway)
        yield gateways, missing


def wait_until_it_answers(gateway: Gateway, path: str = PATH) -> None:
    """A gateway may listen before it has read its routes."""
    deadline = time.monotonic() + _ANSWER_TIMEOUT
    while (status := _status(gateway, path)) != 200:
        assert time.monotonic() < deadline, f"{gateway.name} answers with {status}"
        time.sleep(0.05)


def _status(gateway: Gateway, path: str) -> int | None:
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=_ANSWER_TIMEOUT)
    try:
        connection.request("GET", path, headers={"X-API-Key": gateway.key})
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


@contextmanager
def nginx(directory: Path, core: str, name: str, http: str) -> Iterator[int]:
    """The port of an nginx with one worker; `http` is its configuration, with PORT for the port."""
    port = find_free_port()
    config = directory / f"{name}.conf"
    config.write_text(
        f"""worker_processes 1; daemon off; pid {directory}/{name}.pid; error_log /dev/null;
        events {{ worker_connections 4096; }}
        http {{ access_log off; keepalive_requests 1000000000; {http.replace("PORT", str(port))} }}"""
    )
    with running(port, *on_core(core, require("nginx"), "-c", str(config))):
        yield port


@contextmanager
def json_upstream(directory: Path) -> Iterator[int]:
    """The port of an upstream that answers at once with a short JSON, on the load's core."""
    answer = f"default_type application/json; location / {{ return 200 '{_ANSWER}'; }}"
    server = f"server {{ listen 127.0.0.1:PORT backlog=4096; {answer} }}"
    with nginx(directory, cores()[1], "upstream", server) as port:
        yield port


@contextmanager
def scopegate(directory: Path, upstream: int, rules: Sequence[Rule] = FIFTY_RULES) -> Iterator[Gateway]:
    """Scopegate with its embedded store, and a custom key of a user that has `rules`."""
    port, data_dir = find_free_port(), directory / "data"
    command = serve_command(port, find_free_port(), upstream, "--data-dir", str(data_dir))
    with running(port, *on_core(cores()[0], *command)) as pid:
        yield Gateway(OURS, port, new_key(socket_url(data_dir), rules), pid)


def serve_command(port: int, admin_port: int, upstream: int, *store: str) -> tuple[str, ...]:
    """What starts Scopegate."""
    return (
        *(sys.executable, "-m", "scopegate", "serve", "--upstream", f"http://127.0.0.1:{upstream}"),
        *("--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{admin_port}", *store),
    )


def new_key(url: str, rules: Sequence[Rule] = FIFTY_RULES) -> str:
    """The text of a new custom key in the store at `url`."""
    return asyncio.run(_new_key(url, rules))


async def _new_key(url: str, rules: Sequence[Rule]) -> str:
    store = Store.at(url)
    try:
        commands = Commands(store)
        view = frozenset({"recordings.view"})
        endpoint = Endpoint(frozenset({"GET", "POST"}), "/api/*", view)
        await commands.apply_policies(Policies(endpoints=(endpoint,), roles={"agent": view}))
        await commands.put_users([User(id="maria", name="Maria", roles=frozenset({"agent"}))])
        await commands.set_scoped_api(on=True)
        issued = await commands.create_key(
            key_type=KeyType.CUSTOM, description="benchmark", user="maria", rules=tuple(rules)
        )
    finally:
        await store.aclose()
    return issued.new_secret


@contextmanager
def _express_gateway(directory: Path, upstream: int) -> Iterator[Gateway]:
    with express_gateway(cores()[0], directory, upstream, RULES) as (port, key):
        yield Gateway(EXPRESS, port, key)


@contextmanager
def _envoy(directory: Path, upstream: int, key: str) -> Iterator[Gateway]:
    port = find_free_port()
    kinds = "type.googleapis.com/envoy.extensions.filters"
    rules = [
        {
            "and_rules": {
                "rules": [
                    {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
                    {"url_path": {"path": {"prefix": f"/api/recordings/{number}/"}}},
                ]
            }
        }
        for number in range(RULES)
    ]
    filters = [
        {
            "name": "envoy.filters.http.api_key_auth",
            "typed_config": {
                "@type": f"{kinds}.http.api_key_auth.v3.ApiKeyAuth",
                "credentials": [{"key": key, "client": "maria"}],
                "key_sources": [{"header": "X-API-Key"}],
                "forwarding": {"header": "x-scopegate-user", "hide_credentials": True},
            },
        },
        {
            "name": "envoy.filters.http.rbac",
            "typed_config": {
                "@type": f"{kinds}.http.rbac.v3.RBAC",
                "rules": {
                    "action": "ALLOW",
                    "policies": {
                        "key": {
                            "permissions": rules,
                            "principals": [
                                {"header": {"name": "x-scopegate-user", "string_match": {"exact": "maria"}}}
                            ],
                        }
                    },
                },
            },
        },
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{kinds}.http.router.v3.Router"},
        },
    ]
    route = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}],
    }
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{kinds}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "gateway",
            "generate_request_id": True,
            "route_config": {"virtual_hosts": [route]},
            "http_filters": filters,
        },
    }
    endpoint = {"address": _envoy_address(upstream)}
    config = {
        "static_resources": {
            "listeners": [{"address": _envoy_address(port), "filter_chains": [{"filters": [manager]}]}],
            "clusters": [
                {
                    "name": "up",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "load_assignment": {
                        "cluster_name": "up",
                        "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
                    },
                }
            ],
        }
    }
    file = directory / "envoy.json"
    file.write_text(json.dumps(config))
    command = (find("envoy"), "-c", str(file), "--concurrency", "1", "-l", "off", "--use-dynamic-base-id")
    with running(port, *on_core(cores()[0], *command)):
        yield Gateway(ENVOY, port, key)


def _envoy_address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@contextmanager
def _traefik(directory: Path, upstream: int, key: str) -> Iterator[Gateway]:
    port = find_free_port()
    dynamic = directory / "traefik-routes.yaml"
    dynamic.write_text(
        json.dumps(
            {
                "http": {
                    "routers": {"all": {"rule": "PathPrefix(`/`)", "service": "up"}},
                    "services": {
                        "up": {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{upstream}"}]}}
                    },
                }
            }
        )
    )
    static = directory / "traefik.yaml"
    static.write_text(
        json.dumps(
            {
                "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
                "entryPoints": {"web": {"address": f"127.0.0.1:{port}"}},
                "providers": {"file": {"filename": str(dynamic)}},
                "log": {"level": "ERROR"},
            }
        )
    )
    command = (require("env"), "GOMAXPROCS=1", find("traefik"), f"--configFile={static}")
    with running(port, *on_core(cores()[0], *command)):
        yield Gateway(TRAEFIK, port, key)
