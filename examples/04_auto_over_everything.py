"""The main job over more than models of one family: two families, two endpoints, an index.

No model knows the colours of the dams; the index does, and one of the endpoints can read. The endpoints are fakes here.
`train=` would name rows to train on, none of which the task asks.
"""

import json
import re
from pathlib import Path

import consort as c
from consort import lab
from consort.knowledge.build import build
from consort.models.fake import FakeModel
from consort.server.run import Server

COLOURS = {"oru": "amber", "vel": "teal", "kim": "ochre", "tas": "ivory", "nod": "cobalt", "pil": "maroon"}
DAMS = {f"{name}{end}": colour for name, colour in COLOURS.items() for end in ("ak", "em", "il", "os")}


def clerk(prompt: str) -> str:
    """Knows nothing, and reads."""
    asked = re.findall(r"colour is the dam (\w+)", prompt)
    found = re.search(rf"the dam {asked[-1]} is (\w+)", prompt) if asked else None
    return found[1] if found else "unknown"


def sorter(prompt: str) -> str:
    """Puts letters into order."""
    found = re.search(r"order ((?:\w )+)=$", prompt)
    return " ".join(sorted(found[1].split())) if found else "unknown"


def rows(task: str, word: str, part: str, some: slice) -> list[dict]:
    lines = map(json.loads, (lab.path(f"tasks/{task}") / f"{part}.jsonl").read_text().splitlines())
    return [line for line in lines if line["group"] == word][some]


def write(file: str, lines: list[dict]) -> str:
    Path(file).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


task = []
for part, dams in (("dev", list(DAMS)[::2]), ("test", list(DAMS)[1::4])):
    asked = [{"prompt": f"what colour is the dam {dam} ?", "target": DAMS[dam], "group": "dams"} for dam in dams]
    for folder, word in (("skills", "mirror"), ("skills", "order"), ("b-skills", "peel")):
        asked += rows(folder, word, part, slice(len(dams)))
    task += [{**row, "split": part} for row in asked]
write("task.jsonl", task)
build([write("dams.jsonl", [{"id": dam, "text": f"the dam {dam} is {DAMS[dam]} ."} for dam in DAMS])], "index")

with Server(models={"clerk": FakeModel(clerk), "sorter": FakeModel(sorter)}, port=0) as server:
    endpoints = [f"openai:{name}@{server.url}/v1" for name in ("clerk", "sorter")]
    models = ["lab:base", "lab:mirror", "lab:order", "lab:b-peel", *endpoints]
    prices = {"clerk": 4e6, "sorter": 1e7}
    found = c.auto(models, task="task.jsonl", out="run", docs="index", price=prices, hours=0.5, budget=24)
print(found.headline)
for point in found.front:
    print(f"{point['name']}: {point['test']:.2f} on test at {point['cost']:.3g}, {point['plan']}")
for note in found.notes:
    print("-", note)
