"""Training a pair ranker: the better answer beats the worse one, in both orders (2306.02561, section 3.2)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from consort.core.errors import BadParameter
from consort.core.files import whole_file, write_json
from consort.ensemble.answers.pair_network import FIRST, SECOND, SOURCE, Comparer, PairNetwork, open_comparer
from consort.train import Recipe, fit, pairwise

Triple = tuple[str, str, str]
"""A source, the better answer to it, and the worse one."""


def fresh_comparer(config: Any, tokenizer: Any, *, seed: int = 0) -> Comparer:
    """An untrained ranker over an encoder of this transformers config; the tokenizer gets the three marks.

    The config's vocabulary is widened to hold them.
    """
    from transformers import AutoModel

    tokenizer.add_special_tokens({"additional_special_tokens": [SOURCE, FIRST, SECOND]})
    config.vocab_size = max(config.vocab_size, len(tokenizer))
    marks = tokenizer.convert_tokens_to_ids([SOURCE, FIRST, SECOND])
    for kind, mark in zip(("source", "cand1", "cand2"), marks, strict=True):
        setattr(config, f"{kind}_prefix_id", mark)
    config.n_tasks, config.drop_out = 1, 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PairNetwork(AutoModel.from_config(config), config.hidden_size, dropout=0.0)
    return Comparer(network.eval(), tokenizer, tuple(marks), config.max_position_embeddings)


def train_comparer(
    comparer: Comparer,
    draw: Callable[[random.Random], Sequence[Triple]],
    recipe: Recipe,
    *,
    seed: int | str = 0,
    state: Path | None = None,
) -> float:
    """Train in place on batches that `draw` gives; returns the last loss (nats). Resumes from `state`."""

    def loss(network: nn.Module, triples: Sequence[Triple]) -> Tensor:
        flipped = [(source, worse, better) for source, better, worse in triples]
        forward, _ = comparer.logits(triples)
        backward, _ = comparer.logits(flipped)
        found: Tensor = pairwise((forward - backward) / 2, torch.zeros_like(forward))
        return found

    last: float = fit(comparer.network, draw, loss, recipe, seed=seed, state=state)
    return last


def save_comparer(comparer: Comparer, folder: Path) -> None:
    """Write the ranker as a folder of PairRM's format, which `open_comparer` and `pair_ranker` read.

    Raises BadParameter for a folder that is not empty.
    """
    from safetensors.torch import save

    if folder.exists() and any(folder.iterdir()):
        raise BadParameter("is not empty", field=str(folder), hint="name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    comparer.tokenizer.save_pretrained(folder)
    config: Any = comparer.network.pretrained_model.config
    write_json(folder / "config.json", config.to_dict())
    tensors = {name: value.contiguous() for name, value in comparer.network.state_dict().items()}
    with whole_file(folder / "model.safetensors") as file:
        file.write(save(tensors, {"format": "pt"}))


__all__ = ["fresh_comparer", "open_comparer", "save_comparer", "train_comparer"]
