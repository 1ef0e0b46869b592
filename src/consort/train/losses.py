"""What training minimises: cross entropy on answer tokens, and a margin between right and wrong answers."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

IGNORE = -100
"""The label of a token that is read but not learnt (prompt, padding)."""


def sft(logits: Float[Tensor, "row token vocab"], labels: Int[Tensor, "row token"]) -> Float[Tensor, ""]:
    """Mean cross entropy (nats) of the tokens whose label is not `IGNORE`; position i predicts label i + 1."""
    predicted = logits[:, :-1].reshape(-1, logits.shape[-1]).float()
    return functional.cross_entropy(predicted, labels[:, 1:].reshape(-1), ignore_index=IGNORE)


def pairwise(chosen: Float[Tensor, " pair"], rejected: Float[Tensor, " pair"]) -> Float[Tensor, ""]:
    """Mean of -log sigmoid(chosen - rejected): the Bradley-Terry likelihood that the chosen answer wins."""
    return -functional.logsigmoid(chosen.float() - rejected.float()).mean()
