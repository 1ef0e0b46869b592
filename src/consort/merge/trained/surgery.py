"""Representation surgery (Yang et al. 2024, arXiv 2402.02705) for causal models: a small correction before the head.

A merge shifts the features that each task's expert has; per task, z' = z - U relu(D z) moves them back. Which
correction is right has to be known: a plan names the task, or routes between plans that do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from consort.core.errors import BadCheckpoint, Incompatible, UnknownName, Unsupported, did_you_mean
from consort.core.types import Usage
from consort.merge.trained import correction
from consort.merge.trained.adamerging import RATE, STEPS, Tell, adam
from consort.merge.trained.passages import Batch, Passage, collated, in_batches
from consort.merge.trained.store import read_found
from consort.models.abilities import HiddenSession, with_hidden
from consort.models.base import Session
from consort.models.cost import joined
from consort.models.token_model import TokenModel
from consort.train.loop import fit
from consort.weights.disk.folder import open_folder

RANK, BATCH = 16, 16


@dataclass(frozen=True, slots=True)
class Corrected:
    """A correction that was found, and the mean L1 distance to the expert's features before and after."""

    down: Float[Tensor, "rank size"]
    up: Float[Tensor, "size rank"]
    before: float
    after: float


class Correction(nn.Module):
    """z' = z - U relu(D z); U starts at 0, so that nothing is changed at first."""

    def __init__(self, size: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, size, generator=generator) / size**0.5)
        self.up = nn.Parameter(torch.zeros(size, rank))

    def forward(self, z: Float[Tensor, "*shape size"]) -> Float[Tensor, "*shape size"]:
        return corrected(z, self.down, self.up)


def corrected(
    z: Float[Tensor, "*shape size"], down: Float[Tensor, "rank size"], up: Float[Tensor, "size rank"]
) -> Float[Tensor, "*shape size"]:
    """z - U relu(D z)."""
    return z - torch.relu(z @ down.T) @ up.T


@torch.no_grad()
def features(module: Any, batch: Batch) -> Float[Tensor, "position size"]:
    """What the output head reads at the answers' positions. Raises Unsupported for a module without a head."""
    head = module.get_output_embeddings()
    if head is None:
        raise Unsupported("has no output head", field=module.config.model_type, hint="take a causal language model")
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    try:
        module(input_ids=batch.tokens.to(module.device))
    finally:
        handle.remove()
    return seen[0][batch.foretells].float()


def operate(
    merged: Any,
    expert: Any,
    passages: Sequence[Passage],
    *,
    rank: int = RANK,
    steps: int = STEPS,
    lr: float = RATE,
    batch: int = BATCH,
    seed: int = 0,
    progress: Tell | None = None,
) -> Corrected:
    """The correction for one task that brings the merged module's features nearest to the expert's (L1, eq. 4).

    Both modules read the task's `passages` once; what is trained never passes through them.
    """
    pairs = [(features(merged, b), features(expert, b)) for b in in_batches(passages, 64)]
    own, wanted = (torch.cat(side) for side in zip(*pairs, strict=True))
    first = torch.tensor([len(p.tokens) - p.start for p in passages]).cumsum(0)
    model = Correction(own.shape[1], rank, torch.Generator().manual_seed(seed))

    def rows(rng: Any) -> Tensor:
        chosen = rng.sample(range(len(passages)), min(batch, len(passages)))
        return torch.cat([torch.arange(int(first[i - 1]) if i else 0, int(first[i])) for i in chosen])

    def loss(module: nn.Module, drawn: Tensor) -> Float[Tensor, ""]:
        moved: Tensor = module(own[drawn])
        return (moved - wanted[drawn]).abs().mean()

    before = float((own - wanted).abs().mean())
    if steps:
        fit(model, rows, loss, adam(steps, lr), seed=f"surgery {seed}", progress=progress)
    with torch.no_grad():
        after = float((model(own) - wanted).abs().mean())
    return Corrected(model.down.detach(), model.up.detach(), before, after)


def distance(merged: Any, expert: Any, found: Corrected, passages: Sequence[Passage]) -> tuple[float, float]:
    """Mean L1 distance to the expert's features on other passages, without and with the correction."""
    batch = collated(passages)
    own, wanted = features(merged, batch), features(expert, batch)
    plain, moved = own - wanted, corrected(own, found.down, found.up) - wanted
    return float(plain.abs().mean()), float(moved.abs().mean())


@correction(paper="2402.02705")
class Surgery(TokenModel):
    """A merged model with the correction for one task before its output head.

    `corrections`: the folder that `consort collect surgery` wrote; `task`: whose correction. Raises BadCheckpoint,
    UnknownName for a task that it does not have, Incompatible for another width, Unsupported for a model that does not
    show its hidden states.
    """

    def __init__(self, model: TokenModel, *, corrections: str, task: str) -> None:
        self.model, self.corrections, self.task = model, corrections, task
        if not isinstance(model, TokenModel):
            raise Unsupported("does not show its logits", field=getattr(model, "name", "model"), hint="a local model")
        found = read_found(corrections, "surgery", needs=("tasks",))
        if task not in found["tasks"]:
            raise UnknownName(f"no correction for {task!r}", field="task", hint=did_you_mean(task, found["tasks"]))
        tensors = open_folder(Path(corrections))
        wanted = [f"{task}.down", f"{task}.up"]
        if not set(wanted) <= set(tensors.keys()):
            raise BadCheckpoint(f"has no tensors for {task}", field=corrections, hint="collect it anew")
        self.down, self.up = (tensors[name].float() for name in wanted)
        self.name, self.tokenizer = f"surgery({model.name}, {task})", model.tokenizer
        self.window, self.batch_tokens = model.window, model.batch_tokens

    @property
    def members(self) -> Sequence[TokenModel]:
        """The models that it asks."""
        return (self.model,)

    @property
    def ends(self) -> frozenset[int]:
        return self.model.ends

    def open(self, batch: int = 1) -> Session:
        return _Corrected(self, with_hidden(self.model.open(batch), self.model.name))


class _Corrected:
    """A session whose last hidden states are corrected before they become logits."""

    def __init__(self, owner: Surgery, session: HiddenSession) -> None:
        self.owner, self.session = owner, session

    @torch.no_grad()
    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        return [
            self._logits(states.hidden[-1]) if len(states.logits) else states.logits
            for states in self.session.feed_hidden(tokens, last=last)
        ]

    def _logits(self, hidden: Float[Tensor, "new size"]) -> Float[Tensor, "new vocab"]:
        owner = self.owner
        if hidden.shape[-1] != owner.down.shape[-1]:
            message = f"corrects {owner.down.shape[-1]} features, {owner.model.name} has {hidden.shape[-1]}"
            raise Incompatible(message, field=owner.corrections, hint="collect it for this model")
        moved = corrected(hidden.float(), owner.down.to(hidden.device), owner.up.to(hidden.device))
        return self.session.layer_logits(moved.to(hidden.dtype))

    def rollback(self, lengths: Sequence[int]) -> None:
        self.session.rollback(lengths)

    def select(self, rows: Sequence[int]) -> _Corrected:
        return _Corrected(self.owner, self.session.select(rows))  # type: ignore[arg-type]

    def spent(self) -> list[dict[str, Usage]]:
        cost: list[Mapping[str, Usage]] = list(self.session.spent())
        return [joined(self.owner, [(self.owner.model, own)]) for own in cost]
