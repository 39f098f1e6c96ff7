"""The gateways that are compared, each as one process on one core, in front of the same upstream.

All but Traefik authorize: Scopegate by a custom key with 50 rules that is bound to a user, whose
privileges it looks up; Envoy by its own filters for API keys and RBAC with the same 50 rules.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import find_free_port
from scopegate.commands import Commands
from scopegate.core.catalogue import Endpoint
from scopegate.core.keys import KeyType, Rule
from scopegate.core.policies import Policies
from scopegate.core.principal import User
from scopegate.store import Store
from scopegate.store.embedded import socket_url

if TYPE_CHECKING:
    from collections.abc import Iterator

GATEWAY_CORE = "0"
LOAD_CORE = "1"
RULES = 50
PATH = f"/api/recordings/{RULES - 1}/audio"
_START_TIMEOUT = 20.0  # seconds
_ANSWER = json.dumps({"id": "1", "agent": "tom", "customer": "+43 1 5550101", "seconds": 184})


@dataclass(frozen=True)
class Gateway:
    """A running gateway, where to call it, and with which key."""

    name: str
    port: int
    key: str

    @property
    def url(self) -> str:
        """The URL that is called."""
        return f"http://127.0.0.1:{self.port}{PATH}"


def program(name: str) -> str:
    """The path of a program; where it is missing, the benchmark is skipped."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@contextmanager
def all_gateways(directory: Path) -> Iterator[list[Gateway]]:
    """Every gateway, running, in front of one upstream."""
    with ExitStack() as stack:
        upstream = stack.enter_context(_upstream(directory))
        ours = stack.enter_context(_scopegate(directory, upstream))
        yield [
            ours,
            stack.enter_context(_envoy(directory, upstream, ours.key)),
            stack.enter_context(_traefik(directory, upstream, ours.key)),
        ]


@contextmanager
def _running(core: str, port: int, *command: str) -> Iterator[None]:
    with subprocess.Popen(
        [program("taskset"), "-c", core, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_for(port, process)
            yield
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"{process.args!r} does not listen")


@contextmanager
def _upstream(directory: Path) -> Iterator[int]:
    port = find_free_port()
    config = directory / "nginx.conf"
    config.write_text(
        f"""worker_processes 1; daemon off; pid {directory}/nginx.pid; error_log /dev/null;
        events {{ worker_connections 4096; }}
        http {{
          access_log off; keepalive_requests 1000000000; default_type application/json;
          server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 '{_ANSWER}'; }} }}
        }}"""
    )
    with _running(LOAD_CORE, port, program("nginx"), "-c", str(config)):
        yield port


@contextmanager
def _scopegate(directory: Path, upstream: int) -> Iterator[Gateway]:
    port, admin_port = find_free_port(), find_free_port()
    data_dir = directory / "data"
    command = (
        *(sys.executable, "-m", "scopegate", "serve", "--upstream", f"http://127.0.0.1:{upstream}"),
        *("--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{admin_port}"),
        *("--data-dir", str(data_dir)),
    )
    with _running(GATEWAY_CORE, port, *command):
        yield Gateway("Scopegate", port, asyncio.run(_new_key(socket_url(data_dir))))


async def _new_key(url: str) -> str:
    store = Store.at(url)
    try:
        commands = Commands(store)
        view = frozenset({"recordings.view"})
        await commands.apply_policies(
            Policies(endpoints=(Endpoint(frozenset({"GET"}), "/api/*", view),), roles={"agent": view})
        )
        await commands.put_users([User(id="maria", name="Maria", roles=frozenset({"agent"}))])
        await commands.set_scoped_api(on=True)
        issued = await commands.create_key(
            key_type=KeyType.CUSTOM,
            description="benchmark",
            user="maria",
            rules=tuple(Rule("GET", f"/api/recordings/{number}/*") for number in range(RULES)),
        )
    finally:
        await store.aclose()
    return issued.secret


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
    command = (program("envoy"), "-c", str(file), "--concurrency", "1", "-l", "off", "--use-dynamic-base-id")
    with _running(GATEWAY_CORE, port, *command):
        yield Gateway("Envoy, api_key_auth + RBAC", port, key)


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
    command = (program("env"), "GOMAXPROCS=1", program("traefik"), f"--configFile={static}")
    with _running(GATEWAY_CORE, port, *command):
        yield Gateway("Traefik, no authorization", port, key)
