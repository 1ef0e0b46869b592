"""`auto` where there is nothing to learn: how often it claims that a combination is better.

Three kinds of zoo, each drawn anew `--draws` times:

    coins   scores of four models that are coins
    real    cached answers of five real models, dealt anew. Of RouterDC's models the rows of scores go to other prompts,
            so that models keep how good and how alike they are and prompts tell nothing; of ZeroEval's answers to GSM8K
            it is asked whether they are even, half of the targets are, and targets are shuffled
    lab     answers of the lab's models, written once, on prompts whose targets belong to others (token F1)

and `--weights` draws of the last with the models themselves, so that they are merged and averaged as well. A claim is
the sentence that `auto` prints: "Better on test". It may be wrong of one winner in forty by chance alone. With the
folder of shared data beside the repository: `python benchmarks/nothing_to_learn.py --draws 100 --weights 5`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import consort as c
from consort import lab
from consort.recipes.auto.run import auto
from consort.runs.results import Outcome

SHARED = Path(__file__).parents[2] / "shared" / "data" / "ensemble"
ROUTERDC = ("arc_challenge_train", "MATH_prealgebra", "gsm8k-test", "mmlu_test")
ROWS, MODELS = 400, 5
LAB = ("base", "mirror", "order", "shout", "twice")
Row = dict[str, Any]


def coins(folder: Path, draw: int, rows: int = 300, models: int = 4) -> Outcome:
    """Scores of 0 or 1 that nothing foretells."""
    rng = random.Random(draw)
    names = [f"m{i}" for i in range(models)]
    lines = [
        {"prompt": f"{rng.choice(['add', 'say', 'who'])} {i}", "scores": {n: rng.randint(0, 1) for n in names}}
        for i in range(rows)
    ]
    return on_table(folder, draw, lines)


def real(folder: Path, draw: int) -> Outcome:
    """Real models' cached answers, dealt anew: scores by turns with answers."""
    rng = random.Random(draw)
    if draw % 2:
        return on_answers(folder, draw, *even_or_odd(rng), metric="exact_match")
    rows = rng.sample(of_routerdc(ROUTERDC[draw // 2 % len(ROUTERDC)]), ROWS)
    names = rng.sample(sorted(rows[0]["scores"]), MODELS)
    scores = [{name: row["scores"][name] for name in names} for row in rows]
    rng.shuffle(scores)
    prompts = dict.fromkeys(row["question"] for row in rows)
    return on_table(folder, draw, [{"prompt": p, "scores": s} for p, s in zip(prompts, scores, strict=False)])


@cache
def of_routerdc(part: str) -> list[Row]:
    with gzip.open(SHARED / "routerdc" / "split2_model7" / f"{part}.json.gz", "rt") as file:
        rows: list[Row] = json.load(file)
    return rows


def even_or_odd(rng: random.Random) -> tuple[list[Row], list[str]]:
    """Questions with what some models answer, told as even or odd, and as many even targets as odd ones, shuffled."""
    rows = rng.sample(of_zeroeval(), ROWS)
    names = rng.sample(sorted(rows[0]["answer"]), MODELS)
    answers = [{n: parity(row["answer"].get(n)) for n in names} for row in rows]
    targets = ["even", "odd"] * (ROWS // 2)
    rng.shuffle(targets)
    return [{"prompt": row["question"], "answers": a} for row, a in zip(rows, answers, strict=True)], targets


@cache
def of_zeroeval() -> list[Row]:
    with gzip.open(SHARED / "zeroeval" / "gsm.jsonl.gz", "rt") as file:
        next(file)
        return list({row["question"]: row for row in map(json.loads, file)}.values())


def parity(answer: Any) -> str:
    digits = [d for d in str(answer).partition(".")[0] if d.isdigit()]
    return "odd" if digits and int(digits[-1]) % 2 else "even"


def on_lab(folder: Path, draw: int) -> Outcome:
    """The lab's answers, told as a table, on prompts whose targets belong to others."""
    rng = random.Random(draw)
    rows = rng.sample(lab_answers(), 240)
    targets = [row["target"] for row in rows]
    rng.shuffle(targets)
    return on_answers(folder, draw, [{k: row[k] for k in ("prompt", "answers")} for row in rows], targets)


@cache
def lab_answers() -> list[Row]:
    """What the lab's models answer to the prompts of the skills, asked once."""
    lines = {}
    for part in ("dev", "test"):
        for line in (lab.path("tasks/skills") / f"{part}.jsonl").read_text().splitlines():
            row = json.loads(line)
            lines[row["prompt"]] = row["target"]
    told: dict[str, list[str]] = {}
    for name in LAB:
        answers = c.model(f"lab:{name}").generate(list(lines), c.Sampling(max_tokens=8))
        told[name] = [answer.text for answer in answers]
    return [
        {"prompt": prompt, "target": target, "answers": {name: told[name][i] for name in LAB}}
        for i, (prompt, target) in enumerate(lines.items())
    ]


def with_weights(folder: Path, draw: int) -> Outcome:
    """The lab's models on prompts whose targets belong to others."""
    rng = random.Random(draw)
    rows = rng.sample(lab_answers(), 120)
    targets = [row["target"] for row in rows]
    rng.shuffle(targets)
    place = task_of(folder, draw, [row["prompt"] for row in rows], targets, "token_f1")
    return auto([f"lab:{n}" for n in LAB[:4]], task=place, out=folder / f"run-{draw}", budget=16, seed=draw)


def on_table(folder: Path, draw: int, lines: Sequence[Row]) -> Outcome:
    """A run on a table of scores that is its own task."""
    table = written(folder / f"{draw}.jsonl", lines)
    return auto([f"table:{table}"], task=f"table:{table}", out=folder / f"run-{draw}", seed=draw)


def on_answers(
    folder: Path, draw: int, lines: Sequence[Row], targets: Sequence[str], metric: str = "token_f1"
) -> Outcome:
    """A run on a table of answers, graded by targets."""
    table = written(folder / f"{draw}.jsonl", lines)
    task = task_of(folder, draw, [line["prompt"] for line in lines], targets, metric)
    return auto([f"table:{table}"], task=task, out=folder / f"run-{draw}", seed=draw)


def task_of(folder: Path, draw: int, prompts: Sequence[str], targets: Sequence[str], metric: str) -> Path:
    """A task folder of which two thirds are dev."""
    place = folder / f"task-{draw}"
    place.mkdir()
    rows = [{"prompt": p, "target": t} for p, t in zip(prompts, targets, strict=True)]
    cut = 2 * len(rows) // 3
    written(place / "dev.jsonl", rows[:cut])
    written(place / "test.jsonl", rows[cut:])
    (place / "task.yml").write_text(f"{{dev: dev.jsonl, test: test.jsonl, metric: {metric}, max_tokens: 8}}")
    return place


def written(path: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def count(name: str, run: Callable[[Path, int], Outcome], draws: int) -> None:
    """Draw so often, and say what was claimed, how many systems were looked at and how far they were flattered."""
    said: Counter[str] = Counter()
    looked, flattered = [], []
    begun = time.process_time()
    for draw in range(draws):
        with tempfile.TemporaryDirectory() as folder:
            outcome = run(Path(folder), draw)
        said[outcome.headline.partition(":")[0].partition(",")[0]] += 1
        chosen = outcome.selection or {}
        looked.append(chosen["looked_at"])
        flattered += [chosen["optimism"]] if chosen.get("optimism") is not None else []
    claims = sum(n for sentence, n in said.items() if sentence.startswith("Better on test"))
    mean = f", flattered by {sum(flattered) / len(flattered):+.3f} on fit" if flattered else ""
    took = time.process_time() - begun
    print(f"{name}: {draws} draws, {claims} claim better; {sum(looked) / draws:.1f} systems looked at, ", end="")
    print(f"{len(flattered)} times one met held-out{mean}; {took:.0f} CPU s", flush=True)
    for sentence, n in said.most_common():
        print(f"  {n:3d}  {sentence}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=100, help="of each kind")
    parser.add_argument("--weights", type=int, default=0, help="draws with models (minutes)")
    given = parser.parse_args()
    kinds = {"coins": coins, "lab": on_lab} | ({"real": real} if SHARED.is_dir() else {})
    for name, run in kinds.items():
        count(name, run, given.draws)
    if "real" not in kinds:
        print(f"real: left out, there is no {SHARED}")
    if given.weights:
        count("lab, with weights", with_weights, given.weights)


if __name__ == "__main__":
    main()
