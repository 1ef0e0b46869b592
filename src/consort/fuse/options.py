"""What can be chosen at each stage of a fusion; the names, ranges and defaults of a fusion plan's sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from consort.core.params import Range


@dataclass(frozen=True, slots=True)
class Training:
    """How the student learns: `lam` · cross entropy of the text + (1 - lam) · cross entropy with the fused rows.

    `variant`: `decay` lets lam rise linearly to 1; `soft` takes 1 - exp(-loss of the best teacher) at every unit
    instead. `steps` overrides `epochs`. `rank` 0 trains all weights, else a LoRA adapter of that rank, laid over the
    pivot at the end. A step's batch goes through the model in parts of at most `part` documents.

    The student learns in float32 whatever the pivot is kept in: an update of relative size 1e-5 is lost in bfloat16,
    whose next number is 4e-3 away. The result is rounded once, to the dtype of the pivot's first floating tensor.
    """

    epochs: Annotated[float, Range(0.01, 1000)] = 3.0
    steps: Annotated[int, Range(1, 100000000)] | None = None
    batch: Annotated[int, Range(1, 1000000)] = 128
    part: Annotated[int, Range(1, 1000000)] = 16
    lr: Annotated[float, Range(0.000000000001, 10)] = 5e-6
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Annotated[float, Range(0, 0.99)] = 0.03
    weight_decay: Annotated[float, Range(0, 10)] = 0.0
    clip: Annotated[float, Range(0.000001, 1000000)] = 1.0
    lam: Annotated[float, Range(0, 1)] = 0.9
    variant: Literal["constant", "decay", "soft"] = "constant"
    rank: Annotated[int, Range(0, 65536)] = 0
    alpha: Annotated[float, Range(0, 65536)] = 16.0
    dtype: Literal["float32"] = "float32"
    save_every: Annotated[int, Range(1, 1000000)] = 100


@dataclass(frozen=True, slots=True)
class Asking:
    """How answers are drawn in the mode `preference`: `each` of every source to every prompt.

    An answer that, with its prompt, has more than `block` of the pivot's tokens is not learnt from. `shard` answers are
    one entry of the journal, so that many may have to be drawn again after a kill.
    """

    each: Annotated[int, Range(2, 1000)] = 5
    temperature: Annotated[float, Range(0.01, 100)] = 0.8
    top_p: Annotated[float, Range(0.01, 1)] = 0.95
    max_tokens: Annotated[int, Range(1, 1000000)] = 512
    stop: Sequence[str] = ()
    block: Annotated[int, Range(2, 1000000)] = 2048
    shard: Annotated[int, Range(1, 1000000)] = 256
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


@dataclass(frozen=True, slots=True)
class Preferring:
    """How pairs are chosen and learnt in the mode `preference` (2503.04222).

    Scores of a pair differ by `gap` (a closed interval): .01 to .1 where a model rewards, .01 to 1 where an answer is
    right or wrong. The best answer to a prompt is learnt if its score is at least `least`: any where a model rewards,
    .5 else. `beta` 10 is the paper's for answers `normalised` by their length, .01 for others. `rank` is `train`'s.
    """

    gap: Sequence[Annotated[float, Range(0, 1000000)]] | None = None
    least: Annotated[float, Range(-1000000, 1000000)] | None = None
    beta: Annotated[float, Range(0.000001, 1000000)] = 10.0
    normalised: bool = True
    epochs: Annotated[float, Range(0.01, 1000)] = 1.0
    steps: Annotated[int, Range(1, 100000000)] | None = None
    batch: Annotated[int, Range(1, 1000000)] = 128
    part: Annotated[int, Range(1, 1000000)] = 8
    lr: Annotated[float, Range(0.000000000001, 10)] = 8e-7
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Annotated[float, Range(0, 0.99)] = 0.1
    weight_decay: Annotated[float, Range(0, 10)] = 0.0
    clip: Annotated[float, Range(0.000001, 1000000)] = 1.0
    save_every: Annotated[int, Range(1, 1000000)] = 100
