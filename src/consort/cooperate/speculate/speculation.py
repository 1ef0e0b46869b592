"""Speculative decoding as a model: a draft guesses ahead, the target verifies, the distribution is the target's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from consort.cooperate.speculate import strategy
from consort.core.errors import BadParameter, Unsupported
from consort.core.params import Range
from consort.core.types import Completion, Prompt, Sampling
from consort.models.base import Session
from consort.models.cost import leaves
from consort.models.token_model import TokenModel

if TYPE_CHECKING:
    from consort.cooperate.speculate.drafters.draft import Drafter
    from consort.cooperate.speculate.rounds.rows import Row
    from consort.cooperate.speculate.rounds.state import Work
    from consort.cooperate.speculate.rounds.vocabulary import Pairing
    from consort.models.decoding.decode import Cancel


@strategy(paper="2211.17192")
class Speculate(TokenModel):
    """Let a cheap draft guess ahead and the target check whole guesses at once; nothing of its distribution changes.

    `draft`: a smaller model, of any tokenizer; one that is itself a `speculate` drafts in stages. `drafter`: `model`
    (the default with a draft), `tree` (branching guesses: the draft model's most
    likely tokens; `sampled_tree`: drawn ones), `lookup` (prompt lookup, the default
    without one) or `ngram` (ANPD). `gamma`: tokens a guess, or depth of a tree. `adapt`: choose the length by measured
    costs and acceptance, up to `gamma_max`, and switch off where it does not pay; sampled answers then depend on the
    clock (their distribution does not), unless `coupled`. `coupled`: the draft draws with the target's own random
    numbers: for a seed the answer is that of plain decoding, token for token, at a lower acceptance. Greedy answers,
    and those of `lookup`, `ngram`, `tree` and `slem`, always are. `vocabulary`: across tokenizers draft only shared
    tokens (tli) or any text (slem). `confidence`: end a guess at a token of less probability; 0 is off.
    `lossy`: accept more than is right, by the rule `typical` or `ensemble` (`weight` is the target's share): the
    output changes. `details["speculation"]` tells what was proposed and accepted at each position of a guess.
    """

    def __init__(
        self,
        target: TokenModel,
        draft: TokenModel | None = None,
        *,
        drafter: Literal["model", "tree", "sampled_tree", "lookup", "ngram"] | None = None,
        gamma: Annotated[int, Range(0, 64)] = 5,
        adapt: bool = False,
        gamma_max: Annotated[int, Range(1, 64)] = 16,
        vocabulary: Literal["tli", "slem"] = "tli",
        coupled: bool = False,
        confidence: Annotated[float, Range(0, 1)] = 0.0,
        lossy: Literal["typical", "ensemble"] | None = None,
        weight: Annotated[float, Range(0, 1)] = 0.5,
    ) -> None:
        self.target, self.draft = target, draft
        self.drafter, self.kind = drafter, drafter or ("lookup" if draft is None else "model")
        self.gamma, self.adapt, self.gamma_max, self.vocabulary = gamma, adapt, gamma_max, vocabulary
        self.coupled, self.confidence, self.lossy, self.weight = coupled, confidence, lossy, weight
        _check(self)
        self.tokenizer, self.window, self.gives_logprob = target.tokenizer, target.window, target.gives_logprob
        parts = [target.name, self.kind if draft is None else draft.name, *([lossy] if lossy else [])]
        self.name = f"speculate({', '.join(parts)})"
        self.batch_tokens = min(m.batch_tokens for m in self.members)
        self.clock = _clock(self)

    @property
    def members(self) -> Sequence[TokenModel]:
        return (self.target,) if self.draft is None else (self.target, self.draft)

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
        return Work(self.target, self.make_drafter, self.gamma, self.gamma_max, clock, self.lossy, self.weight)

    @cached_property
    def _pairing(self) -> Pairing:
        from consort.cooperate.speculate.rounds.vocabulary import pair

        assert self.draft is not None
        return pair(self.target, self.draft)

    def make_drafter(self, trees: bool = False) -> Drafter:
        """A new drafter for one batch; without the target's ability to read trees a tree is its best chain."""
        from consort.cooperate.speculate.drafters.lookup import lookup_drafter, ngram_drafter

        if self.draft is None:
            return lookup_drafter() if self.kind == "lookup" else ngram_drafter()
        from consort.cooperate.speculate.drafters.model_draft import ModelDrafter
        from consort.cooperate.speculate.drafters.slem import SlemDrafter
        from consort.cooperate.speculate.drafters.staged import StagedDrafter
        from consort.cooperate.speculate.drafters.tree import TreeDrafter

        if not self._pairing.same and self.vocabulary == "slem":
            return SlemDrafter(self.draft, self._pairing)
        if self.kind.endswith("tree") and trees:
            return TreeDrafter(self.draft, self._pairing, sampled=self.kind == "sampled_tree")
        if self.kind == "tree":
            return TreeDrafter(self.draft, self._pairing, branching=1)
        if isinstance(self.draft, Speculate) and self._pairing.same and not self.coupled:
            return StagedDrafter(self.draft, self._pairing)
        return ModelDrafter(self.draft, self._pairing, confidence=self.confidence, coupled=self.coupled)

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling = Sampling(), *, cancel: Cancel | None = None
    ) -> list[Completion]:
        """One completion for each prompt, in order (see `decode.generate`)."""
        from consort.cooperate.speculate.rounds.rows import rows_for
        from consort.models.decoding.decode import batches

        rows = rows_for(self, prompts, sampling)
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

        (row,) = rows_for(self, [prompt], sampling)
        return self._pieces(row, sampling, cancel)

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
        facts = {"drafter": self.kind, "gamma": self.gamma}
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


def _check(model: Speculate) -> None:
    for name, given in (("target", model.target), ("draft", model.draft)):
        if given is not None and not isinstance(given, TokenModel):
            message = f"{getattr(given, 'name', given)} does not show its logits"
            raise Unsupported(message, field=name, hint="take a local model")
    choices = {
        "drafter": (None, "model", "tree", "sampled_tree", "lookup", "ngram"),
        "vocabulary": ("tli", "slem"),
        "lossy": (None, "typical", "ensemble"),
    }
    for name, known in choices.items():
        if getattr(model, name) not in known:
            hint = " or ".join(str(k) for k in known if k)
            raise BadParameter(f"{getattr(model, name)!r} is no {name}", field=name, hint=hint)
    needs = model.kind not in ("lookup", "ngram")
    if needs != (model.draft is not None):
        what = f"the drafter {model.kind} {'needs a' if needs else 'takes no'} draft model"
        raise BadParameter(what, field="draft", hint="give draft, or drafter: lookup")
    if model.gamma < 0 or model.gamma_max < 1:
        raise BadParameter(f"{model.gamma} is no draft length", field="gamma", hint="a whole number, 0 or more")
    if model.lossy and model.kind.endswith("tree"):
        raise BadParameter("trees are verified exactly", field="lossy", hint="leave it out, or take drafter: model")
