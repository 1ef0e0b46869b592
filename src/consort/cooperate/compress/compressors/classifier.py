"""LLMLingua-2 (2403.12968): a bidirectional classifier says of each token whether it stays; words stay whole.

The published XLM-R-large and multilingual BERT checkpoints load as they are. Differs from the published code: words are
merged by segment reductions, special tokens never become words, no chunk ends inside a word, the budget is met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from consort.cooperate.compress.compressor import Compressor, Job
from consort.cooperate.compress.compressors import compressor
from consort.cooperate.compress.merging import merge_words, word_sizes
from consort.cooperate.compress.parts import Compression, Span
from consort.cooperate.compress.selecting import Scored, weighted_percentile
from consort.cooperate.compress.taught_classifier import labelled, learn, with_state
from consort.cooperate.compress.token_classifier import Encoded, encode, keep_probabilities, load_token_classifier
from consort.core.errors import BadParameter
from consort.core.params import Range
from consort.models.judges.classifiers import opened
from consort.weights.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Worker:
    """Who is paid for what the classifier reads."""

    name: str


@compressor(paper="2403.12968")
class Classifier(Compressor):
    """Keep the words that a token classifier (a folder, two labels) finds worth keeping; its probability is the score.

    `merge`: how a word's tokens become one. `force_tokens` are texts whose words stay whatever the budget says about
    others, `force_digits` keeps every word with a digit; with `drop_consecutive` only the first of several forced words
    in a row is forced. `details` tells the `threshold` that follows: the percentile 1 - rate of the words, each counted
    as often as it has tokens.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        rate: Annotated[float, Range(0, 1)] = 0.5,
        merge: Literal["mean", "first", "max"] = "mean",
        force_tokens: Sequence[str] = (),
        force_digits: bool = False,
        drop_consecutive: bool = False,
        batch: Annotated[int, Range(1, 10000)] = 50,
        teacher: Compressor | None = None,
        rank: Annotated[int, Range(1, 4096)] = 8,
        steps: Annotated[int, Range(1, 100000000)] = 300,
        lr: Annotated[float, Range(0.000000000001, 1000)] = 0.001,
        state: str | None = None,
    ) -> None:
        given: Checkpoint | str | Path = checkpoint
        self.checkpoint, self.rate, self.merge, self.batch = opened(given), rate, merge, batch
        self.force_tokens, self.force_digits, self.drop_consecutive = (
            tuple(force_tokens),
            force_digits,
            drop_consecutive,
        )
        self.worker = Worker(self.name)
        self.teacher, self.rank, self.steps, self.lr, self.state = teacher, rank, steps, lr, state

    @property
    def members(self) -> tuple[Any, ...]:
        """The models that it asks."""
        return (self.worker,)

    @cached_property
    def loaded(self) -> tuple[Any, Any]:
        found = load_token_classifier(self.checkpoint)
        return found if self.state is None else with_state(found, self.state, self.rank)

    def learn(
        self, prompts: Sequence[Any], answers: Sequence[str], reader: Any, file: Path, *, seed: int = 0
    ) -> dict[str, Any]:
        """Learn to keep what `teacher` keeps of the texts of these prompts; writes `file` and uses it.

        Returns how many texts there were, the share of their words that the teacher kept, and the loss of the last step
        (nats). Killed and called again it goes on from `file` + `.training`. Raises BadParameter without a teacher.
        """
        if self.teacher is None:
            hint = "name another compressor, such as {llmlingua: {scorer: MODEL}}"
            raise BadParameter("there is nothing to learn from", field="classifier.teacher", hint=hint)
        loaded = load_token_classifier(self.checkpoint)
        rows = labelled(prompts, self.teacher, loaded[0], self.rate)
        report = learn(loaded, rows, file, rank=self.rank, steps=self.steps, lr=self.lr, seed=seed)
        self.state = str(file)
        self.__dict__.pop("loaded", None)
        return report

    def shorten(self, job: Job) -> list[Compression]:
        tokenizer, model = self.loaded
        read = [(encode(tokenizer, text), text) for text in job.texts]
        keep, usage = keep_probabilities(tokenizer, model, read, self.batch)
        job.spent.append((self.worker, usage))
        scored, weights, values = [], [], []
        for (encoded, text), p in zip(read, keep, strict=True):
            word = torch.from_numpy(encoded.word)
            merged = merge_words(p, word, len(encoded.ends), self.merge).tolist()
            scored.append(self._scored(encoded, text, merged))
            weights += word_sizes(word, len(encoded.ends)).tolist()
            values += merged
        if values and job.most is not None:
            job.notes["threshold"] = weighted_percentile(values, weights, 100 * (1 - job.share))
        return job.selected(scored)

    def _scored(self, encoded: Encoded, text: str, values: list[float]) -> Scored:
        stops = [0, *encoded.ends]
        units = [Span(a, b) for a, b in zip(stops, stops[1:], strict=False)]
        forced = [self._is_forced(text[a:b]) for a, b in units]
        if self.drop_consecutive:
            forced = [own and not (i and forced[i - 1]) for i, own in enumerate(forced)]
        if not units and text:
            units, values, forced = [Span(0, len(text))], [0.0], [False]
        scores = [float("inf") if must else value for value, must in zip(values, forced, strict=True)]
        return Scored(text, units, scores, forced)

    def _is_forced(self, word: str) -> bool:
        return (self.force_digits and any(c.isdigit() for c in word)) or any(t in word for t in self.force_tokens)
