"""Who worked for an answer: counting tokens in sessions, and names that tell models apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from consort.core.types import Completion, Usage, add_cost


@dataclass(slots=True)
class _Count:
    """A `Usage` in the making: what a row has read and cost so far."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0
    seconds: float = 0.0


class Meter:
    """Counts what one model does for each row of a session.

    Tokens of a row's first feed are prompt tokens; those read later are completion tokens, and so is the token that
    follows the prompt if only the last logits were asked for. A generated answer of n tokens thus counts n.
    """

    def __init__(self, name: str, batch: int) -> None:
        self.name = name
        self._rows = [_Count() for _ in range(batch)]

    def add(self, tokens: Sequence[Sequence[int]], last: bool, seconds: float) -> None:
        """Enter a feed that took `seconds`, which the rows share by their number of new tokens."""
        total = sum(map(len, tokens)) or 1
        for row, new in zip(self._rows, tokens, strict=True):
            if not new:
                continue
            if row.calls:
                row.completion_tokens += len(new)
            else:
                row.prompt_tokens, row.completion_tokens, row.calls = len(new), int(last), 1
            row.seconds += seconds * len(new) / total

    def select(self, rows: Sequence[int]) -> None:
        firsts = {row: i for i, row in reversed(list(enumerate(rows)))}
        self._rows = [self._rows[row] if firsts[row] == i else _Count(calls=1) for i, row in enumerate(rows)]

    def admit(self, rows: int) -> None:
        self._rows += [_Count() for _ in range(rows)]

    def spent(self) -> list[dict[str, Usage]]:
        return [
            {self.name: Usage(row.prompt_tokens, row.completion_tokens, row.calls, row.seconds)} for row in self._rows
        ]


def distinct(names: Sequence[str]) -> list[str]:
    """The names, told apart: a, b and a become a, b and a#2."""
    found: list[str] = []
    for name in names:
        number, candidate = 1, name
        while candidate in found:
            number += 1
            candidate = f"{name}#{number}"
        found.append(candidate)
    return found


def leaves(model: Any) -> list[Any]:
    """The plain models at work in `model`, each once, in order."""
    members = getattr(model, "members", ())
    found = {id(leaf): leaf for member in members for leaf in leaves(member)}
    return list(found.values()) if members else [model]


def labels(model: Any) -> dict[str, Any]:
    """The plain models at work in `model`, by a name that no other of them has."""
    found = leaves(model)
    return dict(zip(distinct([leaf.name for leaf in found]), found, strict=True))


def sizes(model: Any) -> dict[str, float]:
    """Weights at work for one token, of each plain model in `model` that tells its `parameters`, by its name."""
    told = {name: getattr(leaf, "parameters", None) for name, leaf in labels(model).items()}
    return {name: float(size) for name, size in told.items() if isinstance(size, int | float)}


def joined(parent: Any, parts: Sequence[tuple[Any, Mapping[str, Usage]]]) -> dict[str, Usage]:
    """Costs of members as the cost of `parent`: summed, under the names that `labels(parent)` gives."""
    names = {id(leaf): name for name, leaf in labels(parent).items()}
    renamed = []
    for member, cost in parts:
        own = labels(member)
        renamed.append({names.get(id(own.get(name)), name): usage for name, usage in cost.items()})
    return add_cost(*renamed)


def cost_of(model: Any, completion: Completion) -> Mapping[str, Usage]:
    """The cost of a completion; that of a model which reports none is its usage."""
    return completion.cost or {model.name: completion.usage}


def scored(model: Any, pairs: Sequence[tuple[str, str]]) -> tuple[Sequence[float], Usage, Mapping[str, Usage]]:
    """Log-likelihoods (nats) of continuations after their contexts, how much was read, and what that cost by name.

    In a strategy over tokens every inner model reads everything; a model that divides the pairs among its members says
    by `read_pairs` who read what.
    """
    read_pairs = getattr(model, "read_pairs", None)
    if read_pairs is not None:
        found: tuple[Sequence[float], Usage, Mapping[str, Usage]] = read_pairs(pairs)
        return found
    started = perf_counter()
    likelihoods = model.score(pairs)
    seconds = perf_counter() - started
    encode = getattr(getattr(model, "tokenizer", None), "encode", None)
    read = sum(len(encode(context + continuation)) for context, continuation in pairs) if encode else 0
    usage = Usage(read, 0, len(pairs), seconds)
    return likelihoods, usage, shared(model, usage)


def shared(model: Any, usage: Usage) -> dict[str, Usage]:
    """The cost of reading where every inner model reads everything; they share the time."""
    names = labels(model)
    return {name: replace(usage, seconds=usage.seconds / len(names)) for name in names}
