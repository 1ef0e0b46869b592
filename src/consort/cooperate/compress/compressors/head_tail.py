"""The beginning and the end of the text, half and half."""

from __future__ import annotations

from typing import Annotated, Literal

from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.position import by_position
from consort.core.params import Range


@compressor(paper="baseline")
class HeadTail(Compressor):
    """The first and the last words of all parts, as many of each, up to the budget."""

    def __init__(
        self,
        *,
        rate: Annotated[float, Range(0, 1)] = 0.5,
        unit: Literal["word", "phrase", "sentence"] = "word",
    ) -> None:
        self.rate, self.unit = rate, unit

    def shorten(self, job: Job) -> list[Compression]:
        return by_position(job, self.unit, lambda n: [i // 2 if i % 2 == 0 else n - 1 - i // 2 for i in range(n)])
