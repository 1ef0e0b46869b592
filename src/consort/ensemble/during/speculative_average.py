"""The average of two models' distributions at fewer calls: one proposes, the other verifies, and they swap roles.

Speculative ensemble with alternating proposer (arXiv 2502.01662). The proposer draws tokens from its own distribution
q; the verifier reads them in one pass and gives p; the target is what sampling makes of the mix m of both. A token is
kept with probability min(1, m / q), else one is drawn from (m - q)+; the usual proof holds for any target, so the law
is that of `average`, whatever the settings. The verifier's next distribution is then its own proposal, at no call.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Annotated, Any

from consort.core.errors import BadParameter, Unsupported
from consort.core.params import Range, name_of
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.during import strategy
from consort.ensemble.during.average import Average
from consort.ensemble.mixing.alternating import AlternatingSession
from consort.models.token_model import TokenModel


@strategy(
    paper="2502.01662",
    exempt={"strategies_nest": "it draws tokens itself and has no next-token distribution to nest in another"},
)
class SpeculativeAverage:
    """Draw from the average of two models, each in turn proposing `ahead` tokens that the other verifies.

    `ahead` 0 is the plain loop, two calls a token; 1 never takes more, and takes one where both agree. `share` is the
    first one's weight, above 0 and below 1. Temperature and cuts act on the mix. `details` has `calls` by member,
    `proposed` and `accepted`. Raises Incompatible if vocabularies differ, Unsupported for penalties, biases, grammars.
    """

    def __init__(
        self,
        first: TokenModel,
        second: TokenModel,
        *,
        share: Annotated[float, Range(0, 1)] = 0.5,
        ahead: Annotated[int, Range(0, 64)] = 1,
    ) -> None:
        self.first, self.second, self.share, self.ahead = first, second, share, ahead
        self.models = (first, second)
        if share in (0, 1):
            raise BadParameter(f"a share of {share} is one model", field="share", hint="above 0 and below 1")
        self.shares = [share, 1 - share]
        self.whole = Average(self.models, weight=self.shares)
        self.name = f"{name_of(type(self).__name__)}({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[TokenModel]:
        return self.models

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling = Sampling(), *, cancel: Any = None
    ) -> list[Completion]:
        from consort.models.decoding import decode as loop

        pair = _Pair(self, _checked(sampling))
        rows = loop.rows_of(pair, prompts, sampling)
        sizes = [len(row.prompt) + min(row.limit, 256) for row in rows]
        for batch in loop.batches(sizes, pair.batch_tokens):
            pair.keys = [rows[i].key for i in batch if rows[i].limit]
            loop.decode(pair, [rows[i] for i in batch], _drawn_already(sampling), cancel=cancel)
        return [_without_likelihood(loop.completion_of(pair, row)) for row in rows]

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Any = None
    ) -> Generator[str, None, Completion]:
        from consort.models.decoding import decode as loop

        pair = _Pair(self, _checked(sampling))
        pair.keys = [loop.rows_of(pair, [prompt], sampling)[0].key]
        found = yield from loop.stream(pair, prompt, _drawn_already(sampling), cancel=cancel)
        return _without_likelihood(found)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Log-likelihood (nats) under the average; both models read."""
        return self.whole.score(pairs)


def _checked(sampling: Sampling) -> Sampling:
    """Raises Unsupported for settings by which a token's distribution depends on what was written before."""
    if sampling.adjusts:
        field = "logit_bias, penalties, min_tokens, grammar"
        raise Unsupported("change the mix by what was written", field=field, hint="leave them out, or take average")
    return sampling


def _without_likelihood(answer: Completion) -> Completion:
    """The same without log-probabilities: tokens were certain to the loop."""
    return replace(answer, logprob=None, details={k: v for k, v in answer.details.items() if k != "logprobs"})


def _drawn_already(sampling: Sampling) -> Sampling:
    """What the loop is told: tokens are certain when it sees them."""
    return replace(sampling, temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, typical_p=1.0)


class _Pair(TokenModel):
    """Both models as one, for answers to one call; its logits leave one token."""

    def __init__(self, owner: SpeculativeAverage, sampling: Sampling) -> None:
        self.owner, self.sampling, whole = owner, sampling, owner.whole
        self.name, self.tokenizer, self.window = owner.name, whole.tokenizer, whole.window
        self.batch_tokens = whole.batch_tokens
        self.keys: list[bytes] = []

    @property
    def ends(self) -> frozenset[int]:
        return self.owner.whole.ends

    def open(self, batch: int = 1) -> AlternatingSession:
        """Raises ValueError unless `keys` are set, one for each row."""
        if len(self.keys) != batch:
            raise ValueError(f"{len(self.keys)} keys for {batch} rows")
        return AlternatingSession(self.owner, self.sampling, self.keys)
