"""Towards a model by a bounded step: large differences count little, small ones wholly."""

from __future__ import annotations

from math import inf
from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from consort.core.params import Range
from consort.merge.method import method


@method(
    on="deltas",
    symmetric=False,
    inputs=(1, 1),
    base="required",
    exempt={"scaling_the_deltas_scales_the_result": "`t` is a step of fixed size"},
)
def nearswap(deltas: Float[Tensor, "1 *shape"], *, t: Annotated[float, Range(0, inf)]) -> Float[Tensor, "*shape"]:
    """The base moved towards the model by at most `t` in each entry: B + clip(d, -t, t)."""
    return deltas[0].clamp(-t, t)
