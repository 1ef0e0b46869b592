"""Who evaluates: this process, local ones, Ray, all that share a folder. Whoever does a job, its outcome is the same.

Jobs are handed out in order and outcomes come back in order. A worker makes its own evaluator by calling `make`, which
must be importable: a function of a module, or a partial of one. Jobs are dataclasses and outcomes go to JSON and back.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from consort.core.errors import BadParameter, ConsortError, EnvironmentFailure, MissingExtra, did_you_mean
from consort.core.guard import told
from consort.search.engine.scores import Outcome
from consort.search.engine.shared import Shared

_LOG = logging.getLogger("consort.search")

Evaluate = Callable[[Any], list[Any]]
"""From a job to its outcomes."""
Make = Callable[[], Evaluate]
ENGINES = ("local", "processes", "ray", "shared:FOLDER")
SHARED = "shared:"
ALONE = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray tells its makers nothing; its ports are on the loopback address, as they are by default on other systems."""
ADDRESS = "RAY_ADDRESS"


class Workers(AbstractContextManager[Any, bool | None], Protocol):
    """Turns jobs into outcomes."""

    def map(self, jobs: Sequence[Any]) -> Iterator[list[Any]]:
        """The outcomes of each job, in order, as they come."""


def workers(engine: str, make: Make, count: int = 1, search: str = "", kind: type[Any] = Outcome) -> Workers:
    """Workers by name: "local" is this process, "processes" and "ray" are `count` others.

    "shared:FOLDER" is this process and all others that run the same `search`, on any machine that sees the folder,
    where outcomes of a `kind` are kept.
    Raises BadParameter, MissingExtra.
    """
    check_engine(engine, count)
    if engine.startswith(SHARED):
        return Shared(make, Path(engine.removeprefix(SHARED)), search, kind)
    if engine == "local":
        return InProcess(make)
    return Processes(make, count) if engine == "processes" else Ray(make, count)


def check_engine(engine: str, count: int) -> None:
    """Raise BadParameter or MissingExtra for workers that cannot be, before anything is made."""
    if engine.removeprefix(SHARED) and engine.startswith(SHARED):
        return
    if engine not in ENGINES:
        raise BadParameter(f"{engine!r} is no engine", field="--engine", hint=did_you_mean(engine, ENGINES))
    if count < 1:
        raise BadParameter(f"{count} workers do nothing", field="--workers", hint="give 1 or more")
    if engine == "ray":
        _ray()


def others(engine: str) -> bool:
    """Whether other processes than this evaluate, which need what they evaluate by made anew."""
    return engine in ("processes", "ray")


class InProcess(ExitStack):
    """One after the other, here."""

    def __init__(self, make: Make) -> None:
        super().__init__()
        self._make = make
        self._evaluate: Evaluate | None = None

    def map(self, jobs: Iterable[Any]) -> Iterator[list[Any]]:
        """The outcomes of jobs, in order, one after the other."""
        if self._evaluate is None:
            self._evaluate = self._make()
        return map(self._evaluate, jobs)


class Processes(ExitStack):
    """Local processes, started afresh so that they share no threads with this one."""

    def __init__(self, make: Make, count: int) -> None:
        super().__init__()
        context = get_context("spawn")
        pool = ProcessPoolExecutor(count, mp_context=context, initializer=_prepare, initargs=(make,))
        self.callback(pool.shutdown, wait=True, cancel_futures=True)
        self._pool = pool

    def map(self, jobs: Sequence[Any]) -> Iterator[list[Any]]:
        """The outcomes of jobs, in order, shared out among processes."""
        return self._pool.map(_evaluate, jobs)


_HELD: list[Evaluate] = []
"""In a worker process: its evaluator."""


def _prepare(make: Make) -> None:
    _HELD[:] = [make()]


def _evaluate(job: Any) -> list[Any]:
    return _HELD[0](job)


class Ray(ExitStack):
    """Ray actors, on this machine or on the cluster that RAY_ADDRESS names."""

    def __init__(self, make: Make, count: int) -> None:
        super().__init__()
        ray = _ray()
        if not ray.is_initialized():
            _start(ray)
            self.callback(ray.shutdown)
        actor = ray.remote(_Actor).options(scheduling_strategy="SPREAD")
        self._fault: Exception | None = None
        self._ray, self._idle = ray, [actor.remote(make) for _ in range(count)]

    def map(self, jobs: Sequence[Any]) -> Iterator[list[Any]]:
        """The outcomes of jobs, in order, shared out among Ray's workers; what one that died had is done by another.

        Raises EnvironmentFailure where no worker is left, and what a worker raises.
        """
        waiting = deque(enumerate(jobs))
        running: dict[Any, tuple[int, Any, Any]] = {}
        found: dict[int, list[Any]] = {}
        for turn in range(len(jobs)):
            while turn not in found:
                while waiting and self._idle:
                    (number, job), actor = waiting.popleft(), self._idle.pop(0)
                    running[actor.run.remote(job)] = number, job, actor
                if not running:
                    raise self._all_died()
                [ready], _ = self._ray.wait(list(running), num_returns=1)
                number, job, actor = running.pop(ready)
                try:
                    found[number] = self._ray.get(ready)
                except self._ray.exceptions.RayActorError as fault:
                    _LOG.warning("a worker of Ray has died; its job is done by another")
                    self._fault = fault
                    waiting.appendleft((number, job))
                except self._ray.exceptions.RayTaskError as fault:
                    raise fault.cause if isinstance(fault.cause, ConsortError) else fault from None
                else:
                    self._idle.append(actor)
            yield found.pop(turn)

    def _all_died(self) -> EnvironmentFailure:
        hint = "are all machines of the cluster up? A search that is called again goes on where it was"
        why = "" if self._fault is None else f": {told(self._fault)}"
        return EnvironmentFailure(f"all of Ray's workers have died{why}", field="--engine ray", hint=hint)


class _Actor:
    def __init__(self, make: Make) -> None:
        self.evaluate = make()

    def run(self, job: Any) -> list[Any]:
        return self.evaluate(job)


def _start(ray: Any) -> None:
    """Join the cluster that RAY_ADDRESS names, or begin one that only this machine reaches and that reports nothing."""
    if os.environ.get(ADDRESS):
        ray.init(log_to_driver=False)
        return
    with _alone():
        ray.init(address="local", _node_ip_address="127.0.0.1", log_to_driver=False, include_dashboard=False)


@contextmanager
def _alone() -> Iterator[None]:
    """The settings of a Ray that is for this machine only, for as long as it reads them."""
    before = {name: os.environ.get(name) for name in ALONE}
    os.environ.update(ALONE)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _ray() -> Any:
    """Ray, which decides for good when it is imported whether its ports are on the loopback address."""
    try:
        with nullcontext() if os.environ.get(ADDRESS) else _alone():
            import ray  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        hint = "pip install 'consort[ray]', or --engine processes"
        raise MissingExtra("ray is not installed", field="--engine ray", hint=hint) from None
    return ray
