"""A short fine-tune that makes stacked layers work together (2410.05357, section 4.4)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from consort.core.errors import BadData, BadParameter
from consort.models.decoding.decode import prompt_tokens
from consort.train import Recipe, fit, sft
from consort.train.losses import IGNORE
from consort.weights.checkpoint import Checkpoint, Memory
from consort.weights.family import layer_of

HEALING = Recipe(steps=1000, lr=3e-5, schedule="cosine", warmup=0.1)
"""The paper's: cosine to 0, a tenth of the steps to warm up."""
LONGEST = 1024
"""Tokens of an example."""
PAIRS = 4
"""Examples of one step."""


def heal(
    model: Checkpoint,
    examples: Sequence[tuple[str, str]],
    *,
    recipe: Recipe = HEALING,
    layers: Sequence[int] | None = None,
    seed: int = 0,
    state: Path | None = None,
) -> Memory:
    """`model` trained on `examples` (prompt, answer; the loss is the answer's), as a checkpoint in memory.

    `layers` trains these alone, the ones inserted for instance. With `state` a killed run goes on. Raises BadData,
    BadParameter, and what loading a model raises.
    """
    from consort.models import load_model

    if not examples:
        raise BadData("there is nothing to learn from", field="examples", hint="give (prompt, answer) pairs")
    loaded = load_model(model)
    named = dict(loaded.module.named_parameters())
    for name, parameter in named.items():
        parameter.requires_grad_(layers is None or layer_of(name) in layers)
    if not any(parameter.requires_grad for parameter in named.values()):
        raise BadParameter("the model has none of these", field="layers", hint="numbers of its layers, from 0")
    longest = min(LONGEST, loaded.window or LONGEST)
    rows = [_row(prompt_tokens(loaded.tokenizer, p), loaded.tokenizer.encode(a, special=False)) for p, a in examples]
    rows = [(ids[:longest], labels[:longest]) for ids, labels in rows]

    def batch(rng: random.Random) -> list[tuple[list[int], list[int]]]:
        return rng.sample(rows, min(PAIRS, len(rows)))

    fit(loaded.module, batch, _loss, recipe, seed=seed, state=state)
    own = loaded.module.state_dict()
    tensors = {name: own[name].to(model.spec(name).dtype) for name in model.keys()}
    return Memory(tensors, model.config, name=f"healed({model.name})", files=model.files())


def _row(prompt: list[int], answer: list[int]) -> tuple[list[int], list[int]]:
    return prompt + answer, [IGNORE] * len(prompt) + answer


def _loss(module: nn.Module, rows: Sequence[tuple[list[int], list[int]]]) -> Tensor:
    """Mean cross entropy of the answers; each pair is read by itself, so that nothing is padded."""
    device = next(module.parameters()).device
    losses = []
    for ids, labels in rows:
        logits = module(input_ids=torch.tensor([ids], device=device), use_cache=False).logits
        losses.append(sft(logits, torch.tensor([labels], device=device)))
    return torch.stack(losses).mean()
