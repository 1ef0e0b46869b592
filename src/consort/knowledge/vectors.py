"""The nearest of many vectors, exactly, in blocks: the vectors may be mapped and larger than memory.

Blocks are multiplied in float32 to find who may be among the best; those few are then measured again in float64, one by
one, so that neither the size of a block nor what else is asked changes a score, and equal vectors are equal.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

BLOCK = 65536
MARGIN = 1e-4
"""More than what a product of unit vectors in float32 may be off."""
Found = tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]


def nearest(
    vectors: Float[np.ndarray, "n size"],
    queries: Float[np.ndarray, "query size"],
    k: int,
    rank: Int[np.ndarray, " n"],
    block: int = BLOCK,
) -> list[Found]:
    """For each query the places of the `k` largest products, with the products, in no particular order.

    There are more than `k` where several are equal to the last; of those, the `k` of lowest `rank` are among them.
    """
    wanted = np.ascontiguousarray(queries, np.float32)
    edge = np.full(len(wanted), -np.inf, np.float32)
    places: list[list[np.ndarray]] = [[] for _ in wanted]
    scores: list[list[np.ndarray]] = [[] for _ in wanted]
    for start in range(0, len(vectors), block):
        products = wanted @ np.asarray(vectors[start : start + block], np.float32).T
        for q, row in enumerate(products):
            _enter(row, start, k, edge, places[q], scores[q], q)
    return [measured(vectors, wanted[q], places[q], scores[q], k) for q in range(len(wanted))]


def _enter(
    row: Float[np.ndarray, " block"],
    start: int,
    k: int,
    edge: Float[np.ndarray, " query"],
    places: list[np.ndarray],
    scores: list[np.ndarray],
    q: int,
) -> None:
    """Keep of a block what may be among the best, and raise the edge that later blocks have to reach."""
    at = np.flatnonzero(row >= edge[q] - MARGIN)
    if len(at) > 4 * k:
        own = np.partition(row[at], len(at) - k)[len(at) - k]
        at = at[row[at] >= own - MARGIN]
    if not len(at):
        return
    places.append(at + start)
    scores.append(row[at])
    seen = np.concatenate(scores)
    if len(seen) >= k:
        edge[q] = np.partition(seen, len(seen) - k)[len(seen) - k]
    if len(seen) > 16 * k + 64:
        kept = seen >= edge[q] - MARGIN
        places[:] = [np.concatenate(places)[kept]]
        scores[:] = [seen[kept]]


def measured(
    vectors: Float[np.ndarray, "n size"],
    query: Float[np.ndarray, " size"],
    places: list[np.ndarray],
    scores: list[np.ndarray],
    k: int,
) -> Found:
    """The candidates with their exact products."""
    at = np.concatenate(places) if places else np.zeros(0, np.int64)
    if not len(at):
        return at, np.zeros(0)
    rough = np.concatenate(scores)
    if len(at) > k:
        at = at[rough >= np.partition(rough, len(rough) - k)[len(rough) - k] - MARGIN]
    at = np.sort(at)
    return at, (np.asarray(vectors[at], np.float64) * query.astype(np.float64)).sum(1)
