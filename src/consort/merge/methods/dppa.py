"""DPPA (Zhu et al. 2024, arXiv 2403.02799): prune changes by magnitude, more in dull layers; amplify the largest most.

Stage one, dynamic pruning: each matrix keeps its largest changes, and a share of them that grows with its share of
outliers D (entries beyond `outlier` times the mean magnitude), as OWL does (2310.05175): density + 2 λ (D - min D) /
(max D - min D), less the mean of that second term. Stage two, partition amplification: the kept changes are cut by
magnitude into partitions of equal size, each multiplied by its own factor. Written from the description of the paper;
unverified against its code are: that D is taken of changes without activations, OWL's form and its constants, and equal
partitions. The paper searches the factors on examples, from the partition of the largest changes on; here they are
given (by default one partition as it is), so that a search may set them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import Annotated, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter
from consort.core.params import PerModel, Range
from consort.merge.arithmetic.reductions import order_statistics, sums
from consort.merge.arithmetic.votes import above, at_least, per_model, refuse_cancelling, task_vector
from consort.merge.engine.blocks import Blocks
from consort.merge.method import method


class Outliers(NamedTuple):
    """For each model the least, greatest and mean share of outliers over the matrices that are merged."""

    least: Float[np.ndarray, "model"]
    greatest: Float[np.ndarray, "model"]
    mean: Float[np.ndarray, "model"]


def outliers(blocks: Blocks, outlier: float) -> Float[np.ndarray, "model"]:
    """The share of a tensor's entries beyond `outlier` times its mean magnitude (OWL, eq. 2)."""
    n = max(1, prod(blocks.shape))
    limits = outlier * sums(blocks, lambda block: block.stack.abs()) / n
    return sums(blocks, lambda block: above(block.stack, limits).sign().abs()) / n


def partitions(
    blocks: Blocks, *, density: Sequence[float], spread: float, outlier: float, amplify: Sequence[float]
) -> Float[np.ndarray, "model partition"]:
    """For each model the least magnitude in each partition, from the largest changes on; 0 takes all, inf none."""
    share = np.array(density)
    if spread and _is_matrix(blocks):
        all_: Outliers = blocks.of_model(lambda whole: _over_matrices(whole, outlier))
        width = all_.greatest - all_.least
        tilt = outliers(blocks, outlier) - all_.mean
        share = share + 2 * spread * np.divide(tilt, width, out=np.zeros_like(width), where=width > 0)
    n = prod(blocks.shape)
    parts = len(amplify)
    kept = [max(1, int(min(1.0, s) * n)) if s > 0 and n else 0 for s in share.tolist()]
    ranks = [[n - max(1, k * part // parts) for part in range(1, parts + 1)] if k else [] for k in kept]
    found = order_statistics(blocks, lambda block: block.stack, ranks)
    return np.stack([row if len(row) else np.full(parts, inf) for row in found])


def _is_matrix(blocks: Blocks) -> bool:
    return len(blocks.shape) > 1 and prod(blocks.shape) > 0


def _over_matrices(whole: Blocks, outlier: float) -> Outliers:
    shares = [outliers(tensor, outlier) for tensor in whole.tensors() if _is_matrix(tensor)]
    table = np.stack(shares)
    return Outliers(table.min(0), table.max(0), table.mean(0))


def refuse(*, weight: Sequence[float], normalize: bool, amplify: Sequence[float]) -> None:
    refuse_cancelling(weight, normalize)
    if not amplify:
        raise BadParameter("there are no partitions", field="amplify", hint="one factor for each, e.g. [1]")


@method(
    paper="2403.02799",
    on="deltas",
    statistic=partitions,
    check=refuse,
    symmetric=True,
    inputs=(1, None),
    base="required",
)
def dppa(
    deltas: Float[Tensor, "model *shape"],
    stat: Float[np.ndarray, "model partition"],
    *,
    weight: PerModel[float] = 1.0,
    density: PerModel[Annotated[float, Range(0, 1)]] = 0.2,
    amplify: Sequence[float] = (1.0,),
    spread: Annotated[float, Range(0, 0.5)] = 0.08,
    outlier: Annotated[float, Range(0, inf)] = 5.0,
    normalize: bool = False,
    lambda_: float = 1.0,
) -> Float[Tensor, "*shape"]:
    """The weighted sum of each model's largest changes, those of each partition of magnitudes amplified by its factor.

    `density`: mean share of entries kept in a matrix; `spread`: half the range of that share over matrices; `outlier`:
    multiples of the mean magnitude beyond which a change is one; `amplify`: a factor for each partition, from the
    largest changes on.
    """
    result = torch.zeros_like(deltas)
    reached = torch.zeros_like(deltas)
    for threshold, factor in zip(stat.T, amplify, strict=True):
        within = at_least(deltas, threshold)
        result += factor * (within - reached)
        reached = within
    return task_vector(result, per_model(weight, len(deltas)), normalize=normalize, lambda_=lambda_)
