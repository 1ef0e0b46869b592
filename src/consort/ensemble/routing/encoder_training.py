"""Fine-tuning an encoder by ZOOTER's (2311.08692) or RouterDC's loss (2409.19886); any router then takes its folder.

As the papers do, encoder and head are trained together. Of the outcome the encoder is kept: the router learns its own
head again, on the states of the encoder as it has become. Both papers start from mDeBERTa-v3-base.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from consort.core.errors import BadParameter, OutputExists
from consort.core.files import check_place, machine_errors
from consort.ensemble.before.router_dc import clusters_of, sample_model_loss, sample_sample_loss
from consort.ensemble.before.zooter import smoothed
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.linear import softmax
from consort.models.hf.quiet import quiet
from consort.models.hf.sentence_encoder import SentenceEncoder, states
from consort.train.loop import Recipe, fit

if TYPE_CHECKING:
    from torch import Tensor

    from consort.train.loop import Progress

BETA, TEMPERATURE = 0.3, 0.2
"""ZOOTER's share of a query's own reward beside its tag's mean, and the softmax over rewards, as in `zooter`."""
TOP, NEGATIVES = 3, 3
"""RouterDC's best and worst models for each query, and queries of other clusters, as in `router_dc`."""
TOGETHER = 8
"""Queries that are padded to one length."""
Drawn = tuple[list[int], int]
"""Numbers of queries, and a seed for what is drawn among them."""


def fine_tune(
    encoder: str | Path,
    observed: Observed,
    out: str | Path,
    *,
    loss: Literal["zooter", "router_dc"] = "router_dc",
    steps: int = 1000,
    rate: float = 5e-5,
    batch: int = 32,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Train `encoder` (`minilm` or a folder) on observed queries and write the folder `out`: `features` of a router.

    AdamW at a peak learning rate of `rate`; no dropout, so the outcome depends on `seed` alone. Raises BadParameter,
    OutputExists where `out` is there already.
    """
    if loss not in LOSSES:
        raise BadParameter(f"no loss {loss!r}", field="loss", hint=" or ".join(LOSSES))
    if batch < 1:
        raise BadParameter(f"batch is {batch}", field="batch", hint="a number of at least 1")
    recipe = Recipe(steps, rate, betas=(0.9, 0.999))
    check_place(out)
    if Path(out).exists():
        raise OutputExists("is there already", field=str(out), hint="name a new folder")
    observed = observed.known()
    observed = observed.columns(observed.ranking())  # which column a model stands in must not matter
    tuned = LOSSES[loss](SentenceEncoder(str(encoder)), observed, seed)

    def drawn(rng: random.Random) -> Drawn:
        return rng.sample(range(len(observed)), min(batch, len(observed))), rng.getrandbits(32)

    fit(tuned, drawn, lambda model, part: model(part), recipe, seed=seed, progress=progress)
    return _written(tuned, Path(out))


class Tuned(nn.Module):
    """An encoder under a head; calling it gives the loss of a batch."""

    def __init__(self, encoder: SentenceEncoder, observed: Observed) -> None:
        super().__init__()
        self.tokenizer, self.model = encoder.loaded()
        self.queries, self.size = observed.queries, int(self.model.config.hidden_size)

    def train(self, mode: bool = True) -> Tuned:
        """Stays in evaluation mode: dropout would draw from the generator that everybody shares."""
        return super().train(False)

    def states(self, part: list[int]) -> Float[Tensor, "b size"]:
        """States of queries of about equal length together: padding to the longest of all doubles the time."""
        order = sorted(range(len(part)), key=lambda i: len(self.queries[part[i]]))
        found = [
            states(self.tokenizer, self.model, [self.queries[part[i]] for i in order[start : start + TOGETHER]])
            for start in range(0, len(order), TOGETHER)
        ]
        return torch.cat(found)[torch.tensor(order).argsort()]


class ByReward(Tuned):
    """ZOOTER: KL between the softmax of smoothed rewards and that of a linear head."""

    def __init__(self, encoder: SentenceEncoder, observed: Observed, seed: int) -> None:
        super().__init__(encoder, observed)
        self.target = torch.tensor(softmax(smoothed(observed, BETA) / TEMPERATURE), dtype=torch.float32)
        rng = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(self.size, len(observed.models), generator=rng) * self.size**-0.5)
        self.intercept = nn.Parameter(torch.zeros(len(observed.models)))

    def forward(self, drawn: Drawn) -> Tensor:
        part, _ = drawn
        # states have length 1: with the root of their size they are as large as a normalised layer's
        logits = self.size**0.5 * self.states(part) @ self.weight + self.intercept
        return nn.functional.kl_div(logits.log_softmax(1), self.target[part], reduction="batchmean")


class ByContrast(Tuned):
    """RouterDC: eq. 4 between queries and model vectors, eq. 5 between queries; clusters are those before training."""

    def __init__(self, encoder: SentenceEncoder, observed: Observed, seed: int) -> None:
        super().__init__(encoder, observed)
        known = np.where(np.isnan(observed.quality), observed.accuracy, observed.quality)
        self.quality = torch.tensor(known)
        self.cluster = torch.tensor(clusters_of(encoder.embed(self.queries), seed))
        rng = torch.Generator().manual_seed(seed)
        self.vectors = nn.Parameter(torch.randn(len(observed.models), self.size, generator=rng))

    def forward(self, drawn: Drawn) -> Tensor:
        part, seed = drawn
        hidden, rng = self.states(part), torch.Generator().manual_seed(seed)
        cosine = hidden @ nn.functional.normalize(self.vectors, dim=1).T
        loss = sample_model_loss(cosine, self.quality[part], TOP, rng)
        return loss + sample_sample_loss(hidden, self.cluster[part], NEGATIVES, rng)


LOSSES: dict[str, Any] = {"router_dc": ByContrast, "zooter": ByReward}


def _written(tuned: Tuned, out: Path) -> Path:
    """The encoder's folder, whole or not at all."""
    with machine_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            with quiet():
                tuned.model.save_pretrained(made)
                tuned.tokenizer.save_pretrained(made)
            made.chmod(0o755)
            made.rename(out)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
    return out
