"""`consort auto | search | fuse | federate | index`, killed by SIGKILL at seeded moments and started again.

    python benchmarks/kill_anywhere.py [--moments 10] [--seed 0] [VERB ...]

Each verb is run twice undisturbed: files that are equal then must be equal, byte for byte, after a kill and another
start; the others tell wall times and are compared without them. A moment is drawn evenly from the time between the
appearance of the run's folder and the end of the undisturbed run. Prints one line for each verb: moments that ended
the same, and how far the runs were when they were killed; exit code 1 where one did not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consort import lab

LIMIT_S = 900
WALL_TIMES = {"seconds", "spent_s", "sum"}
"""Keys of what is measured by a clock, and of the checksums over it."""
Words = list[str]


def lines_of(task: str, file: str, count: int, groups: tuple[str, ...] = ()) -> str:
    """The first lines of a file of the lab, of some groups only."""
    lines = (lab.path(f"tasks/{task}") / file).read_text("utf-8").splitlines()
    kept = [line for line in lines if not groups or json.loads(line).get("group") in groups]
    return "\n".join(kept[:count])


def auto(folder: Path) -> Words:
    """Two models, forty lines, six evaluations."""
    (folder / "task.jsonl").write_text(lines_of("skills", "dev.jsonl", 40, ("mirror", "order")))
    return ["auto", "lab:mirror", "lab:order", "--task", str(folder / "task.jsonl"), "--budget", "6", "--out"]


def search(folder: Path) -> Words:
    """A swarm of adapters."""
    (folder / "task.jsonl").write_text(lines_of("skills", "dev.jsonl", 24, ("mirror", "order")))
    (folder / "plan.yml").write_text(
        "search:\n"
        "  optimizer: {pso: {particles: 4, iterations: 3}}\n"
        "  space: {merge_adapters: {models: [lab:lora-mirror, lab:lora-order], weight: {free: [-0.5, 1.5]}}}\n"
        "  base: lab:base\n"
    )
    return ["search", str(folder / "plan.yml"), "--task", str(folder / "task.jsonl"), "--out"]


def fuse(folder: Path) -> Words:
    """Two teachers, one student, twelve steps."""
    (folder / "corpus.jsonl").write_text("\n".join(lines_of("facts", "train.jsonl", 10**6).splitlines()[::40]))
    (folder / "plan.yml").write_text(
        "pivot: lab:pivot\nsources: [lab:teacher-north, lab:teacher-south]\n"
        f"corpus: {folder / 'corpus.jsonl'}\ncollect: {{block: 64, shard: 2}}\n"
        "train: {steps: 12, batch: 8, part: 8, lr: 1.0e-3, save_every: 1}\n"
    )
    return ["fuse", str(folder / "plan.yml")]


def federate(folder: Path) -> Words:
    """Two clients, three rounds of their adapters, baselines among the results."""
    rows = [{"prompt": f"{w} a b {c} =", "target": f"{c} b a", "group": w} for w in ("mirror", "order") for c in "cdef"]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    split = [{**row, "split": "test" if i % 2 else "dev"} for i, row in enumerate(rows)]
    (folder / "task.jsonl").write_text("\n".join(map(json.dumps, split)))
    (folder / "plan.yml").write_text(
        f"model: lab:base\ndata: {folder / 'rows.jsonl'}\nclients: [ann, bob]\nsplit: by_key\ntrainable: {{rank: 2}}\n"
        "train: {steps: 2, batch: 4, lr: 1.0e-3}\nrounds: {rounds: 3}\naggregator: svd_lora\n"
        f"task: {folder / 'task.jsonl'}\n"
    )
    return ["federate", str(folder / "plan.yml")]


def index(folder: Path) -> Words:
    """Three thousand documents of forty sentences."""
    (folder / "documents").mkdir()
    for i in range(3000):
        text = " ".join(f"Fact {i * j} of document {i} is {j * j}." for j in range(40))
        (folder / "documents" / f"{i:04}.txt").write_text(text)
    return ["index", str(folder / "documents"), "--words", "12"]


VERBS: dict[str, Callable[[Path], Words]] = {v.__name__: v for v in (auto, search, fuse, federate, index)}


def started(words: Words, out: Path) -> subprocess.Popen[str]:
    """The program at work; each with hashes of its own, so that no order of a set can be relied upon."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "consort", *words, str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, text=True)


def finished(words: Words, out: Path) -> float:
    """Run it to its end; seconds from the appearance of its folder. Raises RuntimeError."""
    process = started(words, out)
    begun = appeared(process, out)
    _, told = process.communicate(timeout=LIMIT_S)
    if process.returncode:
        raise RuntimeError(told)
    return time.monotonic() - begun


def appeared(process: subprocess.Popen[str], out: Path) -> float:
    """When the folder, or the partial one beside it, was there; or the run had ended."""
    while process.poll() is None and not any(out.parent.glob(f"{out.name}*")):
        time.sleep(0.005)
    return time.monotonic()


def without_times(value: Any) -> Any:
    """A document without what a clock says."""
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in WALL_TIMES}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def content(folder: Path) -> dict[str, bytes]:
    """All files, by their place."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def timeless(name: str, data: bytes) -> object:
    """What a file says without wall times."""
    if name.endswith(".json"):
        return without_times(json.loads(data))
    if name.endswith(".jsonl"):
        return [without_times(json.loads(line)) for line in data.splitlines()]
    return re.sub(rb"[\d.,]+(?:e-?\d+)?", b"0", data)  # a page: the words without the figures


def differences(found: dict[str, bytes], wanted: dict[str, bytes], exact: set[str]) -> list[str]:
    """Names of files that are missing, too many, or other than they should be."""
    wrong = sorted(found.keys() ^ wanted.keys())
    for name in sorted(found.keys() & wanted.keys()):
        same = found[name] == wanted[name]
        if not same and (name in exact or timeless(name, found[name]) != timeless(name, wanted[name])):
            wrong.append(name)
    return wrong


def kill_once(words: Words, out: Path, after_s: float) -> bool:
    """Start, kill after some seconds; whether it was still at work."""
    process = started(words, out)
    begun = appeared(process, out)
    while process.poll() is None and time.monotonic() - begun < after_s:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def tried(verb: str, folder: Path, moments: int, seed: int) -> bool:
    """Kill one verb at some moments; prints and returns whether all ended the same."""
    folder.mkdir()
    words = VERBS[verb](folder)
    took = min(finished(words, folder / "whole"), finished(words, folder / "again"))
    wanted, again = content(folder / "whole"), content(folder / "again")
    exact = {name for name in wanted if wanted[name] == again.get(name)}
    unlike = differences(again, wanted, exact)
    if unlike:
        print(f"{verb}: two undisturbed runs differ in {unlike}", flush=True)
        return False
    draw, shares, wrong = random.Random(f"{seed} {verb}"), [], []
    while len(shares) < moments:
        share, out = draw.random(), folder / f"killed-{len(shares)}"
        if not kill_once(words, out, share * took):
            took *= 0.9  # it had ended before: another moment
            words_left = out.exists() and differences(content(out), wanted, exact)
            wrong += [(share, words_left)] if words_left else []
            if out.exists():
                out.rename(folder / f"ended-{draw.random()}")
            continue
        finished(words, out)
        shares.append(share)
        found = differences(content(out), wanted, exact)
        wrong += [(share, found)] if found else []
    shown = ", ".join(f"{share:.2f}" for share in sorted(shares))
    print(f"{verb}: {moments - len(wrong)} of {moments} the same; {len(exact)} of {len(wanted)} files to the byte, "
          f"killed at {shown} of {took:.1f} s", flush=True)  # fmt: skip
    for share, found in wrong:
        print(f"  {verb} killed at {share:.3f}: differs in {found}", flush=True)
    return not wrong


def main() -> int:
    """All verbs, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verbs", nargs="*", metavar="VERB", help=", ".join(VERBS))
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return int(
            not all([tried(verb, Path(folder) / verb, given.moments, given.seed) for verb in given.verbs or VERBS])
        )


if __name__ == "__main__":
    sys.exit(main())
