"""Starting and stopping a server: the socket, the models, signals, reload and drain."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consort.core.errors import BadParameter, ConsortError, MissingExtra
from consort.server.limits import Limits

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How a server is run. `keys`: a file of keys; `store`: where their spending is kept; `log`: a file, or "-"."""

    host: str = "127.0.0.1"
    port: int = 8000
    api_key_env: str | None = None
    keys: Path | None = None
    store: Path | None = None
    hosts: tuple[str, ...] = ()
    queue: int = 128
    deadline_s: float = 600.0
    max_members: int | None = None
    quorum: int = 1
    cooldown_s: float = 30.0
    portion: int = 512
    batch_tokens: int | None = None
    prefix_rows: int = 8
    cache: int = 0
    pool: int = 64
    log: str | None = None
    log_prompts: bool = False
    allow_remote_code: bool = False

    @property
    def limits(self) -> Limits:
        return replace(Limits(), queue=self.queue, deadline_s=self.deadline_s)


def needs_key(host: str) -> bool:
    """Whether a host can be reached from other machines."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return True


def listen(host: str, port: int) -> socket.socket:
    """The socket of a server. Raises BadParameter naming a port that is in use, or a host that is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with the protocol named, asyncio turns Nagle's algorithm off: else every answer waits 40 ms for an acknowledgement
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # on Windows SO_REUSEADDR would share the port with whoever holds it
    alone = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
    found.setsockopt(socket.SOL_SOCKET, alone, 1)
    try:
        found.bind((host.strip("[]"), port))
        found.listen(1024)
    except socket.gaierror:
        found.close()
        raise BadParameter(f"{host!r} is no address of this machine", field="--host", hint="127.0.0.1") from None
    except OSError as error:
        found.close()
        what = f"port {port} cannot be used: {error.strerror}"
        raise BadParameter(what, field="--port", hint="another port, or stop what listens there") from None
    found.set_inheritable(True)
    return found


def _on_signal(loop: asyncio.AbstractEventLoop, number: int, act: Callable[[], None]) -> None:
    try:
        loop.add_signal_handler(number, act)
    except NotImplementedError:  # Windows
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(act))


class Server:
    """A server of sources (plans and models by name) or of ready models; `run` blocks until it is stopped."""

    def __init__(self, sources: Sequence[str] = (), *, models: Mapping[str, Any] | None = None, **options: Any) -> None:
        self.sources, self.models = tuple(sources), dict(models or {})
        self.options = Options(**options)
        self.error: Exception | None = None
        self.socket: socket.socket | None = None
        self.state: Any = None
        self._uvicorn: Any = None
        self._builder: Any = None
        self._thread: threading.Thread | None = None
        self._up = threading.Event()

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1]) if self.socket is not None else self.options.port

    @property
    def url(self) -> str:
        host = self.options.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def prepare(self) -> None:
        """Whatever can be refused is refused here, before anything is loaded: host, key, port, plans."""
        check_installed()
        options = self.options
        if options.api_key_env is None and options.keys is None and needs_key(options.host):
            hint = "--api-key-env NAME, or --host 127.0.0.1"
            raise BadParameter(
                f"{options.host} can be reached from outside, and there is no key", field="--host", hint=hint
            )
        from consort.server.operations.keys import Keys, key_from, load_keys

        keys = None
        if options.keys is not None:
            keys = load_keys(options.keys, options.store)
        elif options.api_key_env is not None:
            keys = Keys.single(key_from(options.api_key_env))
        from consort.plan.expression import read_plan
        from consort.plan.places import check_places
        from consort.server.source import split_source

        check_places(read_plan(split_source(source)[1]) for source in self.sources if source != "-")
        if self.socket is None:
            self.socket = listen(options.host, options.port)
        self.state = self._state(keys)

    def release(self) -> None:
        """Let go of what a child process must open for itself; the socket stays."""
        if self.state.keys is not None:
            self.state.keys.close()
        self.state = None

    def _state(self, keys: Any) -> Any:
        from consort.server.app import LOCAL_HOSTS, State
        from consort.server.cache import Cache
        from consort.server.members import Members
        from consort.server.operations.records import Records
        from consort.server.operations.traces import traces_of_environment
        from consort.server.scheduler.scheduler import Scheduler
        from consort.server.table import Table
        from consort.server.work import Worker

        options = self.options
        scheduler = Scheduler(portion=options.portion, most_tokens=options.batch_tokens, idle=options.prefix_rows)
        self.members = Members(scheduler, cooldown_s=options.cooldown_s)
        out = None
        if options.log is not None:
            out = sys.stderr if options.log == "-" else open(options.log, "a", encoding="utf-8")  # noqa: SIM115
        hosts = LOCAL_HOSTS | {options.host.lower(), *(host.lower() for host in options.hosts)}
        state = State(
            table=Table(),
            scheduler=scheduler,
            worker=Worker(scheduler, pool=options.pool),
            limits=options.limits,
            keys=keys,
            hosts=frozenset(hosts),
            records=Records(out, prompts=options.log_prompts),
            traces=traces_of_environment(),
            cache=Cache(options.cache) if options.cache else None,
            ready=False,
        )
        self.members.heard = state.metrics.member
        state.on_start, state.on_stop = self._started, self._stopped
        return state

    def load(self) -> None:
        """Build what is served, and be ready."""
        from consort.plan.build import Builder
        from consort.server.table import load_table, table_of

        options = self.options
        given = {"max_members": options.max_members, "quorum": options.quorum}
        if self.models:
            table = table_of(self.models, self.members, options=given)
        else:
            builder = Builder(allow_remote_code=options.allow_remote_code) if self._builder is None else self._builder
            builder = builder.aside()
            table = load_table(self.sources, self.members, built=builder, options=given)
            self._builder = builder
        self.state.table, self.state.ready = table, True

    def reload(self) -> None:
        """Read the plans again; what is under way goes on with what it began with, and a bad plan changes nothing."""
        try:
            self.load()
            log.warning("reloaded: %d models", len(self.state.table.models))
        except ConsortError as error:
            log.warning("not reloaded: %s", error)

    def run(self, *, signals: bool = True) -> None:
        """Serve until stopped. Raises what loading the models raises."""
        import uvicorn

        if self.state is None:
            self.prepare()
        from consort.server.app import App
        from consort.server.protocol import protocol
        from consort.server.site import routes

        limits = self.state.limits
        app: Any = App(self.state, routes())
        config = uvicorn.Config(
            app,
            http=protocol(limits),
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            h11_max_incomplete_event_size=limits.header_bytes,
            timeout_graceful_shutdown=int(limits.drain_s),
            backlog=1024,
        )
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._uvicorn = _Quiet(config)
        self.signals = signals and threading.current_thread() is threading.main_thread()
        assert self.socket is not None
        self._uvicorn.run(sockets=[self.socket])
        if self.error is not None:
            raise self.error

    def _started(self) -> None:
        self.state.scheduler.start()
        loop = asyncio.get_running_loop()
        if self.signals:
            for number in (signal.SIGINT, signal.SIGTERM):
                _on_signal(loop, number, self.stop)
            if hasattr(signal, "SIGHUP"):
                again = lambda: threading.Thread(target=self.reload, daemon=True).start()  # noqa: E731
                _on_signal(loop, signal.SIGHUP, again)
        threading.Thread(target=self._load_or_stop, name="consort-load", daemon=True).start()

    def _load_or_stop(self) -> None:
        try:
            self.load()
            self._up.set()
            names = list(self.state.table.models)
            shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            print(f"serving {shown} at {self.url}", file=sys.stderr, flush=True)
        except Exception as error:
            self.error = error
            self._up.set()
            self.stop()

    def stop(self) -> None:
        """Take no more requests, let those under way end within the time to drain, then return from `run`."""
        if self._uvicorn is None:
            return
        if self._uvicorn.should_exit:
            self._uvicorn.force_exit = True
        self.state.closing = True
        self._uvicorn.should_exit = True

    def _stopped(self) -> None:
        self.state.closing = True
        self.state.scheduler.close()
        self.state.worker.close()
        if self.state.keys is not None:
            self.state.keys.close()
        self.state.records.close()
        self.state.traces.close()

    def __enter__(self) -> Server:
        """Serve in a thread; returns once the models are loaded. Raises what loading raises."""
        self.prepare()
        self._thread = threading.Thread(target=self._run_quietly, name="consort-serve", daemon=True)
        self._thread.start()
        self._up.wait()
        if self.error is not None:
            self._thread.join()
            if self.socket is not None:
                self.socket.close()
            raise self.error
        return self

    def _run_quietly(self) -> None:
        try:
            self.run(signals=False)
        except Exception as error:
            self.error = error
            self._up.set()

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join(self.state.limits.drain_s + 5)
        if self.socket is not None:
            self.socket.close()


def check_installed() -> None:
    """Raise MissingExtra where the server's packages are missing."""
    for name in ("starlette", "uvicorn", "h11"):
        try:
            __import__(name)
        except ImportError:
            hint = 'pip install "consort[serve]"'
            raise MissingExtra(f"serving needs {name}", field="serve", hint=hint) from None


def _quiet_server() -> type:
    import uvicorn

    class Quiet(uvicorn.Server):
        """Signals are the program's own."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Quiet


def _Quiet(config: Any) -> Any:
    return _quiet_server()(config)


def serve(model: Any, **options: Any) -> None:
    """Serve a model, a plan's file, or several by name, until stopped (see `consort serve`).

    `model`: a model, a reference or a path of a plan, or a mapping of ids to models. Options are those of the command:
    host, port, api_key_env, queue, deadline_s, …

    >>> import consort
    >>> try:
    ...     consort.serve("no/such/model", port=0)  # one that is there is served until the program is stopped
    ... except consort.ConsortError as error:
    ...     print(error)
    no/such/model: does not exist
    """
    if isinstance(model, str | Path):
        Server([os.fspath(model)], **options).run()
        return
    models = dict(model) if isinstance(model, Mapping) else {_id_of(model): model}
    Server(models=models, **options).run()


def _id_of(model: Any) -> str:
    from consort.core.params import name_of
    from consort.server.source import ID

    name = str(getattr(model, "name", "model"))
    return name if ID.fullmatch(name) else name_of(type(model).__name__)
