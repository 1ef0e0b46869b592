"""AdaMerging (Yang et al. 2023, arXiv 2310.02575) for causal models: coefficients that make a merge sure of itself.

The paper minimises the entropy of a classifier's predictions on unlabelled test inputs. Here it is that of next-token
distributions at the positions of the answers; coefficients are kept in [0, 1] by projection, not by a clamp that stops
their gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from consort.core.errors import Unsupported
from consort.core.schedule import ByName, Rule
from consort.merge.engine.merged import Merged, merge
from consort.merge.trained import learned
from consort.merge.trained.passages import Batch, Passage, drawing, entropy, forward, in_batches
from consort.merge.trained.store import read_found
from consort.merge.trained.weighing import Coefficients, Deltas, weighed
from consort.train.loop import Recipe, fit
from consort.weights.checkpoint import Checkpoint
from consort.weights.views.stack import origin

START = 0.3
STEPS, RATE, BATCH = 500, 1e-3, 16
UNCLIPPED = 1e6
"""A bound of the gradient's norm that is never reached."""
EVERY = 50
"""Steps between two writings of what a killed run goes on from."""
Grain = Literal["tensor", "model"]
Tell = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class Adapted:
    """Coefficients that were found, by tensor and model, and the mean entropy (nats) before and after."""

    names: tuple[str, ...]
    amounts: tuple[tuple[float, ...], ...]
    before: float
    after: float


def adapt(
    module: Any,
    deltas: Deltas,
    passages: Sequence[Passage],
    *,
    start: Sequence[float],
    grain: Grain = "tensor",
    steps: int = STEPS,
    lr: float = RATE,
    batch: int = BATCH,
    seed: int = 0,
    state: Path | None = None,
    progress: Tell | None = None,
) -> Adapted:
    """Coefficients of task vectors that minimise the mean entropy over the tasks of `passages` (eq. 5).

    `start`: one for each model. `grain`: one coefficient for each model (task-wise) or for each tensor and model
    (layer-wise). A step draws `batch` passages of each task. `state`: where to keep what a killed run goes on from.
    """
    rows = 1 if grain == "model" else len(deltas.names)
    model = Coefficients(torch.tensor([list(start)] * rows))
    module.requires_grad_(False)

    def parameters() -> dict[str, Tensor]:
        with torch.no_grad():
            model.amounts.clamp_(0, 1)
        return weighed(deltas, [model.row(i) for i in range(len(deltas.names))])

    def loss(_: nn.Module, drawn: Mapping[str, Batch]) -> Float[Tensor, ""]:
        merged = parameters()
        return torch.stack([entropy(forward(module, merged, own), own) for own in drawn.values()]).mean()

    before = mean_entropy(module, parameters(), passages)
    if steps:
        recipe = adam(steps, lr)
        label = f"adamerging {seed}"
        fit(model, drawing(passages, batch), loss, recipe, seed=label, state=state, every=EVERY, progress=progress)
    merged = parameters()
    amounts = tuple(tuple(model.row(i).tolist()) for i in range(len(deltas.names)))
    return Adapted(tuple(deltas.names), amounts, before, mean_entropy(module, merged, passages))


def adam(steps: int, lr: float) -> Recipe:
    """Adam as these papers use it: a constant rate, no decay, no clipping."""
    return Recipe(steps=steps, lr=lr, schedule="constant", warmup=0.0, betas=(0.9, 0.999), clip=UNCLIPPED)


@torch.no_grad()
def mean_entropy(module: Any, parameters: Mapping[str, Tensor], passages: Sequence[Passage]) -> float:
    """Entropy (nats) at the answers' positions: the mean of all tasks' means over batches."""
    by_task: dict[str, list[Passage]] = {}
    for passage in passages:
        by_task.setdefault(passage.task, []).append(passage)
    means = []
    for own in by_task.values():
        values = [
            entropy(forward(module, parameters, b), b).item() * int(b.foretells.sum()) for b in in_batches(own, 64)
        ]
        means.append(sum(values) / sum(len(p.tokens) - p.start for p in own))
    return sum(means) / len(means)


@learned(paper="2310.02575")
def adamerging(*, models: Sequence[Checkpoint], base: Checkpoint, coefficients: str) -> Merged:
    """Task arithmetic with the coefficients that `consort collect adamerging` found for these models, in this order.

    `coefficients`: the folder it wrote. Raises BadCheckpoint, Incompatible.
    """
    found = read_found(coefficients, "adamerging", models, base, needs=("names", "amounts"))
    weight = schedules(found["names"], found["amounts"], models)
    return merge("task_arithmetic", models, base=base, weight=weight)


def schedules(names: Sequence[str], amounts: Sequence[Sequence[float]], models: Sequence[Checkpoint] = ()) -> list[Any]:
    """A weight for each model: a number, or rules by tensor name where it differs.

    Rules match parts of names and the first decides, so longer names come first. Of a stack they match the names that
    its layers had before; raises Unsupported for one of `models` whose tensors share such a name.
    """
    by_model: list[Any] = []
    for index in range(len(amounts[0])):
        own = [float(row[index]) for row in amounts]
        known = [origin(models[index], name)[1] for name in names] if models else list(names)
        if all(value == own[0] for value in own):
            by_model.append(own[0])
            continue
        if len(set(known)) < len(known):
            hint = "write the stack to a folder first, then train the merge of folders"
            raise Unsupported("stacks layers of one name", field=models[index].name, hint=hint)
        order = sorted(range(len(known)), key=lambda i: (-len(known[i]), known[i]))
        by_model.append(ByName(tuple(Rule(own[i], known[i]) for i in order)))
    return by_model
