"""`auto` on tables of cached answers, as found in the field (C1, C4 to C7)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consort.ensemble.before.knn import Knn
from consort.evaluate import Result, evaluate, gate
from consort.models.cached.model import open_table, table_model
from consort.plan.references import open_task
from consort.recipes.auto import decision
from consort.recipes.auto.run import auto
from consort.recipes.auto.stage import Proposal
from consort.recipes.auto.teams import choose
from consort.runs.aim import Aim
from consort.runs.results import Outcome

Scores = Callable[[int], dict[str, Any]]
LEARNERS = ("knn", "ridge", "frugal_gpt", "vote")


def table(path: Path, scores: Scores, rows: int = 400) -> str:
    lines = [{"prompt": f"{'add' if i % 2 else 'say'} {i}", "scores": scores(i)} for i in range(rows)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def found(path: str, out: Path, names: str = "ab") -> tuple[Outcome, dict[str, Any]]:
    outcome = auto([f"table:{path}#{name}" for name in names], task=f"table:{path}", out=out)
    return outcome, json.loads((out / "results.json").read_text())


def halves(i: int) -> dict[str, Any]:
    return {"a": i % 2, "b": 1 - i % 2}


def winner(results: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in results["test"] if one["model"] == "winner")


def test_C1_each_learner_is_a_candidate_or_a_note(tmp_path: Path) -> None:
    outcome, results = found(table(tmp_path / "t.jsonl", halves), tmp_path / "run")
    assert winner(results)["score"] == 1.0
    tried = {one["method"] for one in results["candidates"]}
    assert tried | {n for n in LEARNERS for note in outcome.notes if f"no {n} of" in note} == set(LEARNERS)


def test_C4_the_fallback_is_the_best_on_all_of_dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`a` is best on dev, `b` on the half that decides; what was learned is turned down."""
    path = table(tmp_path / "t.jsonl", halves)
    fit, held_out = open_task(f"table:{path}").fit_and_held_out(0)
    in_fit, decides = {e.prompt: n for n, e in enumerate(fit)}, {e.prompt: n for n, e in enumerate(held_out)}

    def scores(i: int) -> dict[str, Any]:
        prompt = f"{'add' if i % 2 else 'say'} {i}"
        if prompt in decides:
            return {"a": int(decides[prompt] % 5 < 2), "b": int(decides[prompt] % 2 == 0)}
        return {"a": int(in_fit.get(prompt, 0) % 10 < 9), "b": int(in_fit.get(prompt, 0) % 5 < 3)}

    monkeypatch.setattr(decision.Field, "decide", lambda *_: decision.Taken())
    outcome, results = found(table(tmp_path / "t.jsonl", scores), tmp_path / "run")
    held = {one["model"]: one["score"] for one in results["singles"]}
    assert held["b"] > held["a"] and outcome.plan == f"table:{path}#a"


def test_C4_what_is_kept_learns_from_all_of_dev(tmp_path: Path) -> None:
    path = table(tmp_path / "t.jsonl", halves)
    [(name, arguments)] = found(path, tmp_path / "run")[0].plan.items()
    assert ".dev." in arguments["state"]
    from consort.ensemble.learning.fitting import load_learned

    learned = load_learned(tmp_path / "run" / arguments["state"])
    assert name == "knn" and learned.arrays["quality"].shape == (len(open_task(f"table:{path}").dev), 2)


def unknown(i: int) -> dict[str, Any]:
    known = halves(i)
    return {"a": known["a"] if i % 7 else None, "b": known["b"] if i % 5 else None}


def test_C5_auto_goes_on_where_scores_are_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Rows 0, 35, 70 ... are known of nobody, others of one alone: what would be asked there is left out."""
    outcome, results = found(table(tmp_path / "t.jsonl", unknown), tmp_path / "run")
    assert winner(results)["score"] == 1.0 and winner(results)["figures"]["left_out"] > 0
    assert "scores of a are not known" in caplog.text and outcome.headline.startswith("Better on test")


def test_C5_a_strategy_takes_no_other_answer_for_one_that_is_not_known(tmp_path: Path) -> None:
    path = table(tmp_path / "t.jsonl", unknown)
    task, members = open_task(f"table:{path}"), [table_model(f"table:{path}#{name}") for name in "ab"]
    from consort.ensemble.learning.observations import from_table

    router = Knn(members).fit(from_table(open_table(path), split="dev"))
    result = evaluate(router, task)
    chosen = router.choose([e.prompt for e in task.test])
    missing = [not members[m].knows(e.prompt, graded=True) for m, e in zip(chosen, task.test, strict=True)]
    assert result.figures["left_out"] == sum(missing) > 0 and result.score > 0.98


def test_C5_systems_are_compared_where_both_are_known(tmp_path: Path) -> None:
    """b is known where it is easy alone: there a is better, though its mean over all rows is less."""
    path = table(tmp_path / "t.jsonl", lambda i: {"a": int(i % 4 > 1), "b": (int(i % 8 > 2) if i % 4 > 1 else None)})
    task = open_task(f"table:{path}")
    a, b = (evaluate(table_model(f"table:{path}#{name}"), task) for name in "ab")
    decision = gate(b, a)
    assert b.score > a.score and not decision.kept
    assert decision.fallback_score == 1.0 and decision.candidate_score == b.score
    low, high = decision.difference.interval
    assert low <= decision.difference.value <= high < 0 and decision.count < a.count


def test_C6_a_tie_goes_to_the_single_model(tmp_path: Path) -> None:
    outcome, results = found(
        table(tmp_path / "t.jsonl", lambda i: dict.fromkeys("abc", int(i % 3 > 0))), tmp_path / "r", "abc"
    )
    assert outcome.plan == f"table:{tmp_path}/t.jsonl#a" and results["winner"]["kind"] == "single"
    assert not any(one["status"] == "kept" for one in results["candidates"])
    assert "stays" in outcome.headline and "Better" not in outcome.headline


def test_C6_of_equal_singles_the_cheaper(tmp_path: Path) -> None:
    def scores(i: int) -> dict[str, Any]:
        return dict.fromkeys("ab", int(i % 3 > 0))

    path = table(tmp_path / "t.jsonl", scores)
    rows = [json.loads(line) | {"cost": {"a": 5.0, "b": 1.0}} for line in Path(path).read_text().splitlines()]
    Path(path).write_text("\n".join(map(json.dumps, rows)))
    assert found(path, tmp_path / "run")[0].plan == f"table:{path}#b"


def test_C6_of_equal_teams_the_cheaper() -> None:
    rows = tuple((float(i % 4 > 0), 1.0) for i in range(100))
    result = Result("team", "t", "fit", "exact_match", 0.75, (0.7, 0.8), rows, "key")
    single = Proposal("one", "one", replace(result, score=0.0, statistics=((0.0, 1.0),) * 100), 1.0)
    dear, cheap = (Proposal(name, {name: {}}, result, price, True) for name, price in (("dear", 3.0), ("cheap", 2.0)))
    for systems in ([dear, cheap], [cheap, dear]):
        assert choose(systems, single, Aim(), seed=0) is cheap


def test_C7_the_run_says_what_its_numbers_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A winner that is worse on test is called so; terminal and report have one sentence."""
    path = table(tmp_path / "t.jsonl", halves)
    dev = {e.prompt for e in open_task(f"table:{path}").dev}

    def turned(i: int) -> dict[str, Any]:
        prompt = f"{'add' if i % 2 else 'say'} {i}"
        return halves(i) if prompt in dev else {"a": int(i % 4 == 0), "b": int(i % 4 != 2)}

    outcome, _ = found(table(tmp_path / "t.jsonl", turned), tmp_path / "run")
    assert outcome.headline.startswith("Chosen on held-out data, but worse on test than the best single model, b:")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "but worse on test than" in page and "Better on test" not in page and "Ahead" not in page
