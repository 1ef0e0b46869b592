"""Rounds: choose clients, send the state, gather updates, check them, make the next state, put it down.

A run in a folder survives a kill anywhere: a round counts once its state is whole on disk and its line in the journal;
updates that had arrived are used again, and clients that are asked again answer the same. The order of arrival changes
nothing.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from consort.core.binding import bound
from consort.core.errors import BadData, BadParameter, ConsortError, EnvironmentFailure
from consort.core.journal import Journal, key_of
from consort.core.params import Range
from consort.federate.aggregation import Aggregator
from consort.federate.averaging import mean, shares
from consort.federate.checking import MAX_NORM
from consort.federate.choosing import aggregator_of
from consort.federate.clients.client import Client, RoundTask
from consort.federate.gathering import Counting, Gathered, gather
from consort.federate.low_rank import factor_error, modules_of
from consort.federate.privacy.client_level import ClientPrivacy
from consort.federate.sampling import sampled, seed_of
from consort.federate.secure.rounds import SecureSum
from consort.federate.state import (
    TOLD,
    Memory,
    State,
    Update,
    hash_of,
    joined,
    read_state,
    split_off,
    trained_names,
    write_state,
)

STATES, UPDATES = "states", "updates"


@dataclass(frozen=True, slots=True)
class Federated:
    """What a federation ended with: the state, its hash, a line of history for each round, and why it stopped."""

    state: Mapping[str, Tensor]
    memory: Memory
    history: tuple[Mapping[str, Any], ...]
    stopped: str = "rounds"

    @property
    def hash(self) -> str:
        return hash_of(self.state)


@dataclass(frozen=True, slots=True)
class Rounds:
    """How rounds go.

    `per_round` clients are asked (None: all); of these `min_clients` must be counted within `deadline_s` seconds, else
    the round is repeated with the same seed, up to `repeats` times. `workers` are asked at once. An update is counted
    if it has moved by no more than `max_norm`; `clip` draws larger changes back to that norm before any rule.
    """

    rounds: Annotated[int, Range(1, 10000000)] = 1
    per_round: Annotated[int, Range(1, 1000000)] | None = None
    min_clients: Annotated[int, Range(1, 1000000)] = 1
    deadline_s: Annotated[float, Range(0.001, 10000000)] | None = None
    repeats: Annotated[int, Range(0, 1000)] = 2
    workers: Annotated[int, Range(1, 10000)] = 1
    max_norm: Annotated[float, Range(0.000000001, 1000000000000)] = MAX_NORM
    clip: Annotated[float, Range(0.000000001, 1000000000)] | None = None
    seed: int = 0


bound(Rounds, "rounds")


@dataclass
class Federation:
    """A server's side of a federation: `run` makes all rounds that are not done yet.

    `privacy` adds client-level differential privacy, `secure` sums that show no single client. `label` names what else
    the clients' work depends on, so that a folder of other work is refused. Raises BadParameter for choices that
    exclude each other.
    """

    start: State
    clients: Sequence[Client]
    aggregator: Aggregator | str | Mapping[str, Any] = "fedavg"
    rounds: Rounds = field(default_factory=Rounds)
    folder: Path | None = None
    privacy: ClientPrivacy | None = None
    secure: SecureSum | None = None
    told: Callable[[Mapping[str, Any]], None] = lambda line: None
    force: bool = False
    label: str = ""

    def __post_init__(self) -> None:
        self.rule = aggregator_of(self.aggregator, seed=self.rounds.seed)
        names = [client.id for client in self.clients]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadParameter(f"{twice[0]!r} is the name of two clients", field="clients", hint="name each once")
        if self.rounds.min_clients > len(names):
            what = f"{self.rounds.min_clients} of {len(names)} clients can never answer"
            raise BadParameter(what, field="min_clients", hint=f"at most {len(names)}")
        for extra, name in ((self.privacy, "privacy"), (self.secure, "secure")):
            if extra is not None and not self.rule.rule.linear:
                hint = "take fedavg, fedprox, fedavgm, fedadagrad, fedadam or fedyogi"
                what = f"{self.rule.name} reads every client's own update, which {name} does not show"
                raise BadParameter(what, field="aggregator", hint=hint)

    @property
    def key(self) -> str:
        """What the run's result depends on; a folder of another run is refused."""
        ids = [client.id for client in self.clients]
        return run_key(self.start, ids, self.rule, self.rounds, self.privacy, self.secure, self.label)

    def run(self) -> Federated:
        """All rounds. Raises EnvironmentFailure where too few clients answer, again and again."""
        journal, history = self._opened()
        state, memory = self._resumed(history)
        stopped = "rounds"
        for number in range(len(history), self.rounds.rounds):
            if self.privacy and self.privacy.exceeds(number + 1):
                stopped = "privacy budget"
                break
            state, memory, line = self._round(number, state, memory, history)
            if self.folder is not None and journal is not None:
                write_state(self._state_file(number), joined(state=state, memory=memory))
                journal.append(line)
                self._tidy(number)
            history.append(line)
            self.told(line)
        return Federated(state, memory, tuple(history), stopped)

    def _opened(self) -> tuple[Journal | None, list[dict[str, Any]]]:
        if self.folder is None:
            return None, []
        journal = Journal(self.folder, self.key, force=self.force, sound=self._is_sound, ordered=True)
        history = journal.open()
        if journal.is_new:
            for name in (STATES, UPDATES):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        return journal, history

    def _is_sound(self, line: Mapping[str, Any]) -> bool:
        return isinstance(line.get("round"), int) and isinstance(line.get("hash"), str)

    def _resumed(self, history: list[dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The state after the last round that is whole; later lines are taken back."""
        while history:
            file = self._state_file(history[-1]["round"])
            try:
                kept = read_state(file)
            except ConsortError:
                kept = {}
            state = split_off(kept, "state")
            if state and hash_of(state) == history[-1]["hash"]:
                return state, split_off(kept, "memory")
            what = f"the state of round {history[-1]['round']} is not what the journal says"
            raise BadData(what, field=str(file), hint="start anew in another folder, or with --force")
        return dict(self.start), {}

    def _state_file(self, number: int) -> Path:
        return Path(self.folder or "") / STATES / f"round-{number:06}.safetensors"

    def _updates_folder(self, number: int) -> Path | None:
        return None if self.folder is None else self.folder / UPDATES / f"round-{number:06}"

    def _tidy(self, number: int) -> None:
        """Remove what a finished round needs no more; the last two states stay."""
        folder = self._updates_folder(number)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        self._state_file(number - 2).unlink(missing_ok=True)

    def _round(
        self, number: int, state: State, memory: Memory, history: Sequence[Mapping[str, Any]]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        begun = time.monotonic()
        excluded: dict[str, str] = {}
        attempts = 0
        while True:
            attempts += 1
            asked = self._asked(number)
            found = self._gathered(number, state, memory, history, asked)
            excluded |= found.excluded
            if len(found.answered) >= self._needed(asked):
                break
            if attempts <= self.rounds.repeats:
                continue
            reasons = "; ".join(f"{id}: {why}" for id, why in sorted(excluded.items()))
            what = f"round {number}: {len(found.answered)} of {len(asked)} clients answered ({reasons})"
            raise EnvironmentFailure(what, field="clients", hint=f"{self.rounds.min_clients} must; run it again")
        following, remembered, line = self._made(number, state, memory, found)
        line |= {
            "clients": sorted(found.answered),
            "asked": asked,
            "excluded": dict(sorted(excluded.items())),
            "attempts": attempts,
            "seconds": round(time.monotonic() - begun, 3),
        }
        return following, remembered, line

    def _needed(self, asked: Sequence[str]) -> int:
        return 0 if self.privacy else min(self.rounds.min_clients, len(asked)) or 1

    def _asked(self, number: int) -> list[str]:
        ids = [client.id for client in self.clients]
        if self.privacy:
            return self.privacy.asked(ids, self.rounds.seed, number)
        return sampled(ids, self.rounds.seed, number, self.rounds.per_round or len(ids))

    def _gathered(
        self, number: int, state: State, memory: Memory, history: Sequence[Mapping[str, Any]], asked: Sequence[str]
    ) -> Gathered:
        clients = [client for client in self.clients if client.id in set(asked)]
        accepted = {id: line["round"] for line in history for id in line["clients"]}
        received = split_off(memory, self.rule.rule.sends) if self.rule.rule.sends else {}
        here = hash_of(state)
        plan = self.rule.to_plan() if self.rule.rule.local is not None else {"fedavg": {}}
        tasks = {
            client.id: RoundTask(
                number,
                seed_of(self.rounds.seed, "fit", number, client.id),
                plan,
                received,
                accepted.get(client.id, -1),
                f"{number}:{here}:{client.id}",
            )
            for client in clients
        }
        how = Counting(
            self._updates_folder(number),
            self.rounds.workers,
            self.rounds.deadline_s,
            self.rounds.max_norm,
            self.rounds.clip,
            self.rule.rule.space == "factors",
        )
        if self.secure is None:
            return gather(clients, state, tasks, how)
        clip = self.privacy.clip if self.privacy else self.rounds.clip
        weighting = "uniform" if self.privacy else str(self.rule.params.get("weighting", "uniform"))
        return self.secure.gather(clients, state, tasks, how, clip=clip, weighting=weighting)

    def _made(
        self, number: int, state: State, memory: Memory, found: Gathered
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
        """The next state and memory, and what the round's line says of them."""
        updates: Sequence[Update] = found.updates
        line: dict[str, Any] = {"round": number}
        if modules_of(state) and self.rule.rule.space != "factors" and not (self.secure or self.privacy):
            line["factor_error"] = factor_error(updates, shares(updates, "samples"))
        if self.privacy:
            count = len(found.answered) if self.secure else 1
            updates = [self.privacy.summed(state, updates, len(self.clients), number, line, count=count)]
        elif not self.secure:
            line["drift"] = drift(state, updates)
        following, kept = self.rule(state, updates, memory, clients=len(self.clients), round=number)
        line |= {name.removeprefix(TOLD): float(kept[name]) for name in kept if name.startswith(TOLD)}
        line["hash"] = hash_of(following)
        line["metrics"] = _mean_metrics(found.updates)
        remembered = {name: tensor for name, tensor in kept.items() if not name.startswith(TOLD)}
        return dict(following), remembered, line


def run_key(
    start: State,
    ids: Sequence[str],
    rule: Aggregator,
    rounds: Rounds,
    privacy: ClientPrivacy | None = None,
    secure: SecureSum | None = None,
    label: str = "",
) -> str:
    """A hash of what a run's result depends on; how many rounds it has is not part of it, so that it can go on."""
    extra = [privacy and privacy.key, secure and secure.key]
    plain = [rounds.per_round, rounds.max_norm, rounds.clip, rounds.seed]
    return key_of([hash_of(start), sorted(ids), rule.to_plan(), plain, extra, label])


def drift(base: State, updates: Sequence[Update]) -> float:
    """How far clients pull apart: the mean distance of their states from their mean, by the mean's from the base.

    Tensors of unlike ranks are left out.
    """
    apart = dict.fromkeys((update.client for update in updates), 0.0)
    moved = 0.0
    for name in trained_names(base):
        if all(update.state[name].shape == base[name].shape for update in updates):
            middle = mean(updates, [1 / len(updates)] * len(updates), name)
            moved += float((middle - base[name].double()).square().sum())
            for update in updates:
                apart[update.client] += float((update.state[name].double() - middle).square().sum())
    distance = sum(math.sqrt(value) for value in apart.values()) / len(updates)
    return distance / math.sqrt(moved) if moved else 0.0


def _mean_metrics(updates: Sequence[Update]) -> dict[str, float]:
    """Means of what all clients tell, by their samples."""
    names = set.intersection(*(set(update.metrics) for update in updates)) if updates else set()
    whole = sum(update.samples for update in updates)
    return {name: sum(u.samples * u.metrics[name] for u in updates) / whole for name in sorted(names)}
