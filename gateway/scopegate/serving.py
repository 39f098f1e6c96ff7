"""Runs a gateway's processes: the data plane's workers, the control plane and the embedded store."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels
from granian.server import MPServer
from granian.server.embed import Server as EmbeddedServer
from pydantic import SecretStr

from scopegate.admin.health import ControlPlane
from scopegate.app import create_gateway, create_proxy
from scopegate.core.errors import ConfigurationError, StoreUnavailable
from scopegate.store import Store
from scopegate.store.embedded import EmbeddedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from scopegate.asgi import ASGIApp
    from scopegate.settings import Address, Settings

log = logging.getLogger("scopegate")

_BACKLOG = 2048
# The server's own lines go where all that is not data goes.
_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}
    },
    "loggers": {
        name: {"handlers": ["stderr"], "level": level, "propagate": False}
        for name, level in (("_granian", "ERROR"), ("granian.access", "ERROR"), ("scopegate", "WARNING"))
    },
}
_SHUTDOWN_TIMEOUT = 15  # seconds until a worker that does not stop is killed
_BACKGROUND_TIMEOUT = 5.0  # seconds
_POLL = 0.02  # seconds
_PARENT_CHECK = 1.0  # seconds
_REVIVAL_INTERVAL = 0.5  # seconds
_INSISTENCE = 1.0  # seconds
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(settings: Settings, *, prepare: Callable[[Settings], None], ready: Callable[[], None]) -> None:
    """Run the gateway until SIGINT, SIGTERM or the end of its terminal.

    Args:
        settings: how to run.
        prepare: called with the settings in force once the store answers, before anything listens.
        ready: called, in a process of its own, when the data plane takes requests.

    Raises:
        ConfigurationError: a setting cannot be used.
        StoreUnavailable: Redis does not answer, or the embedded store does not start.
    """
    create_proxy(settings)
    require_free("listen", settings.listen)
    require_free("admin_listen", settings.admin_listen)
    if settings.listen == settings.admin_listen:
        raise ConfigurationError(
            "admin_listen",
            f"The control plane cannot listen on {settings.admin_listen}: the data plane does.",
            hint="Choose another port.",
        )
    stopping = _note_signals()
    with running_store(settings) as url:
        in_force = settings.model_copy(update={"redis_url": SecretStr(url)})
        prepare(in_force)
        listeners = (settings.listen, settings.admin_listen)
        with _control_plane(in_force, url), background(_call_when_listening, listeners, ready):
            _data_plane(in_force, stopping)


def _note_signals() -> threading.Event:
    """An event that is set when the gateway is told to stop.

    Nothing is raised: an exception in the wrong place is lost, and the processes that run by then
    would be left behind. A SIGHUP that is ignored (nohup) stays so.
    """
    stopping = threading.Event()
    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: stopping.set())
    return stopping


@contextmanager
def running_store(settings: Settings) -> Iterator[str]:
    """The URL of a store that answers: the one at ``redis_url``, or the embedded one, started here.

    Raises:
        ConfigurationError: the data directory or the URL cannot be used.
        StoreUnavailable: it does not answer.
    """
    with ExitStack() as stack:
        if settings.redis_url is None:
            embedded = stack.enter_context(EmbeddedStore(settings.data_dir))
            stack.enter_context(_kept_alive(embedded))
            url = embedded.url
        else:
            url = settings.redis_url.get_secret_value()
        asyncio.run(_require_reachable(url))
        yield url


@contextmanager
def _kept_alive(embedded: EmbeddedStore) -> Iterator[None]:
    """Start the embedded store anew whenever it dies; requests are refused until it is back."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_REVIVAL_INTERVAL):
            try:
                embedded.revive()
            except StoreUnavailable as unavailable:
                log.error("%s %s", unavailable.message, unavailable.hint)  # noqa: TRY400 -- it says all

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


async def _require_reachable(url: str) -> None:
    store = Store.at(url)
    try:
        await store.require_reachable()
    finally:
        await store.aclose()


def require_free(setting: str, address: Address) -> None:
    """Make sure that nobody listens at `address`.

    The server binds with SO_REUSEPORT, so that its workers share the port; another program that
    does the same would then silently take half of the requests.

    Raises:
        ConfigurationError: the address is in use, or is not one of this machine.
    """
    try:
        family, kind, protocol, _, resolved = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(resolved)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that is no host name"
        raise ConfigurationError(
            setting,
            f"Cannot listen on {address}: {reason}.",
            hint="Stop the program that uses the address, or choose another one.",
        ) from error


class _Server(MPServer):
    def __init__(self, **options: Any) -> None:  # noqa: ANN401 -- granian's own
        super().__init__("scopegate", **options)
        self._owner = os.getpid()

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 -- granian's own
        """Stop; a worker inherits this and has it until it begins to serve."""
        if os.getpid() != self._owner:
            os._exit(0)
        super().signal_handler_interrupt(*args, **kwargs)  # type: ignore[no-untyped-call]
        threading.Thread(target=self._insist, daemon=True).start()

    def _insist(self) -> None:
        # A worker that was starting has missed the signal if its loop did not run just then.
        time.sleep(_INSISTENCE)
        for worker in tuple(self.wrks):
            worker.terminate()  # type: ignore[no-untyped-call]


def _data_plane(settings: Settings, stopping: threading.Event) -> None:
    server = _Server(
        address=_numeric(settings.listen.host),
        port=settings.listen.port,
        interface=Interfaces.ASGI,
        workers=settings.workers,
        loop=Loops.auto,
        # HTTP/2 by prior knowledge would be a second surface, with rules of its own.
        http=HTTPModes.http1,
        backlog=_BACKLOG,
        log_level=LogLevels.error,
        log_dictconfig=_LOGGING,
        respawn_failed_workers=True,
        workers_kill_timeout=_SHUTDOWN_TIMEOUT,
    )
    ignores_hang_up = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def take_over_signals() -> None:
        # The server has set its handlers by now; it would answer a SIGHUP with new workers.
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignores_hang_up else server.signal_handler_interrupt)
        if stopping.is_set():
            server.signal_handler_interrupt()

    server.on_startup(take_over_signals)
    try:
        server.serve(target_loader=partial(_load_gateway, settings), wrap_loader=False)
    except SystemExit:
        # A worker that hears Ctrl-C before the server stops it counts as failed; it did not fail.
        if not server.interrupt_signal:
            raise


def _load_gateway(settings: Settings) -> ASGIApp:
    # Ctrl-C reaches all processes. It is for the parent to stop the workers: two signals at a time
    # make a worker of granian 2.8 wait for itself.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    _stop_with_parent()
    return create_gateway(settings)


def _stop_with_parent() -> None:
    """Stop this process when its parent is gone, also by SIGKILL: it would keep the port."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    started_by = os.getppid()

    def watch() -> None:
        while os.getppid() == started_by:
            # Wakes up at once where no sibling has inherited the other end of the pipe.
            parent.join(_PARENT_CHECK)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _control_plane(settings: Settings, url: str) -> AbstractContextManager[None]:
    return background(run_in_loop, partial(ControlPlane, url), settings.admin_listen)


@contextmanager
def background(target: Callable[..., None], *args: object) -> Iterator[None]:
    """Run `target` in a process of its own for as long as the context lasts."""
    process = multiprocessing.get_context("fork").Process(target=_run_alone, args=(target, *args))
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join(_BACKGROUND_TIMEOUT)
        if process.is_alive():
            process.kill()
            process.join()


def _run_alone(target: Callable[..., None], *args: object) -> None:
    """Run `target` until SIGTERM or the end of the parent, which alone hears SIGINT."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _stop_with_parent()
    target(*args)


def _call_when_listening(addresses: tuple[Address, ...], ready: Callable[[], None]) -> None:
    for address in addresses:
        wait_until_listening(address)
    ready()


def wait_until_listening(address: Address) -> None:
    """Return when somebody listens at `address`."""
    while True:
        try:
            with socket.create_connection(address.reachable, timeout=1.0):
                return
        except OSError:
            time.sleep(_POLL)


def run_in_loop(create_app: Callable[[], ASGIApp], address: Address) -> None:
    """Serve one application until SIGTERM; for what needs no speed."""
    asyncio.run(_serve_in_loop(create_app(), address))


async def _serve_in_loop(app: ASGIApp, address: Address) -> None:
    server = EmbeddedServer(
        app,
        address=_numeric(address.host),
        port=address.port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        log_level=LogLevels.error,
        log_dictconfig=_LOGGING,
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()


def _numeric(host: str) -> str:
    """`host` as an IP address, as the server wants it."""
    resolved: Any = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
    return str(resolved)
