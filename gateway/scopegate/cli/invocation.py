"""One run of the command line: which instance is meant, and in which form the answer is wanted."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scopegate import settings as configuration
from scopegate.admin.local import local_api
from scopegate.admin.visit import Office
from scopegate.cli.author import operator
from scopegate.cli.inprocess import InProcess
from scopegate.client import Client
from scopegate.commands import Commands
from scopegate.core.audit import LONGEST_REASON, SYSTEM, Author
from scopegate.store import Store
from scopegate.store.embedded import EmbeddedStore, is_running, socket_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from scopegate.settings import Settings
    from scopegate.store.location import Location

T = TypeVar("T")

_TABLE = "table"
_JSON = "json"
_JSON_LINES = "jsonl"
_ORIGIN = "cli"


@dataclass
class Invocation:
    """What the options say that all commands have."""

    output: str = _TABLE
    redis_url: str | None = None
    data_dir: Path | None = None
    reason: str | None = None

    @property
    def wants_json(self) -> bool:
        """Whether a program reads the answers."""
        return self.output != _TABLE

    @property
    def wants_lines(self) -> bool:
        """Whether each answer is to be a line of its own."""
        return self.output == _JSON_LINES

    @property
    def author(self) -> Author:
        """Who makes the changes of this run."""
        return Author(operator(), _ORIGIN, self.reason)

    def run(self, action: Callable[[Commands], Awaitable[T]]) -> T:
        """Run one operation on the instance that the options, or the settings, name."""
        settings = configuration.load(redis_url=self.redis_url, data_dir=self.data_dir)
        with _place_of_store(settings) as where:
            return asyncio.run(operate(action, where, settings, self.author))

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client of the instance that the options, or the settings, name."""
        settings = configuration.load(redis_url=self.redis_url, data_dir=self.data_dir)
        with _place_of_store(settings) as where, asyncio.Runner() as runner:
            store = Store.at(where, audit_retention=settings.audit_retention)
            office = Office(store, key_prefix=settings.key_prefix, pepper=settings.pepper_bytes)
            app = local_api(office, actor=operator(), origin=_ORIGIN)
            try:
                with Client("http://local", reason=self.reason, transport=InProcess(app, runner)) as client:
                    yield client
            finally:
                runner.run(store.aclose())


async def operate(
    action: Callable[[Commands], Awaitable[T]],
    where: Location | str,
    settings: Settings,
    author: Author = SYSTEM,
) -> T:
    """Run one operation on the store at a location or URL."""
    store = Store.at(where, author=author, audit_retention=settings.audit_retention)
    try:
        commands = Commands(store, key_prefix=settings.key_prefix, pepper=settings.pepper_bytes)
        return await action(commands)
    finally:
        await store.aclose()


def changes_instance(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `on_instance`, for a command that changes something; the reason goes to the audit log."""
    return on_instance(_reason(command))


def lists_instance(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `on_instance`, for a command whose answers can be lines of JSON as well."""
    return click.pass_obj(_output_or_lines(_data_dir(_redis_url(command))))


def on_instance(command: Callable[..., Any]) -> Callable[..., Any]:
    """Make `command` one that works on an instance: its first argument is the Invocation.

    The common options are kept there, where a failure before or after the command finds them too.
    """
    return on_data_dir(_redis_url(command))


def on_data_dir(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `on_instance`, for a command that works on the files of an embedded store."""
    return click.pass_obj(_output(_data_dir(command)))


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if parameter.name is not None:
        setattr(context.obj, parameter.name, value)


def _reasonable(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and (len(value) > LONGEST_REASON or not value.isprintable()):
        raise click.BadParameter(f"one line of at most {LONGEST_REASON} characters, please.")
    _remember(context, parameter, value)


def _output_in(*forms: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "-o",
        "--output",
        type=click.Choice(forms),
        default=_TABLE,
        show_default=True,
        envvar="SCOPEGATE_FORMAT",
        show_envvar=True,
        is_eager=True,
        expose_value=False,
        callback=_remember,
        help="The form of the answer.",
    )


_output = _output_in(_TABLE, _JSON)
_output_or_lines = _output_in(_TABLE, _JSON, _JSON_LINES)
_reason = click.option(
    "--reason",
    metavar="TEXT",
    expose_value=False,
    callback=_reasonable,
    help="Why; it is kept in the audit log.",
)
_data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    expose_value=False,
    callback=_remember,
    help="Data directory of the embedded store.  [env: SCOPEGATE_DATA_DIR]",
)
_redis_url = click.option(
    "--redis-url",
    metavar="URL",
    expose_value=False,
    callback=_remember,
    help="Redis or Valkey in place of the embedded store.  [env: SCOPEGATE_REDIS_URL]",
)


@contextmanager
def _place_of_store(settings: Settings) -> Iterator[Location | str]:
    redis = settings.redis
    if redis is not None:
        yield redis
    elif is_running(settings.data_dir):
        yield socket_url(settings.data_dir)
    else:
        # Nobody serves from this directory now: the command starts its store for itself.
        with EmbeddedStore(settings.data_dir) as embedded:
            yield embedded.url
