"""What is installed from the wheel is whole: a file that is left out works in a checkout only."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(out), str(ROOT)], check=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "gateway"
    expected = {
        str(path.relative_to(source))
        for pattern in ("*.py", "*.lua", "*.jsonl", "py.typed")
        for path in (source / "scopegate").rglob(pattern)
    }
    expected |= {f"scopegate/demo/policies/{path.name}" for path in (ROOT / "policies").glob("*.*")}
    assert expected <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_puts_nothing_beside_the_package(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert top == {"scopegate", next(name for name in top if name.endswith(".dist-info"))}


def test_the_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import scopegate, scopegate.policyfiles as p; "
        "from importlib import resources; from pathlib import Path; from scopegate.store import Store; "
        "assert scopegate.__file__.startswith(sys.path[0]); Store.at('redis://x'); "
        "print(len(p.load(Path(str(resources.files('scopegate.demo').joinpath('policies')))).policies.roles))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert int(done.stdout) > 0
