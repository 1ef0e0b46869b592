"""Searches over layers: a weight for each block of layers and model, and a path through the layers of two models."""

from pathlib import Path

import yaml

from consort.runs.search.run import search

plan = Path(__file__).with_suffix(".yml")
groups = search(plan, task="lab:tasks/skills", out="groups", limit=24)
print(groups.headline)
print([round(x, 2) for x in groups.best.point])

document = yaml.safe_load(plan.read_text())
document["search"]["space"] = {"data_flow": {"models": ["lab:yell", "lab:edges"], "most": 6}}
path = search(document, task="lab:tasks/skills", out="path", limit=24)
print(path.headline)
print([(part["model"], part["layers"]) for part in path.plan["stack"]["slices"]])
