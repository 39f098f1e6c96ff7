"""``scopegate test``, ``export`` and ``policy``: policy files without changing what is in force."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import answer
from scopegate.cli.options import through_api, without_instance
from scopegate.cli.output import Exit, note, print_line
from scopegate.cli.policyplan import directory_argument, load
from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scopegate.cli.invocation import Invocation
    from scopegate.core.policies import Policies


@click.command("test")
@directory_argument
@without_instance
def test(invocation: Invocation, directory: Path) -> int:
    """Check the policy files of DIRECTORY and every expectation; needs no running gateway.

    Ends with 0 if all expectations hold and with 1 if one does not.
    """
    verdicts = load(directory).verdicts()
    broken = [verdict for verdict in verdicts if not verdict.holds]

    def print_broken() -> None:
        for verdict in broken:
            print_line(verdict.describe())

    shown = [
        {
            "expectation": str(verdict.expectation),
            "source": verdict.expectation.source,
            "holds": verdict.holds,
            "allowed": verdict.decision.allowed,
            "reason": verdict.decision.reason.value,
            "missing_privileges": list(verdict.decision.missing),
        }
        for verdict in verdicts
    ]
    answer(invocation, shown, print_broken)
    note(f"{len(verdicts)} expectations, {len(broken)} broken.")
    return Exit.NEGATIVE if broken else Exit.OK


@click.command("export")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option("--force", is_flag=True, help="Overwrite the files that are there.")
@through_api
def export(invocation: Invocation, directory: Path | None, *, force: bool) -> None:
    """Write the policies in force as policy files to DIRECTORY, or as one document to stdout.

    'apply' and 'diff' of what is written change nothing.
    """
    from scopegate import policywriting  # noqa: PLC0415 -- --help does without YAML
    from scopegate.policyschema import schema_text  # noqa: PLC0415 -- as above

    with invocation.client() as client:
        found, _ = client.policies()
    from scopegate.client import policydocuments  # noqa: PLC0415 -- whoever has a client has it

    policies = policydocuments.policies_of(found)
    if directory is None:
        text = policywriting.dump_document(policies)
        answer(invocation, policywriting.document(policies), lambda: click.echo(text, nl=False))
        return
    texts = {**policywriting.dump(policies), policywriting.SCHEMA_FILE: schema_text()}
    _write(directory, texts, force=force)
    files = [str(directory / name) for name in texts]
    answer(
        invocation,
        {"directory": str(directory), "files": files},
        lambda: note(f"Wrote {', '.join(texts)} to {directory}."),
        name="directory",
    )
    _warn_of_others(directory, policies)


@click.group("policy")
def policy_group() -> None:
    """Look at the format of policy files; 'diff', 'apply', 'export' and 'test' work with them."""


@policy_group.command("schema")
def schema() -> None:
    """Print the JSON Schema of policy files, with which editors complete and check them."""
    from scopegate.policyschema import schema_text  # noqa: PLC0415 -- --help does without it

    click.echo(schema_text(), nl=False)


def _write(directory: Path, texts: Mapping[str, str], *, force: bool) -> None:
    present = [name for name in texts if (directory / name).exists()]
    if present and not force:
        raise InvalidInput(
            "directory",
            f"{directory} has {', '.join(present)} already.",
            hint="Name another directory, or overwrite them with --force.",
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InvalidInput(
            "directory", f"Cannot write to {directory}: {error.strerror}.", hint="Name another directory."
        ) from error


def _warn_of_others(directory: Path, policies: Policies) -> None:
    """Say so if the directory as a whole is not what was written, for it has other files as well."""
    from scopegate.policyfiles import PolicyFileError  # noqa: PLC0415 -- --help does without YAML

    try:
        if load(directory).policies == policies:
            return
        told = "They say more."
    except PolicyFileError as error:
        told = error.message
    note(f"There are other policy files in {directory} as well. {told}")
