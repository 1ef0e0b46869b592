"""Agreement-based ensembling: one beam search over tuples of tokens, a token of each model, that spell one text.

arXiv 2502.21265. A tuple is compatible where the longest text begins with all the others. Models at the longest text
wait until the others have caught up. Texts are compared as bytes; of models that wait nothing is computed. Where no
compatible tuple is among the likeliest ones, the model of most weight goes on alone and the others catch up, so that a
search of models that can spell one text never runs dry (the released programme looks at so many tuples and gives up).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Annotated

from consort.core.errors import BadData, Unsupported
from consort.core.params import Range, name_of
from consort.core.types import Completion, Prompt, Sampling, Usage, add_cost
from consort.ensemble.during import strategy
from consort.ensemble.mixing.base import check_models, check_numbers, shares
from consort.models.base import LanguageModel
from consort.models.cost import distinct, joined
from consort.models.decoding.decode import answer_text, check_window, prompt_tokens
from consort.models.decoding.retokenized import Reading
from consort.models.decoding.sampling import check
from consort.models.token_model import TokenModel
from consort.models.tokens.pieces import check_spelling, token_bytes

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    LogProbabilities = Mapping[int, Float[Tensor, " vocab"]]
    """By row of the beam."""


LEFT_OUT = "temperature, seeds, top_p, top_k, min_p, typical_p, logit_bias, min_tokens, penalties, grammar"


@strategy(
    paper="2502.21265",
    exempt={
        "strategies_nest": "it searches for an answer and has no next-token distribution, which its members need",
        "copies_are_the_model": "copies are the model's beam search, which is not its greedy answer",
        "batch_equals_single": "drawn answers, which the law asks for too, are refused",
        "deterministic": "drawn answers, which the law asks for too, are refused",
    },
)
class Abe:
    """Search with `beams` for the answer of the largest Σ w_i log p_i / length_i, each length in a model's own tokens.

    `weight`: of the models (default: equal); one of weight 0 is not asked. `effort`: tuples of tokens looked at for
    each beam and step. `max_tokens` counts the first asked model's tokens. `details` has `calls` by member, `score`,
    and `alone`, how often the heaviest model had to go on alone. Nothing is drawn: raises Unsupported for a temperature
    above 0 and for whatever changes logits, for a model without logits and for tokens that are not read as bytes;
    BadData where the models cannot spell one text.
    """

    def __init__(
        self,
        models: Sequence[TokenModel],
        *,
        weight: Sequence[float] | None = None,
        beams: Annotated[int, Range(1, 1000)] = 4,
        effort: Annotated[int, Range(1, 1000000)] = 256,
    ) -> None:
        self.models, self.weight, self.beams, self.effort = tuple(models), weight, beams, effort
        check_models(self.models, several=True)
        given = shares(weight, len(self.models))
        self.asked = [model for model, share in zip(self.models, given, strict=True) if share]
        self.shares = [share for share in given if share]
        for number, model in enumerate(self.asked):
            check_spelling(model.tokenizer, f"models[{number}]")
        self.name = f"{name_of(type(self).__name__)}({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        check(sampling, len(prompts))
        if sampling.temperature or sampling.adjusts:
            raise Unsupported(
                "a beam search draws nothing and changes no logits", field=LEFT_OUT, hint="leave them out"
            )
        spelling = [Spelling(model) for model in self.asked]
        searches = [_Search(self, spelling, prompt, f"prompts[{i}]") for i, prompt in enumerate(prompts)]
        return [search.found(sampling) for search in searches]


class Spelling:
    """The tokens of a model in the order of their bytes."""

    def __init__(self, model: TokenModel) -> None:
        self.bytes = token_bytes(model.tokenizer)
        self.ends = frozenset(model.ends)
        pairs = sorted((text, i) for i, text in enumerate(self.bytes) if text and i not in self.ends)
        self.texts, self.tokens = [text for text, _ in pairs], [i for _, i in pairs]
        self.last = _indices(sorted(self.ends))
        self.all = _indices([*sorted(self.ends), *sorted(self.tokens)])

    def agreeing(self, rest: bytes, *, ended: bool) -> Int[Tensor, " token"]:
        """Tokens that go on towards `rest`, or, unless the text is `ended`, beyond it; at its end those that end."""
        if not rest:
            return self.last if ended else self.all
        lengths = range(1, len(rest) + int(ended))
        found = [token for n in lengths for token in self._between(rest[:n], rest[:n] + b"\0")]
        return _indices(found if ended else found + self._between(rest, _after(rest)))

    def _between(self, low: bytes, high: bytes | None) -> list[int]:
        start = bisect_left(self.texts, low)
        return self.tokens[start : len(self.texts) if high is None else bisect_left(self.texts, high)]


def _indices(tokens: Sequence[int]) -> Int[Tensor, " token"]:
    import torch

    return torch.tensor(tokens, dtype=torch.long)


def _after(prefix: bytes) -> bytes | None:
    """The first of the byte strings that come after all that begin with `prefix`; None where there is none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None


@dataclass(frozen=True, slots=True)
class Part:
    """A model's reading of an answer: its tokens, their bytes, their log-probability (nats), whether it has ended."""

    tokens: tuple[int, ...] = ()
    text: bytes = b""
    logp: float = 0.0
    ended: bool = False

    def then(self, token: int, logp: float, spelling: Spelling) -> Part:
        """With one token more."""
        ended = token in spelling.ends
        text = self.text if ended else self.text + (spelling.bytes[token] or b"")
        return Part((*self.tokens, token), text, self.logp + logp, ended)

    @property
    def content(self) -> tuple[int, ...]:
        """The tokens without the one that ends the answer."""
        return self.tokens[:-1] if self.ended else self.tokens


def score(parts: Sequence[Part], weights: Sequence[float]) -> float:
    """Σ w_i log p_i / length_i.

    >>> round(score([Part((7,), b"a", -1.609438), Part((3,), b"ab", -2.302585)], [0.5, 0.5]), 6)
    -1.956012
    """
    return sum(w * part.logp / max(1, len(part.tokens)) for w, part in zip(weights, parts, strict=True))


def compatible(parts: Sequence[Part]) -> bool:
    """Whether the longest text begins with all others, and no part has ended before it."""
    longest = max((part.text for part in parts), key=len)
    return all(longest.startswith(part.text) and (part.text == longest or not part.ended) for part in parts)


def moving(parts: Sequence[Part]) -> list[int]:
    """Which models go on: those behind the longest text, or all that have not ended where none is behind."""
    longest = max(len(part.text) for part in parts)
    behind = [i for i, part in enumerate(parts) if len(part.text) < longest]
    return behind or [i for i, part in enumerate(parts) if not part.ended]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """An answer in the making: each model's part, their score, and the row of the beam that it comes of."""

    parts: tuple[Part, ...]
    score: float
    row: int = 0


class _Search:
    """The search for one answer."""

    def __init__(self, owner: Abe, spelling: Sequence[Spelling], prompt: Prompt, field: str) -> None:
        self.owner, self.spelling, self.field = owner, spelling, field
        self.heads = [prompt_tokens(model.tokenizer, prompt) for model in owner.asked]
        for model, head in zip(owner.asked, self.heads, strict=True):
            if not head:
                raise BadData("is empty, and a tokenizer has no bos or eos to start from", field=field)
            check_window(model, len(head), field)
        self.readings = [Reading(model, 1) for model in owner.asked]
        self.calls, self.alone = [0] * len(owner.asked), 0
        self.left: list[dict[str, Usage]] = [{} for _ in owner.asked]
        """What hypotheses cost that are no longer in the beam, by model."""

    def found(self, sampling: Sampling) -> Completion:
        """The best finished answer; where the length ran out first, the best of all."""
        beam = [Hypothesis((Part(),) * len(self.owner.asked), 0.0)]
        done: list[Hypothesis] = []
        while len(done) < self.owner.beams and sampling.max_tokens:
            beam = self._step(beam)
            over = [self._is_over(one, sampling) for one in beam]
            done += [one for one, ended in zip(beam, over, strict=True) if ended]
            beam = [one for one, ended in zip(beam, over, strict=True) if not ended]
            if not beam:
                break
            self._keep([one.row for one in beam])
        self._keep([])
        return self._completion(max(done or beam, key=lambda one: one.score), sampling)

    def _step(self, beam: Sequence[Hypothesis]) -> list[Hypothesis]:
        """The best compatible continuations of a beam."""
        movers = [moving(one.parts) for one in beam]
        logps = [self._read(model, beam, movers) for model in range(len(self.owner.asked))]
        found = list(islice(self._tuples(beam, movers, logps), self.owner.beams))
        if not found:
            lead = self.owner.shares.index(max(self.owner.shares))
            led = [[lead] if lead in own else own for own in movers]
            found = list(islice(self._tuples(beam, led, logps), self.owner.beams))
            self.alone += 1
        if not found:
            hint = "put as_bytes around each model, or combine finished answers"
            raise BadData("the models cannot spell one text", field=self.field, hint=hint)
        return found

    def _read(self, model: int, beam: Sequence[Hypothesis], movers: Sequence[Sequence[int]]) -> LogProbabilities:
        """Of each row where the model goes on, its next-token log-probabilities."""
        head = self.heads[model]
        targets = [
            [[*head, *one.parts[model].tokens]] if model in own else [] for one, own in zip(beam, movers, strict=True)
        ]
        if not any(targets):
            return {}
        self.calls[model] += 1
        logits = self.readings[model].after(targets, last=True)
        for row, target in enumerate(targets):
            if target:
                check_numbers(logits[row][-1:], self.owner.asked[model].name)
        return {row: logits[row][-1].float().log_softmax(-1).cpu() for row, target in enumerate(targets) if target}

    def _tuples(
        self, beam: Sequence[Hypothesis], movers: Sequence[Sequence[int]], logps: Sequence[LogProbabilities]
    ) -> Iterator[Hypothesis]:
        """Compatible tuples of all rows, the best first: cube pruning over the models' tokens, the likeliest first."""
        ranked = [
            [
                self._ranked(i, one.parts, logps[i][row]) if i in movers[row] else [one.parts[i]]
                for i in range(len(logps))
            ]
            for row, one in enumerate(beam)
        ]
        heap: list[tuple[float, int, tuple[int, ...]]] = []
        seen: set[tuple[int, tuple[int, ...]]] = set()

        def parts_at(row: int, at: tuple[int, ...]) -> tuple[Part, ...]:
            return tuple(own[i] for own, i in zip(ranked[row], at, strict=True))

        def offer(row: int, at: tuple[int, ...]) -> None:
            if (row, at) not in seen and all(i < len(own) for own, i in zip(ranked[row], at, strict=True)):
                seen.add((row, at))
                heappush(heap, (-score(parts_at(row, at), self.owner.shares), row, at))

        for row in range(len(beam)):
            offer(row, (0,) * len(logps))
        for _ in range(self.owner.effort * len(beam)):
            if not heap:
                return
            worse, row, at = heappop(heap)
            if compatible(parts := parts_at(row, at)):
                yield Hypothesis(parts, -worse, row)
            for place in range(len(at)):
                offer(row, (*at[:place], at[place] + 1, *at[place + 1 :]))

    def _ranked(self, model: int, parts: Sequence[Part], logp: Float[Tensor, " vocab"]) -> list[Part]:
        """A model's part with each of its likeliest tokens that can agree with the longest text."""
        own, spelling = parts[model], self.spelling[model]
        rest = max((part.text for part in parts), key=len)[len(own.text) :]
        usable = spelling.agreeing(rest, ended=any(part.ended for part in parts))
        usable = usable[usable < len(logp)]
        values, order = logp[usable].sort(descending=True, stable=True)
        pairs = zip(usable[order[: self.owner.effort]].tolist(), values.tolist(), strict=False)
        return [own.then(token, value, spelling) for token, value in pairs if value > -inf]

    def _is_over(self, one: Hypothesis, sampling: Sampling) -> bool:
        """Whether all have ended, a stop string was written, or there is no room for more."""
        length = len(one.parts[0].tokens)
        fits = all(
            model.window is None or len(head) + len(part.tokens) <= model.window
            for model, head, part in zip(self.owner.asked, self.heads, one.parts, strict=True)
        )
        ended = all(part.ended for part in one.parts) or self._text(one, sampling)[1]
        return ended or not fits or length >= sampling.max_tokens

    def _text(self, one: Hypothesis, sampling: Sampling) -> tuple[str, bool]:
        """The first model's text, up to a stop string where there is one, and whether there is."""
        text = answer_text(self.owner.asked[0].tokenizer, self.heads[0], one.parts[0].content)
        found = [at for stop in sampling.stop if (at := text.find(stop)) >= 0]
        return text[: min(found, default=len(text))], bool(found)

    def _keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows of the beam, repeated or left out."""
        for place, reading in enumerate(self.readings):
            spent = reading.session.spent()
            self.left[place] = add_cost(self.left[place], *(cost for row, cost in enumerate(spent) if row not in rows))
            if rows:
                reading.select(rows)

    def _completion(self, best: Hypothesis, sampling: Sampling) -> Completion:
        models = self.owner.asked
        cost = joined(self.owner, list(zip(models, self.left, strict=True)))
        text, stopped = self._text(best, sampling)
        tokens, seconds = best.parts[0].tokens, sum(usage.seconds for usage in cost.values())
        finish = "stop" if stopped or all(part.ended for part in best.parts) else "length"
        names = distinct([model.name for model in models])
        told = {"calls": dict(zip(names, self.calls, strict=True)), "score": best.score, "alone": self.alone}
        return Completion(text, tokens, None, finish, Usage(len(self.heads[0]), len(tokens), 1, seconds), cost, told)
