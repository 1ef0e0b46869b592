"""What training minimises: cross entropy on tokens, teachers' rows, margins between right and wrong answers."""

from __future__ import annotations

from typing import Any

import torch
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


def surprisal(logits: Float[Tensor, "row vocab"], ids: Int[Tensor, "row k"]) -> Float[Tensor, "row k"]:
    """-log q (nats, float32 or wider) of some tokens of each row: logsumexp(z_i) - z_i[ids_ik].

    The only tensor of the logits' size that is made, forwards and backwards, is their gradient.
    """
    result: Tensor = _Surprisal.apply(logits, ids)  # type: ignore[no-untyped-call]
    return result


class _Surprisal(torch.autograd.Function):
    """The gradient of z is softmax(z) times the sum of what comes from above, minus that at the tokens themselves."""

    @staticmethod
    def forward(context: Any, logits: Tensor, ids: Tensor) -> Tensor:
        exact = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        whole = exact.logsumexp(-1, keepdim=True)
        context.save_for_backward(logits, whole, ids)
        return whole - exact.gather(-1, ids)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        logits, whole, ids = context.saved_tensors
        (above,) = gradients
        found = (logits - whole).exp_().mul_(above.sum(-1, keepdim=True))
        found.scatter_add_(-1, ids, -above)
        return found.to(logits.dtype), None


def distil(
    logits: Float[Tensor, "row vocab"], ids: Int[Tensor, "row k"], target: Float[Tensor, "row k"]
) -> Float[Tensor, " row"]:
    """Cross entropy (nats) of each row with a target that is `target` on the tokens `ids` and 0 on all others.

    Places with `target` 0 count for nothing; no target over the vocabulary is built.
    """
    whole: Tensor = (target * surprisal(logits, ids)).sum(-1)
    return whole


def distil_with_rest(
    logits: Float[Tensor, "row vocab"],
    ids: Int[Tensor, "row k"],
    target: Float[Tensor, "row k"],
    rest: Float[Tensor, " row"],
) -> Float[Tensor, " row"]:
    """As `distil`, with one class more: all tokens whose target is 0 together, with the target `rest`."""
    found = surprisal(logits, ids)
    whole: Tensor = (target * found).sum(-1) + rest * rest_surprisal(found, target)
    return whole


def rest_surprisal(found: Float[Tensor, "row k"], target: Float[Tensor, "row k"]) -> Float[Tensor, " row"]:
    """-log of the probability of all tokens but those with a target, from the surprisal of these."""
    named = ((-found).exp() * (target > 0)).sum(-1)
    others: Tensor = -(1 - named).clamp_min(torch.finfo(named.dtype).eps).log()
    return others


def entropy(target: Float[Tensor, "row k"]) -> Float[Tensor, " row"]:
    """Entropy (nats) of sparse rows: a cross entropy minus this is the Kullback-Leibler divergence."""
    whole: Tensor = torch.special.entr(target).sum(-1)
    return whole


def dpo(
    chosen: Float[Tensor, " pair"],
    rejected: Float[Tensor, " pair"],
    *,
    beta: float,
    chosen_length: Int[Tensor, " pair"] | None = None,
    rejected_length: Int[Tensor, " pair"] | None = None,
) -> Float[Tensor, ""]:
    """Mean of -log sigmoid(beta/|y_w| · r_w - beta/|y_l| · r_l): direct preference optimisation (2305.18290).

    `chosen` and `rejected` are r = log pi(y|x) - log pi_ref(y|x), summed over the answer's tokens. With the lengths in
    tokens it is the normalised form of FuseChat-3.0 (2503.04222); without them the lengths count as 1.
    """
    wins = chosen.float() if chosen_length is None else chosen.float() / chosen_length
    losses = rejected.float() if rejected_length is None else rejected.float() / rejected_length
    return pairwise(beta * wins, beta * losses)
