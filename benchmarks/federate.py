"""Federated adapters on the lab's skills, poisoned clients, memory and time of the server; three seeds.

    python benchmarks/federate.py [skills | poison | memory | speed | private | mutual]... [--seeds=0,1,2] [--kept=FILE]

`skills`: five clients, each with one skill (LoRA). Every line is exact match on the five skills' test examples;
"alone" is the best client, "centralised" read as many examples in one place. `poison`: five clients with all skills
each, one of which sends its change times -10, NaN, or plus 1000; one round of 60 steps. `memory`: peak of a server with
5 and 100 clients of a 4 MB adapter. `speed`: four clients, three rounds. `private`: a model behind placeholders.
`mutual`: FedMKT between the two teachers of the lab's facts. `--kept` names a JSON file of scores of `skills` that are
known already; a run that was killed goes on from it.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from consort.core.errors import ConsortError
from consort.data import load_task
from consort.distil.corpus import answered
from consort.evaluate import evaluate
from consort.federate import Federation, Update
from consort.federate.baselines import merged
from consort.federate.clients.client import CallableClient, LocalClient, RoundTask
from consort.federate.rounds import Rounds
from consort.federate.state import State, hash_of
from consort.federate.training.bench import Bench, BenchTrainer, Trainable
from consort.federate.training.options import LocalTraining
from consort.federate.training.sft import Sft
from consort.lab import path
from consort.lab.operations import SKILLS
from consort.lab.streams import expert_stream
from consort.models.hf.loading import load_model
from consort.weights import open_checkpoint

WORDS = tuple(SKILLS)[:5]
ROWS, ROUNDS = 800, 5
TRAIN = LocalTraining(steps=15, batch=16, lr=2e-3)


def rows_of(words: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
    """`count` rows of each word's stream: half the skill, half what the base has read."""
    found = []
    for word in words:
        rng = random.Random(f"{seed}:{word}")
        stream = expert_stream(word, SKILLS[word])
        found += [(row.prompt, row.target) for row in (stream(rng) for _ in range(count))]
    return found


class Lab:
    """The base with an adapter, and its score on the five skills."""

    def __init__(self, seed: int, *, fixed: bool = False) -> None:
        self.seed = seed
        self.bench = Bench(open_checkpoint(path("base")), Trainable(), seed=seed, fixed=fixed)
        task = load_task(path("tasks/skills"))
        self.task = replace(task, test=tuple(e for e in task.test if e.group in WORDS))
        self.known: dict[tuple[str, ...], Update] = {}

    def client(self, name: str, rows: Sequence[tuple[str, str]], options: LocalTraining = TRAIN) -> LocalClient:
        sft = Sft()
        items = sft.targets([answered(prompt, f" {target}") for prompt, target in rows], self.bench.tokenizer)
        return LocalClient(name, BenchTrainer(self.bench, sft, items, options))

    def run(self, clients: Sequence[Any], rule: Any, rounds: int = ROUNDS) -> State:
        return Federation(self.bench.first, clients, rule, Rounds(rounds=rounds, seed=self.seed)).run().state

    def score(self, state: State | None) -> float:
        checkpoint = self.bench.base if state is None else self.bench.trained(state)
        return evaluate(load_model(checkpoint), self.task, split="test").score

    def remembered(self, client: LocalClient) -> CallableClient:
        """The client, whose answer to one state and seed is worked out once."""

        def fit(state: State, task: RoundTask) -> Update:
            key = (client.id, hash_of(state), str(task.seed))
            if key not in self.known:
                self.known[key] = client.fit(state, task)
            return self.known[key]

        return CallableClient(client.id, fit)


class Kept:
    """Scores by seed and name, in a file if one is named."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.known: dict[str, float] = json.loads(file.read_text()) if file and file.is_file() else {}

    def score(self, seed: int, name: str, make: Callable[[], float]) -> float:
        key = f"{seed} {name}"
        if key not in self.known:
            self.known[key] = make()
            if self.file:
                self.file.write_text(json.dumps(self.known, indent=1))
            print(f"seed {seed} {name}: {self.known[key]:.3f}", file=sys.stderr, flush=True)
        return self.known[key]


KEPT: list[Path] = []
RULES: dict[str, Any] = {
    "fedavg": "fedavg",
    "svd_lora": "svd_lora",
    "fedex_lora": "fedex_lora",
    "ties": {"ties": {"density": 0.3}},
}


def skills(seeds: Sequence[int]) -> None:
    """One skill a client."""
    kept = Kept(KEPT[0] if KEPT else None)
    table: dict[str, list[float]] = {}
    for seed in seeds:
        for name, value in skills_of(seed, kept).items():
            table.setdefault(name, []).append(value)
    print(f"\n{'one skill a client':<22}" + "".join(f"{f'seed {s}':>9}" for s in seeds) + f"{'mean':>9}")
    for name, values in table.items():
        print(f"{name:<22}" + "".join(f"{v:9.3f}" for v in values) + f"{np.mean(values):9.3f}")
    base, best, top = (np.array(table[n]) for n in ("base", "best client alone", "centralised"))
    for name in ("svd_lora", "fedex_lora", "ties"):
        over, gain = np.array(table[name]) - best, (np.array(table[name]) - base) / (top - base)
        spread = 4.303 * over.std(ddof=1) / len(over) ** 0.5 if len(over) > 2 else float("nan")
        is_met = (over >= 0.30).all() and (gain >= 0.8).all()
        told = f"{name}: over the best client {over.mean():+.3f} ± {spread:.3f} (95 %, t of {len(over)} seeds)"
        print(f"{told}; centralised gain x {gain.min():.2f} to {gain.max():.2f}; {'met' if is_met else 'MISSED'}")


def skills_of(seed: int, kept: Kept) -> dict[str, float]:
    """All scores of a seed; baselines first."""
    lab = Lab(seed)
    clients = [lab.client(word, rows_of([word], ROWS, seed)) for word in WORDS]
    one_place = replace(TRAIN, steps=TRAIN.steps * len(WORDS))
    finals = cache(lambda: {client.id: lab.run([client], "fedavg") for client in clients})
    remembered = [lab.remembered(client) for client in clients]

    def centralised() -> float:
        return lab.score(lab.run([lab.client("all", rows_of(WORDS, ROWS, seed), one_place)], "fedavg"))

    def merge() -> float:
        return lab.score(merged(lab.bench.first, [Update(w, s, ROWS) for w, s in finals().items()]))

    made: dict[str, Callable[[], float]] = {
        "base": lambda: lab.score(None),
        "best client alone": lambda: max(lab.score(state) for state in finals().values()),
        "centralised": centralised,
        "merge of finals": merge,
        **{name: partial(lambda rule: lab.score(lab.run(remembered, rule)), rule) for name, rule in RULES.items()},
    }
    return {name: kept.score(seed, name, make) for name, make in made.items()}


ATTACKS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "clean": lambda own, base: own,
    "x -10": lambda own, base: base - 10 * (own - base),
    "NaN": lambda own, base: own * float("nan"),
    "+1000": lambda own, base: own + 1000,
}


def poison(seeds: Sequence[int]) -> None:
    """One of five clients lies."""
    rules: list[Any] = ["fedavg", "median", {"trimmed_mean": {"trim": 0.2}}, {"multi_krum": {"f": 1}}]
    print(f"\n{'one of five lies':<16}{'seed':>5}" + "".join(f"{name:>9}" for name in ATTACKS) + "   largest loss")
    for seed in seeds:
        lab = Lab(seed, fixed=True)
        rows = rows_of(WORDS, ROWS, seed)
        random.Random(seed).shuffle(rows)
        clients = [lab.remembered(lab.client(f"c{i}", rows[i::5], replace(TRAIN, steps=60))) for i in range(5)]
        for rule in rules:
            name = rule if isinstance(rule, str) else next(iter(rule))
            found = []
            for attack in ATTACKS.values():

                def lie(state: State, task: RoundTask, attack: Any = attack, liar: Any = clients[4]) -> Update:
                    honest = liar.fit(state, task)
                    return replace(honest, state={n: attack(honest.state[n], state[n]) for n in honest.state})

                try:
                    found.append(lab.score(lab.run([*clients[:4], CallableClient("c4", lie)], rule, rounds=1)))
                except ConsortError:  # a client that is left out leaves too few for the rule
                    found.append(float("nan"))
            worst = found[0] - np.nanmin(found[1:])
            told = "" if name == "fedavg" else "  met" if worst <= 0.05 else "  MISSED"
            print(f"{name:<16}{seed:>5}" + "".join(f"{v:9.3f}" for v in found) + f"{worst:+12.3f}{told}", flush=True)


MEMORY = """
import resource, sys, tempfile
from pathlib import Path
import torch
from consort.federate import Federation, Update
from consort.federate.clients.client import CallableClient
from consort.federate.rounds import Rounds
shape = (1024, 1024 // 8)
start = {f"t{i}": torch.zeros(shape) for i in range(8)}
def fit(name):
    return CallableClient(name, lambda s, t: Update(name, {n: v + 1 for n, v in s.items()}))
with tempfile.TemporaryDirectory() as folder:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Federation(start, [fit(f"c{i}") for i in range(int(sys.argv[1]))], sys.argv[2], Rounds(), Path(folder)).run()
    print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def memory(seeds: Sequence[int]) -> None:
    """Peak memory of a server."""
    print("\nadapter of 4 MB    clients    peak MB   over the imports MB")
    for rule in ("fedavg", "median"):
        for count in (5, 100):
            shown = subprocess.run(
                [sys.executable, "-c", MEMORY, str(count), rule], capture_output=True, text=True, check=True
            )
            before, after = (int(n) / 1024 for n in shown.stdout.split())
            print(f"{rule:<16}{count:>10}{after:>11.0f}{after - before:>12.0f}")


def speed(seeds: Sequence[int]) -> None:
    """Four clients, three rounds, from the start of Python."""
    code = MEMORY.replace("Rounds()", "Rounds(rounds=3)")
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", code, "4", "fedavg"], capture_output=True, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = time.monotonic() - begun
    print(
        f"\nfour clients, three rounds, imports and all: {seconds:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of CPU"
    )


def elder(private: Any) -> None:
    """Questions whose answers are names, to a program in a cloud's place: what hiding and putting back costs alone."""
    from consort.data.task import Example, Task
    from consort.models.fake import FakeModel

    def older(text: str) -> str:
        ages = re.findall(r"(?:^|[.] )([^.?]+?) is (\d+)", text)
        return max(ages, key=lambda pair: int(pair[1]))[0] if ages else ""

    rng, examples = random.Random(0), []
    names = [f"{a} {b}" for a in ("Anna", "Jo", "Pia", "Wei", "Max") for b in ("Bell", "Marlow", "Stone", "Heron")]
    for _ in range(500):
        pair, ages = rng.sample(names, 2), rng.sample(range(20, 90), 2)
        said = " ".join(f"{n} is {a}." for n, a in zip(pair, ages, strict=True))
        examples.append(Example(prompt=f"{said} Who is older?", target=(pair[int(ages[1] > ages[0])],)))
    task = Task("elder", "exact_match", (), tuple(examples))
    cloud = FakeModel(older, name="program")
    scores = [evaluate(model, task, split="test").score for model in (cloud, private(cloud, words=names))]
    print(f"500 answers that are names, by a program: unprotected {scores[0]:.3f}, hidden {scores[1]:.3f}")


PEOPLE = ("anna bell", "jo marlow", "pia stone", "wei brook", "max heron")


def private(seeds: Sequence[int]) -> None:
    """The facts of the lab, asked by people whose names are hidden; and answers that repeat what was hidden."""
    from consort.cooperate.private.cloud import Private
    from consort.models.fake import FakeModel

    facts = load_task(path("tasks/facts"))
    cloud = load_model(path("teacher-north"), name="cloud")
    known = [e for e in facts.test if e.group == "north"]
    asked = [replace(e, prompt=f"{PEOPLE[i % 5]} asks : {e.prompt}") for i, e in enumerate(known)]
    task = replace(facts, test=tuple(asked))
    plain = evaluate(cloud, task, split="test", keep_answers=True)
    hidden = evaluate(Private(cloud, words=list(PEOPLE)), task, split="test", keep_answers=True)
    nobody = evaluate(cloud, replace(facts, test=tuple(known)), split="test").score
    lost = np.array(hidden.scores) - np.array(plain.scores)
    low, high = np.percentile(np.random.default_rng(0).choice(lost, (2000, len(lost))).mean(1), [2.5, 97.5])
    print(f"\n{len(asked)} facts: unprotected {plain.score:.3f}, names hidden {hidden.score:.3f}, no name {nobody:.3f}")
    told = "met" if lost.mean() >= -0.02 else "MISSED"
    print(f"difference {lost.mean():+.3f} [{low:+.3f}, {high:+.3f}]; at least -.020: {told}")
    elder(Private)
    echo = FakeModel(lambda text: f"noted: {text}", name="echo")
    rng, right = random.Random(0), 0
    for _ in range(500):
        text = f"mail user{rng.randrange(10**6)}@example.com about +49 30 {rng.randrange(10**6, 10**7)}"
        right += Private(echo).generate([text])[0].text == f"noted: {text}"
    print(f"500 answers that repeat what was hidden: {right / 5:.1f} % restored exactly")


def mutual_transfer(seeds: Sequence[int]) -> None:
    """FedMKT: each teacher of facts learns what only the other knew, from public texts that are half wrong."""
    from fusion_lab import half_wrong

    from consort.evaluate import Result, compare
    from consort.federate.mutual import Mutual, Party, mutual
    from consort.lab.facts import table

    steps = LocalTraining(steps=60, batch=32, lr=1e-3)
    for seed in seeds:
        group = {fact.country: fact.group for fact in table(0)}
        rows = [r for r in half_wrong(path("pivot").parent, seed) if group[r["group"]] != "common"]
        public = [answered(r["prompt"], f" {r['target']}") for r in rows]
        task = load_task(path("tasks/facts"))
        found: dict[tuple[str, str], Result] = {}
        for lam in (1.0, 0.9, 0.3):
            parties = [
                Party(name, Bench(open_checkpoint(path(name)), Trainable(what="full"), seed=seed), (), steps, steps)
                for name in ("teacher-north", "teacher-south")
            ]
            with tempfile.TemporaryDirectory() as folder:
                options = Mutual(rounds=3, k=16, lam=lam, seed=seed)
                done = mutual(parties[0], parties[1:], public, Path(folder), options)
            for party, other in zip(parties, ("south", "north"), strict=True):
                own = replace(task, test=tuple(e for e in task.test if e.group == other))
                for name, state in (("before", party.bench.first), (f"{lam}", done.states[party.name])):
                    model = load_model(party.model(state), name=name)
                    found[party.name, name] = evaluate(model, own, split="test")
            print(f"seed {seed} lam {lam}: teachers {done.chosen[0]}", file=sys.stderr, flush=True)
        for party_name in ("teacher-north", "teacher-south"):
            ranked = [replace(found[party_name, n], model=n) for n in ("1.0", "before", "0.9", "0.3")]
            for system in compare(ranked, reference="1.0", seed=seed).systems:
                d = system.difference
                over = "" if d is None else f" {d.value:+.3f} [{d.interval[0]:+.3f}, {d.interval[1]:+.3f}] over lam 1"
                print(f"seed {seed} {party_name} {system.result.model}: {system.score:.3f}{over}", flush=True)


PARTS = {"skills": skills, "poison": poison, "memory": memory, "speed": speed, "private": private}
PARTS["mutual"] = mutual_transfer

if __name__ == "__main__":
    torch.set_num_threads(1)
    arguments = sys.argv[1:]
    chosen = [int(s) for a in arguments if a.startswith("--seeds=") for s in a[8:].split(",")] or [0, 1, 2]
    KEPT += [Path(a[7:]) for a in arguments if a.startswith("--kept=")]
    for part in [a for a in arguments if a in PARTS] or list(PARTS):
        PARTS[part](chosen)
