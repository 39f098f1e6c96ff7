"""What the import contracts of pyproject.toml cannot say about the structure."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "gateway" / "scopegate"
CORE = sorted((SOURCE / "core").glob("*.py"))


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_awaits_nothing_and_asks_no_clock(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await)
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"now", "utcnow", "today", "environ", "getLogger"}


def test_importing_the_package_loads_neither_redis_nor_a_server() -> None:
    code = (
        "import sys, scopegate; "
        "print([m for m in ('redis', 'granian', 'pydantic', 'httptools', 'click') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_signs_in_at_a_provider_is_loaded_only_where_there_is_one() -> None:
    code = (
        "import sys, scopegate.serving, scopegate.controlplane; "
        "print([m for m in ('authlib', 'joserfc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_asks_another_source_is_loaded_only_where_there_is_one() -> None:
    code = (
        "import sys, scopegate.dataplane, scopegate.forwardauth; "
        "print([m for m in ('httpx', 'cedarpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_where_cedar_is_not_installed_the_error_says_how_to(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text("permit(principal, action, resource);")
    code = (
        "import sys; sys.modules['cedarpy'] = None; from scopegate.cli import main; "
        "sys.argv[1:] = ['serve', '--upstream', 'http://127.0.0.1:9', '--data-dir', "
        f"{str(tmp_path / 'data')!r}]; main()"
    )
    source = {"SCOPEGATE_PRIVILEGE_SOURCE": "cedar", "SCOPEGATE_PRIVILEGE_POLICIES": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **source},
        timeout=60,
    )
    assert done.returncode == 2
    assert "pip install 'scopegate[cedar]'" in done.stderr


def test_where_it_is_not_installed_the_error_says_how_to(tmp_path: Path) -> None:
    # None in sys.modules is how Python is told that there is no such module.
    code = (
        "import sys; sys.modules['joserfc'] = None; from scopegate.cli import main; "
        "sys.argv[1:] = ['serve', '--upstream', 'http://127.0.0.1:9', '--data-dir', "
        f"{str(tmp_path)!r}]; main()"
    )
    provider = {"SCOPEGATE_OIDC_ISSUER": "https://id.example.com", "SCOPEGATE_OIDC_CLIENT_ID": "x"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **provider},
        timeout=60,
    )
    assert done.returncode == 2
    assert "pip install 'scopegate[oidc]'" in done.stderr


def test_every_public_name_can_be_imported_and_no_other() -> None:
    import scopegate  # noqa: PLC0415

    for name in scopegate.__all__:
        assert getattr(scopegate, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        scopegate.Nonsense  # noqa: B018
