"""``scopegate audit``: who changed what, and whether the log of that is whole."""

from __future__ import annotations

import json
import os
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopegate.cli.invocation import Invocation, lists_instance, on_instance
from scopegate.cli.moments import parse_since
from scopegate.cli.output import Exit, note, print_fields, print_json, print_table
from scopegate.core.audit import START, Selection, Verification, anchor_of, link, parse
from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from scopegate.commands import Commands
    from scopegate.core.audit import Link
    from scopegate.core.deeds import JsonObject

_WIDEST_VALUE = 40  # characters


@click.group("audit")
def audit_group() -> None:
    """Who changed what, when, from where and why."""


@audit_group.command("list")
@click.option("--key", "key_id", metavar="ID", help="Changes of this key alone; ID may be a beginning.")
@click.option("--actor", help="Changes by this actor alone.")
@click.option("--since", help="Changes since then: RFC 3339 with offset, or a period such as 30d, 12h.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Entries at most.")
@lists_instance
def list_entries(
    invocation: Invocation, key_id: str | None, actor: str | None, since: str | None, limit: int
) -> None:
    """List changes, newest first."""
    after = None if since is None else parse_since(since, datetime.now(UTC))
    selection = Selection(key_id=key_id, actor=actor, since=after)

    async def action(commands: Commands) -> list[JsonObject]:
        return await commands.list_audit(selection, limit)

    entries = invocation.run(action)
    if invocation.wants_lines:
        for entry in entries:
            click.echo(json.dumps(entry, ensure_ascii=False, separators=(",", ":")))
    elif invocation.wants_json:
        print_json(entries)
    elif not entries:
        note("There is no such change.")
    else:
        print_table(
            ("SEQUENCE", "AT", "ACTOR", "ACTION", "TARGET", "CHANGED", "REASON"),
            [_row(one) for one in entries],
        )


@audit_group.command("verify")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file that was exported, in place of the log.",
)
@on_instance
def verify(invocation: Invocation, file: Path | None) -> int:
    """Check that no entry was changed, removed, added or moved.

    Ends with 0 if the log is whole and with 1 if it is not. A file can have lost entries at its end that
    it does not tell of: compare the sequence and the hash of its newest entry with those of the log.
    """

    async def action(commands: Commands) -> Verification:
        return await commands.verify_audit()

    verification = invocation.run(action) if file is None else _verify_file(file)
    broken, newest = verification.broken, verification.reached
    if invocation.wants_json:
        print_json(
            {
                "whole": broken is None,
                "entries": verification.count,
                "sequence": newest.sequence,
                "hash": newest.hash,
                "broken_at": None if broken is None else broken.sequence,
                "what": None if broken is None else broken.what,
            }
        )
    else:
        print_fields(
            [
                ("log", "whole" if broken is None else f"broken at {broken.sequence}: {broken.what}"),
                ("whole entries", str(verification.count)),
                ("newest of them", str(newest.sequence)),
                ("its hash", newest.hash),
            ]
        )
    return Exit.OK if broken is None else Exit.NEGATIVE


@audit_group.command("export")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="A new file, which only you can read: one entry a line, oldest first.",
)
@on_instance
def export(invocation: Invocation, file: Path) -> None:
    """Write all entries that are kept to a new file, with their hashes."""

    async def action(commands: Commands) -> Link:
        newest = START
        async with aclosing(commands.export_audit()) as lines:
            async for line in lines:
                target.write(line + b"\n")
                with suppress(ValueError):  # what was damaged is exported as it is
                    newest = link(parse(line))
        target.flush()
        return newest

    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInput(
            "file", f"Cannot create {file}: {error.strerror}.", hint="Name a file that does not exist yet."
        ) from error
    with os.fdopen(descriptor, "wb") as target:
        try:
            newest = invocation.run(action)
        except BaseException:
            file.unlink()
            raise
    if invocation.wants_json:
        print_json({"file": str(file), "sequence": newest.sequence, "hash": newest.hash})
    else:
        print_fields([("file", str(file)), ("newest", str(newest.sequence)), ("its hash", newest.hash)])


def _verify_file(file: Path) -> Verification:
    verification: Verification | None = None
    with file.open("rb") as lines:
        for line in lines:
            entry = line.removesuffix(b"\n")
            if verification is None:
                verification = Verification(anchor_of(entry))
            if not verification.follow(entry):
                break
    return verification or Verification(START)


def _row(entry: JsonObject) -> tuple[str, ...]:
    target = entry["target"]
    return (
        str(entry["sequence"]),
        entry["at"],
        entry["actor"],
        entry["action"],
        " ".join(filter(None, (target["kind"], target["id"]))),
        _changed(entry),
        entry["reason"] or "-",
    )


def _changed(entry: JsonObject) -> str:
    differences = entry["changed"]
    if any(all(one[side] is None for one in differences.values()) for side in ("before", "after")):
        return "-"  # it came or went as a whole
    return "; ".join(
        f"{name}: {_short(one['before'])} -> {_short(one['after'])}" for name, one in differences.items()
    )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDEST_VALUE else f"{text[: _WIDEST_VALUE - 3]}..."
