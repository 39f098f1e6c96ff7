"""What the administrator's page tells to type works, in its order, and its codes exist."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import require_program
from e2e.administrators import bootstrap_token
from e2e.gateways import serving
from e2e.processes import run
from scopegate.admin import problems

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "administration.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
NOWHERE = "http://127.0.0.1:9"
ROWS = re.findall(r"^\| .*?\| `(\w+)` \| (\d{3}) \||^\| (\d{3}) \| `(\w+)` \|", PAGE, re.MULTILINE)
STATED = {code or other: int(status or another) for code, status, another, other in ROWS}


@pytest.mark.timeout(300)
def test_what_the_page_tells_to_type_works(short_dir: Path) -> None:
    require_program("curl")
    directory = short_dir / "page"
    with serving(directory, NOWHERE) as gateway:
        gateway.fill()
        work = directory / "work"
        work.mkdir()
        # A person types the token where the command asks for it.
        text = "\n".join(BLOCKS).replace("scopegate login", 'SCOPEGATE_TOKEN="$FIRST" scopegate login')
        text = text.replace("http://127.0.0.1:8081", gateway.admin_url)
        script = f'scopegate() {{ {shlex.quote(sys.executable)} -m scopegate "$@"; }}\n{text}'
        done = run(
            *("bash", "-euo", "pipefail", "-xc", script),
            cwd=work,
            env={"FIRST": bootstrap_token(gateway), "XDG_CONFIG_HOME": str(directory / "config")},
            timeout=240,
        )
        assert done.code == 0, f"{done.out}\n{done.err}"
        for name in ("desktop", "external", "vendor", "support", "vendor-new"):
            assert (work / f"{name}.key").read_text().startswith("sg_")


def test_the_page_shows_each_step_on_the_command_line_and_over_http() -> None:
    typed = "\n".join(BLOCKS)
    assert len(re.findall(r"^scopegate |\(scopegate ", typed, re.MULTILINE)) > 30
    assert len(re.findall(r"^api ", typed, re.MULTILINE)) > 25


def answered() -> Iterator[tuple[str, int]]:
    """The codes that the program gives its errors, each with the status that the API answers then."""
    statuses = {kind.__name__: status for kind, status, _ in problems._STATUSES}
    for package in ("admin", "administration", "core", "commands", "store"):
        for path in (ROOT / "gateway" / "scopegate" / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(func=ast.Name(name), args=args, keywords=keywords) if name in statuses:
                        first = args[0].value if args and isinstance(args[0], ast.Constant) else ""
                        status = 400 if str(first).startswith(("header:", "query:")) else statuses[name]
                        for keyword in keywords:
                            if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                                yield str(keyword.value.value), status
                    case ast.Call(
                        func=ast.Name("Problem"), args=[ast.Constant(int(status)), ast.Constant(code), *_]
                    ):
                        yield str(code), status
    for kind, status, _ in problems._STATUSES:
        yield kind.code, status
        for special in kind.__subclasses__():
            yield special.code, statuses.get(special.__name__, status)


def test_the_codes_of_the_page_are_answered_with_their_statuses() -> None:
    assert len(STATED) > 40
    # Codes that are chosen by what is wrong, and a filter of the domain that the API has in its query.
    chosen = {("required", 422), ("unknown", 422), ("parameter_unknown", 400), ("condition_invalid", 400)}
    assert set(STATED.items()) <= {*answered(), *chosen}
