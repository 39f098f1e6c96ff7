"""How the command line speaks: data on stdout, everything else on stderr, one meaning per exit code."""

from __future__ import annotations

import json
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import click

from scopegate.core.errors import (
    ConfigurationError,
    Conflict,
    FeatureDisabled,
    Forbidden,
    InvalidInput,
    NotFound,
    PrivilegesUnavailable,
    ScopegateError,
    StaleVersion,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scopegate.cli.invocation import Invocation


# The settings that are also options.
FLAGS = frozenset(
    {
        *("upstream", "listen", "admin_listen", "forward_auth_listen", "workers", "redis_url", "data_dir"),
        "upstream_listen",
    }
)


class Exit(IntEnum):
    """What a command's end means."""

    OK = 0
    NEGATIVE = 1
    USAGE = 2
    NOT_FOUND = 3
    FORBIDDEN = 4
    CONFLICT = 5
    INVALID = 6
    UNAVAILABLE = 7
    PARTLY = 8
    INTERRUPTED = 130


class NotSignedIn(ScopegateError):
    """There is no token for the server that is meant."""

    code = "not_signed_in"


_EXITS: tuple[tuple[type[ScopegateError], Exit], ...] = (
    (ConfigurationError, Exit.USAGE),
    (NotFound, Exit.NOT_FOUND),
    (FeatureDisabled, Exit.FORBIDDEN),
    (Forbidden, Exit.FORBIDDEN),
    (NotSignedIn, Exit.FORBIDDEN),
    (Conflict, Exit.CONFLICT),
    (StaleVersion, Exit.CONFLICT),
    (InvalidInput, Exit.INVALID),
    (StoreUnavailable, Exit.UNAVAILABLE),
    (PrivilegesUnavailable, Exit.UNAVAILABLE),
)
_EXITS_OF_STATUSES = {
    401: Exit.FORBIDDEN,
    403: Exit.FORBIDDEN,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    412: Exit.CONFLICT,
    428: Exit.CONFLICT,
    429: Exit.UNAVAILABLE,
}
_SERVER_ERRORS = 500


def exit_of_status(status: int) -> Exit:
    """Which exit code a refusal of the administration API is."""
    return _EXITS_OF_STATUSES.get(status, Exit.INVALID if status < _SERVER_ERRORS else Exit.UNAVAILABLE)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under `head` in columns that are as wide as their widest cell."""
    cells = [tuple(head), *(tuple(_one_line(cell) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one pair a line."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        click.echo(f"{name.ljust(width)}  {_one_line(value)}")


def print_line(text: str) -> None:
    """Print one line of data."""
    click.echo(_one_line(text))


def note(text: str) -> None:
    """Tell a person something that is not data."""
    click.echo("\n".join(map(_one_line, text.split("\n"))), err=True)


def confirm(question: str) -> None:
    """Ask a person before something is done that cannot be undone.

    Raises:
        UsageError: nobody is there to be asked.
        Abort: the answer is no.
    """
    if not sys.stdin.isatty():
        raise click.UsageError("This needs a confirmation: pass --yes.")
    if not click.confirm(question, err=True):
        raise click.Abort


def report(error: ScopegateError, invocation: Invocation) -> Exit:
    """Say what went wrong, on stderr, and which exit code that is."""
    problem = getattr(error, "problem", None)  # what the API said
    if problem is None:
        _tell(error, invocation)
    else:
        _tell(error, invocation, document=problem.model_dump(mode="json", exclude_none=True))
        # In this process nobody can look a request up.
        if invocation.is_remote and not invocation.wants_data:
            note(f"request-id: {problem.instance.removeprefix('urn:uuid:')}")
    return exit_of(error)


def exit_of(error: ScopegateError) -> Exit:
    """Which exit code belongs to what went wrong."""
    known = next((code for kind, code in _EXITS if isinstance(error, kind)), None)
    if known is not None:
        return known
    # Whatever raised one of these has imported its module; nobody else waits for that.
    from scopegate.cli.browserlogin import SignInFailed  # noqa: PLC0415
    from scopegate.client import ApiError, ServerUnreachable  # noqa: PLC0415
    from scopegate.policyfiles import PolicyFileError  # noqa: PLC0415

    match error:
        case ApiError():
            return exit_of_status(error.status)
        case ServerUnreachable():
            return Exit.UNAVAILABLE
        case SignInFailed():
            return Exit.FORBIDDEN
        case PolicyFileError():
            return Exit.INVALID
        case _:
            return Exit.NEGATIVE


def report_usage(error: click.ClickException, invocation: Invocation) -> Exit:
    """Say how the command line was wrong, on stderr."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return Exit.USAGE
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = None if context is None else f"See: {context.command_path} --help"
    if context is not None and not invocation.wants_data:
        note(context.get_usage())
    _tell(ScopegateError(error.format_message(), hint=hint, code="usage"), invocation)
    return Exit.USAGE


def _tell(error: ScopegateError, invocation: Invocation, *, document: dict[str, Any] | None = None) -> None:
    if invocation.wants_data:
        click.echo(json.dumps(_problem(error) if document is None else document), err=True)
        return
    note(f"error: {_where(error)}{error.message}")
    if error.hint:
        note(f"hint: {error.hint}")


def _where(error: ScopegateError) -> str:
    if not isinstance(error, ConfigurationError):
        return ""
    from scopegate.settings import Settings  # noqa: PLC0415 -- what read the settings has it

    flag = [f"--{error.setting.replace('_', '-')}"] if error.setting in FLAGS else []
    is_variable = error.setting in {*Settings.model_fields, "config"}
    variable = [f"SCOPEGATE_{error.setting.upper()}"] if is_variable else []
    names = ", ".join(flag + variable)
    return f"{error.setting} ({names}): " if names else f"{error.setting}: "


def _problem(error: ScopegateError) -> dict[str, str]:
    problem = {
        "type": f"urn:scopegate:problem:{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "detail": error.message,
        "code": error.code,
    }
    if error.hint:
        problem["hint"] = error.hint
    if isinstance(error, InvalidInput):
        problem["field"] = error.field
    if isinstance(error, ConfigurationError):
        problem["setting"] = error.setting
    return problem


def _one_line(text: str) -> str:
    # What is stored was written by many; a cell must not move the cursor of who reads it.
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
