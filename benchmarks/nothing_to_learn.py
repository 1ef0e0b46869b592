"""`auto` where there is nothing to learn: how often it claims that a combination is better.

Two settings, each drawn anew 40 times: cached scores of four models that are coins, and lab models on a task whose
targets are shuffled (token F1, so that chance scores more than nothing). A claim is the sentence that `auto` prints:
"Better on test". By chance alone it may be right about one draw in forty. `--draws N`, `--models` for the second.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import Counter
from pathlib import Path

from consort import lab
from consort.recipes.auto.run import auto
from consort.runs.results import Outcome


def coins(folder: Path, draw: int, rows: int = 300, models: int = 4) -> Outcome:
    """Scores of 0 or 1 that nothing foretells."""
    rng = random.Random(draw)
    names = [f"m{i}" for i in range(models)]
    lines = [
        {"prompt": f"{rng.choice(['add', 'say', 'who'])} {i}", "scores": {n: rng.randint(0, 1) for n in names}}
        for i in range(rows)
    ]
    table = folder / f"{draw}.jsonl"
    table.write_text("\n".join(map(json.dumps, lines)))
    columns = [f"table:{table}#{name}" for name in names]
    return auto(columns, task=f"table:{table}", out=folder / f"run-{draw}", seed=draw)


def shuffled(folder: Path, draw: int) -> Outcome:
    """The lab's models on prompts whose targets belong to others."""
    rng = random.Random(draw)
    lines = [json.loads(line) for line in (lab.path("tasks/skills") / "dev.jsonl").read_text().splitlines()]
    lines = rng.sample(lines, 120)
    targets = [line["target"] for line in lines]
    rng.shuffle(targets)
    place = folder / f"task-{draw}"
    place.mkdir()
    for part, rows in (("dev", range(80)), ("test", range(80, 120))):
        text = "\n".join(json.dumps({**lines[i], "target": targets[i]}) for i in rows)
        (place / f"{part}.jsonl").write_text(text)
    (place / "task.yml").write_text("{dev: dev.jsonl, test: test.jsonl, metric: token_f1, max_tokens: 8}")
    names = ["lab:base", "lab:mirror", "lab:order", "lab:shout"]
    return auto(names, task=place, out=folder / f"run-{draw}", budget=16, seed=draw)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--models", action="store_true", help="models on shuffled targets as well (minutes)")
    given = parser.parse_args()
    for name, run in (("coins", coins), *((("shuffled targets", shuffled),) if given.models else ())):
        said: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as folder:
            for draw in range(given.draws):
                said[run(Path(folder), draw).headline.partition(":")[0].partition(",")[0]] += 1
        claims = sum(count for sentence, count in said.items() if sentence.startswith("Better on test"))
        print(f"{name}: {given.draws} draws, {claims} claim better")
        for sentence, count in said.most_common():
            print(f"  {count:3d}  {sentence}")


if __name__ == "__main__":
    main()
