"""The command line: a client of the administration API, and what runs and looks after an instance.

What a command needs is imported when it runs: ``--help`` waits for nothing, and a command that goes over
the network loads neither Redis nor a server.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from scopegate.cli.admin import admin_group
from scopegate.cli.audit import audit_group
from scopegate.cli.check import check
from scopegate.cli.demo import demo
from scopegate.cli.doctor import doctor
from scopegate.cli.drift import drift
from scopegate.cli.endpoint import endpoint_group
from scopegate.cli.explain import explain
from scopegate.cli.flag import flag_group
from scopegate.cli.group import group_group, organization_group, role_group
from scopegate.cli.invocation import Invocation
from scopegate.cli.key import key_group
from scopegate.cli.openapi import openapi_group
from scopegate.cli.output import Exit, note, report, report_usage
from scopegate.cli.policies import export, policy_group, test
from scopegate.cli.policyplan import apply, diff
from scopegate.cli.serve import serve
from scopegate.cli.shell import completion, version_command
from scopegate.cli.signin import context_group, login, logout, whoami
from scopegate.cli.store import store_group
from scopegate.cli.tenant import tenant_group
from scopegate.cli.token import token_group
from scopegate.cli.user import user_group
from scopegate.core.errors import ScopegateError

if TYPE_CHECKING:
    from collections.abc import Iterator


class _ReaderGone(Exception):
    """Nobody reads stdout any more. Of an OSError, click would make exit code 1, which is an answer."""


@contextmanager
def _reader_may_go() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGone from error


class _Cli(click.Group):
    def make_context(self, *args: Any, **options: Any) -> click.Context:  # noqa: ANN401 -- click's own
        with _reader_may_go():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 -- click's own
        with _reader_may_go():
            return super().invoke(ctx)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="scopegate", message="scopegate %(version)s")
def cli() -> None:
    """An API-key gateway: a key opens only its URLs and methods, while it is valid, for its user."""


for command in (
    serve,
    demo,
    key_group,
    explain,
    check,
    test,
    openapi_group,
    endpoint_group,
    drift,
    diff,
    apply,
    export,
    policy_group,
    user_group,
    group_group,
    role_group,
    organization_group,
    flag_group,
    audit_group,
    tenant_group,
    admin_group,
    token_group,
    login,
    logout,
    whoami,
    context_group,
    doctor,
    store_group,
    completion,
    version_command,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit with the code that the outcome has."""
    invocation = Invocation()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character shows its escape.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(cli.main(standalone_mode=False, obj=invocation) or Exit.OK)
    except _ReaderGone:
        # The reader has what it wanted; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.OK)
    except ScopegateError as error:
        sys.exit(report(error, invocation))
    except click.Abort:
        sys.exit(Exit.INTERRUPTED)
    except click.ClickException as error:
        sys.exit(report_usage(error, invocation))
    except UnicodeEncodeError:
        sys.exit(report_usage(click.UsageError("An argument is not valid UTF-8."), invocation))
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except OSError as error:
        note(f"error: {error}")
        sys.exit(Exit.NEGATIVE)
