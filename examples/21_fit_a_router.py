"""From the plan of a router to a fitted one, gated on held-out examples, with its state beside the plan."""

import json
from pathlib import Path

import consort as c
from consort.runs.fit import fit

rows = [
    {"prompt": f"{verb} {i}", "scores": {"a": int(verb == "add"), "b": int(verb == "say")}, "group": verb}
    for i in range(40)
    for verb in ("add", "say")
]
Path("answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
Path("plan.yml").write_text('knn: {models: ["table:answers.jsonl#a", "table:answers.jsonl#b"]}')
outcome = fit("plan.yml", "fitted", table="answers.jsonl")
print(outcome.kept, outcome.report["decision"]["candidate_score"], outcome.report["decision"]["fallback_score"])
print(c.model("fitted/plan.yml").generate(["add 3"])[0].details["chosen"])
