"""``scopegate store``: the files of an embedded store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scopegate.cli.answers import JsonObject, answer
from scopegate.cli.options import on_data_dir
from scopegate.cli.output import confirm, note, print_fields
from scopegate.core.errors import ConfigurationError, NotFound
from scopegate.representations import timestamp

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.cli.invocation import Invocation


@click.group("store")
def store_group() -> None:
    """Look after the files of an embedded store."""


@store_group.command("repair")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@on_data_dir
def repair(invocation: Invocation, *, yes: bool) -> None:
    """Cut the damaged end off an append-only file, so that the embedded store starts again.

    All that was written after the first damage is lost: keys that were created there are gone, and keys
    that were disabled or deleted there are valid again. A copy of all files is kept.
    """
    from scopegate.store import appendonly  # noqa: PLC0415 -- it brings Redis along
    from scopegate.store.embedded import EmbeddedStore, damaged  # noqa: PLC0415

    data_dir = _data_dir(invocation)
    with EmbeddedStore(data_dir).at_rest():
        found = appendonly.find_damage(data_dir)
        if found is None:
            place = data_dir / appendonly.DIRECTORY
            answer(invocation, {"damaged": False}, lambda: note(f"No damage is to be seen in {place}."))
            return
        if found.survey is None:
            raise damaged(data_dir, found)
        size, sound, until = found.file.stat().st_size, found.survey.sound, timestamp(found.survey.until)
        if not yes:
            since = f" (since about {until})" if until else ""
            confirm(
                f"Cut off the last {size - sound:,} of {size:,} bytes of {found.file}{since}? Keys that were "
                "disabled or deleted there are valid again, and keys that were created there are gone."
            )
        copy = appendonly.back_up(data_dir)
        appendonly.cut_off(found.file, sound)
    told: JsonObject = {
        "damaged": True,
        "file": str(found.file),
        "kept_bytes": sound,
        "lost_bytes": size - sound,
        "kept_until": until,
        "copy": str(copy),
    }
    answer(
        invocation,
        told,
        lambda: print_fields(
            [
                ("file", told["file"]),
                ("kept", f"{sound:,} bytes"),
                ("lost", f"{size - sound:,} bytes"),
                ("kept until", until or "unknown"),
                ("copy", told["copy"]),
            ]
        ),
    )
    if invocation.wants_data:
        return
    note("Look through the keys and users, and disable again what has to be: scopegate key list")


def _data_dir(invocation: Invocation) -> Path:
    from scopegate import settings as configuration  # noqa: PLC0415 -- they bring Redis along
    from scopegate.store import appendonly  # noqa: PLC0415

    settings = configuration.load(data_dir=invocation.data_dir)
    if settings.redis_url is not None:
        raise ConfigurationError(
            "redis_url", "The files of a Redis are not ours to repair.", hint="Name a --data-dir."
        )
    data_dir = settings.data_dir.resolve()
    if not (data_dir / appendonly.DIRECTORY).is_dir():
        raise NotFound(f"There is no store in {data_dir}.", hint="Name its --data-dir.")
    return data_dir
