"""The side of the Flower bridge that runs in this environment: a process that answers over its pipes.

Flower pins versions that clash with consort's, so it lives in an environment of its own (`examples/flower`), where a
`Strategy` and a `ClientApp` start it and pass arrays through: `python -m consort.cli.flower server PLAN`
aggregates, `... client NAME DATA [FOLDER]` trains. Each message on a pipe is its length in 8 bytes, big-endian, and a
safetensors document as of `wire`. Nothing here imports Flower.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from consort.core.errors import BadPlan, ConsortError, EnvironmentFailure
from consort.core.guard import told
from consort.federate.checking import check_update
from consort.federate.clients.client import LocalClient, RoundTask
from consort.federate.member import member_of
from consort.federate.plan import FederatePlan
from consort.federate.sampling import seed_of
from consort.federate.setup import Setup
from consort.federate.state import State, Update, hash_of, joined, split_off
from consort.federate.wire import Message, part, read_message
from consort.weights.checkpoint import Checkpoint

FLOWER = "flower"
MOST_BYTES = 2**36


@dataclass
class Server:
    """Aggregates what Flower gathers: the plan's rule, with checks of every update and the quorum of the plan."""

    setup: Setup
    base: Checkpoint
    round: int = 0
    memory: dict[str, Tensor] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bench = self.setup.bench(self.base)
        self.state: dict[str, Tensor] = dict(self.bench.first)

    def answer(self, message: Message) -> Message:
        """The next message. Raises EnvironmentFailure where too few updates count."""
        if message.kind == "aggregate":
            return self._aggregated(message)
        if message.kind == "save":
            kind = self.bench.save(self.state, Path(str(message.meta["folder"])))
            return Message("saved", {"result": kind, "hash": hash_of(self.state)})
        return self._told({})

    def _told(self, line: Mapping[str, Any]) -> Message:
        """The state and what clients need beside it."""
        rounds, rule = self.setup.rounds, self.setup.rule
        received = split_off(self.memory, rule.rule.sends) if rule.rule.sends else {}
        meta = {
            "offered": dict(self.setup.offered(self.base)),
            "clients": len(self.setup.plan.clients),
            "min_clients": rounds.min_clients,
            "rounds": rounds.rounds,
            "deadline_s": rounds.deadline_s or 3600.0,
            "round": self.round,
            "accepted": dict(self.accepted),
            "hash": hash_of(self.state),
        }
        return Message("state", {**meta, **line}, joined(state=self.state, received=received))

    def _aggregated(self, message: Message) -> Message:
        counted: list[Update] = []
        excluded: dict[str, str] = {}
        rule = self.setup.rule
        for number, said in enumerate(message.meta["updates"]):
            name = str(said.get("client", number))
            try:
                counted.append(self._update(name, said, message.tensors, number))
            except (ConsortError, KeyError, TypeError, ValueError) as fault:
                excluded[name] = fault.message if isinstance(fault, ConsortError) else told(fault)
        if len(counted) < self.setup.rounds.min_clients:
            why = "; ".join(f"{name}: {reason}" for name, reason in sorted(excluded.items()))
            what = f"round {self.round}: {len(counted)} clients count ({why})"
            raise EnvironmentFailure(what, field="clients", hint=f"{self.setup.rounds.min_clients} must")
        clients = len(self.setup.plan.clients)
        following, memory = rule(self.state, counted, self.memory, clients=clients, round=self.round)
        self.state, self.memory = dict(following), dict(memory)
        self.accepted |= {update.client: self.round for update in counted}
        self.round += 1
        return self._told({"counted": [update.client for update in counted], "excluded": excluded})

    def _update(self, name: str, said: Mapping[str, Any], tensors: State, number: int) -> Update:
        if name not in self.setup.plan.clients:
            raise BadPlan("is not one of the plan's clients", field=name, hint="name it in the plan")
        if int(said["round"]) != self.round:
            raise BadPlan("answers another round (a replay)", field=name, hint="answer the task that was set")
        update = Update(
            name,
            dict(part(tensors, f"{number}/state")),
            int(said["samples"]),
            int(said["steps"]),
            float(said["lr"]),
            dict(part(tensors, f"{number}/aux")),
            {str(key): float(value) for key, value in dict(said.get("metrics", {})).items()},
        )
        mixed = self.setup.rule.rule.space == "factors"
        check_update(update, self.state, mixed_ranks=mixed, max_norm=self.setup.rounds.max_norm)
        return update


@dataclass
class Member:
    """Trains on its own rows, which never leave this process."""

    name: str
    data: Path
    folder: Path | None
    open_model: Callable[[Any, int], Checkpoint]
    client: LocalClient | None = None

    def answer(self, message: Message) -> Message:
        """The update that answers a task; the plan came with it."""
        offered = message.meta["offered"]
        if self.client is None:
            base = self.open_model(offered["model"], int(offered.get("seed", 0)))
            self.client = member_of(self.name, offered, base, self.data, self.folder)
        number, rule = int(message.meta["round"]), offered["aggregator"]
        task = RoundTask(
            number,
            seed_of(int(offered.get("seed", 0)), "fit", number, self.name),
            rule if isinstance(rule, Mapping) else {rule: {}},
            dict(part(message.tensors, "received")),
            int(message.meta.get("accepted", {}).get(self.name, -1)),
        )
        update = self.client.fit(dict(part(message.tensors, "state")), task)
        names = ("client", "samples", "steps", "lr")
        meta = {name: getattr(update, name) for name in names} | {"metrics": dict(update.metrics), "round": number}
        return Message("update", meta, joined(state=update.state, aux=update.aux))


def check_plan(plan: FederatePlan) -> FederatePlan:
    """Raise BadPlan for what Flower carries no messages for."""
    for name in ("privacy", "secure"):
        if name in plan.sections:
            raise BadPlan("is not carried by Flower", field=f"plan.{name}", hint="take where: http")
    if plan.sections.get("rounds", {}).get("per_round") is not None:
        raise BadPlan("is not carried by Flower", field="rounds.per_round", hint="all nodes are asked, or where: http")
    if plan.settings.where != FLOWER:
        raise BadPlan(f"is {plan.settings.where!r}", field="plan.where", hint="where: flower")
    return plan


def serve(answer: Callable[[Message], Message], given: BinaryIO, taken: BinaryIO) -> None:
    """Answer messages until the pipe ends; what goes wrong is answered too, as the kind `error`."""
    with tempfile.TemporaryDirectory(prefix="consort-flower-") as spare:
        file = Path(spare) / "message.safetensors"
        while True:
            head = given.read(8)
            if len(head) < 8:
                return
            size = int.from_bytes(head, "big")
            if size > MOST_BYTES:
                return
            file.write_bytes(given.read(size))
            try:
                found = answer(read_message(file))
            except ConsortError as fault:
                found = Message("error", {"message": f"{fault.field or 'consort'}: {fault.message}"})
            content = found.packed()
            taken.write(len(content).to_bytes(8, "big") + content)
            taken.flush()
