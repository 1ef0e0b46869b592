"""The server's side of a masked round: five questions to each client; whoever does not answer one has left.

Holds against a server that is curious and honest, and against clients that leave at any step, while more than half of
those that sent keys stay. It shows the server the sum, who took part, their numbers of samples and their metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, cast

from consort.core.binding import bound as bound_signature
from consort.core.errors import BadData
from consort.core.params import Range
from consort.federate.checking import MAX_SAMPLES
from consort.federate.clients.client import Client, RoundTask
from consort.federate.gathering import Counting, Gathered, asked_each
from consort.federate.secure.fields import Words, flattened, mean_of, unflattened, whole_weights
from consort.federate.secure.messages import Answering, public_of, words_of
from consort.federate.secure.party import Public, total_of
from consort.federate.state import State, Update, trained_names
from consort.federate.wire import Message, task_message


class Exchanging(Protocol):
    """A client that answers messages."""

    @property
    def id(self) -> str: ...

    def exchange(self, message: Message) -> Message: ...


@dataclass(frozen=True, slots=True)
class SecureSum:
    """Masked sums; each number of a change is cut to [-bound, bound] and kept in 22 bits."""

    bound: Annotated[float, Range(0.000000001, 1000000)] = 8.0

    @property
    def key(self) -> list[Any]:
        return ["masked", self.bound]

    def gather(
        self,
        clients: Sequence[Client],
        state: State,
        tasks: Mapping[str, RoundTask],
        how: Counting,
        *,
        clip: float | None = None,
        weighting: str = "samples",
    ) -> Gathered:
        """The mean of the clients' changes as one update, without any of them."""
        run = _Run([_exchanging(client) for client in clients], how)
        prepared = run.ask("prepare", lambda id: _prepare(state, tasks[id]), _counts)
        samples = {id: count for id, (count, _) in prepared.items()}
        everybody = run.ask("keys", lambda id: Message("keys"), lambda message: public_of(message.meta["keys"]))
        threshold = len(everybody) // 2 + 1
        written = {id: [key.hex() for key in pair] for id, pair in everybody.items()}
        meta: dict[str, Any] = {"everybody": written, "threshold": threshold}
        sealed = run.ask("shares", lambda id: Message("shares", meta), lambda message: _texts(message, everybody))
        weights = whole_weights({id: samples[id] for id in sealed}, weighting)
        meta = {"present": sorted(sealed), "weights": weights, "bound": self.bound, "clip": clip}
        count = len(flattened(state, trained_names(state)))
        metrics = {id: own for id, (_, own) in prepared.items()}
        masked = run.ask("masked", lambda id: Message("masked", meta), lambda message: words_of(message, count))
        return self._opened(run, state, masked, sealed, everybody, weights, threshold, _stamp(tasks), metrics)

    def _opened(
        self,
        run: _Run,
        state: State,
        masked: Mapping[str, Words],
        sealed: Mapping[str, Mapping[str, bytes]],
        everybody: Mapping[str, Public],
        weights: Mapping[str, int],
        threshold: int,
        stamp: str,
        metrics: Mapping[str, Mapping[str, float]],
    ) -> Gathered:
        present, left = sorted(masked), sorted(set(sealed) - set(masked))

        def reveal(id: str) -> Message:
            own = {sender: texts[id].hex() for sender, texts in sealed.items()}
            return Message("reveal", {"present": present, "left": left, "sealed": own})

        shares = run.ask("reveal", reveal, lambda message: _texts(message, sealed)) if len(present) >= threshold else {}
        if len(shares) < threshold:
            return Gathered((), (), run.excluded | dict.fromkeys(present, "too few clients stayed for a masked sum"))
        total = total_of(masked, shares, everybody, sorted(sealed), threshold, stamp)
        names = trained_names(state)
        mean = mean_of(total, sum(weights[id] for id in present), self.bound)
        moved = unflattened(flattened(state, names) + mean, state, names)
        told = _means({id: metrics[id] for id in present}, weights)
        return Gathered([Update("sum", moved, metrics=told)], present, run.excluded)


class _Run:
    """The clients that are still there."""

    def __init__(self, clients: Sequence[Exchanging], how: Counting) -> None:
        self.clients, self.how = list(clients), how
        self.excluded: dict[str, str] = {}

    def ask(
        self, kind: str, message: Callable[[str], Message], read: Callable[[Message], Any] = lambda answer: answer
    ) -> dict[str, Any]:
        """Every client's answer; one without a good one is asked no more."""
        answers = asked_each(self.clients, lambda client: read(client.exchange(message(client.id))), self.how)
        found = {id: answer for id, answer in answers.items() if not isinstance(answer, str)}
        self.excluded |= {id: f"{kind}: {why}" for id, why in answers.items() if isinstance(why, str)}
        self.clients = [client for client in self.clients if client.id in found]
        return found


def _exchanging(client: Client) -> Exchanging:
    return cast(Exchanging, client) if hasattr(client, "exchange") else Answering(client)


def _prepare(state: State, task: RoundTask) -> Message:
    message = task_message(state, task)
    return Message("prepare", message.meta, message.tensors)


def _counts(message: Message) -> tuple[int, dict[str, float]]:
    """Samples and metrics of a client that has trained."""
    found = int(message.meta["samples"])
    metrics = {str(name): float(value) for name, value in message.meta["metrics"].items()}
    if not 1 <= found <= MAX_SAMPLES or not all(map(math.isfinite, metrics.values())):
        raise BadData(f"tells of {found} samples, or metrics that are not finite", field="prepared")
    return found, metrics


def _texts(message: Message, wanted: Iterable[str]) -> dict[str, bytes]:
    """The shares of a client, one for each of `wanted`."""
    return {id: bytes.fromhex(message.meta["shares"][id]) for id in wanted}


def _stamp(tasks: Mapping[str, RoundTask]) -> str:
    """What names the round, without the client."""
    return next(iter(tasks.values())).stamp.rpartition(":")[0] if tasks else ""


def _means(metrics: Mapping[str, Mapping[str, float]], weights: Mapping[str, int]) -> dict[str, float]:
    names = set.intersection(*(set(own) for own in metrics.values())) if metrics else set()
    whole = sum(weights[id] for id in metrics)
    return {n: sum(weights[id] * float(own[n]) for id, own in metrics.items()) / whole for n in sorted(names)}


bound_signature(SecureSum, "secure")
