"""Three ways in which models work as one, each against one model: merged, together at run time, guessing ahead.

`make demo` runs it, with `runs/demo` as the folder; about a minute on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import consort as c
from consort import lab
from consort.core.catalogue import registries
from consort.evaluate.comparison import System
from consort.runs.results import Outcome

SKILLS = ["base", "mirror", "order", "shout", "twice", "spin", "next", "edges", "yell", "harmful"]
OTHERS = ["b-echo", "b-peel", "b-prior"]


def main(out: Path) -> None:
    """Run all three and say what came out, the files in `out`."""
    began = perf_counter()
    print(f"1. Merge. {len(SKILLS)} models of one family: each of eight knows one skill, one is harmful.", flush=True)
    merged = best(out / "merged", [f"lab:{name}" for name in SKILLS], "skills", budget=60)
    print(f"   Saved: {merged.place}\n")
    print(f"2. Together. That model and {len(OTHERS)} of another family: other skills, another tokenizer.", flush=True)
    team = best(out / "team", [str(merged.place), *(f"lab:{name}" for name in OTHERS)], "both", budget=12)
    print(f"   One endpoint for all of them: consort serve {team.place}\n")
    print("3. Guess ahead. A draft of 25 thousand parameters guesses, a model of 855 thousand checks.", flush=True)
    guess_ahead(texts=100)
    print(f"\nDone in {perf_counter() - began:.0f} s. Every candidate, with intervals and prices: {out}/*/report.html")


def best(out: Path, models: list[str], task: str, *, budget: int) -> Outcome:
    """The main job, `consort auto`, and its result on the test half beside the best single model's."""
    print(f"   $ consort auto {' '.join(models)} --task lab:tasks/{task} --out {out} --budget {budget}", flush=True)
    outcome = c.auto(models, task=f"lab:tasks/{task}", out=out, budget=budget, force=True)
    systems = {system.result.model: system for system in outcome.comparison.systems}
    print(line(f"best single model: {outcome.comparison.reference}", systems[outcome.comparison.reference]))
    print(line(f"found: {called(outcome.plan)}", systems["winner"]))
    print(f"   {outcome.headline}")
    return outcome


def called(plan: Any) -> str:
    """The kind and the name of what a plan begins with; a single model as it is."""
    if isinstance(plan, str):
        return plan
    name = next(iter(plan))
    return f"{next(registry.kind for registry in registries() if name in registry)} {name}"


def line(name: str, system: System) -> str:
    low, high = system.interval
    return f"   {name:<58} {system.score:.3f} [{low:.3f}, {high:.3f}]"


def guess_ahead(texts: int) -> None:
    """The large model alone and with a draft: the same answers in fewer of its passes."""
    target, draft = c.model("lab:target"), c.model("lab:draft")
    stories = c.load_task(lab.path("tasks/text")).test[:texts]
    prompts = [" ".join(story.text.split()[:6]) for story in stories]
    sampling = c.Sampling(max_tokens=32)
    alone, both = target.generate(prompts, sampling), c.speculate(target, draft, gamma=5).generate(prompts, sampling)
    tokens = sum(len(answer.tokens) for answer in alone)
    passes = sum(answer.details["speculation"]["rounds"] + 1 for answer in both)
    same = sum(one.text == other.text for one, other in zip(alone, both, strict=True))
    print(f"   {'the large model alone':<58} {tokens} passes")
    told = f"{passes} passes, {tokens / passes:.1f} tokens each; {same} of {texts} answers the same"
    print(f"   {'with the draft':<58} {told}")


if __name__ == "__main__":
    main(Path(*sys.argv[1:]) if sys.argv[1:] else Path("runs/demo"))
