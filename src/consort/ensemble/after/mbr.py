"""Consensus among candidates: the answer that is most like all the others (minimum Bayes risk, Kumar and Byrne 2004).

Between open-ended answers of different models lexical consensus mostly follows the length bias of the utility: recall
likes long answers, precision short ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.after import strategy
from consort.ensemble.after.vote import checked_weights
from consort.ensemble.answers.text_similarity import consensus
from consort.ensemble.answers.text_similarity import utility as utility_named
from consort.ensemble.calls import Ledger, ask_side_by_side, checked_members
from consort.models.base import LanguageModel


@strategy(paper="N04-1022")
class Mbr:
    """Ask all models and return the answer i with the largest sum over the others j of w_j u(y_i, y_j).

    `utility`: chrF, ROUGE-L, BLEU, recall, precision or F1 of words, cosine of TF-IDF vectors; with the extra `embed`
    the cosine of sentence vectors, or BERTScore of a small encoder. `weight`: one number of at least 0 for each model
    (default: equal). Equal answers are one candidate's worth each; of equal sums the first model wins.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        utility: Literal[
            "bertscore", "bleu", "chrf", "embedding", "rouge_l", "tfidf",
            "unigram_f1", "unigram_precision", "unigram_recall",
        ] = "chrf",
        weight: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        self.models, self.labels = checked_members(models)
        self.utility, self.weight, self.compare = utility, weight, utility_named(utility)
        self.given = checked_weights(weight, len(self.models))
        self.name = f"mbr({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it asks."""
        return self.models

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        outcomes = ask_side_by_side([(model, prompts, sampling) for model in self.models])
        found = []
        for row in range(len(prompts)):
            ledger = Ledger()
            said = [
                ledger.enter(label, model, answers[row])
                for label, model, answers in zip(self.labels, self.models, outcomes, strict=True)
            ]
            present = [m for m, c in enumerate(said) if c is not None]
            texts = [c.text for c in said if c is not None]
            weights = [self.given[m] for m in present]
            best = present[consensus(self.compare(texts), weights)] if present else 0
            found.append(ledger.completion(self, said[best], answered_by=self.labels[best]))
        return found
