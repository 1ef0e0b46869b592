"""Train what a merge leaves open: coefficients that make it sure of its answers, and a correction for each task."""

import consort as c
from consort import lab
from consort.evaluate import objective
from consort.merge.trained.collecting import Options, collect_trained
from consort.merge.trained.passages import read_passages

names = ("mirror", "order")
experts, base = [c.load(f"lab:{name}") for name in names], c.load("lab:base")
start = c.merge("task_arithmetic", experts, base=base, weight=0.3)

skills = lab.path("tasks/skills")
passages = [line for line in read_passages(skills / "dev.jsonl") if line.task in names]
for kind in ("adamerging", "surgery"):
    found = collect_trained(kind, start, passages, kind, Options(steps=30, lr=0.02))
    print(f"{kind}: {found.before:.3f} -> {found.after:.3f}")

merged = c.adamerging(models=experts, base=base, coefficients="adamerging")
corrected = c.surgery(model=c.model(start), corrections="surgery", task="mirror")
score = objective(c.load_task(skills), split="test", limit=160)
for label, model in (("task arithmetic .3", c.model(start)), ("adamerging", c.model(merged))):
    print(f"{label}: {score(model):.3f} on all eight skills, answers {model.generate(['mirror a b c ='])[0].text!r}")
print(f"corrected for mirror, it answers {corrected.generate(['mirror a b c ='])[0].text!r}")
