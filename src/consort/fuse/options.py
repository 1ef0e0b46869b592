"""What can be chosen at each stage of a fusion; the names, ranges and defaults of a fusion plan's sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from consort.core.params import Range


@dataclass(frozen=True, slots=True)
class Collection:
    """How teachers' rows are recorded: the `k` likeliest tokens, or as many of these as have the probability `mass`.

    Documents are cut so that no model reads more than `block` tokens. `online` keeps nothing on disk: teachers answer
    while the student trains. `shard` documents are one file.
    """

    k: Annotated[int, Range(1, 65536)] = 10
    mass: Annotated[float, Range(0.000001, 1)] | None = None
    block: Annotated[int, Range(2, 1000000)] = 2048
    teacher: Literal["stored", "online"] = "stored"
    shard: Annotated[int, Range(1, 1000000)] = 256
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


@dataclass(frozen=True, slots=True)
class Alignment:
    """How positions and tokens of a teacher become the pivot's.

    `positions`: end of the same bytes, or the official programme's edit-distance path read by `rule`. Where a position
    has no partner it is left out, or (`one_hot`) learns the text's next token. `fallback: current_token` reproduces an
    error of FuseLLM's released code. Of tokens that fall on one, probabilities are summed; `first` keeps the largest.

    `map` gives each token of the source one of the pivot's; the default, its first piece, is not the specification's
    (docs/decisions/0005). `spelled`: a token of the pivot that the source wrote in several has the product of their
    probabilities, where positions go by ends.
    """

    positions: Literal["end_offset", "official"] = "end_offset"
    rule: Literal["default", "hard", "soft"] = "default"
    map: Literal["statistics", "official", "min_edit", "first_piece", "exact"] = "first_piece"
    spelled: bool = True
    unaligned: Literal["mask", "one_hot"] = "mask"
    fallback: Literal["next_token", "current_token"] = "next_token"
    collisions: Literal["sum", "first"] = "sum"


@dataclass(frozen=True, slots=True)
class Function:
    """How the rows of pivot and sources become one target.

    `min_ce` takes the model of the lowest loss in a unit, `avg_ce` mixes by loss, `weighted` by fixed `weights` (one
    for each candidate, the pivot first if it is one). Losses are compared per byte or, as released, per token.

    Units: an answer (`turn`), all answers of a document (`sample`), all of its text (`sequence`), a `token`; with
    `group`, which only `min_ce` has, all documents of one `group` column take the model that has the lowest loss in
    most of their answers: a few wrong texts, which cost the model that knows better most, do not decide.
    """

    function: Literal["min_ce", "avg_ce", "weighted"] = "min_ce"
    unit: Literal["turn", "sample", "sequence", "token", "group"] = "turn"
    ce_unit: Literal["byte", "token"] = "byte"
    weights: Sequence[Annotated[float, Range(0, 1000000)]] | None = None
    average: Literal["official", "reward"] = "official"
    pivot: bool = True
    tail: Literal["renormalise", "bucket", "ignore"] = "renormalise"
    temperature: Annotated[float, Range(0.01, 100)] = 1.0


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
    lr: Annotated[float, Range(0, 10)] = 5e-6
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
    lr: Annotated[float, Range(0, 10)] = 8e-7
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Annotated[float, Range(0, 0.99)] = 0.1
    weight_decay: Annotated[float, Range(0, 10)] = 0.0
    clip: Annotated[float, Range(0.000001, 1000000)] = 1.0
    save_every: Annotated[int, Range(1, 1000000)] = 100
