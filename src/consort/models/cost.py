"""Who worked for an answer: counting tokens in sessions, and names that tell models apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consort.core.types import Completion, Usage, add_cost


class Meter:
    """Counts what one model does for each row of a session.

    Tokens of a row's first feed are prompt tokens; those read later are completion tokens, and so is the token that
    follows the prompt if only the last logits were asked for. A generated answer of n tokens thus counts n.
    """

    def __init__(self, name: str, batch: int) -> None:
        self.name = name
        self._rows = [Usage()] * batch

    def add(self, tokens: Sequence[Sequence[int]], last: bool, seconds: float) -> None:
        """Enter a feed that took `seconds`, which the rows share by their number of new tokens."""
        total = sum(map(len, tokens)) or 1
        for row, new in enumerate(tokens):
            if n := len(new):
                first = self._rows[row].calls == 0
                read = Usage(n, int(last), 1) if first else Usage(0, n)
                self._rows[row] += read + Usage(seconds=seconds * n / total)

    def select(self, rows: Sequence[int]) -> None:
        kept = [self._rows[row] if row not in rows[:i] else Usage(calls=1) for i, row in enumerate(rows)]
        self._rows = kept

    def spent(self) -> list[dict[str, Usage]]:
        return [{self.name: usage} for usage in self._rows]


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
