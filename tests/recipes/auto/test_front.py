"""The front: score against cost, decided on fit, each point a plan of the same score; what is maximised; limits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

import consort as c
from consort.core.errors import BadParameter, ConsortError, Unsupported
from consort.plan.references import open_task
from consort.recipes.auto.front import APART, MOST_POINTS, nondominated
from consort.recipes.auto.run import auto
from consort.recipes.auto.stage import Proposal
from consort.report.schema import read_run
from consort.runs.results import is_checkpoint


@pytest.fixture
def priced(tmp_path):
    """A table of rows by a function of their number, `{model: (score, cost)}`; returns its path."""

    def made(row, rows=400, name="t"):
        path = tmp_path / f"{name}.jsonl"
        lines = []
        for i in range(rows):
            told = row(i)
            scores, cost = {m: s for m, (s, _) in told.items()}, {m: p for m, (_, p) in told.items()}
            lines.append({"prompt": f"{'add' if i % 2 else 'say'} {i}", "scores": scores, "cost": cost})
        path.write_text("\n".join(map(json.dumps, lines)))
        return str(path)

    return made


def split(i):
    """`even` is right on even numbers, `odd` on odd ones; `all` is nearly always right, and dear."""
    return {"even": (1 - i % 2, 1.0), "odd": (i % 2, 2.0), "all": (int(i % 10 > 0), 20.0)}


def run_on(path, out, **options):
    return auto([f"table:{path}"], task=f"table:{path}", out=out, **options)


def told(out):
    return json.loads((out / "results.json").read_text())


def system(score, price, name=""):
    from consort.evaluate import Result

    rows = ((score, 1.0),)
    result = Result(name, "t", "fit", "token_f1", score, (score, score), rows, "key")
    return Proposal(name or f"{score} {price}", f"{score} {price}", result, price)


def test_the_front_is_what_nothing_cheaper_equals_and_steps_are_worth_it():
    best, middle, cheap = system(0.9, 10.0), system(0.8, 5.0), system(0.5, 1.0)
    beaten, hardly_cheaper, unknown = system(0.7, 6.0), system(0.89, 10 * (1 - APART / 2)), system(1.0, None)
    assert nondominated([unknown, beaten, middle, best, cheap, hardly_cheaper]) == [cheap, middle, best]
    many = nondominated([system(i / 100, 1.1**i) for i in range(60)])
    assert len(many) <= MOST_POINTS and many[-1].score == 0.59
    assert nondominated([]) == []


def test_each_point_is_a_plan_of_the_same_score_wherever_the_run_is_moved(priced, tmp_path, monkeypatch):
    path = priced(split)
    run_on(path, tmp_path / "run")
    results, _ = read_run(tmp_path / "run")
    names = [point.name for point in results.front]
    assert names[:2] == ["even", "odd"] and results.front[-1].kind == "team"
    costs, scores = [p.cost for p in results.front if p.on_front], [p.fit for p in results.front if p.on_front]
    assert costs == sorted(costs) and scores == sorted(scores)
    moved = shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    task = open_task(f"table:{path}")
    for point in results.front:
        found = c.evaluate(c.model(moved / point.plan), task)
        assert found.score == point.test and found.interval == pytest.approx(point.interval)
        assert point.seconds is not None and point.test_cost is not None
    assert {p.name for p in (moved / "plans").iterdir()} == {p.plan.rpartition("/")[2] for p in results.front}


def test_the_winner_is_on_the_list_with_its_own_plan(priced, tmp_path):
    outcome = run_on(priced(split), tmp_path / "run")
    [winner] = [point for point in outcome.front if point["winner"]]
    own, whole = (yaml.safe_load((tmp_path / "run" / name).read_text()) for name in (winner["plan"], "plan.yml"))
    [(name, arguments)] = own["plan"].items()
    assert arguments["state"] == f"../{whole['plan'][name]['state']}"
    assert winner["test"] == next(s.score for s in outcome.comparison.systems if s.result.model == "winner")
    assert outcome.headline.startswith("Better on test than the best single model, all")


def test_quality_per_cost_takes_another_winner_and_says_by_what(priced, tmp_path):
    path = priced(split)
    outcome = run_on(path, tmp_path / "run", maximize="quality-per-cost")
    results = told(tmp_path / "run")
    assert results["objective"]["maximize"] == "quality-per-cost"
    assert outcome.plan == f"table:{path}#even"
    assert "stays" in outcome.headline
    # two models of one price, each right where the other is not: together twice the quality at that price
    path = priced(lambda i: {"a": (i % 2, 3.0), "b": (1 - i % 2, 3.0)}, name="same")
    outcome = run_on(path, tmp_path / "same", maximize="quality-per-cost")
    assert outcome.headline.startswith("Better on test than the best single model by score for its cost, ")
    on_test = told(tmp_path / "same")["objective"]["on_test"]
    assert on_test["fallback_score"] == pytest.approx(0.5, abs=0.1) and on_test["kept"]
    html = (tmp_path / "same" / "report.html").read_text("utf-8")
    assert "Better on test than the best single model by score for its cost" in html


def test_a_limit_of_cost_bounds_winner_and_rival(priced, tmp_path):
    path = priced(split)
    outcome = run_on(path, tmp_path / "run", max_cost=2.5)
    results, raw = read_run(tmp_path / "run")
    winner = next(point for point in results.front if point.winner)
    assert winner.cost <= 2.5 and winner.kind == "team"
    assert raw["objective"]["rivals"] == ["even", "odd"] and results.winner.against in ("even", "odd")
    assert outcome.headline.startswith("Better on test than the best single model within the limits, ")
    assert "all" in {point.name for point in results.front} or results.prices["all"] == 20.0
    assert run_on(path, tmp_path / "one", max_cost=1.2).plan == f"table:{path}#even"


def test_a_limit_that_only_a_combination_keeps(priced, tmp_path, monkeypatch):
    from consort.recipes.auto import decision

    monkeypatch.setattr(decision.Field, "_keeps_limits", lambda *_: False)
    outcome = run_on(priced(split), tmp_path / "run", max_cost=2.5)
    assert any("none to beat" in note for note in outcome.notes) and outcome.decision is None
    assert not isinstance(outcome.plan, str) and "within the limits" not in outcome.headline


def test_where_nothing_keeps_the_limits_the_nearest_is_named(priced, tmp_path):
    path = priced(split)
    with pytest.raises(BadParameter, match="--max-cost 0.5: no system keeps it") as caught:
        run_on(path, tmp_path / "run", max_cost=0.5)
    assert caught.value.hint == "the cheapest is even: 1"
    with pytest.raises(BadParameter, match="--max-latency") as caught:
        run_on(path, tmp_path / "run", max_latency=1e-12)
    assert caught.value.hint.startswith("the quickest is ") and not (tmp_path / "run" / "results.json").exists()
    assert run_on(path, tmp_path / "run", max_cost=1.0).plan == f"table:{path}#even"  # the run goes on


def test_a_limit_of_time_is_of_what_was_measured(priced, tmp_path, monkeypatch):
    from consort.runs import trials

    plain = trials.evaluate
    slow = {"all": 5.0, "even": 1.0, "odd": 1.0}

    def timed(model, task, **options):
        from dataclasses import replace

        found = plain(model, task, **options)
        return replace(found, seconds=found.count * slow.get(model.name, 1.5))

    monkeypatch.setattr(trials, "evaluate", timed)
    run_on(priced(split), tmp_path / "run", max_latency=2.0)
    results = told(tmp_path / "run")
    assert results["seconds"]["all"] == 5.0 and set(results["objective"]["rivals"]) == {"even", "odd"}
    winner = next(point for point in results["front"] if point["winner"])
    assert winner["kind"] == "team" and 1.0 <= results["seconds"][winner["name"]] <= 2.0


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"maximize": "speed"}, BadParameter, "speed"),
        ({"max_cost": 0.0}, BadParameter, "max-cost"),
        ({"max_latency": -1.0}, BadParameter, "max-latency"),
        ({"hours": 0.0}, BadParameter, "hours"),
        ({"price": {"nobody": 1.0}}, ConsortError, "no input named 'nobody'"),
        ({"price": {"even": -1.0}}, BadParameter, "price"),
    ],
)
def test_what_is_asked_wrongly_is_refused_before_any_work(priced, tmp_path, options, error, says):
    with pytest.raises(error, match=says):
        run_on(priced(split), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_scores_below_zero_have_no_quality_per_cost(tmp_path):
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": f"a b c {i}"}) + "\n" for i in range(30)))
    with pytest.raises(Unsupported, match="no quality for its cost"):
        auto(["lab:mirror", "lab:order"], task=tmp_path / "t.jsonl", out=tmp_path / "run", maximize="quality-per-cost")


def test_what_costs_nothing_has_no_quality_per_cost(priced, tmp_path):
    path = priced(lambda i: {"a": (i % 2, 0.0), "b": (1 - i % 2, 1.0)})
    with pytest.raises(Unsupported, match="answers of a cost nothing"):
        run_on(path, tmp_path / "run", maximize="quality-per-cost")


def test_prices_that_are_given_replace_those_that_are_told(priced, tmp_path):
    def row(i):
        return {name: (score, None) for name, (score, _) in split(i).items()}

    path = priced(row)
    run_on(path, tmp_path / "none")
    assert not [point for point in told(tmp_path / "none")["front"] if point["on_front"]]
    assert any("--price even=NUMBER" in note for note in told(tmp_path / "none")["notes"])
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    tokens = {"even": 10, "odd": 10, "all": 10}
    (tmp_path / "tokens.jsonl").write_text("\n".join(json.dumps({**one, "tokens": tokens}) for one in rows))
    rates = {"even": 1.0, "odd": 2.0, "all": 30.0}
    run_on(tmp_path / "tokens.jsonl", tmp_path / "run", price=rates)
    results = told(tmp_path / "run")
    assert {name: results["prices"][name] for name in rates} == {"even": 10.0, "odd": 20.0, "all": 300.0}
    assert results["objective"]["unit"] == "as told" and results["front"][0]["name"] == "even"


def test_how_far_the_choice_flattered_is_told(priced, tmp_path):
    outcome = run_on(priced(split), tmp_path / "run")
    chosen = told(tmp_path / "run")["selection"]
    scored = [one for one in told(tmp_path / "run")["candidates"] if one["fit"] is not None]
    assert chosen["looked_at"] == 3 + len(scored)
    assert chosen["optimism"] == pytest.approx(chosen["fit"] - chosen["held_out"])
    low, high = chosen["interval"]
    assert low < chosen["optimism"] < high and outcome.selection["optimism"] == chosen["optimism"]
    html = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "Systems looked at on fit" in html and "needs no correction" in html and 'href="plans/' in html


def test_a_run_again_has_the_same_front(priced, tmp_path):
    path = priced(split)
    run_on(path, tmp_path / "run")
    first = (tmp_path / "run" / "results.json").read_bytes()
    run_on(path, tmp_path / "run")
    assert (tmp_path / "run" / "results.json").read_bytes() == first
    run_on(path, tmp_path / "other")

    def timeless(value):
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if k != "seconds"}
        return [timeless(v) for v in value] if isinstance(value, list) else value

    assert timeless(told(tmp_path / "other")) == timeless(json.loads(first))


def test_models_of_weights_cost_their_tokens_times_their_weights(tmp_path):
    from consort import lab

    lines = (lab.path("tasks/skills") / "dev.jsonl").read_text().splitlines()
    (tmp_path / "t.jsonl").write_text(
        "\n".join([x for x in lines if json.loads(x)["group"] in ("mirror", "order")][:40])
    )
    auto(["lab:base", "lab:mirror", "lab:order"], task=tmp_path / "t.jsonl", out=tmp_path / "run", budget=4)
    results = told(tmp_path / "run")
    size = sum(c.load("lab:mirror")[name].numel() for name in c.load("lab:mirror").keys())
    mirror = next(r for r in results["test"] if r["model"] == "mirror")
    assert mirror["sizes"] == {"mirror": size}
    for point in results["front"]:
        assert (tmp_path / "run" / point["plan"]).is_file()
        again = c.evaluate(c.model(tmp_path / "run" / point["plan"]), c.load_task(tmp_path / "t.jsonl"))
        assert again.score == point["test"]
        assert point["test_cost"] == pytest.approx(
            sum(u.total_tokens for u in again.cost.values()) * size / again.count
        )
    assert any(is_checkpoint(one["plan"]) for one in results["candidates"])
    serves(tmp_path / "run" / results["front"][-1]["plan"])


def serves(plan):
    """A server of the plan answers."""
    import httpx

    from consort.server.run import Server

    with Server([str(plan)], port=0) as running:
        [model, *_] = httpx.get(f"{running.url}/v1/models").json()["data"]
        asked = {"model": model["id"], "prompt": "mirror a b =", "max_tokens": 4}
        assert httpx.post(f"{running.url}/v1/completions", json=asked).json()["choices"][0]["text"]
