"""Any sum of models' log-probabilities, by a list of weights; the named methods are special cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from consort.cooperate.transfer import strategy
from consort.cooperate.transfer.combined import Combined
from consort.cooperate.transfer.terms import Mask, Term
from consort.core.counted import counted
from consort.core.errors import BadParameter
from consort.core.params import PerModel, Range
from consort.models.token_model import TokenModel


@strategy(paper="2311.14479")
class LogitArithmetic(Combined):
    """A weighted sum of the models' log-probabilities; weights may be negative and need not sum to 1.

    `weight`: one for each model (default: the mean). `temperature` divides a model's logits. `alpha`: only tokens to
    which the first model gives at least this share of its highest probability stay.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        weight: Sequence[float] | None = None,
        temperature: PerModel[Annotated[float, Range(0.0001, 1000000)]] = 1.0,
        alpha: Annotated[float, Range(0, 1)] = 0.0,
    ) -> None:
        self.weight, self.temperature, self.alpha = weight, temperature, alpha
        given = [1 / len(models)] * len(models) if weight is None else list(weight)
        heat = list(temperature) if isinstance(temperature, Sequence) else [temperature] * len(models)
        for name, values in (("weight", given), ("temperature", heat)):
            if len(values) != len(models):
                message = f"{counted(len(values), 'value')} for {counted(len(models), 'model')}"
                raise BadParameter(message, field=name, hint=f"give {len(models)}")
        super().__init__([Term(m, w, t) for m, w, t in zip(models, given, heat, strict=True)], Mask(alpha))
        self.models = tuple(models)
