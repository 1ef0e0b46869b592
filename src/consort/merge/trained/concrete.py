"""Concrete subspace (Tang et al. 2023, arXiv 2312.06173): one mask over the weights in which tasks do not clash.

All task vectors are multiplied by one mask m = sigmoid((logit + Gumbel noise)/temperature), divided by its mean in each
tensor so that their size stays; the logits are trained to make the merge sure of itself, like AdaMerging. The paper
alternates between mask and coefficients; here both move at once, or the coefficients stay.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from consort.core.counted import counted
from consort.core.errors import BadCheckpoint, Incompatible
from consort.core.params import PerModel
from consort.merge.trained import learned
from consort.merge.trained.adamerging import EVERY, RATE, STEPS, Tell, adam, mean_entropy
from consort.merge.trained.passages import Batch, Passage, drawing, entropy, forward
from consort.merge.trained.store import read_found
from consort.merge.trained.weighing import Coefficients, Deltas, weighed
from consort.train.loop import fit
from consort.weights.checkpoint import Checkpoint, round_into
from consort.weights.disk.folder import open_folder
from consort.weights.views.basic import View

BATCH = 16
TEMPERATURE = 0.5
LOGIT = 0.0
"""Where all logits start: equal ones are no mask at all, so training starts from task arithmetic."""


@dataclass(frozen=True, slots=True)
class Masked:
    """What was found: m / mean(m) of each tensor, the coefficients of the models, entropy (nats) before and after."""

    factors: Mapping[str, Tensor]
    amounts: tuple[float, ...]
    before: float
    after: float


class Mask(nn.Module):
    """One logit for each weight, and the coefficients of the models, which `adaptive` lets move."""

    def __init__(
        self, deltas: Deltas, start: Sequence[float], *, adaptive: bool, logit: float, temperature: float
    ) -> None:
        super().__init__()
        self.deltas, self.bases = deltas, [deltas.of_base(name) for name in deltas.names]
        self.fixed = None if adaptive else [deltas.weighed(name, start) for name in deltas.names]
        shapes = [deltas.models[0].spec(name).shape for name in deltas.names]
        self.logits = nn.ParameterList(torch.full(shape, logit) for shape in shapes)
        self.coefficients = Coefficients(torch.tensor([list(start)]))
        self.coefficients.requires_grad_(adaptive)
        self.temperature = temperature

    def factor(self, index: int, noise: Float[Tensor, "*shape"] | float = 0.0) -> Float[Tensor, "*shape"]:
        """The mask of tensor number `index`, divided by its mean."""
        mask = torch.sigmoid((self.logits[index] + noise) / self.temperature)
        return mask / mask.mean()

    def totals(self) -> list[Tensor]:
        """The weighted sum of task vectors, tensor by tensor."""
        if self.fixed is not None:
            return self.fixed
        merged = weighed(self.deltas, [self.coefficients.row(0)] * len(self.bases)).values()
        return [whole - base for whole, base in zip(merged, self.bases, strict=True)]

    def merged(self, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The base with the masked sum added; noise is drawn by `generator`, without one there is none."""
        found = {}
        for i, (name, base, total) in enumerate(zip(self.deltas.names, self.bases, self.totals(), strict=True)):
            noise = 0.0 if generator is None else gumbel(base.shape, generator)
            found[name] = base + total * self.factor(i, noise)
        return found

    def clamp(self) -> None:
        """Coefficients back into [0, 1]."""
        with torch.no_grad():
            self.coefficients.amounts.clamp_(0, 1)


def gumbel(shape: Sequence[int], generator: torch.Generator) -> Float[Tensor, "*shape"]:
    """The difference of two Gumbel draws, which is logistic: log u - log(1 - u)."""
    u = torch.rand(tuple(shape), generator=generator).clamp_(1e-6, 1 - 1e-6)
    return u.log() - (-u).log1p()


def learn_mask(
    module: Any,
    deltas: Deltas,
    passages: Sequence[Passage],
    *,
    start: Sequence[float],
    adaptive: bool = False,
    logit: float = LOGIT,
    temperature: float = TEMPERATURE,
    steps: int = STEPS,
    lr: float = RATE,
    batch: int = BATCH,
    seed: int = 0,
    state: Path | None = None,
    progress: Tell | None = None,
) -> Masked:
    """A shared mask that minimises the mean entropy over the tasks of `passages`.

    `start`: the models' coefficients, which `adaptive` lets move too. A step draws noise for every weight and `batch`
    passages of each task. The final mask has no noise.
    """
    model = Mask(deltas, start, adaptive=adaptive, logit=logit, temperature=temperature)
    module.requires_grad_(False)
    draw = drawing(passages, batch)

    def draw_both(rng: random.Random) -> tuple[int, Mapping[str, Batch]]:
        return rng.getrandbits(63), draw(rng)

    def loss(_: nn.Module, drawn: tuple[int, Mapping[str, Batch]]) -> Float[Tensor, ""]:
        number, by_task = drawn
        model.clamp()
        merged = model.merged(torch.Generator().manual_seed(number))
        return torch.stack([entropy(forward(module, merged, own), own) for own in by_task.values()]).mean()

    with torch.no_grad():
        before = mean_entropy(module, model.merged(), passages)
    if steps:
        label, recipe = f"concrete {seed}", adam(steps, lr)
        fit(model, draw_both, loss, recipe, seed=label, state=state, every=EVERY, progress=progress)
    model.clamp()
    with torch.no_grad():
        after = mean_entropy(module, model.merged(), passages)
        factors = {name: model.factor(i).clone() for i, name in enumerate(deltas.names)}
    return Masked(factors, tuple(model.coefficients.row(0).tolist()), before, after)


@learned(paper="2312.06173")
class Concrete(View):
    """Task arithmetic inside the subspace that `consort collect concrete` found for these models, in this order.

    `mask`: the folder it wrote; `weight`: coefficients in the place of those stored with the mask. Tensors are read in
    pieces of any size. Raises BadCheckpoint, BadParameter, Incompatible.
    """

    def __init__(
        self,
        models: Sequence[Checkpoint],
        base: Checkpoint,
        *,
        mask: str,
        weight: PerModel[float] | None = None,
    ) -> None:
        self.models, self.base, self.mask, self.weight = tuple(models), base, mask, weight
        super().__init__(base, f"concrete({', '.join(model.name for model in models)})")
        found = read_found(mask, "concrete", self.models, base, needs=("amounts",))
        self._factors = open_folder(Path(mask))
        self._amounts = _amounts(found["amounts"] if weight is None else weight, len(self.models))
        self._masked = set(self._factors.keys())
        for name in self._masked:
            if name not in base.keys() or self._factors.spec(name).shape != base.spec(name).shape:
                raise Incompatible(f"{name} has no such mask", field=mask, hint="collect it anew for this base")

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        return (*self.models, self.base, self._factors)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        if name not in self._masked:
            self.base.read_into(name, start, stop, out)
            return
        base, own, factor = torch.empty(3, stop - start)
        self.base.read_into(name, start, stop, base)
        total = torch.zeros_like(base)
        for model, amount in zip(self.models, self._amounts, strict=True):
            model.read_into(name, start, stop, own)
            total.add_(own.sub_(base), alpha=amount)
        self._factors.read_into(name, start, stop, factor)
        round_into(base.add_(total.mul_(factor)), out)


def _amounts(given: Any, models: int) -> list[float]:
    values = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given] * models
    if len(values) != models or not all(isinstance(value, int | float) for value in values):
        hint = f"one number for all, or {models}"
        raise BadCheckpoint(f"{values} are no coefficients of {counted(models, 'model')}", field="weight", hint=hint)
    return [float(value) for value in values]
