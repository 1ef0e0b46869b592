"""DoLa: what a model's last layer says more than its earlier ones (2309.03883)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from consort.cooperate.transfer import strategy
from consort.cooperate.transfer.combined import Combined
from consort.cooperate.transfer.terms import Mask, Term
from consort.core.errors import BadParameter, Unsupported
from consort.core.params import Range
from consort.models.token_model import TokenModel

FILL = -1000.0
"""The score of implausible tokens: never drawn, and a text that has one can still be scored."""


@strategy(paper="2309.03883", needs="hidden")
class Dola(Combined):
    """log p_last - log p_early, early being the layer of a bucket that differs most, chosen at every position.

    `bucket`: every second layer of the lower half (long answers) or of the upper half (short facts); `layers` names
    them instead, 0 being the embeddings. Only tokens with p_last >= alpha max p_last stay. `divergence`: `released` is
    that of the published program, which differs. The paper adds a repetition penalty of 1.2 to DoLa alone; compare at
    equal penalties. Raises Unsupported for a model that hides its layers.
    """

    def __init__(
        self,
        model: TokenModel,
        *,
        bucket: Literal["low", "high"] = "low",
        layers: Sequence[int] | None = None,
        alpha: Annotated[float, Range(0, 1)] = 0.1,
        divergence: Literal["textbook", "released"] = "textbook",
    ) -> None:
        self.model, self.bucket, self.layers, self.alpha, self.divergence = model, bucket, layers, alpha, divergence
        early = early_layers(model, bucket, layers)
        super().__init__([Term(model), Term(model, -1.0, layers=early)], Mask(alpha, fill=FILL))


def early_layers(model: TokenModel, bucket: str, layers: Sequence[int] | None) -> tuple[int, ...]:
    """The layers to choose from; without the embeddings where the head is tied to them and so returns the input."""
    config: Any = getattr(getattr(model, "module", None), "config", None)
    if config is None:
        name = getattr(model, "name", str(model))
        raise Unsupported("does not show its layers", field=name, hint="take a local transformers model")
    text = config.get_text_config(decoder=True)
    depth = text.num_hidden_layers
    if layers is not None:
        wrong = [layer for layer in layers if not 0 <= layer < depth]
        if wrong or not layers:
            raise BadParameter(f"{list(layers)} are no early layers", field="layers", hint=f"numbers below {depth}")
        return tuple(sorted(set(layers)))
    half = range(0, max(depth // 2, 1), 2) if bucket == "low" else range(depth // 2, depth, 2)
    tied = bool(getattr(text, "tie_word_embeddings", False))
    found = tuple(layer for layer in half if layer or not tied)
    return found or (min(1, depth - 1),)
