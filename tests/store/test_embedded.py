"""The embedded store: one owner, nothing lost, nothing left running."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from conftest import require_program
from scopegate.core.errors import ConfigurationError, StoreUnavailable
from scopegate.store import Store, embedded
from scopegate.store.embedded import EmbeddedStore, is_running, socket_url
from store.facts import NOW, key

if TYPE_CHECKING:
    from collections.abc import Iterator

# An owner in its own process: says what it does, and goes on when it is told to.
OWNER = """
import signal, sys
from pathlib import Path
import redis
from scopegate.store.embedded import EmbeddedStore

interrupts = []
signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
with EmbeddedStore(Path(sys.argv[1])) as store, redis.Redis.from_url(store.url) as client:
    print("owner", flush=True)
    sys.stdin.readline()
    # The server would end within one turn of its own clock, long before it answers this.
    client.blpop("never", timeout=0.5)
    client.set("written", "after")
    print(len(interrupts), client.get("written").decode(), flush=True)
    sys.stdin.readline()
"""


def running_servers(data_dir: Path) -> list[int]:
    """The ids of the processes that serve from a directory."""
    listed = subprocess.run(
        [require_program("ps"), "-A", "-ww", "-o", "pid=", "-o", "command="],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [
        int(line.split()[0])
        for line in listed.splitlines()
        if "valkey-server" in line and str(data_dir) in line
    ]


def wait_until_none_runs(data_dir: Path) -> None:
    # One whose parent was killed is nobody's to wait for; the time limit of the test bounds this.
    while running_servers(data_dir):
        pass


@pytest.fixture
def data_dir(short_dir: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory that does not exist yet, and from which nobody serves in the end."""
    path = (short_dir / f"e{abs(hash(request.node.name)) % 10**9}").resolve()
    yield path
    left = running_servers(path)
    for process_id in left:
        os.kill(process_id, signal.SIGKILL)
    assert not left, "the store left a server running"


def create_keys(url: str, count: int) -> None:
    async def create() -> None:
        store = Store.at(url)
        for number in range(count):
            await store.keys.create(key(number), now=NOW)
        await store.aclose()

    asyncio.run(create())


def stored_ids(url: str) -> set[str]:
    async def read() -> set[str]:
        store = Store.at(url)
        found = {record.id for record in await store.keys.all(now=NOW)}
        await store.aclose()
        return found

    return asyncio.run(read())


def server_id(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        info: Any = client.info("server")
        process_id: int = info["process_id"]
        return process_id


def say(owner: subprocess.Popen[str], line: str) -> None:
    assert owner.stdin is not None
    owner.stdin.write(f"{line}\n")
    owner.stdin.flush()


def hear(owner: subprocess.Popen[str]) -> str:
    assert owner.stdout is not None
    return owner.stdout.readline().strip()


@contextmanager
def owner_process(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """An owner with a process group of its own, as a terminal gives one."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as owner:
        try:
            assert hear(owner) == "owner"
            yield owner
        finally:
            owner.kill()


def test_data_survives_a_stop_and_a_start(data_dir: Path) -> None:
    store = EmbeddedStore(data_dir)
    for count in (10, 20):
        store.start()
        create_keys(store.url, 10) if count == 10 else None
        assert len(stored_ids(store.url)) == 10
        store.stop()
        assert not running_servers(data_dir)
        assert not is_running(data_dir)


def test_only_its_user_may_use_it(data_dir: Path) -> None:
    with EmbeddedStore(data_dir) as store:
        modes = {
            path: stat.S_IMODE(path.stat().st_mode)
            for path in (data_dir, data_dir / embedded.SOCKET, data_dir / embedded.LOCK)
        }
        assert list(modes.values()) == [0o700, 0o600, 0o600]
        with redis.Redis.from_url(store.url) as client:
            assert client.config_get("port") == {"port": "0"}


def test_starting_and_stopping_again_changes_nothing(data_dir: Path) -> None:
    store = EmbeddedStore(data_dir)
    store.stop()
    threads = [threading.Thread(target=store.start) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert running_servers(data_dir) == [server_id(store.url)]
    store.stop()
    store.stop()


def test_a_second_owner_is_refused(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_LOCK_TIMEOUT", 0.02)
    with EmbeddedStore(data_dir) as first:
        second = EmbeddedStore(data_dir)
        with pytest.raises(StoreUnavailable, match=f"owns the data directory {data_dir}"):
            second.start()
        second.stop()
        assert running_servers(data_dir) == [server_id(first.url)]
    with second:
        assert is_running(data_dir)


def test_a_second_owner_waits_for_one_that_is_about_to_stop(data_dir: Path) -> None:
    first, second = EmbeddedStore(data_dir), EmbeddedStore(data_dir)
    first.start()
    waiting = threading.Thread(target=second.start)
    waiting.start()
    first.stop()
    waiting.join()
    assert running_servers(data_dir) == [server_id(second.url)]
    second.stop()


def test_others_use_the_server_through_its_socket(data_dir: Path) -> None:
    assert not is_running(data_dir)
    with EmbeddedStore(data_dir) as store:
        assert is_running(data_dir)
        assert store.url == socket_url(data_dir)
        create_keys(socket_url(data_dir), 1)
    assert not is_running(data_dir)


def test_a_killed_server_loses_nothing_that_was_acknowledged(data_dir: Path) -> None:
    store = EmbeddedStore(data_dir)
    store.start()
    create_keys(store.url, 50)
    os.kill(server_id(store.url), signal.SIGKILL)
    store.stop()
    with store:
        assert stored_ids(store.url) == {key(number).id for number in range(50)}


def test_a_server_whose_owner_was_killed_is_taken_over_and_stopped(data_dir: Path) -> None:
    with owner_process(data_dir) as owner:
        create_keys(socket_url(data_dir), 5)
        process_id = server_id(socket_url(data_dir))
        owner.kill()
        owner.wait()
        assert is_running(data_dir), "its data is in use until somebody else owns it"
        heir = EmbeddedStore(data_dir)
        heir.start()
        assert server_id(heir.url) == process_id
        assert len(stored_ids(heir.url)) == 5
        heir.stop()
        assert not is_running(data_dir)
        wait_until_none_runs(data_dir)
    with heir:
        assert server_id(heir.url) != process_id
        assert len(stored_ids(heir.url)) == 5


def test_an_interrupt_of_the_process_group_leaves_the_server_to_its_owner(data_dir: Path) -> None:
    with owner_process(data_dir) as owner:
        process_id = server_id(socket_url(data_dir))
        assert os.getpgid(process_id) == owner.pid, "the interrupt reaches the server too"
        os.killpg(owner.pid, signal.SIGINT)
        say(owner, "go on")
        assert hear(owner) == "1 after"
        assert server_id(socket_url(data_dir)) == process_id
        say(owner, "stop")
        assert owner.wait() == 0
    assert not is_running(data_dir)


def test_an_owner_that_starts_the_server_can_still_be_interrupted(data_dir: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with EmbeddedStore(data_dir):
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


# Directories that cannot be used


def refused_directory(data_dir: Path) -> ConfigurationError:
    store = EmbeddedStore(data_dir)
    with pytest.raises(ConfigurationError) as refused:
        store.start()
    store.stop()
    assert refused.value.setting == "data_dir"
    assert refused.value.hint
    return refused.value


def test_a_path_too_long_for_a_socket_is_refused(short_dir: Path) -> None:
    long = short_dir / ("d" * 100)
    assert "too long" in refused_directory(long).message
    assert not long.exists()
    assert not is_running(long)


def test_the_longest_path_that_is_accepted_works(short_dir: Path) -> None:
    room = embedded._LONGEST_SOCKET_PATH - len(str(short_dir.resolve() / "x" / embedded.SOCKET)) + 1
    with EmbeddedStore(short_dir.resolve() / ("d" * room)) as store:
        assert is_running(store.data_dir)


def test_a_file_in_place_of_the_directory_is_refused(data_dir: Path) -> None:
    data_dir.write_text("not a directory")
    assert str(data_dir) in refused_directory(data_dir).message
    assert "Cannot write" in refused_directory(data_dir / "below").message


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a /proc")
def test_a_directory_that_nobody_can_write_to_is_refused() -> None:
    assert "Cannot write" in refused_directory(Path("/proc/scopegate")).message


# Servers that do not start


def test_a_start_that_failed_can_be_tried_again(data_dir: Path) -> None:
    obstacle = data_dir / "valkey.conf"
    obstacle.mkdir(parents=True)
    store = EmbeddedStore(data_dir)
    with pytest.raises(StoreUnavailable, match="did not start") as refused:
        store.start()
    assert "valkey.log" in str(refused.value.hint)
    obstacle.rmdir()
    with store:
        assert is_running(data_dir)


def test_a_machine_without_a_valkey_of_its_own_can_be_tried_again(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EmbeddedStore(data_dir)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("platform.machine", lambda: "pdp11")
        with pytest.raises(StoreUnavailable):
            store.start()
    with store:
        assert is_running(data_dir)


def test_a_socket_that_nobody_listens_on_is_replaced(data_dir: Path) -> None:
    data_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(data_dir / embedded.SOCKET))
    assert not is_running(data_dir)
    with EmbeddedStore(data_dir):
        assert is_running(data_dir)


def test_a_server_that_died_is_revived_and_one_that_only_sleeps_is_left_alone(data_dir: Path) -> None:
    with EmbeddedStore(data_dir) as store:
        create_keys(store.url, 3)
        (first,) = running_servers(data_dir)
        store.revive()
        assert running_servers(data_dir) == [first]
        os.kill(first, signal.SIGSTOP)
        store.revive()
        assert running_servers(data_dir) == [first]
        os.kill(first, signal.SIGCONT)
        os.kill(first, signal.SIGKILL)
        while not embedded._nobody_listens(data_dir):
            pass
        store.revive()
        assert is_running(data_dir)
        assert first not in running_servers(data_dir)
    store.revive()  # whoever stopped the store does not want it back
    assert not is_running(data_dir)
