"""What holds for every command: where it writes, how it fails, and with which exit code."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from conftest import find_free_port
from e2e.processes import DEADLINE, SCOPEGATE, environment, scopegate
from scopegate.cli import cli
from scopegate.cli.output import FLAGS
from scopegate.cli.serve import serve
from scopegate.commands import Commands
from scopegate.core.errors import KeyLimitReached
from scopegate.core.keys import KeyRecord, KeyType
from scopegate.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cli.conftest import Instance

EXTERNAL = ("key", "create", "--type", "external", "--description", "x")
CUSTOM = ("key", "create", "--type", "custom", "--description", "x")


@pytest.mark.parametrize(
    ("args", "code", "slug", "said"),
    [
        (("key", "show"), 2, "usage", "error: Missing argument 'ID'."),
        (("key", "show", "nope"), 3, "not_found", "error: There is no key 'nope'.\nhint: "),
        (("user", "show", "nope"), 3, "not_found", "error: There is no user 'nope'.\nhint: "),
        (("user", "add-role", "tom", "nope"), 3, "not_found", "error: There is no role 'nope'.\nhint: "),
        ((*EXTERNAL, "--expires", "2020-01-01T00:00Z"), 6, "expiry_in_past", "error: The expiry must be"),
        ((*EXTERNAL, "--expires", "tomorrow"), 6, "invalid", "error: 'tomorrow' is not a date"),
        (
            (*CUSTOM, "--url", "/a", "--url", "/b", "--method", "GET"),
            6,
            "invalid",
            "error: There are 2 --url and 1 --method.\nhint: ",
        ),
        (CUSTOM, 6, "rules_required", "error: Add at least one URL."),
        ((*EXTERNAL, "--description", "red: \x1b[31m"), 6, "invalid", "error: The description has"),
        ((*EXTERNAL, "--user", "nobody"), 6, "user_not_found", "error: There is no user 'nobody'.\nhint: "),
        (
            ("key", "list", "--redis-url", "http://x"),
            2,
            "configuration_invalid",
            "error: redis_url (--redis-url,",
        ),
        (("explain", "--key-id", "000000000000", "GET", "/"), 3, "not_found", "error: There is no key"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_a_failure_has_its_code_and_says_why_on_stderr_alone(
    instance: Instance, args: tuple[str, ...], code: int, slug: str, said: str
) -> None:
    for_people, for_programs = instance.run_all(args, (*args, "-o", "json"))
    assert (for_people.code, for_people.out) == (code, "")
    assert said in for_people.err
    assert (for_programs.code, for_programs.out) == (code, "")
    problem = json.loads(for_programs.err)
    assert problem["code"] == slug
    assert problem["type"] == f"urn:scopegate:problem:{slug}"
    assert problem["detail"].partition(".")[0] in for_people.err
    assert ("hint: " in for_people.err) is ("hint" in problem)
    assert "Traceback" not in for_people.err + for_programs.err
    assert "\x1b" not in for_people.err


def test_a_feature_that_is_off_is_4(instance: Instance) -> None:
    instance.data("flag", "scoped-api", "off")
    refused = instance.run(*CUSTOM, "--url", "/a", "--method", "GET", "-o", "json")
    instance.data("flag", "scoped-api", "on")
    assert (refused.code, refused.out, json.loads(refused.err)["code"]) == (4, "", "feature_disabled")


@pytest.fixture
def full(instance: Instance) -> Iterator[None]:
    """As many keys as the tenant may have."""

    async def fill() -> None:
        store = Store.at(instance.url)
        commands = Commands(store)
        with suppress(KeyLimitReached):
            while True:
                await commands.create_key(key_type=KeyType.EXTERNAL, description="one of many")
        await store.aclose()

    async def empty() -> None:
        store = Store.at(instance.url)
        commands = Commands(store)
        for record in await commands.list_keys():
            await commands.delete_key(record.id)
        await store.aclose()

    asyncio.run(fill())
    yield
    asyncio.run(empty())


@pytest.mark.usefixtures("full")
def test_a_limit_that_is_reached_is_5(instance: Instance) -> None:
    refused = instance.run(*EXTERNAL)
    assert (refused.code, refused.out) == (5, "")
    assert refused.err.startswith(
        "error: This tenant has 300 of 300 keys: 300 active.\nhint: Delete a key first"
    )


@pytest.mark.usefixtures("full")
def test_a_reader_that_has_enough_is_no_failure(instance: Instance) -> None:
    with subprocess.Popen(
        [*SCOPEGATE, "key", "list", "--data-dir", instance.data_dir],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"ID ")
        process.stdout.close()
        assert process.wait(DEADLINE) == 0
        assert process.stderr.read() == b""


def test_a_store_that_does_not_answer_is_7() -> None:
    url = f"redis://:hunter2@127.0.0.1:{find_free_port()}/0"
    for_people = scopegate("key", "list", "--redis-url", url)
    assert (for_people.code, for_people.out) == (7, "")
    assert for_people.err.startswith("error: Redis does not answer")
    for_programs = scopegate("key", "list", "-o", "json", env={"SCOPEGATE_REDIS_URL": url})
    assert (for_programs.code, json.loads(for_programs.err)["code"]) == (7, "store_unavailable")
    assert "hunter2" not in for_people.err + for_programs.err


def test_an_answer_that_cannot_be_written_is_a_failure(instance: Instance) -> None:
    if not os.path.exists("/dev/full"):  # noqa: PTH110 -- a device
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "w") as full:  # noqa: PTH123 -- a device
        done = subprocess.run(
            [*SCOPEGATE, "user", "list", "--data-dir", instance.data_dir],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_arguments_that_are_no_text_are_refused(instance: Instance) -> None:
    for refused in instance.run_all(
        (*EXTERNAL, "--user", "\udcff"),
        ("key", "show", "\udcff"),
        ("key", "show", "\udcff" * 12),
        ("user", "show", "\udcff"),
        ("explain", "--key-id", "000000000000", "GET", "/\udcff"),
    ):
        assert refused.code in {2, 3, 6}
        assert refused.out == ""
        assert "error: " in refused.err
        assert "Traceback" not in refused.err


def test_what_others_stored_cannot_steer_the_terminal(instance: Instance) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\u202e\r\nsecond line"

    async def store_past_the_checks() -> None:
        store = Store.at(instance.url)
        commands = Commands(store)
        issued = await commands.create_key(key_type=KeyType.EXTERNAL, description="harmless")
        await store.keys.change(issued.record.id, lambda record: _described(record, hostile))
        ids.append(issued.record.id)
        await store.aclose()

    ids: list[str] = []
    asyncio.run(store_past_the_checks())
    listed, shown = instance.run_all(("key", "list"), ("key", "show", ids[0]))
    deleted = instance.run("key", "delete", ids[0], "--yes")
    assert len(listed.out.splitlines()) == 2
    for text in (listed.out, shown.out, deleted.err):
        assert "second line" in text
        assert not set(text) & set("\x1b\x07\r\u202e")


def _described(record: KeyRecord, description: str) -> KeyRecord:
    return KeyRecord(
        id=record.id,
        tenant=record.tenant,
        type=record.type,
        digest=record.digest,
        description=description,
        created_at=record.created_at,
    )


def test_a_terminal_without_unicode_gets_escapes(instance: Instance) -> None:
    key_id = instance.create(description="Zoë 日本")["id"]
    latin = {"PYTHONIOENCODING": "latin-1:strict", "PYTHONUTF8": "0"}
    assert "Zo" in instance.run("key", "show", key_id).out
    done = subprocess.run(
        [*SCOPEGATE, "key", "show", key_id, "--data-dir", instance.data_dir],
        capture_output=True,
        env=environment(latin),
        check=False,
    )
    assert done.returncode == 0
    assert b"Zo\xeb \\u65e5\\u672c" in done.stdout


def test_an_unknown_option_is_a_usage_error_with_the_usage() -> None:
    refused = scopegate("key", "create", "--descriptoin", "x")
    assert (refused.code, refused.out) == (2, "")
    usage, _, rest = refused.err.partition("\n")
    assert usage.startswith("Usage: ")
    assert "error: No such option '--descriptoin'." in rest
    assert "hint: See: " in rest
    assert "key create --help" in rest


def test_no_command_at_all_is_a_usage_error_with_the_help() -> None:
    refused = scopegate()
    assert (refused.code, refused.out) == (2, "")
    assert "Commands:" in refused.err


def test_where_the_instance_is_comes_from_the_flag_then_the_environment_then_the_file(
    instance: Instance, tmp_path: Path
) -> None:
    nowhere = f"redis://127.0.0.1:{find_free_port()}"
    file = tmp_path / "settings.yaml"
    file.write_text(f"data_dir: {instance.data_dir}\n")
    by_file = {"SCOPEGATE_CONFIG": str(file)}
    assert scopegate("user", "list", env=by_file).code == 0
    file.write_text(f"redis_url: {nowhere}\n")
    assert scopegate("user", "list", env=by_file).code == 7
    by_both = {**by_file, "SCOPEGATE_REDIS_URL": instance.url}
    assert scopegate("user", "list", env=by_both).code == 0
    assert scopegate("user", "list", "--redis-url", nowhere, env=by_both).code == 7
    assert instance.run("user", "list", env={"SCOPEGATE_REDIS_URL": nowhere}).code == 0


def test_the_form_of_the_answer_comes_from_the_flag_then_the_environment(instance: Instance) -> None:
    by_environment = {"SCOPEGATE_FORMAT": "json"}
    assert json.loads(instance.run("user", "list", env=by_environment).out)[0]["id"] == "ana"
    assert instance.run("user", "list", "-o", "table", env=by_environment).out.startswith("ID ")
    refused = instance.run("user", "list", env={"SCOPEGATE_FORMAT": "xml"})
    assert (refused.code, refused.out) == (2, "")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SCOPEGATE_KEY_PREFIX", "s_", "error: key_prefix (SCOPEGATE_KEY_PREFIX): "),
        ("SCOPEGATE_WORKERS", "none", "error: workers (--workers, SCOPEGATE_WORKERS): "),
        ("SCOPEGATE_PEPPER", "hunter2", "error: pepper (SCOPEGATE_PEPPER): "),
        ("SCOPEGATE_CONFIG", "/nowhere.yaml", "error: config (SCOPEGATE_CONFIG): "),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_as_it_can_be_given(name: str, value: str, said: str) -> None:
    refused = scopegate("key", "list", env={name: value})
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(said)
    assert "\nhint: " in refused.err
    assert "hunter2" not in refused.err


def test_the_flags_that_errors_name_exist() -> None:
    options = {parameter.name for command in (serve, cli.commands["demo"]) for parameter in command.params}
    assert options - {"policies"} == FLAGS


def _commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from _commands(command, *path, name)


def test_every_command_has_help_that_names_the_environment_variables() -> None:
    assert scopegate("key", "create", "--help").out.startswith("Usage: ")
    for path in _commands(cli):
        shown = CliRunner().invoke(cli, [*path, "--help"])
        assert (shown.exit_code, shown.stderr) == (0, ""), path
        assert shown.stdout.startswith("Usage: "), path
        words = " ".join(shown.stdout.split())
        for option, variable in (
            ("--data-dir DIRECTORY", "SCOPEGATE_DATA_DIR"),
            ("--redis-url URL", "SCOPEGATE_REDIS_URL"),
            ("--output [table|wide|json|yaml|name|jsonl]", "SCOPEGATE_FORMAT"),
            ("--server URL", "SCOPEGATE_SERVER"),
            ("--context NAME", "SCOPEGATE_CONTEXT"),
            ("--tenant ID", "SCOPEGATE_TENANT"),
            ("--upstream URL", "SCOPEGATE_UPSTREAM"),
            ("--workers INTEGER", "SCOPEGATE_WORKERS"),
        ):
            if option in words and path != ("demo",):
                assert variable in words, (path, variable)
