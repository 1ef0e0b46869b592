"""Two specialists answer, right answers are kept, and a base that has neither skill learns from them. A few steps only,
to show the way: docs/fusion.md has the figures of a whole run."""

import json

from consort import lab
from consort.recipes.fusechat.run import fuse

lines = (lab.path("tasks/skills") / "dev.jsonl").read_text().splitlines()
wanted = [line for line in lines if json.loads(line)["group"] in ("mirror", "order")]
with open("prompts.jsonl", "w") as file:
    file.write("\n".join(wanted[:8]))

plan = {
    "pivot": "lab:base",
    "sources": ["lab:mirror", "lab:order"],
    "corpus": "prompts.jsonl",
    "mode": "preference",
    "reward": "exact_match",
    "sample": {"each": 3, "temperature": 1.5, "top_p": 1.0, "max_tokens": 12},
    "train": {"steps": 6, "batch": 8, "lr": 1e-3},
    "prefer": {"steps": 2, "batch": 4, "lr": 1e-4},
}
fused = fuse(plan, "preferred")
print("best answers by skill and source:", fused.chosen)
print("pairs:", fused.pairs)
print("saved in", fused.folder / "model")
