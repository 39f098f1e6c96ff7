"""What the parts of the suite found: each bar with its verdict, gathered into dist/bench/results.md."""

from __future__ import annotations

import json
import platform
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from os import cpu_count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESULTS = Path(__file__).parents[2] / "dist" / "bench"
_HEAD = "| What | Measured | Bar | Verdict |\n|---|---:|---:|---|\n"
_OURS, _OTHER, _TEXT = "#3b82f6", "#8b949e", "#6e7681"


@dataclass(frozen=True)
class Row:
    """One line of the gathered table."""

    what: str
    measured: str
    bar: str = "-"
    verdict: str = "-"

    def __str__(self) -> str:
        return f"| {self.what} | {self.measured} | {self.bar} | {self.verdict} |"


@dataclass(frozen=True)
class Unit:
    """How a measured number is written."""

    name: str
    digits: int = 2

    def write(self, number: float) -> str:
        return f"{number:,.{self.digits}f} {self.name}"


def at_least(what: str, measured: float, bar: float, unit: Unit) -> Row:
    """A number that should reach its bar."""
    return _judged(what, measured, f">= {unit.write(bar)}", bar - measured, unit)


def at_most(what: str, measured: float, bar: float, unit: Unit) -> Row:
    """A number that should not exceed its bar."""
    return _judged(what, measured, f"<= {unit.write(bar)}", measured - bar, unit)


def _judged(what: str, measured: float, bar: str, short: float, unit: Unit) -> Row:
    return Row(what, unit.write(measured), bar, "met" if short <= 0 else f"missed by {unit.write(short)}")


@dataclass(frozen=True)
class Part:
    """One part of the suite: where it stands in the report, its lines and its own table."""

    place: int
    name: str
    title: str
    rows: Sequence[Row]
    table: str

    def publish(self) -> None:
        """Print the part, and write all parts that were measured so far into one file."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        kept = {**asdict(self), "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")}
        (RESULTS / f"{self.name}.json").write_text(json.dumps(kept, indent=1))
        (RESULTS / "results.md").write_text(_gathered())
        print(f"\n{self.title}\n\n{self.table}\n{_HEAD}" + "\n".join(map(str, self.rows)))
        print(f"\n{RESULTS}/results.md")


def _gathered() -> str:
    parts = sorted(
        (json.loads(file.read_text()) for file in RESULTS.glob("*.json")), key=lambda part: part["place"]
    )
    rows = "\n".join(str(Row(**row)) for part in parts for row in part["rows"])
    tables = "".join(f"\n## {part['title']}\n\n{part['when']}\n\n{part['table']}" for part in parts)
    return f"# Results\n\n{machine()}\n\n{_HEAD}{rows}\n{tables}"


def machine() -> str:
    """The machine that measured, in one line."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", info.read_text() if info.exists() else "")
    return (
        f"{model[1] if model else platform.machine()}, {cpu_count()} cores, {platform.system()}"
        f" {platform.release()}, Python {platform.python_version()}"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    line = "|---|" + "---:|" * (len(head) - 1)
    written = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([written[0], line, *written[1:]]) + "\n"


def draw(name: str, panels: Mapping[str, Mapping[str, float]]) -> None:
    """Write a picture of horizontal bars, a panel for each title, the first bar of each being ours.

    Its colours are readable on light and dark ground alike; it has neither styles nor scripts.
    """
    shapes: list[str] = []
    top = 0
    for title, bars in panels.items():
        shapes.append(f'<text x="0" y="{top + 16}" font-weight="600">{title}</text>')
        top += 28
        scale = 340 / max(bars.values())
        for number, (label, value) in enumerate(bars.items()):
            fill, width = (_OTHER if number else _OURS), value * scale
            digits = 0 if value >= 100 else 2
            shapes.append(
                f'<text x="0" y="{top + 15}">{label}</text>'
                f'<rect x="220" y="{top}" width="{width:.0f}" height="20" rx="3" fill="{fill}"/>'
                f'<text x="{228 + width:.0f}" y="{top + 15}">{value:,.{digits}f}</text>'
            )
            top += 28
        top += 16
    height = top - 16
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" width="640" height="{height}"'
        f' font-family="system-ui, sans-serif" font-size="13" fill="{_TEXT}" role="img">'
        f"<title>{'; '.join(panels)}</title>" + "".join(shapes) + "</svg>\n"
    )
