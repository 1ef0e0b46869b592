"""PairRanker (2306.02561, section 3.2): candidates of several models are compared two by two, the best one is returned.

Every pair is read in both orders and the logits are averaged, so that the place of a candidate does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Literal

from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.ensemble.after import strategy
from consort.ensemble.answers.candidates import Candidates, gather
from consort.ensemble.answers.ranking import bubble_winner, full_ranking, order_averaged
from consort.ensemble.calls import checked_members
from consort.models.base import LanguageModel
from consort.models.cached.model import text_of
from consort.models.judges.classifiers import folder_of
from consort.weights import Checkpoint

if TYPE_CHECKING:
    from consort.ensemble.answers.pair_network import Comparer


@strategy(paper="2306.02561")
class PairRanker:
    """Ask all models, compare their answers two by two with a trained ranker, and return the best.

    `ranker`: a folder in PairRM's format (config, tokenizer, safetensors). `ranking`: `full` compares all pairs and
    sums logits, `bubble` takes one pass, n - 1 comparisons. Equal answers are compared once, the first stands for them.
    `details` has `answered_by` and, for `full`, the `ranking` by label; the ranker's reading is part of the cost.
    """

    def __init__(
        self,
        models: Sequence[LanguageModel],
        *,
        ranker: Checkpoint,
        ranking: Literal["bubble", "full"] = "full",
    ) -> None:
        self.models, self.labels = checked_members(models)
        self.ranker, self.ranking, self.judge = ranker, ranking, PairJudge(ranker)
        self.name = f"pair_ranker({', '.join(m.name for m in self.models)})"

    @property
    def members(self) -> Sequence[object]:
        """The models that it asks."""
        return (*self.models, self.judge)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        self.judge.open()  # a folder that cannot be used is said before anyone is asked
        found = []
        for row in gather(self.models, self.labels, prompts, sampling):
            order = ranked(row, self.judge, bubble=self.ranking == "bubble")
            details = {"ranking": tuple(row.labels[i] for i in order)} if self.ranking == "full" else {}
            found.append(row.completion(self, order[0] if order else 0, **details))
        return found


class PairJudge:
    """A ranker's folder, read at first use; counts as a model in the cost of a strategy."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.name = checkpoint, checkpoint.name
        self._comparer: Comparer | None = None

    def open(self) -> Comparer:
        """The ranker's network and tokenizer. Raises BadCheckpoint for a folder that is no ranker."""
        if self._comparer is None:
            from consort.ensemble.answers.pair_network import open_comparer

            self._comparer = open_comparer(folder_of(self.checkpoint))
        return self._comparer

    def compare(self, source: str, pairs: Sequence[tuple[str, str]]) -> tuple[list[float], Usage]:
        """Logits that the first of each pair is better, order-averaged, and what it took; pairs are read one by one."""
        import torch

        comparer = self.open()
        begun, read, logits = perf_counter(), 0, ([], [])  # type: tuple[float, int, tuple[list[float], list[float]]]
        for first, second in pairs:
            for way, triple in enumerate(((source, first, second), (source, second, first))):
                with torch.inference_mode():
                    logit, tokens = comparer.logits([triple])
                logits[way].append(float(logit[0]))
                read += tokens
        return order_averaged(*logits), Usage(read, 0, 2 * len(pairs), perf_counter() - begun)


def ranked(row: Candidates, judge: PairJudge, *, bubble: bool = False) -> list[int]:
    """Candidates from best to worst (with `bubble` the best only), equal texts behind their first; costs entered."""
    firsts = row.first_of_equals()
    different = sorted(set(firsts))

    def compare(pairs: Sequence[tuple[int, int]]) -> list[float]:
        texts = [(row.texts[different[a]], row.texts[different[b]]) for a, b in pairs]
        logits, usage = judge.compare(text_of(row.prompt), texts)
        row.ledger.costs.append((judge, {judge.name: usage}))
        return logits

    if bubble:
        return [different[bubble_winner(len(different), compare)]] if different else []
    order = [different[i] for i in full_ranking(len(different), compare)]
    return [i for first in order for i in range(len(firsts)) if firsts[i] == first]
