"""``scopegate user import``: many people out of a file, a piece at a time."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scopegate.cli.answers import answer
from scopegate.cli.importreport import BadRow, Report
from scopegate.cli.importstate import (
    Progress,
    forget_progress,
    identity_of,
    keep_progress,
    read_progress,
)
from scopegate.cli.options import changes_through_api
from scopegate.cli.output import Exit, note, print_fields
from scopegate.cli.personfiles import rows_of_csv, rows_of_jsonl
from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scopegate.cli.invocation import Invocation
    from scopegate.cli.personfiles import Row
    from scopegate.client import Client

_PIECE = 500  # people in one request
_PIECE_BYTES = 1024 * 1024  # of their rows
_TOLD = 20  # bad rows that are told where no report is written
_FORMATS = {"csv": rows_of_csv, "jsonl": rows_of_jsonl}


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_FORMATS)),
    help="How FILE is written; otherwise its name says it.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the rows that were not taken to this new file: JSON Lines (.jsonl), otherwise CSV.",
)
@click.option("--create-groups", is_flag=True, help="Add groups that are not known yet.")
@click.option("--restart", is_flag=True, help="Begin anew, also if an import of FILE has broken off.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where it is kept how far the import has come; otherwise beside FILE.",
)
@changes_through_api
def import_users(
    invocation: Invocation,
    file: Path,
    form: str | None,
    report: Path | None,
    state: Path | None,
    *,
    create_groups: bool,
    restart: bool,
) -> Exit:
    """Add or change the people of FILE; each row stands or falls alone.

    Of somebody who is known, what a row does not say stays. An import that breaks off goes on where it
    was when the same command is given again.
    """
    known = state or file.with_name(f"{file.name}.import")
    with invocation.client() as client:
        destination = f"{client.server if invocation.is_remote else 'store'} {client.tenant}"
        told_in = None if report is None else str(report.resolve())
        progress = Progress(identity_of(file), destination, report=told_in)
        reported = None
        if not invocation.dry_run and not restart and (before := _broken_off(known, progress)) is not None:
            reported = before.reported if before.report == told_in else None
            progress = replace(before, report=told_in)
        written = None if report is None else Report(report, behind=reported)
        work = _Import(client, progress, written, create_groups=create_groups)
        if not invocation.dry_run:
            work.keep_in(known)
        try:
            work.run(file, _FORMATS[form or _form_of(file)])
        except BaseException:
            if not invocation.dry_run:
                note(f"It broke off behind {work.progress.done} rows. The same command goes on from there.")
            elif report is not None:
                report.unlink()
            raise
        finally:
            if written is not None:
                written.close()
        if not invocation.dry_run:
            forget_progress(known)
    return _tell(invocation, work, report)


class _Import:
    """One run, as far as it has come."""

    def __init__(
        self, client: Client, progress: Progress, report: Report | None, *, create_groups: bool
    ) -> None:
        self._client = client
        self._report = report
        self._create_groups = create_groups
        self._state: Path | None = None
        self._lines: dict[str, int] = {}
        self.progress = progress
        self.told: list[BadRow] = []

    def keep_in(self, path: Path) -> None:
        """From now on it is kept there how far it has come."""
        self._state = path
        self._keep()

    def run(self, file: Path, rows_of: Any) -> None:  # noqa: ANN401 -- one of `_FORMATS`
        """Read the whole file; what is done already is only looked at for ids that come again."""
        size, shown = file.stat().st_size, 0
        # Only a person at a terminal watches a bar.
        with (
            file.open("rb") as opened,
            click.progressbar(
                length=size, label="Importing", file=sys.stderr, hidden=not sys.stderr.isatty()
            ) as bar,
        ):
            for piece in _pieces(rows_of(opened)):
                self._take(piece)
                bar.update(piece[-1].end - shown)
                shown = piece[-1].end

    def _take(self, piece: list[Row]) -> None:
        good: list[Row] = []
        bad: list[BadRow] = []
        for row in piece:
            problem = self._problem(row)
            if row.line <= self.progress.behind:
                continue
            if problem is None:
                good.append(row)
            else:
                bad.append(_bad(row, problem.field, problem.code, problem.message, problem.hint))
        if not good and not bad:
            return
        if good:
            documents = [row.document for row in good]
            answered = self._client.import_users(documents, create_groups=self._create_groups)
            bad += [
                _bad(good[one.row - 1], one.field, one.code, one.detail, one.hint)
                for one in answered.problems
            ]
            self.progress = self.progress.with_more(
                added=answered.added, changed=answered.changed, unchanged=answered.unchanged
            )
        self._tell(sorted(bad, key=lambda one: one.line))
        self.progress = replace(self.progress, behind=piece[-1].line).with_more(failed=len(bad))
        self._keep()

    def _problem(self, row: Row) -> InvalidInput | None:
        if row.document is None:
            return row.problem
        user_id = row.document.get("id")
        if not isinstance(user_id, str):
            return None  # the control plane says so
        first = self._lines.setdefault(user_id, row.line)
        if first == row.line:
            return None
        return InvalidInput(
            "id",
            f"Lines {first} and {row.line} have the same id {user_id!r}.",
            hint=f"Keep one of them; line {first} was taken.",
            code="id_repeated",
        )

    def _tell(self, bad: list[BadRow]) -> None:
        for one in bad:
            if self._report is not None:
                self._report.add(one)
            elif len(self.told) < _TOLD:
                self.told.append(one)

    def _keep(self) -> None:
        if self._report is not None:
            self.progress = replace(self.progress, reported=self._report.written())
        if self._state is not None:
            keep_progress(self._state, self.progress)


def _broken_off(state: Path, anew: Progress) -> Progress | None:
    """How far the import before has come, if it was of the same file to the same place."""
    before = read_progress(state)
    if before is None:
        return None
    if not before.fits(anew):
        note("An import broke off here, of another file or to another place: this one begins anew.")
        return None
    note(f"Going on behind {before.done} rows, where the import before broke off (--restart begins anew).")
    return before


def _form_of(file: Path) -> str:
    return "jsonl" if file.suffix in {".jsonl", ".ndjson", ".json"} else "csv"


def _pieces(rows: Iterator[Row]) -> Iterator[list[Row]]:
    piece: list[Row] = []
    size = 0
    for row in rows:
        if piece and (len(piece) == _PIECE or size + len(row.text) > _PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += len(row.text)
    if piece:
        yield piece


def _bad(row: Row, field: str | None, code: str, message: str, hint: str | None) -> BadRow:
    said = None if row.document is None else row.document.get("id")
    return BadRow(
        line=row.line,
        id=said if isinstance(said, str) else None,
        field=field or None,
        code=code,
        problem=message,
        fix=hint,
        row=row.text,
    )


def _tell(invocation: Invocation, work: _Import, report: Path | None) -> Exit:
    progress = work.progress
    for bad in work.told:
        note(f"line {bad.line}: {bad.problem}")
    if progress.failed > len(work.told) and report is None:
        note(f"{progress.failed - len(work.told)} more rows were not taken; --report writes all to a file.")
    shown = {
        "rows": progress.done,
        **{name: asdict(progress)[name] for name in ("added", "changed", "unchanged", "failed")},
        "report": None if report is None else str(report),
    }
    fields = [(name, "-" if value is None else str(value)) for name, value in shown.items()]
    answer(invocation, shown, lambda: print_fields(fields))
    if not progress.failed:
        return Exit.OK
    return Exit.PARTLY if progress.failed < progress.done else Exit.INVALID
