"""``scopegate key rules``: what a custom key opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.invocation import Invocation, changes_instance, on_instance
from scopegate.cli.keyanswer import print_edited
from scopegate.cli.output import confirm, note, print_json, print_table
from scopegate.core.errors import InvalidInput
from scopegate.core.keyediting import rule_in_row
from scopegate.core.keys import KeyRecord, KeyType, Rule

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from scopegate.commands import Commands, EditedKey


@click.group("rules")
def rules_group() -> None:
    """Look at what a custom key opens, and change it."""


@rules_group.command("list")
@click.argument("key_id", metavar="ID")
@on_instance
def list_rules(invocation: Invocation, key_id: str) -> None:
    """List the rules of a key, row by row."""

    async def action(commands: Commands) -> KeyRecord:
        return await commands.find_key(key_id)

    record = invocation.run(action)
    if invocation.wants_json:
        print_json(
            [
                {"row": row, "method": rule.method, "url": rule.url}
                for row, rule in enumerate(record.rules, start=1)
            ]
        )
    elif record.rules:
        print_table(
            ("ROW", "METHOD", "URL"),
            [(str(row), rule.method, rule.url) for row, rule in enumerate(record.rules, start=1)],
        )
    elif record.type is KeyType.CUSTOM:
        note(_opens_nothing(record))
    else:
        note(f"A key of type {record.type} has no URL rules: it opens every URL.")


@rules_group.command("add")
@click.argument("key_id", metavar="ID")
@click.option("--url", "urls", multiple=True, required=True, help="A URL; * is a wildcard. Repeatable.")
@click.option(
    "--method", "methods", multiple=True, required=True, help="The method for each --url, in the same order."
)
@changes_instance
def add(invocation: Invocation, key_id: str, urls: tuple[str, ...], methods: tuple[str, ...]) -> None:
    """Have a custom key open more; the next request sees it."""
    rules = rules_of(urls, methods)

    async def action(commands: Commands) -> tuple[EditedKey, datetime]:
        found = await commands.find_key(key_id)
        return await commands.add_rules(found.id, rules), commands.now()

    print_edited(invocation, *invocation.run(action))


@rules_group.command("remove")
@click.argument("key_id", metavar="ID")
@click.option("--row", "rows", type=int, multiple=True, help="A row, as 'rules list' counts. Repeatable.")
@click.option("--url", "urls", multiple=True, help="The URL of a rule, whole. Repeatable.")
@click.option("--method", "methods", multiple=True, help="The method for each --url, in the same order.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before the last rule goes.")
@changes_instance
def remove(
    invocation: Invocation,
    key_id: str,
    rows: tuple[int, ...],
    urls: tuple[str, ...],
    methods: tuple[str, ...],
    *,
    yes: bool,
) -> None:
    """Have a custom key open less; the next request sees it. Without any rule it opens nothing."""
    rules = rules_of(urls, methods)
    if not rules and not rows:
        raise click.UsageError("Name a rule: with --row, or with --url and --method.")

    async def find(commands: Commands) -> KeyRecord:
        return await commands.find_key(key_id)

    found = invocation.run(find)
    # A row is what it is now: somebody else may remove one before it.
    rules = tuple(dict.fromkeys((*(rule_in_row(found, row) for row in rows), *rules)))
    last = bool(found.rules) and set(found.rules) <= set(rules)
    if last and not yes:
        confirm(f"Remove all rules of {found.id} ({found.description}), so that it opens nothing?")

    async def action(commands: Commands) -> tuple[EditedKey, datetime]:
        return await commands.remove_rules(found.id, rules, even_the_last=yes or last), commands.now()

    edited, now = invocation.run(action)
    print_edited(invocation, edited, now)
    if not edited.record.rules:
        note(_opens_nothing(edited.record))


def rules_of(urls: Sequence[str], methods: Sequence[str]) -> tuple[Rule, ...]:
    """The rules that pairs of --url and --method spell.

    Raises:
        InvalidInput: they are not pairs, or a URL cannot be in a rule.
    """
    if len(urls) != len(methods):
        raise InvalidInput(
            "method",
            f"There are {len(urls)} --url and {len(methods)} --method.",
            hint="Give each --url its --method, in the same order.",
        )
    return tuple(Rule(method, url) for url, method in zip(urls, methods, strict=True))


def _opens_nothing(record: KeyRecord) -> str:
    return f"{record.id} has no rules, so it opens nothing. Add one with: scopegate key rules add {record.id}"
