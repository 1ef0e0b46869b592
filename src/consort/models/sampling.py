"""From logits to a token: one pure function for the distribution, one counter-based draw for each row and position."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

import torch
from jaxtyping import Float, Int
from torch import Tensor

from consort.core.errors import BadParameter
from consort.core.types import Sampling


def check(sampling: Sampling) -> None:
    """Raise BadParameter if a setting is out of its range."""
    bounds = {"max_tokens": (0, math.inf), "temperature": (0, 1e6), "top_p": (0, 1), "top_k": (0, math.inf)}
    for name, (low, high) in bounds.items():
        value = getattr(sampling, name)
        if not low <= value <= high or (name == "top_p" and value == 0):
            wanted = "in (0, 1]" if name == "top_p" else f"in [{low:g}, {high:g}]"
            raise BadParameter(f"{value} is out of range", field=name, hint=f"a number {wanted}")
    if "" in sampling.stop:
        raise BadParameter("an empty string cannot stop an answer", field="stop", hint="leave it out")


def distribution(logits: Float[Tensor, "row vocab"], sampling: Sampling) -> Float[Tensor, "row vocab"]:
    """The probabilities tokens are drawn from: temperature, then top-k, then top-p; greedy is one-hot.

    Equal logits are ordered by token id, so exactly `top_k` tokens stay; top-p keeps the fewest that reach it.
    """
    if sampling.temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    probabilities = (logits.double() / sampling.temperature).softmax(-1)
    if (0 < sampling.top_k < logits.shape[-1]) or sampling.top_p < 1:
        ordered, ids = probabilities.sort(dim=-1, descending=True, stable=True)
        if sampling.top_k:
            ordered[:, sampling.top_k :] = 0
        before = ordered.cumsum(-1) - ordered
        ordered = ordered.where(before < sampling.top_p * ordered.sum(-1, keepdim=True), 0)
        probabilities = torch.zeros_like(probabilities).scatter_(-1, ids, ordered)
    return probabilities / probabilities.sum(-1, keepdim=True)


def key(seed: int, prompt: Sequence[int], repetition: int) -> bytes:
    """What all draws for an answer start from: the seed, the prompt, and how many equal prompts came before it.

    So an answer does not depend on the batch it is in, and a prompt given n times gives n different samples.
    """
    return blake2b(f"{seed} {repetition} {list(prompt)}".encode(), digest_size=16).digest()


def uniform(row: bytes, position: int) -> float:
    """A number in [0, 1) for token number `position` of the answer with this key."""
    digest = blake2b(position.to_bytes(8, "little"), key=row, digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def draw(probabilities: Float[Tensor, "row vocab"], numbers: Sequence[float]) -> Int[Tensor, " row"]:
    """The token at which the cumulated probability first exceeds the row's number in [0, 1)."""
    cumulated = probabilities.double().cumsum(-1)
    wanted = torch.tensor(numbers, dtype=torch.float64, device=cumulated.device).unsqueeze(-1) * cumulated[:, -1:]
    # the last token of positive probability, for a number that rounding has put past the end
    top = (cumulated < cumulated[:, -1:]).sum(-1)
    return torch.minimum(torch.searchsorted(cumulated, wanted, right=True).squeeze(-1), top)


def choose(
    logits: Float[Tensor, "row vocab"], sampling: Sampling, rows: Sequence[bytes], position: int
) -> Int[Tensor, " row"]:
    """The next token of each row; `position` counts the tokens drawn before it."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    return draw(distribution(logits, sampling), [uniform(row, position) for row in rows])
