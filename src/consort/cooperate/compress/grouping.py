"""Sentences in groups of one topic: neighbours by dynamic programming, or communities of a similarity graph."""

from __future__ import annotations

from importlib import import_module

import numpy as np
from jaxtyping import Float


def contiguous(vectors: Float[np.ndarray, "n size"], k: int) -> list[list[int]]:
    """`k` runs of neighbours of least variance within: sum of |v - mean of its run|^2, exactly, in O(k n^2)."""
    n, k = len(vectors), max(1, min(k, len(vectors)))
    sums = np.concatenate([np.zeros((1, vectors.shape[1])), np.cumsum(vectors, 0, dtype=float)])
    squares = np.concatenate([[0.0], np.cumsum((vectors.astype(float) ** 2).sum(1))])
    cost = np.full((n + 1, n + 1), np.inf)
    for end in range(1, n + 1):
        starts = np.arange(end)
        total = ((sums[end] - sums[:end]) ** 2).sum(1) / (end - starts)
        cost[:end, end] = squares[end] - squares[:end] - total
    best = np.full((k + 1, n + 1), np.inf)
    cut = np.zeros((k + 1, n + 1), int)
    best[0, 0] = 0
    for groups in range(1, k + 1):
        for end in range(groups, n + 1):
            options = best[groups - 1, :end] + cost[:end, end]
            cut[groups, end] = int(options.argmin())
            best[groups, end] = options[cut[groups, end]]
    found, end = [], n
    for groups in range(k, 0, -1):
        found.append(list(range(int(cut[groups, end]), end)))
        end = int(cut[groups, end])
    return found[::-1]


def communities(vectors: Float[np.ndarray, "n size"], *, seed: int, resolution: float = 1.0) -> list[list[int]]:
    """Louvain communities (0803.0476) of the graph of similarities above their mean, in order of the first member."""
    networkx = import_module("networkx")  # torch brings it along
    similar = np.clip(vectors @ vectors.T, 0, None)
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(vectors)))
    rows, columns = np.triu_indices(len(vectors), 1)
    least = float(similar[rows, columns].mean()) if len(rows) else 0.0
    for a, b in zip(rows.tolist(), columns.tolist(), strict=True):
        if similar[a, b] > least:
            graph.add_edge(a, b, weight=float(similar[a, b]))
    found = networkx.community.louvain_communities(graph, seed=seed, resolution=resolution)
    return sorted((sorted(group) for group in found), key=lambda group: group[0])
