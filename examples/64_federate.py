"""Five clients, each with one skill that the others lack, train one adapter without pooling their rows; a few steps
only, to show the way: docs/federation.md has the figures of whole runs. As a command: consort federate plan.yml out"""

import json
from pathlib import Path

from consort import lab
from consort.federate.plan import parse_federate
from consort.federate.running import federate
from consort.plan import load
from consort.plan.references import open_task

rows = [json.loads(line) for line in (lab.path("tasks/skills") / "dev.jsonl").read_text().splitlines()]
skills = ("mirror", "order", "shout", "twice", "spin")
with open("rows.jsonl", "w") as file:
    file.writelines(json.dumps(row) + "\n" for row in rows if row["group"] in skills)

plan = {
    "model": "lab:base",
    "data": "rows.jsonl",
    "clients": 5,
    "split": "by_key",  # or iid, quantity, {"dirichlet": {"alpha": 0.5}}
    "trainable": {"what": "lora", "rank": 4},
    "train": {"steps": 2, "batch": 8, "lr": 2e-3},
    "aggregator": "svd_lora",  # consort methods --kind aggregator, and every merge method that works on differences
    "rounds": {"rounds": 2, "min_clients": 3},
    "baselines": False,  # with a task, true compares with every client alone, all rows in one place, FedAvg
}
found = federate(parse_federate(plan), Path("out"), open_model=load, open_task=open_task)
for line in found.federated.history:
    print(f"round {line['round'] + 1}: {len(line['clients'])} clients, drift {line['drift']:.2f}")
print("the adapter is in", found.folder / "model")
