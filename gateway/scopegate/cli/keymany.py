"""``scopegate key export`` and ``import``: keys as documents, without their secrets."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.newfile import new_file
from scopegate.cli.options import changes_through_api, through_api
from scopegate.cli.output import Exit, note, print_table
from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from scopegate.cli.invocation import Invocation
    from scopegate.client import schemas

_PIECE = 50  # documents in one request
_STDIN = "-"


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), default=_STDIN)
@through_api
def export_keys(invocation: Invocation, file: Path) -> None:
    """Write all keys as YAML to a new FILE, or to stdout; no secret and no digest is among it."""
    with invocation.client() as client:
        documents = client.export_keys().model_dump(mode="json")
    import yaml  # noqa: PLC0415 -- for whoever wants it

    text = yaml.safe_dump(documents, sort_keys=False, allow_unicode=True)
    if str(file) == _STDIN:
        answer(invocation, documents, lambda: click.echo(text, nl=False))
        return
    with new_file(file) as target:
        target.write(text.encode())
    told = {"file": str(file), "keys": len(documents["keys"])}
    answer(invocation, told, lambda: note(f"Wrote {told['keys']} keys to {file}."))


@click.command("import")
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option(
    "--secrets-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new directory that only you can read, for a file with the secret of each key.",
)
@changes_through_api
def import_keys(invocation: Invocation, file: Any, secrets_dir: Path | None) -> int:  # noqa: ANN401 -- a stream
    """Create keys from the documents of FILE, as 'export' writes them, with ids and secrets of their own.

    Each key stands for itself: one that is refused stops no other, and the exit code is 8 then.
    """
    if invocation.output == "name" and secrets_dir is None and not invocation.dry_run:
        raise click.UsageError(
            "The secrets are shown this once, and this form leaves them out: --secrets-dir."
        )
    if invocation.field is not None:
        raise click.UsageError("--field is about one answer; choose a form with -o.")
    documents = _documents(file)
    if secrets_dir is not None and not invocation.dry_run:
        _make(secrets_dir)
    outcomes: list[schemas.ImportOutcome] = []
    with invocation.client() as client:
        pieces = [documents[start : start + _PIECE] for start in range(0, len(documents), _PIECE)]
        # Only a person at a terminal watches a bar.
        with click.progressbar(
            pieces, label="Importing", file=sys.stderr, hidden=not sys.stderr.isatty()
        ) as bar:
            for piece in bar:
                answered = client.import_keys(piece).items
                if secrets_dir is not None:
                    _keep(secrets_dir, answered)
                outcomes += answered
    return _report(invocation, outcomes, hidden=secrets_dir is not None)


def _documents(file: Any) -> list[JsonObject]:  # noqa: ANN401 -- a stream
    import yaml  # noqa: PLC0415 -- for whoever wants it

    try:
        content = yaml.safe_load(file)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "file", f"That is no YAML: {error}", hint="Pass what 'key export' wrote."
        ) from None
    keys = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(keys, list) or not keys or not all(isinstance(one, dict) for one in keys):
        raise InvalidInput(
            "file",
            "There is no list of 'keys' in it, or nothing in the list.",
            hint="Pass what 'key export' wrote.",
        )
    # YAML knows moments, JSON does not.
    parsed: list[JsonObject] = json.loads(json.dumps(keys, default=_as_text))
    return parsed


def _as_text(value: object) -> str:
    written = getattr(value, "isoformat", None)
    if written is None:
        raise InvalidInput("file", f"{value!r} cannot be in a key.")
    return str(written())


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700)
    except OSError as error:
        raise InvalidInput(
            "secrets_dir",
            f"Cannot create {directory}: {error.strerror}.",
            hint="Name a directory that does not exist yet.",
        ) from error


def _keep(directory: Path, outcomes: list[schemas.ImportOutcome]) -> None:
    for one in outcomes:
        if one.key is not None and one.key.secret is not None:
            descriptor = os.open(directory / one.key.id, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as target:
                print(one.key.secret, file=target)


def _report(invocation: Invocation, outcomes: list[schemas.ImportOutcome], *, hidden: bool) -> Exit:
    shown = [_shown(row, one, hidden=hidden) for row, one in enumerate(outcomes, start=1)]
    good = [one for one in shown if one["error"] is None]
    if not invocation.wants_data:
        for one in shown:
            if one["error"] is not None:
                note(f"error: row {one['row']}: {one['error']['detail']}")
        shown = good
    if shown:
        head = ("ROW", "ID", "DESCRIPTION", *(() if hidden or invocation.dry_run else ("SECRET",)))
        answer(
            invocation,
            shown,
            lambda: print_table(
                head,
                [
                    (str(one["row"]), one["id"], one["description"], one["secret"] or "-")[: len(head)]
                    for one in good
                ],
            ),
            name="id",
        )
    if good and not invocation.wants_data and not invocation.dry_run and not hidden:
        note("Copy the secrets now. You will not be able to see them again.")
    if len(good) == len(outcomes):
        return Exit.OK
    note(f"{len(good)} of {len(outcomes)} done.")
    return Exit.PARTLY if good else Exit.INVALID


def _shown(row: int, one: schemas.ImportOutcome, *, hidden: bool) -> JsonObject:
    key, problem = one.key, one.problem
    return {
        "row": row,
        "id": None if key is None else key.id,
        "description": None if key is None else key.description,
        "secret": None if key is None or hidden else key.secret,
        "error": None if problem is None else {"code": problem.code, "detail": problem.detail},
    }
