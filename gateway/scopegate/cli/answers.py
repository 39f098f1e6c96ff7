"""The forms of an answer: a table for people, JSON, YAML or lines for programs, or one member alone."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import click

from scopegate.cli.output import print_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scopegate.cli.invocation import Invocation

JsonObject = dict[str, Any]


class Form(StrEnum):
    """In which form an answer is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"
    JSONL = "jsonl"


FOR_PROGRAMS = frozenset({Form.JSON, Form.YAML, Form.JSONL})


def answer(
    invocation: Invocation,
    value: JsonObject | Sequence[JsonObject],
    for_people: Callable[[], None],
    *,
    name: str | None = None,
) -> None:
    """Print `value` in the form that is wanted.

    Args:
        invocation: says which form that is.
        value: one thing or a list of things.
        for_people: prints it as a table.
        name: the member that names a thing; without one ``-o name`` is the table.

    Raises:
        UsageError: ``--field`` names a member that there is not.
    """
    items = [value] if isinstance(value, dict) else list(value)
    if invocation.field is not None:
        for item in items:
            print_line(_bare(_member(item, invocation.field)))
        return
    match invocation.output:
        case Form.JSON:
            click.echo(json.dumps(value, indent=2, ensure_ascii=False))
        case Form.YAML:
            import yaml  # noqa: PLC0415 -- for whoever wants it

            click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
        case Form.JSONL:
            for item in items:
                click.echo(json.dumps(item, ensure_ascii=False, separators=(",", ":")))
        case Form.NAME if name is not None:
            for item in items:
                print_line(str(item[name]))
        case _:
            for_people()


def _member(item: JsonObject, field: str) -> Any:  # noqa: ANN401 -- whatever JSON can say
    if field not in item:
        raise no_member(field, list(item))
    return item[field]


def no_member(field: str, members: Sequence[str]) -> click.UsageError:
    """The error that says that an answer has no such member."""
    return click.UsageError(f"The answer has no member {field!r}, but: {', '.join(members)}.")


def _bare(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
