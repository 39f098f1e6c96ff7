"""The same change to several keys: each has its own outcome, and one that fails stops no other."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.output import Exit, exit_of, note, print_table
from scopegate.core.errors import ScopegateError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scopegate.cli.invocation import Invocation


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one: its id, or what was typed where no key was found, and a state or an error."""

    id: str
    state: str | None = None
    error: ScopegateError | None = None


def each_of(references: Sequence[str], act: Callable[[str], Outcome], label: str) -> list[Outcome]:
    """The outcome of `act` for each reference; what it raises is the outcome as well."""
    # Only a person at a terminal watches a bar.
    with click.progressbar(references, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        return [_outcome(reference, act) for reference in bar]


def report_each(invocation: Invocation, outcomes: Sequence[Outcome]) -> Exit:
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


def _outcome(reference: str, act: Callable[[str], Outcome]) -> Outcome:
    from scopegate.client import ServerUnreachable  # noqa: PLC0415 -- whoever has a client has it

    try:
        return act(reference)
    except ServerUnreachable:
        raise
    except ScopegateError as error:
        return Outcome(reference, error=error)


def _object(outcome: Outcome) -> JsonObject:
    error = outcome.error
    return {
        "id": outcome.id,
        "state": outcome.state,
        "error": None if error is None else {"code": error.code, "detail": error.message},
    }
