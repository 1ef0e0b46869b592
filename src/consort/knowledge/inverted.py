"""Vectors in lists by the nearest of many centres (IVF, Sivic and Zisserman 2003), of which a query reads only some.

For stores beyond a million vectors; needs faiss (the extra `faiss`), which holds the vectors once more, mapped where
the lists were saved. What is found is approximate, and what the blocked search finds where all lists are read; scores
are exact always.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from consort.core.errors import MissingExtra
from consort.core.files import whole_file
from consort.knowledge.passages import damaged
from consort.knowledge.vectors import BLOCK, MARGIN, Found, measured

TRAINED_ON = 64
"""Vectors for each centre that the centres are found from."""
LEAST = 39
"""Vectors for each centre that there should be."""
MORE = 32
"""Places beyond those asked for that are looked at, so that equal vectors are seen to be equal."""


def faiss_module() -> Any:
    """faiss. Raises MissingExtra."""
    if find_spec("faiss") is None:
        raise MissingExtra("lists of vectors need faiss", field="ivf", hint="pip install 'consort[faiss]'")
    return import_module("faiss")


def count_of(vectors: int) -> int:
    """How many lists there are by default: four times the square root, but with enough vectors in each."""
    return max(1, min(int(4 * math.sqrt(vectors)), vectors // LEAST))


@dataclass
class Lists:
    """An inverted file of faiss over the vectors of an index, in their order."""

    held: Any

    @classmethod
    def of(cls, vectors: Float[np.ndarray, "n size"], count: int = 0, seed: int = 0) -> Lists:
        """The vectors in `count` lists (0: by their number). Raises MissingExtra."""
        faiss = faiss_module()
        n, size = vectors.shape
        count = min(count or count_of(n), n)
        held = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, count, faiss.METRIC_INNER_PRODUCT)
        held.cp.seed, held.cp.spherical, held.cp.min_points_per_centroid = seed, True, 1
        some = np.sort(np.random.default_rng(seed).permutation(n)[: count * TRAINED_ON])
        held.train(np.asarray(vectors[some], np.float32))
        for start in range(0, n, BLOCK):
            held.add(np.asarray(vectors[start : start + BLOCK], np.float32))
        return cls(held)

    def save(self, file: Path) -> None:
        faiss = faiss_module()
        with whole_file(file) as to:
            faiss.write_index(self.held, faiss.PyCallbackIOWriter(to.write))

    @classmethod
    def open(cls, file: Path) -> Lists:
        """The lists of a file, mapped. Raises BadData, MissingExtra."""
        faiss = faiss_module()
        try:
            return cls(faiss.read_index(str(file), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY))
        except RuntimeError as fault:
            raise damaged(file) from fault

    @cached_property
    def centres(self) -> Float[np.ndarray, "list size"]:
        return np.asarray(self.held.quantizer.reconstruct_n(0, self.held.nlist), np.float64)

    def nearest(
        self,
        vectors: Float[np.ndarray, "n size"],
        queries: Float[np.ndarray, "query size"],
        k: int,
        rank: Int[np.ndarray, " n"],
        *,
        probes: int,
    ) -> list[Found]:
        """As `vectors.nearest`, among the vectors of the `probes` lists whose centres are nearest to each query.

        There are fewer than `k` where these lists hold fewer.
        """
        wanted = np.ascontiguousarray(queries, np.float32)
        self.held.nprobe = min(probes, self.held.nlist)
        return [self._of_one(vectors, query, k) for query in wanted]

    def _of_one(self, vectors: np.ndarray, query: Float[np.ndarray, " size"], k: int) -> Found:
        near = self.centres @ query.astype(np.float64)
        chosen = np.lexsort((np.arange(len(near)), -near))[None, : self.held.nprobe]
        told = near[chosen].astype(np.float32)
        most = k + MORE
        while True:
            scores, at = self.held.search_preassigned(query[None], most, chosen, told)
            at, scores = at[0][at[0] >= 0], scores[0][at[0] >= 0]
            if len(at) < most or scores[-1] < scores[k - 1] - 2 * MARGIN:
                return measured(vectors, query, [at], [scores], k)
            most *= 2
