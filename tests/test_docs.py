"""The documents fail when they are no longer true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from scopegate.cli import cli
from scopegate.cli.output import Exit
from scopegate.core.reasons import Reason, refused_by
from scopegate.problems import Problem, refusal
from scopegate.proxy import failures
from scopegate.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def page(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.ALLOWED])
def test_every_reason_is_documented_as_it_is_answered(reason: Reason) -> None:
    problem = refusal(reason)
    check = refused_by(reason)
    row = f"| `{reason}` | {problem.status} | `{problem.code}` | {check or '-'} | {problem.title} |"
    assert row in page("docs/reasons.md")


def test_every_failure_of_the_proxy_is_documented() -> None:
    text = page("docs/reasons.md")
    problems = [value for value in vars(failures).values() if isinstance(value, Problem)]
    assert problems
    for problem in problems:
        assert f"| `{problem.code}` | {problem.status} | {problem.detail} |" in text


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_is_documented_with_its_meaning(name: str) -> None:
    row = next(line for line in page("docs/settings.md").splitlines() if line.startswith(f"| `{name}` |"))
    description = Settings.model_fields[name].description
    assert description
    assert description in row


def test_every_command_is_documented() -> None:
    text = page("docs/cli.md")
    for name, command in cli.commands.items():
        line = next(line for line in text.splitlines() if line.startswith(f"scopegate {name}"))
        if isinstance(command, click.Group):
            for verb in command.commands:
                assert verb in line


def test_every_exit_code_is_documented() -> None:
    for code in Exit:
        assert f"| {code.value} |" in page("docs/cli.md")


def _command_lines(text: str) -> Iterator[str]:
    for block in re.findall(r"```(?:sh|text)\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"(?:\.venv/bin/)?scopegate ((?:[a-z-]+ ?)+)(.*)", line.strip())
            if found and not line.strip().startswith("scopegate key          "):
                yield line.strip()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_names_an_option_that_does_not_exist(path: Path) -> None:
    for line in _command_lines(path.read_text()):
        words = line.split("scopegate ", 1)[1].split()
        command: click.Command = cli
        while words and isinstance(command, click.Group):
            found = command.commands.get(words.pop(0))
            if found is None:
                break
            command = found
        options = {name for parameter in command.params for name in parameter.opts}
        for word in words:
            if word.startswith("--"):
                assert word in options | {"--help"}, line


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_python_example_compiles(path: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
        compile(block, str(path), "exec")


def test_the_middleware_examples_of_the_readme_and_the_guide_run() -> None:
    for name in ("README.md", "docs/middleware.md", "docs/forward-auth.md"):
        for block in re.findall(r"```python\n(.*?)```", page(name), re.DOTALL):
            exec(block, {})
