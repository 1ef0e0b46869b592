"""Scores of uqlm (shared data, Apache-2.0) from its own inputs, where no checkpoint is needed: to 1e-6."""

from __future__ import annotations

import json

import numpy as np
import pytest

from consort.cooperate.detect import detectors
from consort.core.types import Usage
from consort.models.detecting import Case


@pytest.fixture
def vectors(shared):
    return lambda name: json.loads((shared / "detection" / "uqlm" / f"{name}.json").read_text())


class Meanings:
    """A pair scorer that knows which texts mean the same, as uqlm's checkpoint found."""

    name = key = "meanings"

    def __init__(self, *same):
        self.same = [frozenset(pair) for pair in same]

    def score(self, premises, hypotheses):
        rows = [frozenset(pair) in self.same for pair in zip(premises, hypotheses, strict=True)]
        return np.array([(1.0, 0, 0) if row else (0, 0, 1.0) for row in rows])

    def spent(self):
        return Usage()


def raws(name, cases, **options):
    return [finding.raw for finding in detectors.get(name)(**options).detect(cases)]


def cases_of(data):
    return [Case(a, samples=tuple(s)) for a, s in zip(data["responses"], data["sampled_responses"], strict=True)]


def test_exact_match(vectors):
    data = vectors("blackbox")["data"]
    assert raws("exact_match", cases_of(data)) == pytest.approx(data["exact_match"], abs=1e-6)
    ensemble = vectors("ensemble")["ensemble1"]["data"]
    assert raws("exact_match", cases_of(ensemble)) == pytest.approx(ensemble["exact_match"], abs=1e-6)


def test_white_box_probabilities(vectors):
    data = vectors("whitebox")["data"]
    logs = [tuple(token["logprob"] for token in row) for row in data["logprobs"]]
    cases = [Case(a, logprobs=row) for a, row in zip(data["responses"], logs, strict=True)]
    assert raws("probability", cases) == pytest.approx(data["normalized_probability"], abs=1e-6)
    assert raws("least_probability", cases) == pytest.approx(data["min_probability"], abs=1e-6)


def test_semantic_entropy(vectors):
    data = vectors("semanticentropy")["data"]
    cases = cases_of(data)
    by_equality = detectors.get("semantic_entropy")().detect(cases)
    for i in (1, 2, 3):  # where its checkpoint found no two different texts to mean the same
        assert by_equality[i].raw == pytest.approx(data["entropy_values"][i], abs=1e-6)
        assert 1 - by_equality[i].doubt == pytest.approx(data["confidence_scores"][i], abs=1e-6)
    same = Meanings(("5", "5 miles"), ("32.5", "32"))
    found = detectors.get("semantic_entropy")(by="nli", nli=same).detect(cases)
    assert [f.raw for f in found] == pytest.approx(data["entropy_values"], abs=1e-6)
    assert [1 - f.doubt for f in found] == pytest.approx(data["confidence_scores"], abs=1e-6)


def test_noncontradiction_of_equal_answers(vectors):
    data = vectors("ensemble")["ensemble1"]["data"]
    equal = [i for i, c in enumerate(cases_of(data)) if set(c.samples) == {c.answer}]
    found = raws("noncontradiction", [cases_of(data)[i] for i in equal], nli=Meanings())
    assert found == pytest.approx([data["noncontradiction"][i] for i in equal], abs=1e-6)


@pytest.mark.parametrize("name", ["ensemble1", "ensemble2", "bsdetector"])
def test_weighted_ensembles(vectors, name):
    """Its weighted means of given components, by `blend` with the same weights over cached scores' doubts."""
    part = vectors("ensemble")[name]
    data, weights = part["data"], part["metadata"]["weights"]
    known = [key for key in data if key not in ("prompts", "responses", "sampled_responses", "ensemble_scores")]
    names = {"bsdetector": ["noncontradiction", "exact_match", "judge_1"]}.get(name, known)

    class Given:
        needs = ()

        def __init__(self, column):
            self.name, self.column = column, column

        def detect(self, cases):
            from consort.models.detecting import Finding

            return [Finding(1 - case.details[self.column]) for case in cases]

    cases = [Case("a", details={k: data[k][i] for k in names}) for i in range(len(data["responses"]))]
    blended = detectors.get("blend")([Given(key) for key in names], weights=weights)
    assert [1 - f.doubt for f in blended.detect(cases)] == pytest.approx(data["ensemble_scores"], abs=1e-6)
