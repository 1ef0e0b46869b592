"""A model that reads trained vectors before every text: a soft prompt at work, with any session of the model.

The vectors are rows of a larger embedding, so that the model's own sessions read them as tokens; their logits are cut
off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import Incompatible
from consort.core.types import Usage
from consort.federate.state import read_state
from consort.models.base import Session
from consort.models.hf.loading import load_model
from consort.models.token_model import TokenModel
from consort.weights import Memory
from consort.weights.checkpoint import Checkpoint
from consort.weights.family import role_of

PROMPT_FILE = "soft_prompt.safetensors"


class PromptedModel(TokenModel):
    """The model of `base` with a soft prompt; its window is shorter by the prompt's length."""

    def __init__(self, base: Checkpoint, prompt: Float[Tensor, "length size"], *, name: str = "prompted") -> None:
        """Raises Incompatible for vectors that are not of the model's size."""
        self.name, self.length = name, len(prompt)
        self.inner = load_model(_extended(base, prompt))
        self.tokenizer = self.inner.tokenizer
        self.vocabulary = self.inner.vocabulary - self.length
        self.window = None if self.inner.window is None else self.inner.window - self.length
        self.batch_tokens = self.inner.batch_tokens

    @property
    def ends(self) -> frozenset[int]:
        return self.inner.ends

    def open(self, batch: int = 1) -> Session:
        return _PromptedSession(self, self.inner.open(batch), [0] * batch)


def open_prompt(base: Checkpoint, folder: Path, *, name: str = "prompted") -> PromptedModel:
    """The soft prompt of a run's folder over its base."""
    return PromptedModel(base, read_state(folder / PROMPT_FILE)["prompt"], name=name)


def _extended(base: Checkpoint, prompt: Float[Tensor, "length size"]) -> Checkpoint:
    """The base whose last tokens are the vectors."""
    size = base.config.get("hidden_size", base.config.get("n_embd"))
    if prompt.ndim != 2 or prompt.shape[1] != size:
        raise Incompatible(f"vectors of {list(prompt.shape)}, a model of {size}", field=base.name)
    tensors = {}
    for key in base.keys():
        tensor, role = base[key], role_of(key)
        if role in ("embedding", "head") and tensor.ndim == 2 and tensor.shape[0] == base.config["vocab_size"]:
            more = prompt.to(tensor) if role == "embedding" else torch.zeros_like(prompt).to(tensor)
            tensor = torch.cat([tensor, more])
        tensors[key] = tensor
    config = {**base.config, "vocab_size": int(base.config["vocab_size"]) + len(prompt)}
    made: Checkpoint = Memory(tensors, config, name=base.name, files=base.files())
    return made


class _PromptedSession:
    """A session whose rows begin with the prompt."""

    def __init__(self, owner: PromptedModel, inner: Session, lengths: list[int]) -> None:
        self.owner, self.inner, self.lengths = owner, inner, lengths

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        first = list(range(self.owner.vocabulary, self.owner.vocabulary + self.owner.length))
        fresh = [bool(new) and not length for new, length in zip(tokens, self.lengths, strict=True)]
        fed = [[*first, *new] if is_new else list(new) for new, is_new in zip(tokens, fresh, strict=True)]
        self.lengths = [length + len(new) for length, new in zip(self.lengths, tokens, strict=True)]
        found = self.inner.feed(fed, last=last)
        own = [rows[:, : self.owner.vocabulary] for rows in found]
        return [
            rows[self.owner.length :] if is_new and not last else rows for rows, is_new in zip(own, fresh, strict=True)
        ]

    def rollback(self, lengths: Sequence[int]) -> None:
        self.lengths = [min(a, b) for a, b in zip(self.lengths, lengths, strict=True)]
        self.inner.rollback([length + self.owner.length if length else 0 for length in self.lengths])

    def select(self, rows: Sequence[int]) -> _PromptedSession:
        return _PromptedSession(self.owner, self.inner.select(rows), [self.lengths[row] for row in rows])

    def spent(self) -> list[dict[str, Usage]]:
        return [
            {name: replace(u, prompt_tokens=max(0, u.prompt_tokens - self.owner.length)) for name, u in row.items()}
            for row in self.inner.spent()
        ]
