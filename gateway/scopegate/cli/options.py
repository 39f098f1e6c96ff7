"""The options that commands have in common. They are kept in the Invocation, where a failure finds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scopegate.cli.answers import Form
from scopegate.core.audit import LONGEST_REASON

if TYPE_CHECKING:
    from collections.abc import Callable

    Decorated = Callable[..., Any]


def through_api(command: Decorated) -> Decorated:
    """Make `command` one that goes to a control plane or a store; its first argument is the Invocation."""
    return click.pass_obj(_forms(_server(_context(_store(_tenant(_token(command)))))))


def system_through_api(command: Decorated) -> Decorated:
    """As `through_api`, for what belongs to no tenant."""
    return click.pass_obj(_forms(_server(_context(_store(_token(command))))))


def changes_system_through_api(command: Decorated) -> Decorated:
    """As `system_through_api`, for a command that changes something."""
    return system_through_api(_reason(_dry_run(command)))


def on_server(command: Decorated) -> Decorated:
    """For a command about a control plane over the network; its first argument is the Invocation."""
    return click.pass_obj(_forms(_server(_context(_token(command)))))


def changes_through_api(command: Decorated) -> Decorated:
    """As `through_api`, for a command that changes something."""
    return through_api(_reason(_dry_run(command)))


def on_data_dir(command: Decorated) -> Decorated:
    """For a command that works on the files of an embedded store; its first argument is the Invocation."""
    return click.pass_obj(_forms(_data_dir(command)))


def without_instance(command: Decorated) -> Decorated:
    """For a command that answers from what is on this machine; its first argument is the Invocation."""
    return click.pass_obj(_forms(command))


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if parameter.name is not None:
        setattr(context.obj, parameter.name, value)


def _reasonable(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and (len(value) > LONGEST_REASON or not value.isprintable()):
        raise click.BadParameter(f"one line of at most {LONGEST_REASON} characters, please.")
    _remember(context, parameter, value)


def _kept(*names: str, **attributes: Any) -> Callable[[Decorated], Decorated]:  # noqa: ANN401 -- click's
    return click.option(*names, **{"expose_value": False, "callback": _remember, **attributes})


def _forms(command: Decorated) -> Decorated:
    return _output(_field(command))


_output = _kept(
    "-o",
    "--output",
    type=click.Choice([form.value for form in Form]),
    default=Form.TABLE.value,
    show_default=True,
    envvar="SCOPEGATE_FORMAT",
    show_envvar=True,
    is_eager=True,
    help="The form of the answer; name: the ids alone.",
)
_field = _kept("--field", metavar="NAME", help="Print one member of the answer alone, as it is.")
_reason = _kept("--reason", metavar="TEXT", callback=_reasonable, help="Why; it is kept in the audit log.")
_dry_run = _kept("--dry-run", is_flag=True, help="Check everything, say what would be, and change nothing.")
_server = _kept(
    "--server", metavar="URL", help="The control plane to go to, with a token.  [env: SCOPEGATE_SERVER]"
)
_context = _kept("--context", metavar="NAME", help="One of 'context list'.  [env: SCOPEGATE_CONTEXT]")
_tenant = _kept("--tenant", metavar="ID", help="Whose keys and users.  [env: SCOPEGATE_TENANT]")
_data_dir = _kept(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data directory of the embedded store.  [env: SCOPEGATE_DATA_DIR]",
)
_redis_url = _kept(
    "--redis-url",
    metavar="URL",
    help="Redis or Valkey in place of the embedded store.  [env: SCOPEGATE_REDIS_URL]",
)


def _store(command: Decorated) -> Decorated:
    return _data_dir(_redis_url(command))


def token_options(command: Decorated) -> Decorated:
    """How a token comes in beside SCOPEGATE_TOKEN, and over what."""
    stdin = _kept(
        "--token-stdin", is_flag=True, help="Read the token from stdin, in place of SCOPEGATE_TOKEN."
    )
    insecure = _kept(
        "--insecure-http", is_flag=True, help="Send the token without encryption, also to another machine."
    )
    return stdin(insecure(command))


_token = token_options
