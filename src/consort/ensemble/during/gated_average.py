"""An average only where it matters: the first model writes alone until it is unsure, or others disagree.

A step is open where the first model's two best probabilities are close (`margin`, as in AdaFuse, arXiv 2601.06022), its
entropy is high (`entropy`), or the next model, asked as well, would say something else (`disagreement`). In an open
step all members catch up and are averaged; else the first model's distribution stands, and the others wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Annotated, Any, Literal

from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.core.types import Usage
from consort.ensemble.during import strategy
from consort.ensemble.during.average import mix
from consort.ensemble.mixing.base import Ensemble
from consort.ensemble.mixing.lagging import Lagging
from consort.models.base import Session
from consort.models.cost import joined
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@strategy(paper="2601.06022")
class GatedAverage(Ensemble):
    """The first model's distribution, or the average of all where its gate is open.

    `gate`: `margin` opens where p(1) - p(2) < `threshold`; `entropy` where it is above, in nats; `disagreement`, with
    the second model asked at each step, where their first choices differ or their total variation is above. Margin 0 is
    the first model, margin above 1 the average. `details` has `open_steps` and `calls` by member. Raises Incompatible
    if vocabularies differ.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        gate: Literal["margin", "entropy", "disagreement"] = "margin",
        threshold: Annotated[float, Range(0, inf)] = 0.3,
        weight: Sequence[float] | None = None,
    ) -> None:
        super().__init__(models, weight)
        self.gate, self.threshold = gate, threshold
        if not self.shares[0]:
            raise BadParameter("the first model writes", field="weight", hint="give it a weight above 0")

    def combine(
        self, logits: Sequence[Float[Tensor, "row vocab"]], shares: Float[Tensor, "model row"]
    ) -> Float[Tensor, "row vocab"]:
        return mix(logits, shares)

    def is_open(self, first: Float[Tensor, " vocab"], second: Float[Tensor, " vocab"] | None = None) -> bool:
        """Whether all members are wanted after the logits of the first one, and of the second for `disagreement`."""
        p = first.double().softmax(-1)
        if self.gate == "margin":
            best = p.topk(min(2, len(p))).values
            return float(best[0] - best[-1] if len(best) > 1 else best[0]) < self.threshold
        if self.gate == "entropy":
            return float(-(p * p.clamp(min=1e-300).log()).sum()) > self.threshold
        if second is None:
            return False
        size = min(len(first), len(second))
        q = second[:size].double().softmax(-1)
        p = first[:size].double().softmax(-1)
        return int(p.argmax()) != int(q.argmax()) or float((p - q).abs().sum() / 2) > self.threshold

    def open(self, batch: int = 1) -> Session:
        return _GatedSession(self, batch)


class _GatedSession:
    """The first member reads everything at once, the others when the gate opens."""

    def __init__(self, owner: GatedAverage, batch: int) -> None:
        self.owner = owner
        self.parts = [Lagging(owner.models[i], batch) for i in owner.asked]
        self.opened = [0] * batch

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        import torch

        if last or all(len(new) < 2 for new in tokens):
            return self._step(tokens)
        found: list[list[Tensor]] = [[] for _ in tokens]
        for at in range(max(map(len, tokens))):  # each position has a gate of its own
            here = [new[at : at + 1] for new in tokens]
            for row, logits in enumerate(self._step(here)):
                found[row] += [logits] if here[row] else []
        size = self.owner.tokenizer.vocab_size
        return [torch.cat(rows) if rows else torch.empty(0, size) for rows in found]

    def _step(self, tokens: Sequence[Sequence[int]]) -> list[Float[Tensor, "new vocab"]]:
        import torch

        for part in self.parts:
            part.add(tokens)
        rows = [row for row, new in enumerate(tokens) if new]
        members: list[dict[int, Tensor]] = [self.parts[0].logits(rows)]
        looks = self.owner.gate == "disagreement" and len(self.parts) > 1
        members += [self.parts[1].logits(rows)] if looks else []
        second = members[1] if looks else {}
        wide = [row for row in rows if self.owner.is_open(members[0][row], second.get(row))]
        members += [part.logits(wide) for part in self.parts[len(members) :]]
        share = torch.tensor([self.owner.shares[i] for i in self.owner.asked])
        found = []
        for row in range(len(tokens)):
            self.opened[row] += row in wide
            if row in wide:
                mixed = self.owner.combine([m[row][None] for m in members], (share / share.sum())[:, None])
                found.append(mixed)
            elif row in members[0]:
                found.append(members[0][row][None])
            else:
                found.append(torch.empty(0, self.owner.tokenizer.vocab_size))
        return found

    def notes(self) -> list[dict[str, Any]]:
        calls = {part.model.name: part.calls for part in self.parts}
        return [{"open_steps": opened, "calls": calls} for opened in self.opened]

    def rollback(self, lengths: Sequence[int]) -> None:
        for part in self.parts:
            part.rollback(lengths)

    def select(self, rows: Sequence[int]) -> _GatedSession:
        for part in self.parts:
            part.select(rows)
        self.opened = [self.opened[row] for row in rows]
        return self

    def spent(self) -> list[dict[str, Usage]]:
        by_row = zip(*(part.spent() for part in self.parts), strict=True)
        models = [part.model for part in self.parts]
        return [joined(self.owner, list(zip(models, costs, strict=True))) for costs in by_row]
