"""``scopegate diff`` and ``apply``: what policy files would change, and the change."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import Form, JsonObject, answer
from scopegate.cli.options import changes_through_api, through_api
from scopegate.cli.output import Exit, confirm, note, print_line
from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scopegate.cli.invocation import Invocation
    from scopegate.client import Client
    from scopegate.core.changes import Change
    from scopegate.core.merging import Kept, Merged, Selector
    from scopegate.policyfiles import LoadedPolicies

directory_argument = click.argument(
    "directory", type=click.Path(path_type=Path, exists=True, file_okay=False)
)


def _selectors(_context: click.Context, _parameter: click.Parameter, texts: Sequence[str]) -> list[Selector]:
    from scopegate.core.merging import Selector  # noqa: PLC0415 -- --help does without the core's patterns

    try:
        return [Selector.parse(text) for text in texts]
    except InvalidInput as error:
        raise click.BadParameter(f"{error.message} {error.hint}") from None


_prune = click.option(
    "--prune",
    metavar="SELECTOR",
    multiple=True,
    callback=_selectors,
    help="Remove what no file names: all, endpoint, role or group, or with a pattern as in role:temp-*."
    " Repeatable.",
)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the files would make of the policies in force, whose version is `etag`."""

    etag: str
    merged: Merged
    changes: tuple[Change, ...]
    broken: tuple[str, ...]

    def lines(self) -> list[str]:
        changes = [change.describe() for change in self.changes]
        return changes + [kept.describe() for kept in self.merged.kept]

    def objects(self) -> list[JsonObject]:
        return [*map(_changed, self.changes), *map(_kept, self.merged.kept)]

    def counts(self) -> str:
        kinds = [change.kind for change in self.changes]
        counted = {f"to {kind}": kinds.count(kind) for kind in dict.fromkeys(sorted(kinds))}
        if self.merged.kept:
            counted["kept"] = len(self.merged.kept)
        return ", ".join(f"{count} {what}" for what, count in counted.items())


@click.command("diff")
@directory_argument
@_prune
@through_api
def diff(invocation: Invocation, directory: Path, prune: list[Selector]) -> int:
    """Say what applying the policy files of DIRECTORY would change, and change nothing.

    + comes, - goes, ~ changes; = stays, for no file names it and no --prune selects it. Ends with 0 if
    nothing would change and with 1 if something would.
    """
    loaded = load(directory)
    with invocation.client() as client:
        plan = _plan(client, loaded, prune)
    _answer(invocation, plan)
    if not invocation.wants_data:
        note(f"{plan.counts()}." if plan.lines() else "Nothing would change.")
        for line in plan.broken:
            note(f"An expectation stands in the way: {line}")
    return Exit.NEGATIVE if plan.changes else Exit.OK


@click.command("apply")
@directory_argument
@_prune
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@changes_through_api
def apply(invocation: Invocation, directory: Path, prune: list[Selector], *, yes: bool) -> None:
    """Put the policy files of DIRECTORY into force: endpoint catalogue, roles, groups.

    All of it takes effect in one step, for the next request, or nothing does. What no file names stays,
    unless --prune selects it. Nothing is applied while an expectation would not hold. Asks before
    something goes.
    """
    loaded = load(directory)
    with invocation.client() as client:
        plan = _plan(client, loaded, prune)
        if plan.broken:
            raise InvalidInput(
                "expectations",
                "\n".join(
                    ["The policies would break these expectations; nothing was applied.", *plan.broken]
                ),
                hint="Correct the policies or the expectations.",
                code="expectation_broken",
            )
        takes = any(change.takes_away for change in plan.changes)
        asks = takes and not yes and not invocation.dry_run
        if asks:
            if not invocation.wants_data:
                note("\n".join(plan.lines()))
            confirm(f"Something goes. Apply {_changes(len(plan.changes))}?")
        if plan.changes:
            _apply(client, plan)
    if invocation.wants_data or not asks or not sys.stdout.isatty():  # who was asked has seen them
        _answer(invocation, plan)
    if invocation.wants_data or invocation.dry_run:
        return
    note(f"{_changes(len(plan.changes))} applied." if plan.changes else "Nothing to change.")


def load(directory: Path) -> LoadedPolicies:
    """The policy files of a directory."""
    from scopegate import policyfiles  # noqa: PLC0415 -- --help does without YAML

    return policyfiles.load(directory)


def _plan(client: Client, loaded: LoadedPolicies, prune: list[Selector]) -> _Plan:
    from scopegate.client import policydocuments  # noqa: PLC0415 -- whoever has a client has it
    from scopegate.core.changes import plan  # noqa: PLC0415 -- as above
    from scopegate.core.merging import merge  # noqa: PLC0415

    found, etag = client.policies()
    current = policydocuments.policies_of(found)
    merged = merge(current, loaded.policies, prune)
    verdicts = loaded.verdicts(merged.policies)
    return _Plan(
        etag,
        merged,
        plan(current, merged.policies),
        tuple(verdict.describe() for verdict in verdicts if not verdict.holds),
    )


def _apply(client: Client, plan: _Plan) -> None:
    from scopegate.client import policydocuments  # noqa: PLC0415 -- whoever has a client has it
    from scopegate.policywriting import document  # noqa: PLC0415

    body = policydocuments.PoliciesBody.model_validate(document(plan.merged.policies))
    client.replace_policies(body, etag=plan.etag)


def _answer(invocation: Invocation, plan: _Plan) -> None:
    def print_lines() -> None:
        for line in plan.lines():
            print_line(line)

    # The names of what changes; what is kept is no change.
    shown = plan.objects() if invocation.output != Form.NAME else list(map(_changed, plan.changes))
    answer(invocation, shown, print_lines, name="subject")


def _changed(change: Change) -> JsonObject:
    from scopegate.client import policydocuments  # noqa: PLC0415 -- whoever has a client has it

    return {
        "subject": change.subject,
        **policydocuments.change_document(change).model_dump(mode="json"),
    }


def _kept(one: Kept) -> JsonObject:
    none = dict.fromkeys(("before", "after", "summary_before", "summary_after"))
    return {"subject": one.subject, "kind": "keep", "area": one.area.value, "name": one.name, **none}


def _changes(count: int) -> str:
    return "1 change" if count == 1 else f"{count} changes"
