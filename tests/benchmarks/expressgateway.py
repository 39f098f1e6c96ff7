"""Express Gateway as a peer: key-auth with the scopes of its API endpoints, one of them a rule.

It comes from npm, into dist/bench, the first time that it is wanted. Its keys are kept in the
emulation of Redis inside its own process: it is a little faster than with a Redis beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.programs import Missing, find, on_core, running
from benchmarks.report import RESULTS
from conftest import find_free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION = "1.16.11"
_INSTALL_TIMEOUT = 240.0  # seconds
_START_TIMEOUT = 20.0  # seconds
_PROXIES = {"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"}  # it would call the upstream by them


@contextmanager
def express_gateway(core: str, directory: Path, upstream: int, rules: int) -> Iterator[tuple[int, str]]:
    """The port of a running Express Gateway, and a key with `rules` scopes, one a path."""
    package = _installed()
    port, admin_port = find_free_port(), find_free_port()
    config = directory / "express-gateway"
    shutil.copytree(package / "lib" / "config" / "models", config / "models")
    scopes = [f"recordings-{number}" for number in range(rules)]
    endpoints = {
        scope: {"host": "*", "methods": ["GET"], "paths": [f"/api/recordings/{number}/*"], "scopes": [scope]}
        for number, scope in enumerate(scopes)
    }
    key_auth = {"apiKeyHeader": "X-API-Key", "disableHeadersScheme": True}
    gateway = {
        "http": {"host": "127.0.0.1", "port": port},
        "admin": {"host": "127.0.0.1", "port": admin_port},
        "apiEndpoints": endpoints,
        "serviceEndpoints": {"up": {"url": f"http://127.0.0.1:{upstream}"}},
        "policies": ["key-auth", "proxy"],
        "pipelines": {
            "all": {
                "apiEndpoints": list(endpoints),
                "policies": [
                    {"key-auth": [{"action": key_auth}]},
                    {"proxy": [{"action": {"serviceEndpoint": "up"}}]},
                ],
            }
        },
    }
    system = {
        "db": {"redis": {"emulate": True, "namespace": "EG"}},
        "crypto": {"cipherKey": "benchmark", "algorithm": "aes256", "saltRounds": 10},
    }
    (config / "gateway.config.yml").write_text(json.dumps(gateway))  # JSON is YAML
    (config / "system.config.yml").write_text(json.dumps(system))
    env = {name: value for name, value in os.environ.items() if name not in _PROXIES}
    env |= {"EG_CONFIG_DIR": str(config), "NODE_ENV": "production", "LOG_LEVEL": "error"}
    with running(port, *on_core(core, find("node"), str(package / "lib" / "index.js")), env=env):
        yield port, _new_key(admin_port, scopes)


def _installed() -> Path:
    node, npm = find("node"), find("npm")
    home = RESULTS / f"express-gateway-{_VERSION}"
    package = home / "node_modules" / "express-gateway"
    if not (home / "installed").exists():
        home.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--prefix", str(home), "--omit=dev", "--ignore-scripts"]
        command += ["--no-audit", "--no-fund", "--no-save", f"express-gateway@{_VERSION}"]
        env = {**os.environ, "PATH": os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", "")])}
        try:
            subprocess.run(command, env=env, capture_output=True, check=True, timeout=_INSTALL_TIMEOUT)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise Missing(f"npm cannot install express-gateway {_VERSION}") from error
        (home / "installed").touch()
    return package


def _new_key(admin_port: int, scopes: list[str]) -> str:
    deadline = time.monotonic() + _START_TIMEOUT
    while True:  # the admin API may listen later than the gateway
        try:
            _post(admin_port, "/scopes", {"scopes": scopes})
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the admin API of Express Gateway does not listen"
            time.sleep(0.05)
        else:
            break
    _post(admin_port, "/users", {"username": "maria", "firstname": "Maria", "lastname": "Huber"})
    wanted = {"consumerId": "maria", "type": "key-auth", "credential": {"scopes": scopes}}
    issued = json.loads(_post(admin_port, "/credentials", wanted))
    return f"{issued['keyId']}:{issued['keySecret']}"


def _post(port: int, path: str, body: object) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=_START_TIMEOUT)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    assert answer.status in {200, 201}, f"{path} of Express Gateway's admin API: {answer.status}"
    return content
