"""The same change to several keys: each has its own outcome, and one that fails stops no other."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.keyreference import find_key
from scopegate.cli.output import Exit, exit_of, note, print_table
from scopegate.core.errors import ScopegateError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from scopegate.cli.invocation import Invocation
    from scopegate.client import Client, schemas
    from scopegate.core.bulk import BulkAction

_PIECE = 100  # keys in one request


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one: its id, or what was typed where no key was found, and a state or an error."""

    id: str
    state: str | None = None
    error: ScopegateError | None = None


def change_each(
    invocation: Invocation, references: Sequence[str], action: BulkAction, **expiry: datetime | None
) -> Exit:
    """Make the same change to all keys that are meant, and answer what became of each.

    `expiry` is the `expires_at` of those that are extended.
    """
    with invocation.client() as client:
        # Only a person at a terminal watches a bar.
        with click.progressbar(
            references, label="Finding", file=sys.stderr, hidden=not sys.stderr.isatty()
        ) as bar:
            found = [_found(client, reference) for reference in bar]
        ids = list(dict.fromkeys(one.id for one in found if one.error is None))
        changed: dict[str, Outcome] = {}
        for start in range(0, len(ids), _PIECE):
            from scopegate.client import schemas  # noqa: PLC0415 -- whoever has a client has it

            change = schemas.BulkChange(action=action, ids=ids[start : start + _PIECE], **expiry)
            for one in client.change_keys(change).items:
                changed[one.id] = _outcome(one)
    return _report(invocation, [one if one.error is not None else changed[one.id] for one in found])


def _found(client: Client, reference: str) -> Outcome:
    from scopegate.client import ServerUnreachable  # noqa: PLC0415 -- whoever has a client has it

    try:
        return Outcome(find_key(client, reference).id)
    except ServerUnreachable:
        raise
    except ScopegateError as error:
        return Outcome(reference, error=error)


def _outcome(one: schemas.BulkOutcome) -> Outcome:
    from scopegate.client import ApiError  # noqa: PLC0415 -- as above

    if one.problem is not None:
        return Outcome(one.id, error=ApiError(one.problem))
    return Outcome(one.id, "deleted" if one.key is None else one.key.state)


def _report(invocation: Invocation, outcomes: Sequence[Outcome]) -> Exit:
    """Answer with all outcomes; the exit code says whether all, some or none were good."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        if outcome.error is not None and not invocation.wants_data:
            note(f"error: {outcome.id}: {outcome.error.message}")
    done = [outcome for outcome in outcomes if outcome.error is None]
    if done or invocation.wants_data:
        answer(
            invocation,
            [_object(outcome) for outcome in outcomes],
            lambda: print_table(("ID", "STATE"), [(one.id, one.state or "-") for one in done]),
            name="id",
        )
    if not failed:
        return Exit.OK
    if done:
        note(f"{len(done)} of {len(outcomes)} done.")
        return Exit.PARTLY
    error = failed[0].error
    return Exit.NEGATIVE if error is None else exit_of(error)


def _object(outcome: Outcome) -> JsonObject:
    error = outcome.error
    return {
        "id": outcome.id,
        "state": outcome.state,
        "error": None if error is None else {"code": error.code, "detail": error.message},
    }
