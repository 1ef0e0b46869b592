"""Sentences follow from the numbers that are shown (C7): one test for each case."""

from __future__ import annotations

import pytest

from consort.evaluate.comparison import Difference
from consort.report.sentences import Facts, headline, unfinished, verdict


def differs(value, low, high):
    return Difference(value, (low, high), 0.5)


BETTER, AHEAD, EQUAL, BEHIND, WORSE = (
    differs(0.2, 0.1, 0.3),
    differs(0.1, -0.1, 0.3),
    differs(0.0, -0.1, 0.1),
    differs(-0.1, -0.3, 0.1),
    differs(-0.2, -0.3, -0.1),
)


@pytest.mark.parametrize(
    ("difference", "word"),
    [
        (BETTER, "better"),
        (AHEAD, "ahead"),
        (EQUAL, "equal"),
        (BEHIND, "behind"),
        (WORSE, "worse"),
        (differs(0.1, 0.0, 0.2), "ahead"),  # an interval that touches zero claims nothing
        (differs(0.0, 0.0, 0.0), "equal"),
        (differs(-0.0004, -0.05, 0.05), "equal"),  # what is shown as zero is not called behind
        (differs(0.0004, 0.0001, 0.0007), "better"),
    ],
)
def test_C7_verdicts_follow_from_the_numbers(difference, word):
    assert verdict(difference) == word


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (Facts(kept=True, tested=BETTER), "Better on test than the best single model"),
        (Facts(kept=True, tested=AHEAD), "Ahead of the best single model on test, but within the noise"),
        (Facts(kept=True, tested=EQUAL), "On test no better and no worse than the best single model"),
        (Facts(kept=True, tested=BEHIND), "Behind the best single model on test, but within the noise"),
        (Facts(kept=True, tested=WORSE), "Chosen on held-out data, but worse on test than the best single model"),
        (Facts(kept=True, tested=WORSE, searched=True), "Chosen on dev, but worse on test than the best single model"),
        (Facts(kept=True, tested=BETTER, reference="control"), "Better on test than control"),
        (Facts(kept=True, held_out=BETTER), "Better than the best single model on held-out data; test was not read"),
        (Facts(kept=True, held_out=AHEAD), "Ahead of the best single model on held-out data, but within the noise"),
        (Facts(kept=True, held_out=EQUAL), "On held-out data no better and no worse than the best single model"),
        (Facts(kept=True, held_out=BEHIND), "Behind the best single model on held-out data, but within the noise"),
        (Facts(kept=True, held_out=WORSE), "Worse than the best single model on held-out data"),
        (Facts(kept=True), "Chosen on dev; nothing was measured that could confirm it"),
        (
            Facts(kept=False, held_out=EQUAL, tried=3),
            "On held-out data the best combination only equalled the best single model, so that stays",
        ),
        (
            Facts(kept=False, held_out=BEHIND, tried=3),
            "No combination beat the best single model on held-out data, so it stays",
        ),
        (
            Facts(kept=False, tried=3),
            "Of 3 combinations none was better than the best single model, so it stays",
        ),
        (Facts(kept=False, tried=1), "Of 1 combination none was better than the best single model, so it stays"),
        (Facts(kept=False), "There was nothing to combine: the best single model stays"),
    ],
)
def test_C7_headlines_follow_from_the_numbers(facts, sentence):
    assert headline(facts) == sentence


def test_unfinished_runs():
    assert unfinished("running", "", None, "") == "Still running: nothing has been measured yet"
    said = unfinished("killed", "ties", 0.75, "the fit examples")
    assert said == "Stopped before its end: the best so far is ties, 0.750 on the fit examples"
