"""A run that goes on with one model more, what it says of itself, and two runs side by side."""

import json
from pathlib import Path

from consort.recipes.auto.run import auto
from consort.runs.reporting import report
from consort.runs.status import status_of

right = {"a": lambda i: i % 2 == 0, "b": lambda i: i % 2 == 1, "c": lambda i: i % 3 == 0}
rows = [
    {"prompt": f"{('add', 'say')[i % 2]} {i}", "scores": {name: float(own(i)) for name, own in right.items()}}
    for i in range(120)
]
Path("table.jsonl").write_text("\n".join(map(json.dumps, rows)))
models = [f"table:table.jsonl#{name}" for name in right]

auto(models[:2], task="table:table.jsonl", out="two")
first = auto(models[:2], task="table:table.jsonl", out="more")
more = auto(models, task="table:table.jsonl", out="more")  # asks the new model alone
print(*more.notes, sep="\n")
print(*status_of("more").lines, sep="\n")
print(report(["two", "more"], "both.html"))
