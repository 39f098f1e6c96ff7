"""Other proxies, configured as docs/forward-auth.md says, with the addresses of a test."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import REQUIRE_SERVERS, find_free_port
from e2e.processes import listens, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE = Path(__file__).parents[2] / "docs" / "forward-auth.md"


def configuration(name: str, *, port: int, asked: int, upstream: int) -> str:
    """The configuration in the section `name` of the guide."""
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert section is not None
    block = re.search(r"```[a-z]+\n(.*?)```", section[1], re.DOTALL)
    assert block is not None
    text = block[1]
    for written, meant in (("127.0.0.1:9191", asked), ("127.0.0.1:9000", upstream)):
        assert text.count(written) == 1
        text = text.replace(written, f"127.0.0.1:{meant}")
    return text.replace(" 8000;", f" 127.0.0.1:{port};").replace(":8000 {", f"http://:{port} {{")


def find(*names: str) -> str:
    """The path of a program, beside Python's own or where the system has its servers."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])
    for name in names:
        found = shutil.which(name, path=path)
        if found is not None:
            return found
    if os.environ.get(REQUIRE_SERVERS):
        pytest.fail(f"{names[0]} is not installed, and {REQUIRE_SERVERS} is set")
    pytest.skip(f"{names[0]} is not installed")


@contextmanager
def traefik(directory: Path, *, asked: int, upstream: int) -> Iterator[int]:
    """The port of a Traefik."""
    port = find_free_port()
    dynamic = directory / "dynamic.yaml"
    dynamic.write_text(configuration("Traefik", port=port, asked=asked, upstream=upstream))
    static = directory / "static.yaml"
    static.write_text(
        json.dumps(
            {
                "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
                "entryPoints": {"web": {"address": f"127.0.0.1:{port}"}},
                "providers": {"file": {"filename": str(dynamic)}},
            }
        )
    )
    with running(find("traefik"), f"--configFile={static}", directory=directory / "traefik") as process:
        wait_until(lambda: listens(port), "Traefik starts", process=process)
        yield port


@contextmanager
def nginx(directory: Path, *, asked: int, upstream: int) -> Iterator[int]:
    """The port of an nginx."""
    port = find_free_port()
    server = configuration("nginx", port=port, asked=asked, upstream=upstream)
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = directory / "nginx.conf"
    file.write_text(
        f"daemon off;\npid {directory}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{server}}}\n"
    )
    command = (find("nginx"), "-p", str(directory), "-e", "stderr", "-c", str(file))
    with running(*command, directory=directory / "nginx") as process:
        wait_until(lambda: listens(port), "nginx starts", process=process)
        yield port


@contextmanager
def caddy(directory: Path, *, asked: int, upstream: int) -> Iterator[int]:
    """The port of a Caddy."""
    port = find_free_port()
    file = directory / "Caddyfile"
    site = configuration("Caddy", port=port, asked=asked, upstream=upstream)
    file.write_text(f"{{\n    admin off\n}}\n{site}")
    command = (find("caddy"), "run", "--config", str(file), "--adapter", "caddyfile")
    environment = {"HOME": str(directory), "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
    with running(*command, directory=directory / "caddy", env=environment) as process:
        wait_until(lambda: listens(port), "Caddy starts", process=process)
        yield port
