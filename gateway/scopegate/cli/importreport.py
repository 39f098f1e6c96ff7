"""The report of an import: each row that was not taken, why, and what would help."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict, dataclass, fields
from typing import IO, TYPE_CHECKING

from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row that was not taken, and the line on which it begins. ``row`` is the row as it stands there."""

    line: int
    id: str | None
    field: str | None
    code: str
    problem: str
    fix: str | None
    row: str


class Report:
    """A file of bad rows: JSON Lines if its name says so, otherwise CSV."""

    def __init__(self, path: Path, *, behind: int | None) -> None:
        """Go on `behind` so many bytes of a report that is there, or begin a new one with None.

        Raises:
            InvalidInput: there is a file that this import has not begun, or it cannot be written.
        """
        self._is_csv = path.suffix not in {".jsonl", ".ndjson", ".json"}
        try:
            flags = os.O_WRONLY | (os.O_CREAT | os.O_EXCL if behind is None else 0)
            self._file: IO[bytes] = os.fdopen(os.open(path, flags, 0o600), "wb")
            self._file.seek(self._file.truncate(behind or 0))
        except OSError as error:
            raise InvalidInput(
                "report",
                f"Cannot write {path}: {error.strerror}.",
                hint="Name a file that does not exist yet, in a directory that you may write to.",
            ) from error
        if self._is_csv and behind is None:
            self._write_cells([one.name for one in fields(BadRow)])

    def add(self, bad: BadRow) -> None:
        """One more."""
        if self._is_csv:
            self._write_cells(["" if value is None else str(value) for value in asdict(bad).values()])
        else:
            self._file.write(json.dumps(asdict(bad), ensure_ascii=False).encode() + b"\n")

    def written(self) -> int:
        """How many bytes there are now."""
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """It is whole."""
        self._file.close()

    def _write_cells(self, cells: list[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(map(_as_text, cells))
        self._file.write(line.getvalue().encode("utf-8", "replace"))


def _as_text(cell: str) -> str:
    # A spreadsheet takes such a cell for a formula, and the rows come from elsewhere.
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell
