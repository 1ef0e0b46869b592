"""`fit` of soft prompts: what was learned lies beside the plan; the whole prompt is what it must not be worse than."""

from __future__ import annotations

import json

from consort.plan import build, read_plan
from consort.runs.fit import fit


def test_a_soft_prompt_is_taught_and_judged(tmp_path):
    lines = [{"prompt": f"say {w} .", "context": f"{w} {w} {w}", "target": w} for w in "abcdefghijklmnop"]
    task = tmp_path / "task.jsonl"
    task.write_text("".join(json.dumps({**line, "split": "dev"}) + "\n" for line in lines))
    plan = tmp_path / "plan.yml"
    plan.write_text("gist: {model: lab:base, slots: 1, rank: 2, steps: 2}\n")
    outcome = fit(plan, tmp_path / "out", task=task)
    assert (tmp_path / "out/soft.safetensors").is_file()
    told = json.loads((tmp_path / "out/results.json").read_text())
    assert told["verb"] == "fit" and told["details"]["fit"]["kept"] == outcome.kept
    model = build(read_plan(tmp_path / "out/plan.yml"), "model")
    assert model.generate(["a a a\n\nsay a ."])
