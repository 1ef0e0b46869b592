"""Two teachers of other architectures and tokenizers, each knowing half of a table, become one student; half of the
texts they are fused on is wrong. A few steps only, to show the way: docs/fusion.md has the figures of a whole run."""

import json

from consort import lab
from consort.recipes.fusechat.run import fuse

lines = (lab.path("tasks/facts") / "train.jsonl").read_text().splitlines()
facts = [json.loads(line) for line in lines[:24] + lines[-24:]]
for number, fact in enumerate(facts):
    fact["group"] += f" {number // 6}"  # what is told of one thing goes to one teacher
    if number % 2:
        fact["target"] = "nowhere"  # three of the six statements of each fact
with open("corpus.jsonl", "w") as file:
    file.writelines(json.dumps(fact) + "\n" for fact in facts)

plan = {
    "pivot": "lab:pivot",
    "sources": ["lab:teacher-north", "lab:teacher-south"],
    "corpus": "corpus.jsonl",
    "mode": "together",
    "collect": {"block": 128},
    "fuse": {"unit": "group"},
    "train": {"steps": 8, "batch": 16, "lr": 1e-3, "lam": 0.3},
}
fused = fuse(plan, "fused")
print("aligned:", {name: round(share, 2) for name, share in fused.aligned.items()})
print("chosen:", fused.chosen)
print("saved in", fused.folder / "model")
