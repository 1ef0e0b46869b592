"""The composition family: texts that contradict, domains told by a relation, and models that go on where they were."""

from __future__ import annotations

import json
import math
import random
import runpy
from collections import Counter
from pathlib import Path
from statistics import fmean

import pytest

from consort import lab
from consort.lab import composition
from consort.lab.composition import (
    HALVES,
    WRONG,
    contradicted,
    domain_of,
    domain_row,
    domain_rows,
    domain_stream,
    half_stream,
)
from consort.lab.measure import Claim
from consort.lab.measure_composition import Emergence, Measured, claims_composition, measure_emergence
from consort.lab.programs import KNOWN, SKILLS
from consort.train import Recipe

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_fixed_share_of_the_texts_contradicts():
    rows = contradicted(0)
    assert len(rows) == 900 and rows == contradicted(0) != contradicted(1)
    wrong = Counter()
    for row in rows:
        letters = "".join(row.prompt.split()[1:-1])
        told = row.target.replace(" ", "")
        right, error = SKILLS[row.group](letters), KNOWN[WRONG[row.group]](letters)
        assert told in (right, error)
        wrong[row.group] += told == error and right != error
    assert all(60 <= count <= 68 for count in wrong.values())


def test_halves_part_the_skills():
    assert sorted(HALVES[0] + HALVES[1]) == sorted(SKILLS)
    own = Counter(half_stream(HALVES[0])(random.Random(i)).group in HALVES[0] for i in range(2000))
    assert own[True] / 2000 == pytest.approx(0.70, abs=0.03)


def test_domains_by_the_relation_of_the_outer_letters():
    assert [domain_of(s) for s in ("abc", "abz", "zba", "noz")] == [0, 1, 1, 0]
    assert (domain_row("abc").target, domain_row("abz").target) == ("c b a", "A B Z")
    assert domain_row("abc").prompt == "pick a b c ="


def test_no_letter_at_either_end_tells_the_domain():
    rows = domain_rows(4000, "dev", 0)
    assert len({row.prompt for row in rows}) == 4000
    assert fmean(row.group == "same" for row in rows) == pytest.approx(0.5, abs=0.04)
    for place in (1, -2):
        for half in ("abcdefghijklm", "nopqrstuvwxyz"):
            of_half = [row.group == "same" for row in rows if row.prompt.split()[place] in half]
            assert fmean(of_half) == pytest.approx(0.5, abs=0.05)


def test_an_expert_of_a_domain_reads_no_row_of_the_other():
    rows = [domain_stream(1)(random.Random(i)) for i in range(500)]
    groups = Counter(row.group for row in rows if row.prompt.startswith("pick"))
    assert set(groups) == {"apart"} and groups["apart"] / 500 == pytest.approx(0.5, abs=0.08)


@pytest.fixture
def short(monkeypatch):
    """Recipes of a few steps."""
    for name in [name for name, value in vars(composition).items() if isinstance(value, Recipe)]:
        monkeypatch.setattr(composition, name, Recipe(steps=2, lr=1e-3))


def test_parts_come_by_name_share_their_base_and_are_listed_in_the_manifest(tmp_path, short):
    zoo = lab.train(5, tmp_path / "zoo", parts=["domains"])
    base = (zoo / "compose-base" / "model.safetensors").stat().st_mtime_ns
    assert sorted(f.name for f in zoo.iterdir()) == ["compose-base", "manifest.json", "tasks", "xor-apart", "xor-same"]
    lab.train(5, zoo, parts=["compose", "others"])
    assert (zoo / "compose-base" / "model.safetensors").stat().st_mtime_ns == base
    assert sorted(f.name for f in (zoo / "tasks").iterdir()) == ["compose", "compose-pairs", "domains", "halves"]
    assert {f"compose-{word}" for word in SKILLS} | {"half-0", "half-other-1"} <= {f.name for f in zoo.iterdir()}
    assert lab.verify(zoo) == []
    shapes = [json.loads((zoo / n / "config.json").read_text())["model_type"] for n in ("half-0", "half-other-0")]
    assert shapes == ["llama", "gpt2"]
    found = measure_emergence(zoo, test=30)
    assert len(found.experts) == 6 and len(found.weak) == 3
    assert {"uniform", "task arithmetic", "weak half: ties"} <= set(found.systems)
    assert len(claims_composition(found)) == 6


@pytest.mark.parametrize(("shares", "steps"), [([0.9], 2), ([0.5, 0.8], 4), ([0.3, 0.6, 0.5], 4)])
def test_a_base_is_trained_longer_until_it_composes(tmp_path, short, monkeypatch, shares, steps):
    """The first that composes well enough; where none does the best."""
    said = iter(shares)
    monkeypatch.setattr(composition, "accuracy", lambda model, tokenizer, rows: next(said))
    composition._train_base(tmp_path, 5, lambda name, done, of: None)
    card = (tmp_path / "compose-base" / "README.md").read_text("utf-8")
    assert f"Trained for {steps} steps; answers {max(shares):.3f} of dev" in card
    assert [f.name for f in tmp_path.iterdir()] == ["compose-base"] and next(said, None) is None


def test_emergence_counts_what_no_expert_answers():
    def system(*composites):
        return Measured((True,), composites)

    systems = {"a": system(True, False, False), "b": system(False, False, False), "m": system(False, True, False)}
    found = Emergence(systems, ["a", "b"], ["a"], [False] * 3, {})
    assert found.unanswered == [False, True, True]
    assert found.emerged("m") == [True, False]


@pytest.mark.parametrize(("peak", "wanted"), [(0.1, 0.25 / 2**0.5), (0.55, 0.5), (5.8, 4 * 2**0.5)])
def test_the_one_coefficient_of_a_merge_is_found_near_its_peak(peak, wanted):
    benchmark = runpy.run_path(str(BENCHMARKS / "merge_zoos.py"))
    assert benchmark["chosen"](lambda c: -abs(math.log(c / peak)))[0] == pytest.approx(wanted)
    assert benchmark["chosen"](lambda c: 1.0 if c == 0.25 else 0.0)[0] == 0.25  # a plateau of zeros is not climbed


@pytest.mark.slow
def test_effects_of_the_papers_occur(tmp_path):
    zoo = lab.train(0, tmp_path / "zoo", parts=["compose"])
    failed = [claim.text for claim in claims_composition(measure_emergence(zoo)) if not claim.holds]
    assert failed == []


@pytest.mark.slow
@pytest.mark.parametrize("part", ["routers", "fusion"])
def test_trained_routers_and_pairwise_fusion_win(tmp_path, part, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = runpy.run_path(str(BENCHMARKS / "composition.py"))
    record = benchmark["measured"](part, 0, tmp_path)
    assert [claim["text"] for claim in record["claims"] if not claim["holds"]] == []


def test_lines_records_and_the_table(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    record = runpy.run_path(str(BENCHMARKS / "composition_record.py"))
    one = record["line"]("ours", [True] * 8 + [False] * 2, ("theirs", [True] * 3 + [False] * 7))
    assert (one.score, one.of, one.against) == (0.8, 10, "theirs") and one.difference == pytest.approx(0.5)
    assert one.interval[0] < 0.8 < one.interval[1] and one.difference_interval[0] > 0
    found = record["Found"]([one], [Claim("ours >= .9", 0.8, 0.9)], {"seed": 3})
    record["recorded"](tmp_path, "fusion", 3, 1.6, found)
    told = "\n".join(record["table"](tmp_path, ["fusion", "swarm"]))
    assert "| fusion | seed 3 |" in told and "MISSED: 0.800 >= 0.900" in told and "CPU seconds: 2" in told
    assert "+0.500 [" in told and "against theirs" in told
