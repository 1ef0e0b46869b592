"""Particle evaluations per second against the usual way (save an adapter, load the model with it, generate), and what
racing saves; all in one run, on the bundled models, one thread, in seconds of the processor. Both ways take turns."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from consort.data import load_task
from consort.evaluate.measure import prompt_of
from consort.lab import path
from consort.plan.build import Builder
from consort.plan.search.plan import read_search
from consort.runs.search.spaces import open_space
from consort.search.engine.evaluator import Evaluator, Job
from consort.search.engine.run import Run
from consort.search.engine.scores import Scores
from consort.search.engine.workers import InProcess
from consort.search.optimizers.pso import Pso
from consort.search.utilities.task import task_objective
from consort.weights import write

SKILLS = ("mirror", "order", "shout", "twice", "next", "spin", "yell", "edges")
EXAMPLES, PARTICLES, ROUNDS, FEW = int(sys.argv[1]) if len(sys.argv) > 1 else 64, 16, 5, 2
"""In each round all particles are evaluated together, and a few in the usual way."""


def document(mode: str) -> dict:
    """A search over LoRA adapters by their mode, or over full weights."""
    pso, weight = {"pso": {"populate": {"extra": True}}}, {"free": [-0.5, 1.5]}
    if mode == "full":
        space = {"linear": {"models": [f"lab:{name}" for name in SKILLS], "weight": weight}}
    else:
        models = [f"lab:lora-{name}" for name in SKILLS]
        space = {"merge_adapters": {"models": models, "weight": weight, "mode": mode}}
    return {"search": {"optimizer": pso, "space": space, "base": "lab:base"}}


def usual_way(plan, points, task, batch: int) -> list[float]:
    """As released code does it: each particle is written, base and adapter (or the model) loaded, answers generated.

    The released code takes batches of 10.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    scores = []
    tokenizer = AutoTokenizer.from_pretrained(path("base"), padding_side="left")
    tokenizer.pad_token_id = tokenizer.pad_token_id or 0
    examples = task.dev[:EXAMPLES]
    for point in points:
        with tempfile.TemporaryDirectory() as folder:
            lora = plan.space == "adapters"
            built = Builder().build(plan.node(plan.expression(point)), "adapter" if lora else "checkpoint")
            write(built, Path(folder) / "a", plan=None, seed=0)
            source = path("base") if lora else Path(folder) / "a"
            model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
            if lora:
                model = PeftModel.from_pretrained(model, Path(folder) / "a")
            model.eval()
        texts = []
        for at in range(0, len(examples), batch):
            prompts = [prompt_of(e) for e in examples[at : at + batch]]
            inputs = tokenizer(prompts, return_tensors="pt", padding=True)
            inputs.pop("token_type_ids", None)
            with torch.no_grad():
                found = model.generate(**inputs, max_new_tokens=task.options.max_tokens, do_sample=False)
            texts += tokenizer.batch_decode(found[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        scores.append(sum(t.strip() in e.target for t, e in zip(texts, examples, strict=True)) / len(examples))
    return scores


def speed(mode: str, task) -> None:
    plan = read_search(document(mode))
    space = open_space(plan, Builder(), pack=PARTICLES)
    evaluator = Evaluator(space, task_objective([task], limit=EXAMPLES))
    points = tuple(tuple(row) for row in Pso(plan.domain, particles=PARTICLES).ask().tolist())
    ours = [outcome.score for outcome in evaluator(Job(points))]
    for batch in (10, EXAMPLES):
        usual = usual_way(plan, points[: 2 * FEW], task, batch)
        agree = [round(s, 3) for s in usual] == [round(s, 3) for s in ours[: 2 * FEW]]
        rounds = [
            (rate(lambda: evaluator(Job(points))), rate(lambda: usual_way(plan, points[:FEW], task, batch)))  # noqa: B023
            for _ in range(ROUNDS)
        ]
        quick, slow = (median(rates) for rates in zip(*rounds, strict=True))
        ratios = " ".join(f"{a / b:.1f}" for a, b in rounds)
        print(
            f"{mode:6}  ours {quick:6.2f} /s   usual, batches of {batch:2} {slow:6.2f} /s   "
            f"{median(a / b for a, b in rounds):5.1f} x ({ratios})   scores agree: {agree}",
            flush=True,
        )


def rate(evaluate: Callable[[], list]) -> float:
    """Evaluations per second of the processor."""
    started = time.process_time()
    return len(evaluate()) / (time.process_time() - started)


def racing(task, skills, iterations: int) -> None:
    """Examples asked with and without racing along one trajectory."""
    raw = document("exact")
    raw["search"]["space"]["merge_adapters"]["models"] = [f"lab:lora-{name}" for name in skills]
    plan = read_search(raw)
    space = open_space(plan, Builder(), pack=PARTICLES)
    utility = task_objective([task], limit=EXAMPLES)
    evaluator = Evaluator(space, utility)
    found, rates = [], []
    for is_racing in (False, True):
        optimizer = Pso(plan.domain, seed=0, particles=PARTICLES, iterations=iterations)
        run = Run(
            optimizer,
            InProcess(lambda: evaluator),
            Scores("b", "o"),
            pack=PARTICLES,
            size=utility.size,
            racing=is_racing,
        )
        started = time.process_time()
        found.append(run.run())
        rates.append(found[-1].evaluations / (time.process_time() - started))
    plain, raced = found
    same = [s.point for s in plain.steps] == [s.point for s in raced.steps]
    saved = 1 - raced.examples / plain.examples
    print(
        f"racing, {len(skills)} experts, best {plain.best.outcome.score:.3f}: {plain.evaluations} evaluations, "
        f"{saved:.1%} of the examples saved, same trajectory: {same}; "
        f"{rates[0]:.2f} /s, raced {rates[1]:.2f} /s",
        flush=True,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    whole = load_task(path("tasks/skills"))
    for mode in ("exact", "factor", "full"):
        speed(mode, whole)
    racing(whole, SKILLS, 30)
    racing(whole, SKILLS[:3], 30)
