"""Where there is nothing to learn, `auto` claims nothing: 40 draws of scores that are coins, at most 2 claims."""

from __future__ import annotations

import json
import random
import runpy
from pathlib import Path

import pytest

from consort.recipes.auto.run import auto

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "nothing_to_learn.py"


def draw_of(folder, seed):
    rng = random.Random(seed)
    names = [f"m{i}" for i in range(4)]
    rows = [{"prompt": f"say {i}", "scores": {n: rng.randint(0, 1) for n in names}} for i in range(300)]
    table = folder / f"{seed}.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    return auto([f"table:{table}#{n}" for n in names], task=f"table:{table}", out=folder / f"run-{seed}", seed=seed)


@pytest.mark.slow
def test_forty_draws_claim_better_at_most_twice(tmp_path):
    said = [draw_of(tmp_path, seed).headline for seed in range(40)]
    assert sum(sentence.startswith("Better on test") for sentence in said) <= 2


def test_one_draw_says_what_was_left_out(tmp_path):
    outcome = draw_of(tmp_path, 0)
    tried = {c["method"] for c in json.loads((tmp_path / "run-0" / "results.json").read_text())["candidates"]}
    left_out = {name for name in ("knn", "ridge", "frugal_gpt", "vote") for n in outcome.notes if f"no {name} of" in n}
    told = tried | left_out
    assert {"knn", "ridge"} <= told and not outcome.headline.startswith("Better on test")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["on_lab", "real"])
def test_ten_draws_of_dealt_answers_claim_better_at_most_once(kind, tmp_path):
    """What `benchmarks/nothing_to_learn.py` draws: answers of the lab's models, answers and scores of real ones."""
    drawn = runpy.run_path(str(BENCHMARK))
    if kind == "real" and not drawn["SHARED"].is_dir():
        pytest.skip("the shared data with cached answers of real models is absent")
    said = [drawn[kind](tmp_path, draw).headline for draw in range(10)]
    assert sum(sentence.startswith("Better on test") for sentence in said) <= 1
