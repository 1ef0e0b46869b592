"""Selective Context (2304.12102, 2310.06201): units that tell little new are dropped.

Self-information I_t = -log p(x_t | x_<t) of each token, averaged over a unit; units of the least are dropped. Differs
from the published code: white space is kept, nothing is put in the place of what is dropped, and the budget counts the
tokens of the reader.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from consort.cooperate.compress.compressor import Compressor, Job, scorer_of
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.parts import Compression, Span
from consort.cooperate.compress.selecting import Scored
from consort.cooperate.compress.surprisal import mean_by_unit, owners, read, surprisals, token_spans
from consort.cooperate.compress.units import sentences, units_of
from consort.core.params import Range
from consort.models.token_model import TokenModel


@compressor(paper="2304.12102")
class Selective(Compressor):
    """Keep the units of most self-information, by any model that tells it.

    `unit`: what is kept or dropped whole. `condition`: each sentence is read by itself, as published (the default), or
    after all before it, within the scorer's window (the default where units are tokens). A token that nothing comes
    before, where the scorer has no token that starts a text, is kept first.
    """

    def __init__(
        self,
        scorer: TokenModel,
        *,
        rate: Annotated[float, Range(0, 1)] = 0.65,
        unit: Literal["token", "word", "phrase", "sentence"] = "phrase",
        condition: Literal["sentence", "document"] | None = None,
    ) -> None:
        self.scorer, self.rate, self.unit, self.condition = scorer_of(scorer, "selective"), rate, unit, condition

    @property
    def members(self) -> tuple[Any, ...]:
        """The models that it asks."""
        return (self.scorer,)

    def shorten(self, job: Job) -> list[Compression]:
        alone = (self.condition or ("document" if self.unit == "token" else "sentence")) == "sentence"
        found = [read(self.scorer.tokenizer, text) for text in job.texts]
        pieces: list[list[int]] = []
        cuts: list[list[int]] = []
        for text, tokens in zip(job.texts, found, strict=True):
            ends = [s.end for s in sentences(text)] if alone else [len(text)]
            at = [0, *np.searchsorted(tokens.ends, ends, side="right").tolist()]
            at[-1] = len(tokens.ids)
            cuts.append(at)
            pieces += [tokens.ids[a:b] for a, b in zip(at, at[1:], strict=False)]
        values = iter(surprisals(self.scorer, pieces, job=job))
        scored = []
        for text, tokens, at in zip(job.texts, found, cuts, strict=True):
            nll = np.concatenate([next(values) for _ in at[1:]])
            units: list[Span] = token_spans(text, tokens) if self.unit == "token" else units_of(text, self.unit)
            scores = mean_by_unit(nll, owners(tokens.ends, units), len(units))
            scored.append(Scored(text, units, np.where(np.isnan(scores), np.inf, scores).tolist()))
        return job.selected(scored)
