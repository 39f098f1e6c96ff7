"""Files of people, read a row at a time: CSV with a header, or JSON Lines."""

from __future__ import annotations

import csv
import json
from codecs import BOM_UTF8
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from scopegate.core.errors import InvalidInput
from scopegate.core.persondocuments import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scopegate.cli.answers import JsonObject

LONGEST_ROW = 256 * 1024  # bytes; a person of all bounds has less
_DELIMITERS = ",;\t"
_SETS = frozenset({"groups", "roles"})
_YES = frozenset({"true", "yes", "1", "active"})
_NO = frozenset({"false", "no", "0", "inactive"})
_OTHERWISE = {
    "user_id": "id",
    "e_mail": "email",
    "mail": "email",
    "display_name": "name",
    "full_name": "name",
    "org": "organization",
    "organisation": "organization",
    "group": "groups",
    "role": "roles",
    "username": "user_name",
    "login": "user_name",
    "externalid": "external_id",
    "first_name": "given_name",
    "firstname": "given_name",
    "givenname": "given_name",
    "last_name": "family_name",
    "lastname": "family_name",
    "familyname": "family_name",
    "surname": "family_name",
    "enabled": "active",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row, the line on which it begins, and behind which byte of the file it ends.

    ``document`` is None where the row says no person; then ``problem`` says why.
    """

    line: int
    end: int
    text: str
    document: JsonObject | None = None
    problem: InvalidInput | None = None


def rows_of_csv(file: IO[bytes]) -> Iterator[Row]:
    """The rows of a CSV file (RFC 4180) behind its header, which names the columns in any order.

    The columns are parted by commas, semicolons or tabs, whichever the header has most of; several groups
    or roles in one cell by semicolons.

    Raises:
        InvalidInput: the header is none of people.
    """
    lines = _Lines(file)
    first = next(lines, "")
    delimiter = max(_DELIMITERS, key=first.count)
    columns = _columns(next(csv.reader([first], delimiter=delimiter), []))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield lines.bad("", f"The row cannot be read: {error}.", "Quote cells as RFC 4180 says.")
            continue
        if cells:
            yield _read_cells(lines, columns, cells)


def rows_of_jsonl(file: IO[bytes]) -> Iterator[Row]:
    """The rows of a file with one JSON object a line."""
    lines = _Lines(file)
    while True:
        lines.begin()
        line = next(lines, None)
        if line is None:
            return
        if not line.strip():
            continue
        if not lines.is_text:
            yield lines.no_text()
            continue
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict):
            yield Row(lines.first, lines.end, lines.text, document)
        else:
            yield lines.bad("", "The line is no JSON object.", "Write one object a line (RFC 8259).")


class _Lines:
    """The lines of a file, which remembers those of the present row."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._number = 0
        self._taken: list[str] = []
        self.first = 1
        self.end = 0
        self.is_text = True

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        raw = self._file.readline(LONGEST_ROW)
        if not raw:
            raise StopIteration
        self._number += 1
        self.end += len(raw)
        if not raw.endswith(b"\n") and len(raw) == LONGEST_ROW:
            raise InvalidInput(
                "file",
                f"Line {self._number} has more than {LONGEST_ROW // 1024} kB.",
                hint="This is no file of people.",
            )
        if self._number == 1:
            raw = raw.removeprefix(BOM_UTF8)
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError:
            self.is_text = False
            line = raw.decode("utf-8", "replace")
        self._taken.append(line)
        return line

    @property
    def text(self) -> str:
        """The present row as it stands there."""
        return "".join(self._taken).rstrip("\r\n")

    def begin(self) -> None:
        """From here on it is another row."""
        self._taken, self.is_text = [], True
        self.first = self._number + 1

    def bad(self, field: str, message: str, hint: str) -> Row:
        """The present row, which says no person."""
        problem = InvalidInput(field, message, hint=hint, code="row_invalid")
        return Row(self.first, self.end, self.text, problem=problem)

    def no_text(self) -> Row:
        """The present row, which is not UTF-8."""
        return self.bad("", "The row is not UTF-8.", "Save the file as UTF-8.")


def _columns(header: Sequence[str]) -> list[str]:
    columns = []
    for cell in header:
        name = cell.strip().lower().replace(" ", "_").replace("-", "_")
        name = _OTHERWISE.get(name, name)
        if name not in FIELDS:
            raise InvalidInput(
                "file",
                f"The header has a column {cell.strip()!r}, which people do not have.",
                hint=f"The first line names columns out of {', '.join(FIELDS)}.",
                code="column_unknown",
            )
        if name in columns:
            raise InvalidInput("file", f"The header has the column {name} twice.", hint="Remove one.")
        columns.append(name)
    if "id" not in columns:
        raise InvalidInput("file", "The header has no column id.", hint="Each person needs an id.")
    return columns


def _read_cells(lines: _Lines, columns: Sequence[str], cells: Sequence[str]) -> Row:
    if not lines.is_text:
        return lines.no_text()
    if len(cells) != len(columns):
        return lines.bad(
            "", f"The row has {len(cells)} cells, the header {len(columns)}.", "Quote cells with commas."
        )
    document: JsonObject = {}
    for name, cell in zip(columns, cells, strict=True):
        text = cell.strip()
        if name in _SETS:
            document[name] = [one for part in text.split(";") if (one := part.strip())]
        elif name == "active":
            if text.lower() in _YES | _NO:
                document[name] = text.lower() in _YES
            elif text:
                return lines.bad("active", f"{text!r} is neither yes nor no.", "Write true or false.")
        else:
            document[name] = text
    return Row(lines.first, lines.end, lines.text, document)
