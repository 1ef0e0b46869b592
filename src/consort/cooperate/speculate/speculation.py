"""Speculative decoding as a model: a draft guesses ahead, the target verifies, the distribution is the target's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from consort.cooperate.speculate import strategy
from consort.cooperate.speculate.drafters.base import Drafter, DraftSession, Speculates, Target, draft_for
from consort.cooperate.speculate.drafters.lookup import Lookup
from consort.cooperate.speculate.drafters.model import Model
from consort.cooperate.speculate.drafters.slem import Slem
from consort.cooperate.speculate.drafters.staged import Staged
from consort.core.errors import BadParameter, Unsupported
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.models.base import Session
from consort.models.cost import leaves
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from consort.cooperate.speculate.rounds.rows import Row
    from consort.cooperate.speculate.rounds.state import Work
    from consort.models.decoding.decode import Cancel


@strategy(paper="2211.17192")
class Speculate(TokenModel):
    """Let a cheap draft guess ahead and the target check whole guesses at once; nothing of its distribution changes.

    `draft`: a smaller model, of any tokenizer. `drafter`: how to guess (see `consort methods --kind drafter`); the
    default is `model` with a draft, `staged` with one that is itself a `speculate`, and `lookup` without one; a drafter
    may also bring its draft itself. `gamma`: tokens a guess, or depth of a tree. `adapt`: choose the length by measured
    costs and acceptance, up to `gamma_max`, and switch off where it does not pay; sampled answers then depend on the
    clock (their distribution does not), unless guesses are not drawn. `vocabulary`: across tokenizers draft only shared
    tokens (tli) or any text (slem). `coupled`, `confidence`: as of the drafter `model`. Greedy answers, and those of
    guesses that are not drawn (`lookup`, `ngram`, `tree`, `slem`, `coupled`), are plain decoding's, token for token.
    `lossy`: accept more than is right, by the rule `typical` or `ensemble` (`weight` is the target's share): the
    output changes. `details["speculation"]` shows what was proposed and accepted at each position of a guess.
    """

    def __init__(
        self,
        target: TokenModel,
        draft: TokenModel | None = None,
        *,
        drafter: Drafter | None = None,
        gamma: Annotated[int, Range(0, 64)] = 5,
        adapt: bool = False,
        gamma_max: Annotated[int, Range(1, 64)] = 16,
        vocabulary: Literal["tli", "slem"] = "tli",
        coupled: bool = False,
        confidence: Annotated[float, Range(0, 1)] = 0.0,
        lossy: Literal["typical", "ensemble"] | None = None,
        weight: Annotated[float, Range(0, 1)] = 0.5,
    ) -> None:
        self.target, self.draft, self.drafter = target, draft, drafter
        self.gamma, self.adapt, self.gamma_max, self.vocabulary = gamma, adapt, gamma_max, vocabulary
        self.coupled, self.confidence, self.lossy, self.weight = coupled, confidence, lossy, weight
        check_logits(target=target, draft=draft)
        self.guesser = guesser_of(self)
        self.drafting = draft_for(self.guesser, draft)
        check_logits(draft=self.drafting)
        if lossy and self.guesser.trees:
            raise BadParameter("trees are verified exactly", field="lossy", hint="leave it out, or take drafter: model")
        self.tokenizer, self.window, self.gives_logprob = target.tokenizer, target.window, target.gives_logprob
        guessing = self.guesser.name if self.drafting is None else self.drafting.name
        self.name = f"speculate({', '.join([target.name, guessing, *([lossy] if lossy else [])])})"
        self.batch_tokens = min(m.batch_tokens for m in self.members)
        self.clock = _clock(self)

    @property
    def members(self) -> Sequence[TokenModel]:
        """The models that it asks."""
        given = [self.target, *([] if self.draft is None else [self.draft]), *self.guesser.members]
        return tuple({id(model): model for model in given}.values())

    @property
    def ends(self) -> frozenset[int]:
        return self.target.ends

    def open(self, batch: int = 1) -> Session:
        """The target's session: its logits are this model's logits."""
        return self.target.open(batch)

    @cached_property
    def work(self) -> Work:
        """What its rounds need, and what they learn: times and acceptance are kept from call to call."""
        from consort.cooperate.speculate.rounds.state import Work

        clock = (lambda: self.clock()) if self.adapt else None
        return Work(self.target, self.open_drafter, self.gamma, self.gamma_max, clock, self.lossy, self.weight)

    @cached_property
    def _guessed(self) -> Target:
        return Target(self.target)

    def open_drafter(self, trees: bool = False) -> DraftSession:
        """What guesses for one batch; `trees`: the sessions of the target read trees."""
        return self.guesser.open(self._guessed.with_trees(trees), self.drafting)

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling = Sampling(), *, cancel: Cancel | None = None
    ) -> list[Completion]:
        """One completion for each prompt, in order (see `decode.generate`)."""
        from consort.cooperate.speculate.rounds.rows import rows_for
        from consort.models.decoding.decode import batches
        from consort.models.decoding.grammar import bound

        rows, sampling = rows_for(self, prompts, sampling), bound(sampling, self)
        sizes = [len(row.prompt) + min(row.limit, _EXPECTED) for row in rows]
        for batch in batches(sizes, self.batch_tokens):
            for _ in self._rounds([rows[i] for i in batch], sampling, cancel):
                pass
        return [row.completion(self, self._facts()) for row in rows]

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Cancel | None = None
    ) -> Generator[str, None, Completion]:
        """Pieces of the text that `generate` gives, one round at a time, as they become certain."""
        from consort.cooperate.speculate.rounds.rows import rows_for
        from consort.models.decoding.grammar import bound

        (row,) = rows_for(self, [prompt], sampling)
        return self._pieces(row, bound(sampling, self), cancel)

    def _pieces(self, row: Row, sampling: Sampling, cancel: Cancel | None) -> Generator[str, None, Completion]:
        from consort.models.decoding.decode import settled

        sent = ""
        for _ in self._rounds([row], sampling, cancel):
            if not row.finish:
                sure = settled(row.answer(self), sampling.stop)
                if len(sure) > len(sent) and sure.startswith(sent):
                    yield sure[len(sent) :]
                    sent = sure
        done = row.completion(self, self._facts())
        if len(done.text) > len(sent):
            yield done.text[len(sent) :]
        return done

    def _rounds(self, rows: Sequence[Row], sampling: Sampling, cancel: Cancel | None) -> Iterator[None]:
        from consort.cooperate.speculate.rounds.loop import rounds
        from consort.cooperate.speculate.rounds.pipeline import Pipeline
        from consort.models.decoding.decode import cancelled_by

        def add(row: Row, token: int, logprob: float) -> None:
            row.add(self, token, logprob, sampling)

        return rounds(self.work, self, rows, Pipeline(sampling, ends=self.ends), add, cancelled_by(cancel))

    def _facts(self) -> dict[str, Any]:
        facts = {"drafter": self.guesser.name, "gamma": self.gamma}
        return {**facts, "lossy": self.lossy} if self.lossy else facts


_FINE = 1e-5
"""Seconds; some systems count a thread's time in steps that are longer than a pass."""

_EXPECTED = 256
"""Batches are cut as if answers had at most this many tokens, as in plain decoding."""


def _clock(model: Speculate) -> Callable[[], float]:
    """This thread's own time, to which other programs add nothing, where it does all the work; else wall time."""
    import torch

    alone = torch.get_num_threads() == 1 and time.get_clock_info("thread_time").resolution < _FINE
    devices = {str(getattr(leaf, "device", "cpu")) for leaf in leaves(model)}
    return time.thread_time if alone and devices == {"cpu"} else time.perf_counter


def check_logits(**models: TokenModel | None) -> None:
    """Raise Unsupported for a model that does not show its logits."""
    for name, given in models.items():
        if given is not None and not isinstance(given, TokenModel):
            message = f"{getattr(given, 'name', given)} does not show its logits"
            raise Unsupported(message, field=name, hint="take a local model")


def guesser_of(model: Speculate) -> Drafter:
    """The drafter that was given, or the one that suits what was given in its place.

    Raises BadParameter for settings of a model that drafts beside a drafter that has settings of its own.
    """
    given = model.drafter
    if given is None and model.draft is not None:
        given = Model()
    if isinstance(given, Model) and given.draft is None and not (given.confidence or given.coupled):
        return _drafting_model(model)
    own = {"coupled": model.coupled, "confidence": model.confidence, "vocabulary": model.vocabulary == "slem"}
    misplaced = next((name for name, given_too in own.items() if given_too), None)
    given = Lookup() if given is None else given
    if misplaced:
        hint = "drafter: slem" if misplaced == "vocabulary" else f"drafter: {{model: {{{misplaced}: …}}}}"
        raise BadParameter(f"the drafter {given.name} has its own settings", field=misplaced, hint=hint)
    return given


def _drafting_model(model: Speculate) -> Drafter:
    """The drafter for a draft model of which no more is said than the speculating model's own settings."""
    draft, target = model.draft, model.target
    if isinstance(draft, TokenModel):
        same = draft.tokenizer.vocabulary_key == target.tokenizer.vocabulary_key
        if model.vocabulary == "slem" and not same:
            return Slem()
        if isinstance(draft, Speculates) and same and not model.coupled:
            return Staged()
    return Model(confidence=model.confidence, coupled=model.coupled)
