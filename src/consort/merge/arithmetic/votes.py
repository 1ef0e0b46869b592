"""The arithmetic that methods share.

Sums over models are loops, so that an entry's result depends on nothing else. Masks are floats made by sign and clamp:
torch vectorises these, but not its comparisons (1 ms against 0.07 for 2^18 entries).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import hardshrink

from consort.core.errors import BadParameter
from consort.merge.arithmetic import compiled

SMALLEST_SUM = 1e-8
"""Weights whose sum is smaller than this share of the sum of their magnitudes cancel out."""

SMALLEST_WEIGHTS = float(np.finfo(np.float32).tiny) * 2**24
"""The least sum of sizes whose parts float32 still tells apart."""
LARGEST_SUM = float(np.finfo(np.float32).max)


def per_model(value: float | Sequence[float], models: int) -> Float[Tensor, "model"]:
    """One value for all models or one for each, as a float64 tensor."""
    values = list(value) if isinstance(value, Sequence) else [value] * models
    return torch.tensor(values, dtype=torch.float64)


def along(values: Float[Tensor, "model"], stack: Float[Tensor, "model *shape"]) -> Float[Tensor, "model *ones"]:
    """`values` in the dtype and rank of `stack`, so that they multiply model by model."""
    return values.to(stack.dtype).view(-1, *[1] * (stack.ndim - 1))


def total(stack: Float[Tensor, "model *shape"]) -> Float[Tensor, "*shape"]:
    """Sum over models, in their order."""
    result = stack[0].clone()
    for tensor in stack[1:]:
        result += tensor
    return result


def weighted_total(
    stack: Float[Tensor, "model *shape"], weight: Float[Tensor, "model *part"]
) -> Float[Tensor, "*shape"]:
    """Σ w_i x_i, in the order of the models, each product and each sum rounded in the dtype of the stack."""
    weight = weight.to(stack.dtype)
    if stack.ndim == 2 and weight.ndim == 1 and (kernels := compiled.kernels(stack)):
        return compiled.weighted_total(kernels, stack, weight)
    result = stack[0] * weight[0]
    for tensor, w in zip(stack[1:], weight[1:], strict=True):
        result += tensor * w
    return result


def added(base: Float[Tensor, "*shape"], delta: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """base + delta; where the delta is zero the base bit for bit: -0 + 0 would be +0, -0 - 0 is -0."""
    return base - (0 - delta)


def finite_or_nan(result: Float[Tensor, "entries"], stack: Float[Tensor, "model entries"]) -> Float[Tensor, "entries"]:
    """The result, NaN where an input is NaN or infinite; the sum tells quickly that there is no such input."""
    return result if isfinite(float(stack.sum())) else torch.where(stack.isfinite().all(0), result, torch.nan)


def positive(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """1 where a value is above zero, else 0."""
    return values.sign().relu_()


def divisor(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The values, with 1 in the place of zeros."""
    return values + (1 - values.sign().abs_())


def above(
    deltas: Float[Tensor, "model *shape"], bound: Sequence[float] | Float[np.ndarray, "model"]
) -> Float[Tensor, "model *shape"]:
    """The entries whose magnitude is greater than their model's bound, 0 for the others."""
    kept = torch.empty_like(deltas)
    kernels = compiled.kernels(deltas) if deltas.ndim == 2 else None
    for tensor, limit, out in zip(deltas, bound, kept, strict=True):
        if kernels:
            compiled.above(kernels, tensor, float(limit), out)
        else:
            out.copy_(hardshrink(tensor, float(limit)))
    return kept


def at_least(
    deltas: Float[Tensor, "model *shape"], threshold: Sequence[float] | Float[np.ndarray, "model"]
) -> Float[Tensor, "model *shape"]:
    """The entries whose magnitude reaches their model's threshold, 0 for the others; a threshold of 0 keeps all."""
    return above(deltas, just_below(threshold, torch.finfo(deltas.dtype).dtype))


def just_below(threshold: Sequence[float] | Float[np.ndarray, "model"], dtype: str) -> Float[np.ndarray, "model"]:
    """The next smaller numbers of the dtype: what is above them reaches the threshold."""
    below: Float[np.ndarray, "model"] = np.nextafter(np.asarray(threshold, dtype), np.asarray(-np.inf, dtype))
    return below


def task_vector(
    deltas: Float[Tensor, "model *shape"], weight: Float[Tensor, "model"], *, normalize: bool, lambda_: float
) -> Float[Tensor, "*shape"]:
    """λ Σ w_i d_i, with `normalize` divided by Σ w_i."""
    result = weighted_total(deltas, weight)
    if normalize:
        result /= float(weight.sum())
    return result if lambda_ == 1 else result * lambda_


def elected(votes: Float[Tensor, "model *shape"]) -> Float[Tensor, "*shape"]:
    """The sign of the sum of votes, 1 or -1; 0 counts as plus."""
    result = total(votes) + 0.0  # makes -0 a plus
    return torch.ones_like(result).copysign_(result)


def voted(
    deltas: Float[Tensor, "model *shape"],
    weight: Float[Tensor, "model"],
    *,
    elect: str,
    normalize: bool,
    lambda_: float,
) -> Float[Tensor, "*shape"]:
    """λ Σ m_i w_i d_i: only the entries of the elected sign count; with `normalize` divided by Σ m_i w_i.

    `elect`: the sign of Σ w_i d_i ("weighted"), of Σ d_i ("unweighted"), of Σ sign(d_i) ("count"); 0 counts as plus.
    """
    result = _compiled_vote(deltas, weight, elect, normalize)
    if result is None:
        result = _vote(deltas, weight, elect, normalize)
    return result if lambda_ == 1 else result * lambda_


def _compiled_vote(
    deltas: Float[Tensor, "model *shape"], weight: Float[Tensor, "model"], elect: str, normalize: bool
) -> Float[Tensor, "*shape"] | None:
    """In one pass over memory where that is possible; the bits are those of `_vote`."""
    flat = deltas.flatten(1)
    kernels = compiled.kernels(flat)
    if kernels is None:
        return None
    return compiled.voted(kernels, flat, weight, elect=elect, normalize=normalize).view(deltas.shape[1:])


def _vote(
    deltas: Float[Tensor, "model *shape"], weight: Float[Tensor, "model"], elect: str, normalize: bool
) -> Float[Tensor, "*shape"]:
    weighted = deltas * along(weight, deltas)
    votes = weighted if elect == "weighted" else deltas if elect == "unweighted" else deltas.sign()
    sign = elected(votes)
    agreeing = (weighted * sign).relu_()
    result = total(agreeing) * sign
    if normalize:
        result /= divisor(weighted_total(agreeing.sign(), weight))
    return result


def refuse_cancelling(weight: Sequence[float], normalize: bool) -> None:
    """Check of methods that divide by Σ w_i, which is computed in float32."""
    if not sum(map(abs, weight)) <= LARGEST_SUM:
        hint = "smaller weights: only their proportions count where they are normalised"
        raise BadParameter(f"the weights {list(weight)} overflow", field="weight", hint=hint)
    if normalize and 0 < sum(map(abs, weight)) < SMALLEST_WEIGHTS:
        hint = "larger weights: only their proportions count where they are normalised"
        raise BadParameter(f"the weights {list(weight)} vanish in float32", field="weight", hint=hint)
    if normalize and not abs(sum(weight)) > SMALLEST_SUM * sum(map(abs, weight)):
        raise BadParameter(
            f"the weights {list(weight)} sum to zero and cannot be normalised",
            field="weight",
            hint="weights with another sum, or normalize: false",
        )


def refuse_mixed_signs(weight: Sequence[float], normalize: bool) -> None:
    """Check of methods that vote: weights of one sign, with another sum than zero where they are normalised."""
    if min(weight) < 0 < max(weight):
        message = f"the weights {list(weight)} have both signs, so no sign can be elected"
        raise BadParameter(message, field="weight", hint="weights of one sign, or a method without a vote")
    refuse_cancelling(weight, normalize)
