"""The lab's entailment model finds planted errors, and a guard with it mends what a model says wrongly."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from consort import lab
from consort.cooperate.detect import detectors, guards, remedies
from consort.cooperate.detect.answers import load_answers
from consort.cooperate.detect.pairs.nli import Nli
from consort.cooperate.detect.quality import auroc
from consort.cooperate.detect.stages import stages
from consort.lab.facts import HELD_OUT, PHRASINGS, table
from consort.lab.statements import ERRORS, Statement, draw_items, plant
from consort.testing.detector_laws import Facts


@pytest.fixture(scope="module")
def nli():
    return Nli(lab.path("nli"))


def by_sentence(nli, joining):
    """A sentence of the source at a time: premises of one sentence are what the model has learnt most from."""
    return detectors.get("alignscore")(nli=nli, words=1, joining=joining)


@pytest.fixture(scope="module")
def planted(nli):
    """Rows, errors and doubts of the shipped answers, every other one for speed."""
    rows = load_answers(lab.path("tasks/planted") / "answers.jsonl")[:150]
    found = by_sentence(nli, "max").detect([row.case for row in rows])
    return rows, np.array([f.doubt for f in found])


def test_planted_errors_are_found(planted):
    rows, doubts = planted
    wrong = np.array([not row.right for row in rows])
    assert auroc(doubts, wrong) >= 0.95
    for error in ERRORS:
        kept = np.array([row.right or row.case.details["error"] == error for row in rows])
        assert auroc(doubts[kept], wrong[kept]) >= 0.9, error
    plain = detectors.get("ngram_precision")(n=1).detect([row.case for row in rows])
    assert auroc(doubts, wrong) > auroc(np.array([f.doubt for f in plain]), wrong)


def test_the_most_doubted_sentence_is_the_wrong_one(nli):
    rng = random.Random(5)
    cases = [plant(rng, ERRORS[i % 3]) for i in range(30)]
    from consort.models.detecting import Case

    found = by_sentence(nli, "mean").detect([Case(one.answer, source=one.source) for one in cases])
    hits = [max(range(2), key=lambda k: f.spans[k].doubt) == one.sentence for f, one in zip(found, cases, strict=True)]
    assert sum(hits) >= 27


def test_sentences_entail_themselves(nli):
    rng = random.Random(1)
    texts = [item.hypothesis for _ in range(25) for item in draw_items(rng, 1)]
    scores = nli.score(texts, texts)
    assert (scores[:, 0] >= 0.9).mean() >= 0.99


def test_swaps_lower_the_score(nli):
    rng = random.Random(2)
    items = [draw_items(rng, 1) for _ in range(100)]
    right = nli.score([row[0].premise for row in items], [row[0].hypothesis for row in items])[:, 0]
    lower = [
        nli.score([row[k].premise for row in items], [row[k].hypothesis for row in items])[:, 0] < right
        for k in (1, 2, 3)
    ]
    assert np.mean(lower) >= 0.95


def test_batches_and_order_do_not_matter(nli):
    rng = random.Random(3)
    items = [item for n in (1, 3) for item in draw_items(rng, n)]
    pairs = [(item.premise, item.hypothesis) for item in items]
    whole = nli.score(*zip(*pairs, strict=True))
    for pair, row in zip(pairs, whole, strict=True):
        [alone] = Nli(lab.path("nli")).score([pair[0]], [pair[1]])
        assert np.abs(alone - row).max() <= 1e-5


class FactsOfTheLab(Facts):
    """Stands for an index: the sentences of the country that a query names."""

    def __init__(self, dead=False):
        super().__init__(fails=dead)
        rng = random.Random(7)
        self.known = {}
        for fact in table(0):
            self.known.setdefault(fact.country, []).append(Statement(fact.country, fact.relation, fact.value).text(rng))

    def search(self, queries, k):
        from consort.knowledge.evidence import Evidence

        super().search(queries, k)
        return [
            [Evidence(f"{c}-{i}", t, 1.0) for c in self.known if c in q for i, t in enumerate(self.known[c])]
            for q in queries
        ]


def repaired(nli, dead=False):
    """The guard over the teacher that knows half of the facts."""
    checker = detectors.get("factcheck")(
        FactsOfTheLab(dead), nli, decontextualise=stages.get("completed")(end=" ."), least_worth=0.0
    )
    from consort.plan import model

    return guards.get("guarded")(model("lab:teacher-north"), checker, then=remedies.get("repair")(most=1.0, tries=40))


def test_a_guard_mends_what_is_wrong_and_leaves_what_is_right(nli):
    lines = (lab.path("tasks/facts") / "test.jsonl").read_text().splitlines()[:48]
    rows = [json.loads(line) for line in lines]
    prompts = [row["prompt"] for row in rows]
    from consort.core.types import Sampling

    team = repaired(nli)
    before = [one.text.strip() for one in team.model.generate(prompts, Sampling(max_tokens=8))]
    after = team.generate(prompts, Sampling(max_tokens=8))
    was = [text == row["target"] for text, row in zip(before, rows, strict=True)]
    now = [one.text.strip() == row["target"] for one, row in zip(after, rows, strict=True)]
    assert np.mean(now) - np.mean(was) >= 0.2
    harmed = sum(a and not b for a, b in zip(was, now, strict=True))
    assert harmed <= 0.01 * sum(was)
    dead = repaired(nli, dead=True).generate(prompts[:8], Sampling(max_tokens=8))
    assert [one.text.strip() for one in dead] == before[:8]
    assert PHRASINGS[HELD_OUT].split()[0] in prompts[0]
