"""Every merge method on zoos of the lab, each tuned on dev by one coefficient; and what signals told of it before.

    python benchmarks/merge_zoos.py FOLDER [--zoos full lora weave compose] [--seeds 0 1 2] [--methods NAME] [--table]
    python benchmarks/merge_zoos.py FOLDER --signals [--zoos full]

The coefficient c scales what a merge changes, B + c (M - B): the best on dev of .25, .5, 1, 2, 4, 8 and then of the two
halfway to its neighbours. Test is read once. A seed is another training, other dev examples and other draws of a method
that is random: `full`, `lora`, `weave` are the shipped zoo and FOLDER/lab-SEED (`consort lab train --seed`), `compose`
is FOLDER/zoo-SEED: dev are programs of one skill, test are programs of two. A method's other arguments stay at their
defaults, but spectral ones are also tried with embeddings merged like matrices and vectors summed. Methods that need
statistics, one task's number or exactly one model are left out. A result is one JSON line of FOLDER/merges.jsonl;
called again it goes on. `--signals` merges every pair by task arithmetic and prints Spearman's rank correlation of each
signal with how little the log-likelihood of both skills' answers falls below the two experts' own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

import consort
from consort import lab
from consort.evaluate.bootstrap import difference_interval, interval_of
from consort.evaluate.registry import UNIT, ratio
from consort.lab import programs
from consort.lab.measure_composition import Reader
from consort.lab.operations import SKILLS, Row
from consort.lab.rows import answer_loss, collate
from consort.lab.task_files import read_rows
from consort.merge import methods
from consort.merge.engine.merged import merge
from consort.models.hf.quiet import quiet
from consort.weights.checkpoint import Checkpoint, Memory
from consort.zoo.signals import LARGER_IS_BETTER, mergeability

RESULTS = "merges.jsonl"
COARSE = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SPECTRAL = ("tsv_m", "iso_c", "iso_cts", "wudi", "actmerge", "knots", "ace", "dc_merge")
WHOLE = {"embedding": "spectral", "vector": "sum"}
LEFT_OUT = {
    "regmean": "needs statistics",
    "fisher": "needs statistics",
    "tall_mask": "one task's part",
    "swa": "checkpoints of one run",
    "ema": "checkpoints of one run",
    "lines": "scales another merge",
}
EACH_DEV, EACH_TEST = 12, 50
"""Examples of each skill of the shipped zoo."""


@dataclass(frozen=True)
class Zoo:
    """Experts of one base, and the rows by which their merges are chosen and measured."""

    reader: Reader
    base: Checkpoint
    experts: Mapping[str, Checkpoint]
    dev: Sequence[Row]
    test: Sequence[Row]


def opened(name: str, seed: int, work: Path) -> Zoo:
    if name == "compose":
        folder = work / f"zoo-{seed}"
        dev = read_rows(folder / "tasks" / "compose" / "dev.jsonl")
        test = read_rows(folder / "tasks" / "compose-pairs" / "test.jsonl")
        names = {word: str(folder / f"compose-{word}") for word in programs.SKILLS}
        return _zoo(folder / "compose-base", names, dev, test)
    folder = work / f"lab-{seed}" if seed else lab.path("base").parent
    base = folder / "base"
    task = folder / "tasks" / ("weave" if name == "weave" else "skills")
    dev, test = (read_rows(task / f"{part}.jsonl") for part in ("dev", "test"))
    if name == "weave":
        names = {f"weave-{i}": str(folder / f"weave-{i}") for i in range(3)}
        return _zoo(base, names, random.Random(seed).sample(dev, 60), test)
    words = {word: f"{base}+{folder / f'lora-{word}'}" if name == "lora" else str(folder / word) for word in SKILLS}
    return _zoo(base, words, _drawn(dev, EACH_DEV, seed), test[: EACH_TEST * len(SKILLS)])


def _zoo(base: Path, names: Mapping[str, str], dev: Sequence[Row], test: Sequence[Row]) -> Zoo:
    experts = {word: _held(consort.load(reference)) for word, reference in names.items()}
    return Zoo(Reader(base), consort.load(str(base)), experts, dev, test)


def _held(checkpoint: Checkpoint) -> Checkpoint:
    """The same in memory, so that an adapter is laid over its base once."""
    return Memory({n: checkpoint[n] for n in checkpoint.keys()}, checkpoint.config, name=checkpoint.name)


def _drawn(rows: Sequence[Row], each: int, seed: int) -> list[Row]:
    rng, groups = random.Random(seed), sorted({row.group for row in rows})
    return [row for group in groups for row in rng.sample([r for r in rows if r.group == group], each)]


def candidates(count: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """The label, name and arguments of every method that merges so many models at once."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for name in sorted(methods):
        least, most = methods.get(name).inputs
        if name in LEFT_OUT or not least <= count <= (most or count) or most == 1:
            continue
        found[name] = name, {}
        if name in SPECTRAL:
            found[f"{name}, whole"] = name, WHOLE
    return found


def scaled(zoo: Zoo, name: str, arguments: Mapping[str, Any], seed: int) -> Callable[[float], Checkpoint]:
    """The merge by its coefficient; it is computed once, in float32."""
    merged = merge(name, list(zoo.experts.values()), base=zoo.base, seed=seed, out_dtype="float32", **arguments)
    base = {n: zoo.base[n].float() for n in zoo.base.keys()}
    delta = {n: merged[n].float() - base[n] for n in base}

    def at(c: float) -> Checkpoint:
        tensors = {n: (base[n] + c * delta[n]).to(zoo.base.spec(n).dtype) for n in base}
        return Memory(tensors, zoo.base.config, name=f"{name} {c}")

    return at


def chosen(score: Callable[[float], float]) -> tuple[float, float]:
    """The best coefficient of COARSE, then of it and those halfway to its neighbours; of equals the smallest."""
    known = {c: score(c) for c in COARSE}
    best = max(known, key=lambda c: known[c])
    known |= {c: score(c) for c in (best / 2**0.5, best * 2**0.5)}
    best = max(sorted(known), key=lambda c: known[c])
    return best, known[best]


def measured(zoo: Zoo, name: str, arguments: Mapping[str, Any], seed: int) -> dict[str, Any]:
    at = scaled(zoo, name, arguments, seed)
    coefficient, dev = chosen(lambda c: fmean(zoo.reader.marks(at(c), zoo.dev)))
    marks = zoo.reader.marks(at(coefficient), zoo.test)
    return {"coefficient": coefficient, "dev": dev, "marks": "".join("01"[mark] for mark in marks)}


def singles(zoo: Zoo) -> dict[str, Any]:
    """The best expert on dev."""
    dev = {word: fmean(zoo.reader.marks(expert, zoo.dev)) for word, expert in zoo.experts.items()}
    best = max(dev, key=lambda word: dev[word])
    marks = zoo.reader.marks(zoo.experts[best], zoo.test)
    return {"coefficient": 1.0, "dev": dev[best], "marks": "".join("01"[mark] for mark in marks), "which": best}


def records(out: Path) -> dict[tuple[str, int, str], dict[str, Any]]:
    file = out / RESULTS
    lines = [json.loads(text) for text in file.read_text("utf-8").splitlines()] if file.exists() else []
    return {(line["zoo"], line["seed"], line["method"]): line for line in lines}


def run(out: Path, name: str, seed: int, wanted: Sequence[str] | None) -> None:
    known, zoo = records(out), opened(name, seed, out)
    jobs: dict[str, Callable[[], dict[str, Any]]] = {"best single": lambda: singles(zoo)}
    for label, (method, arguments) in candidates(len(zoo.experts)).items():
        jobs[label] = lambda method=method, arguments=arguments: measured(zoo, method, arguments, seed)
    first = ["best single", "ties", "task_arithmetic"]
    for label in sorted(jobs, key=lambda one: (one not in first, one)):
        if (name, seed, label) in known or (wanted and label not in wanted):
            continue
        begun = time.process_time()
        try:
            found = jobs[label]()
        except consort.ConsortError as fault:
            found = {"refused": str(fault)}
        record = {"zoo": name, "seed": seed, "method": label, **found, "cpu_s": round(time.process_time() - begun, 1)}
        with open(out / RESULTS, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(name, seed, label, found.get("coefficient"), found.get("refused", ""), flush=True)


def table(out: Path) -> Iterator[str]:
    """Each zoo: every method's score, interval, coefficient by seed, and its difference from TIES over all."""
    found = records(out)
    for name in dict.fromkeys(zoo for zoo, _, _ in found):
        seeds = sorted({seed for zoo, seed, _ in found if zoo == name})
        yield f"\n| {name} | " + " | ".join(f"seed {seed} (coefficient)" for seed in seeds) + " | mean | less TIES |"
        yield "|---" * (len(seeds) + 3) + "|"
        rows = [_row(found, name, method, seeds) for method in dict.fromkeys(m for z, _, m in found if z == name)]
        yield from (text for _, text in sorted(rows, key=lambda row: -row[0]))


def _row(found: Mapping[Any, Any], zoo: str, method: str, seeds: Sequence[int]) -> tuple[float, str]:
    cells, scores, ours, theirs = [], [], [], []
    for seed in seeds:
        record = found.get((zoo, seed, method), {"refused": "not run"})
        if "refused" in record:
            cells.append(record["refused"])
            continue
        marks = _statistics(record["marks"])
        low, high = interval_of(marks, ratio, span=UNIT)
        scores.append(float(marks[:, 0].mean()))
        cells.append(f"{scores[-1]:.3f} [{low:.3f}, {high:.3f}] ({record['coefficient']:g})")
        if "marks" in (reference := found.get((zoo, seed, "ties"), {})):
            ours.append(marks)
            theirs.append(_statistics(reference["marks"]))
    mean, told = (fmean(scores), f"{fmean(scores):.3f}") if scores else (-1.0, "–")
    difference = "–"
    if ours and method != "ties":
        a, b = (np.concatenate(marks) for marks in (ours, theirs))
        low, high = difference_interval(a, b, ratio, np.empty(0), UNIT)
        difference = f"{float((a - b)[:, 0].mean()):+.3f} [{low:+.3f}, {high:+.3f}]"
    return mean, f"| {method} | " + " | ".join([*cells, told, difference]) + " |"


def _statistics(marks: str) -> Any:
    return np.array([[float(mark), 1.0] for mark in marks])


def signals(out: Path, name: str, seed: int) -> Iterator[str]:
    """What task arithmetic (coefficient 1) keeps of both skills of every pair; each signal's rank correlation."""
    from scipy.stats import spearmanr

    zoo = opened(name, seed, out)
    words, experts = list(zoo.experts), list(zoo.experts.values())
    rows = _drawn(zoo.test if name != "compose" else _singles(out, seed), 25, seed)
    by_word = {word: [row for row in rows if row.group == word] for word in words}
    own = [-_loss(zoo.reader, expert, by_word[word]) for word, expert in zip(words, experts, strict=True)]
    kept, found = [], mergeability(experts, zoo.base)
    for pair in found:
        merged = merge("task_arithmetic", [experts[pair.a], experts[pair.b]], base=zoo.base)
        lost = [-_loss(zoo.reader, merged, by_word[words[i]]) - own[i] for i in (pair.a, pair.b)]
        kept.append(fmean(lost))
    yield f"{name}, seed {seed}: {len(kept)} pairs, kept {min(kept):+.3f} to {max(kept):+.3f}, mean {fmean(kept):+.3f}"
    for signal, larger in LARGER_IS_BETTER.items():
        values = [pair.mean[signal] * (1 if larger else -1) for pair in found]
        rho = spearmanr(values, kept)
        yield f"  {signal}: rho {rho.statistic:+.3f} (p {rho.pvalue:.3f})"


@torch.inference_mode()
def _loss(reader: Reader, weights: Checkpoint, rows: Sequence[Row]) -> float:
    """Nats a token of the right answers; finer than how many are right, which is all of them for most pairs."""
    reader.load(weights)
    return float(answer_loss(reader.model, collate(reader.tokenizer, rows)))


def _singles(out: Path, seed: int) -> list[Row]:
    return read_rows(out / f"zoo-{seed}" / "tasks" / "compose" / "test.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--zoos", nargs="+", default=["full", "lora", "weave", "compose"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--signals", action="store_true")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in [] if given.table else given.zoos:
        for seed in given.seeds:
            if given.signals:
                print("\n".join(signals(given.out, name, seed)), flush=True)
            else:
                run(given.out, name, seed, given.methods)
    if not given.signals:
        print("\n".join(table(given.out)))


if __name__ == "__main__":
    with quiet():
        main()
