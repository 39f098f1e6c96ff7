"""The append-only file: which part of it is sound, and what a start makes of one that is not."""

from __future__ import annotations

import asyncio
import os
import random
import re
import resource
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis

from scopegate.core.errors import ConfigurationError, KeyLimitReached, StoreUnavailable
from scopegate.core.keys import DELETION_DELAY
from scopegate.store import Store, layout
from scopegate.store.appendonly import Survey, back_up, cut_off, find_damage, survey
from scopegate.store.embedded import DAMAGED, EmbeddedStore, _nobody_listens
from store.facts import NOW, TAG, key
from store.stopped import Stopped, checked_by_valkey, keys_after_a_start, stopped_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SET = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n{}\r\n"
MULTI, EXEC = b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n"
STAMP = b"#TS:1700000000\r\n"
WHEN = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.fixture
def data_dir(short_dir: Path, request: pytest.FixtureRequest) -> Path:
    """A directory that does not exist yet."""
    return (short_dir / f"a{abs(hash(request.node.name)) % 10**9}").resolve()


@pytest.fixture
def stopped(data_dir: Path) -> Stopped:
    """A store with ten keys."""
    return stopped_store(data_dir, map(key, range(10)))


# What is sound


@pytest.mark.parametrize(
    ("data", "sound", "torn", "until"),
    [
        (b"", 0, False, None),
        (SET, len(SET), False, None),
        (STAMP + SET + STAMP, len(STAMP + SET + STAMP), False, WHEN),
        (SET + STAMP[:6], len(SET), True, None),
        (SET + STAMP[:6] + STAMP + SET + b"nonsense", len(SET + STAMP[:6] + STAMP + SET), False, WHEN),
        (STAMP + b"#else\r\n" + SET, len(STAMP + b"#else\r\n" + SET), False, WHEN),
        (MULTI + SET + EXEC, len(MULTI + SET + EXEC), False, None),
        (SET + MULTI + SET, len(SET), True, None),
        (SET + MULTI + SET + EXEC[:-1], len(SET), True, None),
        (SET + b"\0\0\0", len(SET), False, None),
        (SET + b"nonsense", len(SET), False, None),
        (SET + EXEC, len(SET), False, None),
        (SET + MULTI + MULTI + SET + EXEC, len(SET), False, None),
        (SET + b"*3\r\n$3\r\nSET\r\n*1\r\n" + SET, len(SET), False, None),
        (SET + SET.replace(b"$2", b"$3"), len(SET), False, None),
        (SET + SET.replace(b"$2", b"$99") + SET, len(SET), False, None),
        (SET + SET.replace(b"$2", b"$-2") + SET, len(SET), False, None),
        (STAMP + SET + b"*0\r\n", len(STAMP + SET), False, WHEN),
    ],
)
def test_the_sound_part_ends_with_the_last_whole_change(
    data: bytes,
    sound: int,
    torn: bool,  # noqa: FBT001 -- a case
    until: datetime | None,
) -> None:
    assert survey(data) == Survey(sound, torn, until)


def test_every_beginning_of_a_sound_file_is_torn_or_whole(stopped: Stopped) -> None:
    content = stopped.written.read_bytes()
    whole = {0}
    for end in range(1, len(content) + 1):
        found = survey(content[:end])
        if found.sound == end:
            whole.add(end)
        assert found.sound == max(whole)
        assert found.torn is (end not in whole)
    assert len(content) in whole
    assert len(whole) >= 11


def test_valkey_finds_the_same_damage(stopped: Stopped) -> None:
    content = stopped.written.read_bytes()
    lines_end = content.index(b"*")
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 -- pytest shows it when the test fails
    damaging = random.Random(seed)
    for _ in range(60):
        damaged = bytearray(content)
        at = damaging.randrange(lines_end, len(content))
        match damaging.randrange(3):
            case 0:
                damaged[at] ^= 1 << damaging.randrange(8)
            case 1:
                damaged[at] = damaging.choice(b"0123456789*$\r\n")
            case _:
                del damaged[at:]
        stopped.written.write_bytes(damaged)
        said = checked_by_valkey(stopped.written)
        if b"*0\r\n" in damaged or re.search(rb"\n#[^\n]*\Z", damaged):
            continue  # which the tool takes for sound
        sound = re.search(r"ok_up_to=(\d+)", said)
        assert sound, said
        assert survey(bytes(damaged)).sound == int(sound[1]), said


# What a start makes of it


def test_a_change_that_was_being_written_is_undone_and_the_others_are_there(
    stopped: Stopped, caplog: pytest.LogCaptureFixture
) -> None:
    content = stopped.written.read_bytes()
    last = survey(content[:-1]).sound
    for end in (last + 1, last + (len(content) - last) // 2, len(content) - 1):
        stopped.written.write_bytes(content[:end])
        assert keys_after_a_start(stopped.data_dir) == [key(number).id for number in range(9)]
        assert "never confirmed" in caplog.text
        assert stopped.written.read_bytes() == content[:last]


def test_a_timestamp_that_was_being_written_harms_nothing_that_follows(stopped: Stopped) -> None:
    ids = [key(number).id for number in range(10)]
    with stopped.written.open("ab") as file:
        file.write(STAMP[:6])
    assert keys_after_a_start(stopped.data_dir) == ids
    more = [key(number) for number in range(10, 13)]
    stopped_store(stopped.data_dir, more)
    cut(stopped.written, 1)
    assert keys_after_a_start(stopped.data_dir) == [*ids, more[0].id, more[1].id]


def refusal(data_dir: Path) -> StoreUnavailable:
    with pytest.raises(StoreUnavailable) as refused:
        EmbeddedStore(data_dir).start()
    return refused.value


@pytest.mark.parametrize("damage", [lambda it: it.damage_key(5), lambda it: it.swallow_key(5)])
def test_damage_in_the_middle_is_told_and_nothing_is_dropped(
    stopped: Stopped, damage: Callable[[Stopped], object]
) -> None:
    damage(stopped)
    content = stopped.written.read_bytes()
    refused = refusal(stopped.data_dir)
    assert refused.code == DAMAGED
    assert str(stopped.written) in refused.message
    assert f"scopegate store repair --data-dir {stopped.data_dir}" in str(refused.hint)
    assert stopped.written.read_bytes() == content


def test_zeros_at_the_end_are_damage_that_can_be_cut_off(stopped: Stopped) -> None:
    with stopped.written.open("ab") as file:
        file.write(bytes(4_096))
    assert "store repair" in str(refusal(stopped.data_dir).hint)
    found = find_damage(stopped.data_dir)
    assert found is not None
    assert found.survey is not None
    assert found.survey.until is not None
    copy = back_up(stopped.data_dir)
    cut_off(found.file, found.survey.sound)
    assert len(keys_after_a_start(stopped.data_dir)) == 10
    assert len((copy / found.file.name).read_bytes()) == found.survey.sound + 4_096


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 0xFF
    file.write_bytes(content)


def cut(file: Path, by: int) -> None:
    os.truncate(file, file.stat().st_size - by)


def make_the_damaged_file_an_older_one(stopped: Stopped) -> None:
    stopped.damage_key(5)
    newer = stopped.written.with_name("appendonly.aof.2.incr.aof")
    with stopped.manifest.open("a") as manifest:
        manifest.write(f"file {newer.name} seq 2 type i\n")
    newer.write_bytes(SET)


@pytest.mark.parametrize(
    ("damage", "file", "said"),
    [
        (lambda it: it.manifest.unlink(), ".manifest", "missing"),
        (lambda it: it.manifest.write_text("nonsense\n"), ".manifest", "damaged"),
        (lambda it: it.manifest.write_text(""), ".manifest", "damaged"),
        (lambda it: it.base.unlink(), ".base.rdb", "missing"),
        (lambda it: flip(it.base, 20), ".base.rdb", "damaged"),
        (lambda it: cut(it.base, 9), ".base.rdb", "damaged"),
        (lambda it: it.written.unlink(), ".incr.aof", "missing"),
        (make_the_damaged_file_an_older_one, ".1.incr.aof", "damaged"),
    ],
)
def test_what_cannot_be_repaired_is_told_and_left_as_it_is(
    stopped: Stopped, damage: Callable[[Stopped], object], file: str, said: str
) -> None:
    damage(stopped)
    before = {path: path.read_bytes() for path in stopped.files.iterdir()}
    refused = refusal(stopped.data_dir)
    assert re.search(rf"The file \S+{re.escape(file)} is {said}", refused.message), refused.message
    assert "from a backup; this cannot be repaired" in str(refused.hint)
    assert {path: path.read_bytes() for path in stopped.files.iterdir()} == before


# Disks and directories that take no more


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit")
async def test_a_disk_that_takes_no_more_confirms_nothing_that_is_not_on_it(data_dir: Path) -> None:
    with EmbeddedStore(data_dir) as embedded:
        store = Store.at(embedded.url)
        await store.keys.create(key(1), now=NOW)
        with redis.Redis.from_url(embedded.url) as raw:
            info: Any = raw.info("server")
        size = Stopped(data_dir).written.stat().st_size
        resource.prlimit(info["process_id"], resource.RLIMIT_FSIZE, (size + 100, size + 100))
        with pytest.raises(StoreUnavailable):
            await store.keys.create(key(2), now=NOW)
        await store.aclose()
        await asyncio.to_thread(wait_until_it_is_gone, data_dir)
        embedded.revive()  # there is room again
        store = Store.at(embedded.url)
        assert await store.keys.all(now=NOW) == [key(1)]
        await store.keys.create(key(2), now=NOW)
        await store.aclose()
    assert await asyncio.to_thread(keys_after_a_start, data_dir) == [key(1).id, key(2).id]


def wait_until_it_is_gone(data_dir: Path) -> None:
    deadline = time.monotonic() + 30
    while not _nobody_listens(data_dir):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_directory_that_must_not_be_written_to_is_refused(stopped: Stopped) -> None:
    stopped.data_dir.chmod(0o500)
    try:
        if os.access(stopped.data_dir, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(ConfigurationError, match="Cannot write to the data directory"):
            EmbeddedStore(stopped.data_dir).start()
    finally:
        stopped.data_dir.chmod(0o700)


# Time that passes while nothing runs


def wait_until_after(moment: datetime) -> None:
    while datetime.now(UTC) <= moment:
        time.sleep(0.02)


async def test_keys_whose_deletion_was_due_while_nothing_ran_are_gone(data_dir: Path) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    due = key(1, created_at=soon - timedelta(days=30), expires_at=soon - DELETION_DELAY)
    await asyncio.to_thread(stopped_store, data_dir, [due, key(2)], now=soon - timedelta(days=1))
    await asyncio.to_thread(wait_until_after, soon)
    with EmbeddedStore(data_dir) as embedded:
        with redis.Redis.from_url(embedded.url) as raw:
            assert raw.get(layout.key_record(TAG, due.id)) is None
        store = Store.at(embedded.url)
        now = datetime.now(UTC)
        assert await store.keys.all(now=now) == [key(2)]
        with pytest.raises(KeyLimitReached) as full:
            await store.keys.create(key(3), now=now, limit=1)
        assert full.value.used == 1
        await store.aclose()
