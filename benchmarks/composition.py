"""The composition lab: effects that papers claim, on recipes in which they occur; every figure beside its target.

    python benchmarks/composition.py FOLDER [--seeds 0 1 2] [--only PART...] [--table]

Parts, each once a seed: `emergence` (C-emerge, and the weak half merged against the best of all), `routers` (a domain
that only a relation of letters tells), `fusion` (two teachers of half the skills, texts of which 45 % are wrong),
`swarm` (with base and extra starts) and `swarm-paper`, `fusion-other` (teachers of another shape and tokenizer). The
models of a seed are trained first, into FOLDER/zoo-SEED, as `consort lab train --part compose` and so on would.
A part is one JSON line of FOLDER/figures.jsonl; called again it goes on where it was. `--table` prints that file.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from composition_record import Found, Line, Marks, done, line, recorded, table, told

from consort.data import load_task
from consort.ensemble.before.cluster import Cluster
from consort.ensemble.before.knn import Knn
from consort.ensemble.before.nearest import Nearest
from consort.ensemble.before.random import Random
from consort.ensemble.before.ridge import Ridge
from consort.ensemble.before.zooter import Zooter
from consort.ensemble.features.encoder import Encoder
from consort.ensemble.learning.observations import Observed
from consort.ensemble.routing.encoder_training import fine_tune
from consort.evaluate import evaluate
from consort.lab.build import build
from consort.lab.composition import DOMAINS, contradicted
from consort.lab.measure import Claim
from consort.lab.measure_composition import Emergence, Reader, claims_composition, measure_emergence
from consort.lab.programs import SKILLS
from consort.lab.task_files import read_rows
from consort.merge.engine.merged import merge
from consort.models import FakeModel
from consort.models.hf.quiet import quiet
from consort.recipes.fusechat.run import fuse
from consort.recipes.model_swarms.study import model_swarms
from consort.weights.disk.folder import open_folder

EXPERTS = tuple(f"compose-{word}" for word in SKILLS)
TRAIN = {"steps": 150, "batch": 48, "part": 48, "lr": 2e-4, "lam": 0.3, "warmup": 0.1}
SWARM = {"particles": 20, "iterations": 18}
"""At most 380 evaluations."""
ENCODER = {"loss": "zooter", "steps": 300, "rate": 5e-4, "batch": 64}


def emergence(zoo: Path, work: Path, seed: int) -> Found:
    found = measure_emergence(zoo)
    best = max(found.experts, key=lambda name: fmean(found.systems[name].singles))
    lines = []
    for name, system in found.systems.items():
        against = (best, found.systems[best].singles) if name.startswith("weak half") else None
        lines.append(line(f"{name}: singles", system.singles, against))
        lines.append(line(f"{name}: composites", system.composites))
        if name not in found.experts and not name.startswith("weak half"):
            emerged = found.emerged(name)
            lines.append(line(f"{name}: C-emerge", emerged))
            lines.append(line(f"{name}: C-emerge on pairs never read", _unread(found, name)))
    lines.append(line("some expert: composites", [not open_ for open_ in found.unanswered]))
    chosen = {name: s.coefficient for name, s in found.systems.items() if s.coefficient is not None}
    notes = {"coefficients": chosen, "weak": list(found.weak), "best": best, **found.base}
    return Found(lines, claims_composition(found), notes)


def _unread(found: Emergence, name: str) -> Marks:
    """C-emerge where the base has never read the pair of known words either."""
    both = zip(found.systems[name].composites, found.unanswered, found.unread, strict=True)
    return [mark for mark, open_, unread in both if open_ and unread]


def routers(zoo: Path, work: Path, seed: int) -> Found:
    reader = Reader(zoo / "compose-base")
    experts = [open_folder(zoo / f"xor-{name}") for name in DOMAINS]
    base, (dev, test) = open_folder(zoo / "compose-base"), (_rows(zoo, "domains", part) for part in ("dev", "test"))
    observed, truth = (_observed([reader.marks(e, rows) for e in experts], rows) for rows in (dev, test))
    fast = Encoder(str(zoo / "compose-base"))
    tuned = work / f"encoder-{seed}"
    if not tuned.exists():
        fine_tune(zoo / "compose-base", observed, tuned, seed=seed, **ENCODER)
    models = [FakeModel({}, name=name) for name in observed.models]
    candidates = {
        "random": Random(models, seed=seed),
        "untrained: words of the experts' prompts (cBTM)": Nearest(models),
        "untrained: clusters of frozen states": Cluster(models, clusters=2, features=fast),
        "linear on frozen states (ridge)": Ridge(models, features=fast),
        "linear on frozen states (zooter)": Zooter(models, features=fast),
        "nearest neighbours on frozen states": Knn(models, features=fast),
        "trained encoder (zooter)": Zooter(models, features=Encoder(str(tuned))),
    }
    systems = {name: _routed(router, observed, truth, seed) for name, router in candidates.items()}
    singles = {f"expert {name} alone": list(truth.quality[:, i] > 0) for i, name in enumerate(DOMAINS)}
    merges = {
        "average of both": reader.marks(merge("linear", experts), test),
        "task arithmetic, 1": reader.marks(merge("task_arithmetic", experts, base=base), test),
    }
    lines = [line(name, marks) for name, marks in {**singles, **merges, **systems}.items()]
    score = {one.name: one.score for one in lines}
    untrained = max(value for name, value in score.items() if name.startswith("untrained"))
    claims = [
        Claim("untrained routers <= .60", 0.60, untrained),
        Claim("linear on frozen states <= .62", 0.62, max(v for n, v in score.items() if n.startswith("linear"))),
        Claim("trained encoder >= .95", score["trained encoder (zooter)"], 0.95),
    ]
    return Found(lines, claims, {})


def _routed(router: Any, observed: Observed, truth: Observed, seed: int) -> Marks:
    fitted = router.fit(observed, seed=seed) if router.needs_fit else router
    return [bool(truth.quality[i, m] > 0) for i, m in enumerate(fitted.choose(truth.queries))]


def _rows(zoo: Path, task: str, part: str) -> Any:
    return read_rows(zoo / "tasks" / task / f"{part}.jsonl")


def _observed(marks: Sequence[Marks], rows: Any) -> Observed:
    """Who was right on which prompt; without groups, which would tell the domains."""
    return Observed(DOMAINS, tuple(row.prompt for row in rows), np.array(marks, dtype=float).T)


def fusion(zoo: Path, work: Path, seed: int) -> Found:
    return _fused(zoo, work, seed, ["half-0", "half-1"], "fusion")


def fusion_other(zoo: Path, work: Path, seed: int) -> Found:
    return _fused(zoo, work, seed, ["half-other-0", "half-other-1"], "fusion-other")


def _fused(zoo: Path, work: Path, seed: int, teachers: Sequence[str], name: str) -> Found:
    corpus = work / f"corpus-{seed}.jsonl"
    corpus.write_text("".join(json.dumps(asdict(row)) + "\n" for row in contradicted(seed)), "utf-8")
    plan = {
        "pivot": str(zoo / "compose-base"),
        "sources": [str(zoo / teacher) for teacher in teachers],
        "corpus": str(corpus),
        "task": str(zoo / "tasks" / "halves"),
        "control": True,
        "seed": seed,
        "collect": {"block": 128, "k": 40},
        "train": TRAIN,
        "fuse": {"unit": "group"},
        "merge": {"sce": {"select_topk": 1.0}},
    }
    results: dict[str, Marks] = {}
    chosen = {}
    for mode in ("pairwise", "together"):
        fused = fuse({**plan, "mode": mode}, work / f"{name}-{mode}-{seed}")
        chosen[mode] = {group: dict(counts) for group, counts in fused.chosen.items()}
        for system in fused.comparison.systems:
            called = mode if system.result.model == "fused" else system.result.model
            if not called.endswith(" student"):
                results.setdefault(called, [row[0] > 0 for row in system.result.statistics])
        if mode == "pairwise":
            results |= _other_merges(zoo, fused.students)
    return _fusion_found(results, teachers, chosen)


def _other_merges(zoo: Path, students: Mapping[str, Path]) -> dict[str, Marks]:
    """The students by themselves, and what else merges them."""
    reader, base, rows = Reader(zoo / "compose-base"), open_folder(zoo / "compose-base"), _rows(zoo, "halves", "test")
    models = {f"student of {name}": open_folder(folder) for name, folder in students.items()}
    both = list(models.values())
    made = models | {
        "students: linear": merge("linear", both),
        "students: sce, select_topk .5": merge("sce", both, base=base, select_topk=0.5),
        "students: sce, select_topk .1": merge("sce", both, base=base, select_topk=0.1),
        "students: task arithmetic, .7": merge("task_arithmetic", both, base=base, lambda_=0.7),
        "students: ties, lambda 1": merge("ties", both, base=base, density=0.2),
    }
    return {name: reader.marks(model, rows) for name, model in made.items()}


def _fusion_found(results: Mapping[str, Marks], teachers: Sequence[str], chosen: Any) -> Found:
    control = ("control", results["control"])
    lines = [line(n, marks, None if n == "control" else control) for n, marks in results.items()]
    students = [f"student of {name}" for name in teachers]
    better = max(students, key=lambda name: fmean(results[name]))
    over = line("pairwise + SCE over the better student", results["pairwise"], (better, results[better]))
    first = next(one for one in lines if one.name == "pairwise")
    lows = [(one.difference_interval or (0.0, 0.0))[0] for one in (first, over)]
    claims = [
        Claim("pairwise + SCE >= control + .15", first.score, fmean(control[1]) + 0.15),
        Claim("pairwise + SCE >= the better student + .03", first.score, fmean(results[better]) + 0.03),
        Claim("both intervals above 0", min(lows), 1e-6),
        Claim("together >= pairwise + SCE", fmean(results["together"]), first.score),
    ]
    return Found([*lines, over], claims, {"chosen": chosen})


def swarm(zoo: Path, work: Path, seed: int) -> Found:
    name = "swarm with base and extra"
    lines, notes = _swarmed(zoo, work, seed, name, extra=True)
    return Found(lines, [Claim("C-emerge of the swarm with base and extra >= .50", lines[-1].score, 0.50)], notes)


def swarm_of_paper(zoo: Path, work: Path, seed: int) -> Found:
    lines, notes = _swarmed(zoo, work, seed, "swarm as in the paper", extra=False)
    return Found(lines, [], notes)


def _swarmed(zoo: Path, work: Path, seed: int, name: str, *, extra: bool) -> tuple[list[Line], dict[str, Any]]:
    """Singles, composites and C-emerge of a swarm that is told of dev singles alone."""
    reader, rows = Reader(zoo / "compose-base"), _rows(zoo, "compose-pairs", "test")
    experts = [reader.marks(open_folder(zoo / expert), rows) for expert in EXPERTS]
    study = model_swarms(
        [str(zoo / expert) for expert in EXPERTS],
        task=str(zoo / "tasks" / "compose"),
        out=work / f"{name.replace(' ', '-')}-{seed}",
        base=str(zoo / "compose-base"),
        seed=seed,
        baselines=[],
        extra=extra,
        **SWARM,
    )
    best, singly = study.found.best.point, study.line("swarm")
    test = evaluate(study.found.space.model(best), load_task(zoo / "tasks" / "compose-pairs"))
    marks = [row[0] > 0 for row in test.statistics]
    emerged = [mark for mark, *known in zip(marks, *experts, strict=True) if not any(known)]
    lines = [
        Line(f"{name}: singles", singly.test.score, singly.test.interval, singly.test.count),
        line(f"{name}: composites", marks),
        line(f"{name}: C-emerge", emerged),
    ]
    return lines, {"evaluations": singly.evaluations, "point": list(best), "c_surge_dev": study.analysis["c_surge"]}


PARTS: dict[str, Callable[[Path, Path, int], Found]] = {
    "emergence": emergence,
    "routers": routers,
    "fusion": fusion,
    "swarm": swarm,
    "swarm-paper": swarm_of_paper,
    "fusion-other": fusion_other,
}
NEEDS = {
    "emergence": "compose",
    "swarm": "compose",
    "swarm-paper": "compose",
    "routers": "domains",
    "fusion": "halves",
    "fusion-other": "others",
}


def measured(part: str, seed: int, out: Path) -> dict[str, Any]:
    """Train what is missing, measure, and write the line."""
    zoo = out / f"zoo-{seed}"
    build(zoo, seed, [NEEDS[part]])
    begun = time.process_time()
    found = PARTS[part](zoo, out, seed)
    return recorded(out, part, seed, time.process_time() - begun, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if not given.table:
        torch.set_num_threads(1)
        given.out.mkdir(parents=True, exist_ok=True)
        known = done(given.out)
        for part, seed in ((p, s) for s in given.seeds for p in PARTS if p in given.only and (p, s) not in known):
            record = measured(part, seed, given.out)
            for claim in record["claims"]:
                print(part, seed, claim["text"], told(claim), flush=True)
    print("\n".join(table(given.out, list(PARTS))))


if __name__ == "__main__":
    with quiet():
        main()
