"""What a sum of log-probabilities is made of: its terms, and the mask of tokens that are plausible."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consort.core.errors import BadParameter, Unsupported
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from consort.models.decoding.retokenized import View


@dataclass(frozen=True, slots=True)
class Term:
    """One addend: a model, its weight, a temperature that divides its logits, and what it reads.

    `view` turns all tokens so far into those that this term reads (another prompt); `layers`, if any, are early layers
    of which the one that differs most from the last is read out at every position (see `layered`).
    """

    model: TokenModel
    weight: float = 1.0
    temperature: float = 1.0
    view: View | None = None
    layers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Mask:
    """Which tokens are plausible: those with p >= `alpha` max p, and in the nucleus of mass `top_p`, of the first term.

    All others have the score `fill`.
    """

    alpha: float = 0.0
    top_p: float = 1.0
    fill: float = -math.inf


def check_term(term: Term) -> None:
    """Raise Unsupported for a model without logits, BadParameter for a number that cannot be used."""
    if not isinstance(term.model, TokenModel):
        name = getattr(term.model, "name", str(term.model))
        raise Unsupported(f"{name} does not show its logits", field="models", hint="take a local model")
    if not math.isfinite(term.weight):
        raise BadParameter(f"{term.weight} is no weight", field="weight", hint="a finite number")
    if not (math.isfinite(term.temperature) and term.temperature > 0):
        raise BadParameter(f"{term.temperature} is no temperature", field="temperature", hint="a number above 0")
