"""What a client is: it is given a state and a task, and answers with an update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from consort.federate.choosing import aggregator_of
from consort.federate.local import LocalRule, Trained
from consort.federate.state import Memory, State, Update, read_state, write_state


@dataclass(frozen=True, slots=True)
class RoundTask:
    """What one client is asked in one round.

    `seed` decides its draws; `aggregator` is the rule as an expression, `received` what the server sends beside the
    state; `accepted` is the last round in which this client's update was taken, -1 for none: what it remembers of a
    later one does not count. `stamp` names the round and the state, so that an old answer is not taken for a new one.
    """

    round: int = 0
    seed: int = 0
    aggregator: Mapping[str, Any] = field(default_factory=lambda: {"fedavg": {}})
    received: State = field(default_factory=dict)
    accepted: int = -1
    stamp: str = ""


@runtime_checkable
class Client(Protocol):
    """A party of a federation; its `id` is unique."""

    @property
    def id(self) -> str: ...

    def fit(self, state: State, task: RoundTask) -> Update:
        """Train from `state`; the update carries this client's id."""


class CallableClient:
    """A client that is a function of state and task."""

    def __init__(self, id: str, function: Callable[[State, RoundTask], Update]) -> None:
        self.id, self.function = id, function

    def fit(self, state: State, task: RoundTask) -> Update:
        return self.function(state, task)


class ClientMemory:
    """What a client remembers after each round, in a folder or here; rounds before the last accepted are forgotten."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._known: dict[int, dict[str, Tensor]] = {}

    def of(self, round: int) -> dict[str, Tensor]:
        """What was remembered after a round; nothing for -1."""
        if round < 0:
            return {}
        if self.folder is None:
            return self._known.get(round, {})
        file = self._file(round)
        return read_state(file) if file.is_file() else {}

    def keep(self, round: int, memory: Memory, *, accepted: int = -1) -> None:
        """Remember this after `round`; `accepted` is the earliest that may still be asked for."""
        if self.folder is None:
            self._known = {r: m for r, m in self._known.items() if r >= accepted} | {round: dict(memory)}
            return
        if memory:
            write_state(self._file(round), memory)
            for file in self.folder.glob("memory-*.safetensors"):
                if int(file.stem.removeprefix("memory-")) < accepted:
                    file.unlink()

    def _file(self, round: int) -> Path:
        return Path(self.folder or "") / f"memory-{round:06}.safetensors"


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a trainer made of a state."""

    trained: Trained
    metrics: Mapping[str, float] = field(default_factory=dict)


class Trainer(Protocol):
    """Trains a state on data that it alone sees; `samples` is how many examples these are."""

    @property
    def samples(self) -> int: ...

    def train(self, state: State, rule: LocalRule, received: State, memory: Memory, *, seed: int) -> Fitted: ...


class LocalClient:
    """A client with a trainer; it does the clients' side of whatever aggregator the task names."""

    def __init__(self, id: str, trainer: Trainer, memory: ClientMemory | None = None) -> None:
        self.id, self.trainer, self.memory = id, trainer, memory or ClientMemory()

    def fit(self, state: State, task: RoundTask) -> Update:
        rule = aggregator_of(task.aggregator).local()
        remembered = self.memory.of(task.accepted)
        fitted = self.trainer.train(state, rule, task.received, remembered, seed=task.seed)
        done = fitted.trained
        aux, own = rule.finish(done, task.received, remembered)
        self.memory.keep(task.round, own, accepted=task.accepted)
        rate = done.rates / done.steps
        return Update(self.id, done.end, self.trainer.samples, done.steps, rate, aux, fitted.metrics)
