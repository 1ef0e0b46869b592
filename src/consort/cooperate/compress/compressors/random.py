"""Units drawn at random: what a compressor must beat to have looked at the text at all."""

from __future__ import annotations

from random import Random as Generator
from typing import Annotated, Literal
from zlib import crc32

from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.position import by_position
from consort.core.params import Range


@compressor(paper="baseline")
class Random(Compressor):
    """Units in an order drawn by `seed` and the text, up to the budget."""

    def __init__(
        self,
        *,
        rate: Annotated[float, Range(0, 1)] = 0.5,
        unit: Literal["word", "phrase", "sentence"] = "word",
        seed: Annotated[int, Range(0, 4294967295)] = 0,
    ) -> None:
        self.rate, self.unit, self.seed = rate, unit, seed

    def shorten(self, job: Job) -> list[Compression]:
        generator = Generator(f"{self.seed} {crc32(''.join(job.texts).encode('utf-8', 'surrogatepass'))}")
        return by_position(job, self.unit, lambda n: generator.sample(range(n), n))
