"""A checkpoint with its numbers disturbed when they are read: what breaks ties between equal experts."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from consort.weights.checkpoint import BLOCK, Checkpoint, round_into
from consort.weights.views.basic import View


class Disturbed(View):
    """`source` plus normal noise of standard deviation `noise`.

    A number's noise depends on the seed, the tensor's name and its place alone, so not on how it is read.
    """

    def __init__(self, source: Checkpoint, *, noise: float, seed: str) -> None:
        super().__init__(source, source.name)
        self.noise, self.seed = noise, seed

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        values = torch.empty(stop - start)
        self.source.read_into(name, start, stop, values)
        for block in range(start // BLOCK, (stop - 1) // BLOCK + 1):
            low, high = max(start, block * BLOCK), min(stop, (block + 1) * BLOCK)
            drawn = torch.randn(BLOCK, generator=self._generator(name, block))
            values[low - start : high - start] += self.noise * drawn[low - block * BLOCK : high - block * BLOCK]
        round_into(values, out)

    def _generator(self, name: str, block: int) -> torch.Generator:
        digest = hashlib.blake2b(f"{self.seed}\0{name}\0{block}".encode(), digest_size=7).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest))
