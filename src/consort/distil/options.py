"""What can be chosen where rows of teachers are recorded, aligned and fused; sections of a fusion plan."""

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
