"""SelfCheckGPT with NLI (2303.08896, section 5.5): do samples contradict a sentence?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consort.cooperate.detect import detector
from consort.cooperate.detect.base import Judging, of_sentences, parts_of, shared_cost
from consort.cooperate.detect.pairs.nli import CONTRADICT, ENTAIL
from consort.models.detecting import Case, Finding, PairScorer, Quote


@detector(needs=("samples",), paper="2303.08896", example={"nli": "fake"})
class SelfcheckNli(Judging):
    """P(contradiction) against P(entailment) of each sentence, neutral left out, meaned over samples.

    The premise is a sample, the hypothesis a sentence (eq. 10 of the paper). `raw` is the mean over sentences. All
    sentences and samples go through `nli` in one batch.
    """

    def __init__(self, nli: PairScorer) -> None:
        self.nli = nli

    def judge(self, cases: Sequence[Case]) -> list[Finding]:
        rows = [(case, parts_of(case)) for case in cases]
        pairs = [(sample, part.text) for case, parts in rows for part in parts for sample in case.samples]
        scores = iter(against(self.nli.score([a for a, _ in pairs], [b for _, b in pairs])))
        found = []
        for case, parts in rows:
            table = np.array([[next(scores) for _ in case.samples] for _ in parts])
            worst = [(Quote(case.samples[int(row.argmax())], score=-float(row.max())),) for row in table]
            doubts = table.mean(1).tolist()
            found.append(of_sentences(parts, doubts, raw=float(np.mean(doubts)), evidence=worst))
        return shared_cost(found, self.nli.name, self.nli.spent())


def against(scores: np.ndarray) -> np.ndarray:
    """P(contradiction) of softmax over entailment and contradiction alone; 1/2 where both are 0."""
    entail, contradict = scores[:, ENTAIL], scores[:, CONTRADICT]
    both = entail + contradict
    return np.where(both > 0, contradict / np.where(both > 0, both, 1), 0.5)
