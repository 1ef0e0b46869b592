"""consort check and consort fit of detectors, from the command line to the report."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from consort.cli.app import app


@pytest.fixture
def answers(tmp_path):
    rows = [
        {"answer": f"The dam has {n} gates. It is old.", "source": f"The dam has {n % 3} gates. It is old.",
         "right": n < 3, "model": "ab"[n % 2], "group": str(n)}
        for n in range(30)
    ]  # fmt: skip
    rows += [
        {
            "answer": "The dam has 1 gates.",
            "source": "The dam has 1 gates.",
            "right": True,
            "model": "a",
            "group": f"r{i}",
        }
        for i in range(12)
    ]
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_doubts_and_their_quality(answers):
    result = run("check", answers, "--detector", "ngram_precision: {n: 2}", "--json")
    told = json.loads(result.stdout)
    assert told["judged"] == 42 and told["findings"][0]["doubt"] == 0
    assert told["quality"]["pooled"]["auroc"] == 1
    assert set(told["quality"]["models"]) == {"a", "b"}
    assert told["quality"]["pooled"]["wrong"] == pytest.approx(27 / 42)


def test_a_second_run_asks_nothing_again(answers, tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert run("check", answers, "--detector", "ngram_precision", "--out", out).exit_code == 0
    first = json.loads((out / "results.json").read_text())
    from consort.cooperate.detect.lexical.ngram_precision import NgramPrecision

    monkeypatch.setattr(NgramPrecision, "judge", lambda *a: pytest.fail("asked again"))
    assert run("check", answers, "--detector", "ngram_precision", "--out", out).exit_code == 0
    again = json.loads((out / "results.json").read_text())
    assert again["details"]["checked"]["answers"] == first["details"]["checked"]["answers"]
    assert run("report", out).exit_code == 0
    page = (out / "report.html").read_text()
    assert "those doubted most first" in page and "<mark" in page and "cannot be shown" not in page


def test_a_fitted_blend_is_a_plan_that_check_reads(answers, tmp_path):
    plan = tmp_path / "blend.yml"
    plan.write_text("detector.blend: {detectors: [{ngram_precision: {n: 2}}, length]}\n")
    done = run("fit", plan, tmp_path / "out", "--table", answers, "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["best_single"] == "ngram_precision"
    told = json.loads(run("check", answers, "--detector", tmp_path / "out" / "plan.yml", "--json").stdout)
    assert told["quality"]["pooled"]["auroc"] > 0.95
    assert run("fit", plan, tmp_path / "out", "--table", answers).exit_code == 0  # the same run again


@pytest.mark.parametrize(
    ("line", "detector", "message"),
    [
        ({"answer": 3}, "length", "no answer"),
        ({"answer": "a", "sampels": []}, "length", "unknown column 'sampels'"),
        ({"answer": "a", "logprobs": [0.5]}, "length", "not a list of numbers of at most 0"),
        ({"answer": "a", "right": "yes"}, "length", "not true, false"),
        ({"answer": "a"}, "ngram_precision", "there is no source"),
        ({"answer": "a"}, "ngram_precison", "did you mean"),
        ({"answer": "a"}, "ngram_precision: {n: 0}", "outside [1, 8]"),
        ({"answer": "a"}, "summac", "needs nli"),
        ({"answer": "a"}, "blend: {detectors: [length]}", "is not fitted"),
    ],
)
def test_wrong_input_is_named_and_leaves_nothing(line, detector, message, tmp_path):
    file = tmp_path / "answers.jsonl"
    file.write_text(json.dumps(line) + "\n")
    result = run("check", file, "--detector", detector, "--out", tmp_path / "out")
    fault = result.exception
    assert result.exit_code != 0 and not (tmp_path / "out").exists()
    assert message in f"{fault} {getattr(fault, 'hint', '')}"
